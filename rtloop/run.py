"""A run: all loops of one configuration, their recorder, and what became of them."""

from __future__ import annotations

import functools
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rtloop import core
from rtloop.activation import Activation, checked_name
from rtloop.config import Config
from rtloop.config.given import describe
from rtloop.errors import RecordingError, RtloopError, StoppedError, do_each
from rtloop.judge import claim, judge
from rtloop.loop import Loop
from rtloop.ports.around import Graph
from rtloop.realtime import host
from rtloop.realtime.process import ProcessRights
from rtloop.realtime.rights import RightReport, kernel_report
from rtloop.realtime.timing import REAL_TIME, Timing
from rtloop.report.process import write_report_beside
from rtloop.stopping import go_on, reach_others, stopped_when
from rtloop.telemetry.observe.observed import Observed
from rtloop.telemetry.observe.summary import LoopSummary, RunSummary
from rtloop.telemetry.recorder.split import Split

TICK_S = 0.1

_all_runs: weakref.WeakSet[Run] = weakref.WeakSet()
#: In a forked child: the activations of its parent, whose recorder and rings are not its own.
_of_the_parent: list[object] = []


_R = TypeVar("_R")
_Step = Callable[["Run"], _R]


def _one_thread_at_a_time(step: _Step[_R]) -> _Step[_R]:
    """Another thread that asks for a step of the lifecycle waits until this one is done."""

    @functools.wraps(step)
    def locked(self: Run) -> _R:
        with self._lifecycle:
            return step(self)

    return locked


class Run:
    """The loops of a configuration: configure → activate → deactivate → cleanup, as often as one likes.

    Each activation is a recording of its own, with a ``run_id`` of its own; all loops of it start on one
    first release. Devices stay open from configure to cleanup. A context manager: entering it configures
    and activates, leaving it ends the loops.

    ``stalls`` injects slowness, by loop. ``clear`` allows to clear devices that are latched SAFE, ``record``
    overrides the configuration; both count when the run is activated, and may be changed before that.
    ``plant`` is asked when the loops of an activation have ended: what went wrong behind their devices, in
    sentences, which are problems of the run (exit code 1) and of its recording.
    ``graph`` is that of the node that runs the loops, in which their topics are; None where no node does.
    ``leave_recorder_after_s`` bounds how long ``deactivate`` waits for the recording: a recorder that is not
    ready then goes on by itself (:attr:`still_writing`). None: it has some 15 s, and is ended then.
    ``timing`` is what time it is, and who steps the loops: ``rtloop.sim.LockStep`` for a simulation.
    ``name`` becomes part of the names of its folders, None is that of the file, ``python`` where there is none:
    ConfigError when it cannot.
    """

    def __init__(
        self,
        config: Config,
        name: str | None = None,
        *,
        stalls: Mapping[str, Sequence[core.Stall]] | None = None,
        clear: bool = False,
        record: bool | None = None,
        plant: Callable[[], Sequence[str]] | None = None,
        graph: Graph | None = None,
        timing: Timing = REAL_TIME,
        leave_recorder_after_s: float | None = None,
    ) -> None:
        if not isinstance(config, Config):
            raise TypeError(
                f"config: found {describe(config)}; expected a Config: rtloop.load(PATH) of a file, or "
                "rtloop.Config(loops=...)"
            )
        self.config = config
        self.name = checked_name(config.path.stem.strip("<>") if name is None else name)
        self.clear = clear
        self.record = record
        self.loops = {
            loop_name: Loop(
                config,
                loop_name,
                stalls=(stalls or {}).get(loop_name, ()),
                graph=graph,
                timing=timing,
            )
            for loop_name in config.loops
        }
        self._plant = plant
        self._timing = timing
        self._leave_recorder_after_s = leave_recorder_after_s
        self._state = "unconfigured"
        self._activation: Activation | None = None
        self._process_rights = ProcessRights(())
        self._summary: RunSummary | None = None
        # Plain values: a signal handler may set them while this very thread waits.
        self._stop_is_requested = False
        self._stopped_by = ""
        self._lifecycle = threading.RLock()
        _all_runs.add(self)

    def __repr__(self) -> str:
        return f"<Run '{self.name}', {self._state}: {', '.join(self.loops)}>"

    def __enter__(self) -> Run:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and self._state == "active":
            self._stopped_by = kind.__name__
        self.stop()

    # --- lifecycle ---

    @property
    def state(self) -> str:
        """``unconfigured``, ``inactive`` or ``active``: the words of a ROS 2 lifecycle node."""
        return self._state

    @_one_thread_at_a_time
    def start(self) -> None:
        """Configures and activates. Raises what these raise; then the run is unconfigured again.

        StoppedError when a stop was requested before the first cycle: nothing moved, and ``summary`` says so.
        """
        if self._state == "active":
            raise RtloopError("this run was started already; stop it before it is started again")
        if self._state == "unconfigured":
            self.configure()
        try:
            self.activate()
        except BaseException:
            self.cleanup()
            raise

    @_one_thread_at_a_time
    def configure(self) -> None:
        """Judges the configuration, opens the devices and composes the graphs; nothing moves yet.

        Raises ConfigError, LinkError, StoppedError, RtloopError; then everything is closed again.
        """
        if self._state != "unconfigured":
            raise RtloopError("this run is configured already; call cleanup() first")
        try:
            with stopped_when(self._asked_to_stop_by):
                go_on()
                self._timing.refuse(self.config)
                # Whatever can be refused without a device is, before the first one is opened.
                judgement = judge(self.config, record=self.record)
                judgement.refuse()
                loops = tuple(self.loops.values())
                Loop.open_all(loops)
                policies = judgement.policies
                _each(self.loops, lambda name, loop: loop.configure(policies[name], loops))
        except BaseException as error:
            self._cleanup_loops()
            self._end_start(error, [kernel_report()])
            raise
        self._state = "inactive"

    @_one_thread_at_a_time
    def activate(self) -> None:
        """Starts the recorder, arms the devices, and starts every loop on one first release.

        Raises LinkError, HostRefusedError, ConfigError (a policy is too slow here), RecordingError,
        StoppedError, RtloopError; then nothing runs, nothing of the attempt is left behind, and the run is
        inactive: it may be activated again.
        """
        if self._state != "inactive":
            raise RtloopError(f"this run is {self._state}: only an inactive one can be activated")
        record = self.config.recording.enabled if self.record is None else self.record
        activation = claim(self.config, self.name, record)
        asked = [loop.loop_config.realtime for loop in self.loops.values()]
        process_rights = ProcessRights(asked if self._timing.is_real else ())
        try:
            with stopped_when(self._asked_to_stop_by):
                self._prepare(activation, process_rights, record)
                _each(self.loops, lambda _, loop: loop.refuse_unready(clear=self.clear))
                for loop in self.loops.values():
                    loop.arm(clear=self.clear)
                go_on()
                Loop.release(tuple(self.loops.values()))
                # Asked for since: the first release is still to come, unless this thread was held up.
                if self._stop_is_requested:
                    self._end_loops()
                    if not any(loop.status()["executed"] for loop in self.loops.values()):
                        go_on()
        except BaseException as error:
            self._end_loops()
            self._close_rings()
            process_rights.close()
            activation.undo()
            self._end_start(error, activation.rights)
            raise
        self._activation = activation
        self._process_rights = process_rights
        self._summary = None
        self._state = "active"

    @_one_thread_at_a_time
    def deactivate(self) -> RunSummary:
        """Ends the loops (safe command last) and the recording; returns the summary.

        Of a run that is not active: the summary of its newest activation, or an empty one. Raises RtloopError
        in the thread of a policy's Python function, which would wait for itself.
        """
        activation = self._activation
        if self._state != "active" or activation is None:
            return self._summary or RunSummary(loops={}, rights=tuple(self.rights), started=False)
        if any(loop.is_asking_this_thread for loop in self.loops.values()):
            raise RtloopError(
                "a policy's Python function cannot end its own run, which waits for it; expected "
                "run.request_stop('its reason')"
            )
        self._request_stops()
        activation.aside.close()
        problems = [fault for loop in self.loops.values() if (fault := loop.fault())]
        problems += self._end_loops()
        times = {name: loop.function_times() for name, loop in self.loops.items()}
        losses = [losses for loop in self.loops.values() for losses in loop.losses()]
        packets = [packets for loop in self.loops.values() for packets in loop.packets()]
        problems += self._plant_problems()
        activation.tell_recorders(problems)
        loops = activation.summarise_loops()
        self._close_rings()
        self._process_rights.close()
        activation.finish(loops, self._leave_recorder_after_s)
        problems += activation.recording_problems()
        self._summary = RunSummary(
            loops=loops,
            rights=tuple(activation.rights),
            recording=None if activation.recorder is None else activation.recording,
            stopped_by=self._stopped_by or "stop",
            problems=tuple(problems),
            losses=tuple(losses),
            packets=tuple(packets),
            functions={name: told for name, told in times.items() if told is not None},
        )
        self._state = "inactive"
        self.forget_stop()
        return self._summary

    @_one_thread_at_a_time
    def cleanup(self) -> None:
        """Deactivates where needed, closes the devices and lets everything go. Idempotent."""
        self.deactivate()
        self._cleanup_loops()
        self._state = "unconfigured"

    @_one_thread_at_a_time
    def stop(self) -> RunSummary:
        """Deactivates and cleans up; returns the summary. Idempotent."""
        summary = self.deactivate()
        self.cleanup()
        return summary

    # --- while it runs ---

    def observe(self) -> None:
        """Counts what the loops have done since, looks after the recorder, and writes down what devices say of
        themselves. Call it now and then: a ring holds ``ring_seconds`` of its loop."""
        if not self._lifecycle.acquire(blocking=False):
            return  # another thread ends it, and counts what is left
        try:
            if self._activation is not None and self._state == "active":
                self._activation.update()
                for loop in self.loops.values():
                    loop.publish_accounts()
        finally:
            self._lifecycle.release()

    def wait(
        self, duration_s: float | None = None, on_tick: Callable[[], None] | None = None
    ) -> None:
        """Returns after ``duration_s``, once a stop was requested or made, or when every loop is in FAULT.

        Raises ValueError for NaN, of which no time is the end, RtloopError when it was not active.
        """
        if duration_s is not None and math.isnan(duration_s):
            raise ValueError("duration_s: found nan; expected seconds, or None until a stop")
        was_active = self._state == "active"
        end = None if duration_s is None else time.monotonic() + duration_s
        while not self._stop_is_requested:
            left_s = TICK_S if end is None else min(TICK_S, end - time.monotonic())
            if left_s <= 0:
                self._stopped_by = "duration"
                return
            time.sleep(left_s)
            self.observe()
            if on_tick is not None:
                on_tick()
            try:
                states = [loop.status()["state"] for loop in self.loops.values()]
            except RtloopError:
                if was_active:
                    return  # another thread has stopped it
                raise
            if all(state == "fault" for state in states):
                self.request_stop("fault")

    def request_stop(self, by: str) -> None:
        """Ends ``wait`` soon, and a start before anything moves: it raises StoppedError.

        Safe from a signal handler or another thread; the first caller is remembered. It counts once: for the
        start or the activation that it ends. A handler that strikes the code of a policy's Python function, as
        that is imported and tried, raises StoppedError, which ends it.
        """
        if not self._stop_is_requested:
            self._stopped_by = by
        self._stop_is_requested = True
        reach_others()

    def forget_stop(self) -> None:
        """Takes back a :meth:`request_stop` that came too late: the next start or activation is not ended."""
        self._stop_is_requested = False
        self._stopped_by = ""

    @_one_thread_at_a_time
    def statistics(self) -> dict[str, LoopSummary]:
        """The loops so far, by name, with counts, shares and percentiles in µs: of an active run all that
        they did by now, else those of :attr:`summary`; empty before the first activation."""
        if self._activation is None or self._state != "active":
            return {} if self._summary is None else dict(self._summary.loops)
        self._activation.update()
        return {name: observed.so_far() for name, observed in self.observed.items()}

    def dump(self) -> Path:
        """What the rings hold now, the newest ``ring_seconds`` of every loop, as a recording of its own.

        The loops and their recording go on. Raises RtloopError when it is not active, RecordingError.
        """
        return self._beside(lambda activation: activation.dump(self._loop_cpus()))

    def start_recording(self) -> Path:
        """A recording beside that of the run, if it has one: every cycle from now on, and before them what the
        rings hold, the newest ``ring_seconds``. It is one file, never split, and ends with
        :meth:`stop_recording`, or with the loops.

        Raises RtloopError when it is not active, RecordingError, also while one is being made.
        """
        return self._beside(lambda activation: activation.start_recording(self._loop_cpus()))

    def stop_recording(self) -> Path:
        """Ends what :meth:`start_recording` has begun; the file is whole then, unless its recorder was left
        behind (:attr:`left_behind`). Every cycle until now is in it.

        Raises RtloopError when it is not active, RecordingError: there is none, or it has failed.
        """
        return self._beside(lambda activation: activation.aside.stop(self._leave_recorder_after_s))

    @property
    def observed(self) -> Mapping[str, Observed]:
        """The loops of an active run, as this process sees them."""
        return {} if self._activation is None else self._activation.observed

    # --- the newest activation ---

    @property
    def run_id(self) -> str:
        return self._newest().run_id

    @property
    def directory(self) -> Path:
        """Where recording and report are."""
        return self._newest().directory

    @property
    def recording(self) -> Path:
        return self._newest().recording

    @property
    def recording_error(self) -> str:
        """Why the recording, or the newest one beside it, is incomplete; empty when it is not."""
        newest = self._activation
        return "" if newest is None else newest.recording_error or newest.aside.error

    @property
    def is_recorded(self) -> bool:
        """Whether there is a whole recording (once it was deactivated)."""
        return (
            self._summary is not None
            and self._summary.recording is not None
            and not self._newest().recording_error
            and self.still_writing is None
        )

    @property
    def still_writing(self) -> int | None:
        """The process of the newest activation's recorder, where it was left behind."""
        return None if self._activation is None else self._activation.still_writing

    @property
    def left_behind(self) -> Mapping[int, Path]:
        """The files of the newest activation that recorders were left behind with, by their processes."""
        newest = self._activation
        if newest is None:
            return {}
        own = {} if newest.still_writing is None else {newest.still_writing: newest.recording}
        return {**own, **newest.aside.left_behind}

    @property
    def summary(self) -> RunSummary | None:
        """What it came to, once it was deactivated."""
        return self._summary

    @property
    def rights(self) -> list[RightReport]:
        """The kernel's and every loop's rights; each once."""
        return [kernel_report()] if self._activation is None else self._activation.rights

    def write_report(self) -> Path:
        """Renders the recording as HTML, beside it, in a process of its own.

        After :meth:`deactivate`; raises RecordingError.
        """
        return write_report_beside(self.recording, self._newest().report, self._loop_cpus())

    # --- inside ---

    def _beside(self, write: Callable[[Activation], Path]) -> Path:
        """A file beside the recording. Never holds up who ends the loops meanwhile."""
        activation = self._activation
        if activation is None or self._state != "active":
            raise RtloopError(
                f"this run is {self._state}: only an active one has anything in its rings"
            )
        try:
            return write(activation)
        except OSError as error:
            raise RecordingError(f"cannot write {activation.directory}: {error.strerror}") from None

    def _newest(self) -> Activation:
        if self._activation is None:
            raise RtloopError("this run was not activated yet")
        return self._activation

    def _asked_to_stop_by(self) -> str:
        return (self._stopped_by or "stop") if self._stop_is_requested else ""

    def _end_start(self, error: BaseException, rights: Sequence[RightReport]) -> None:
        """What a start that failed leaves to be told."""
        if isinstance(error, StoppedError):
            self._summary = RunSummary(
                loops={}, rights=tuple(rights), stopped_by=self._asked_to_stop_by(), started=False
            )
        self.forget_stop()

    def _prepare(self, activation: Activation, process_rights: ProcessRights, record: bool) -> None:
        """Everything that moves no machine: threads that wait, metadata, observers, the recorder."""
        activation.add_rights([kernel_report()] if self._timing.is_real else ())

        def prepare(name: str, loop: Loop) -> None:
            asked = process_rights.of(loop.loop_config.realtime)
            loop.prepare(activation.ring_path(name), asked)
            activation.add_rights(loop.rights)

        _each(self.loops, prepare)
        facts = self._facts(activation.rights)
        for loop in self.loops.values():
            loop.publish_metadata(activation.run_id, facts)
        activation.observe_rings(self.loops)
        if record:
            activation.start_recorder(self._loop_cpus(), self._split())

    def _split(self) -> Split:
        asked = self.config.recording
        return Split(
            size_bytes=None if asked.split_mb is None else int(asked.split_mb * 1e6),
            seconds=None if asked.split_minutes is None else asked.split_minutes * 60,
            keep=asked.keep,
        )

    def _facts(self, rights: Sequence[RightReport]) -> dict[str, Any]:
        facts = host.facts()
        first = next(iter(self.loops.values()))
        facts["versions"]["onnxruntime"] = first.onnxruntime_version
        return {
            **facts,
            "config_text": self.config.source_text,
            "config_path": str(self.config.path),
            "rights": [right.as_dict() for right in rights],
            "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }

    def _loop_cpus(self) -> list[int]:
        realtime = [loop.loop_config.realtime for loop in self.loops.values()]
        return sorted({cpu for asked in realtime for cpu in asked.cpu_affinity or ()})

    def _end_loops(self) -> list[str]:
        """Ends every loop, whatever the others do; what went wrong, in sentences."""
        self._request_stops()
        problems = []
        for loop in self.loops.values():
            try:
                loop.deactivate()
            except RtloopError as error:
                problems.append(str(error))
            except Exception as error:  # a port is anybody's code, and the other loops must end
                problems.append(f"loop '{loop.name}' did not end in order: {error!r}")
        return problems

    def _plant_problems(self) -> Sequence[str]:
        try:
            return () if self._plant is None else tuple(self._plant())
        except Exception as error:  # anybody's code, and the recording must be finished
            return (f"nobody can say what became of the plant: {error!r}",)

    def _request_stops(self) -> None:
        """All loops, before any of them is waited for: each sends its safe command on its own."""
        for loop in self.loops.values():
            loop.request_stop()

    def _close_rings(self) -> None:
        for loop in self.loops.values():
            loop.finalize()

    def _disown(self) -> None:
        """In a forked child: the loops, which are unconfigured here, go on in the parent."""
        _of_the_parent.append((self._activation, self._process_rights))
        self._activation = self._summary = None
        self._process_rights = ProcessRights(())
        self._state = "unconfigured"
        self._stop_is_requested = False
        self._stopped_by = ""
        self._lifecycle = threading.RLock()

    def _cleanup_loops(self) -> None:
        """All of them; raises what the last that failed raised."""
        with ExitStack() as every:
            for loop in self.loops.values():
                every.callback(loop.cleanup)


def _each(loops: Mapping[str, Loop], step: Callable[[str, Loop], None]) -> None:
    """A step of every loop that moves nothing: what fails is told of all of them.

    Raises what a step raised, StoppedError at once.
    """

    def take(name: str, loop: Loop) -> None:
        go_on()
        step(name, loop)

    do_each(functools.partial(take, name, loop) for name, loop in loops.items())


def _disown_all() -> None:
    for run in list(_all_runs):
        run._disown()


os.register_at_fork(after_in_child=_disown_all)


def exit_code(summary: RunSummary) -> int:
    """0: every plant was controlled as its loop promises; 1: one was not, or a problem; 4: none began."""
    if not summary.started:
        return StoppedError.exit_code
    failed = any(loop.failures for loop in summary.loops.values())
    return 1 if failed or summary.problems else 0
