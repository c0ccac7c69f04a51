"""A run: all loops of one configuration, their recorder, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from rtloop import core
from rtloop.config import Config
from rtloop.errors import RtloopError
from rtloop.loop import Loop
from rtloop.realtime import host
from rtloop.realtime.rights import RightReport, kernel_report
from rtloop.telemetry.observe.ring import RING_DIRECTORY, Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary, RunSummary
from rtloop.telemetry.recorder.start import RecorderProcess, RecordingResult

TICK_S = 0.1
RECORDING_NAME = "run.mcap"
REPORT_NAME = "report.html"


class Observed:
    """One loop as an observer in this process sees it: the ring, and what was counted from it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.ring = Ring(loop.ring_path)
        self.statistics = LoopStatistics(self.ring.metadata)
        self.newest_inputs: dict[str, float] = {}

    def update(self) -> None:
        while len(batch := self.ring.read()):
            self.statistics.update(batch.records, batch.lost)
            names = [signal.name for signal in self.ring.metadata.inputs]
            self.newest_inputs = dict(zip(names, map(float, batch.inputs[-1]), strict=True))

    def finish(self) -> LoopSummary:
        """Counts what is left, a cycle that never returned included; what became of the loop."""
        self.update()
        status = self.ring.status()
        hung = unfinished_cycle(
            status,
            self.ring.metadata,
            self.statistics.last_cycle,
            self.statistics.consecutive_misses,
        )
        if hung is not None:
            self.statistics.update(hung.records)
        return self.statistics.summary(status=status)


class Run:
    """Starts, watches and ends the loops of a configuration. A context manager: leaving it ends the loops.

    A run is one activation and one recording: configure → activate → stop. To run again, make a new one.

    ``stalls`` injects slowness, by loop. ``clear`` allows to clear devices that are latched SAFE; it counts
    when the run is activated.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        *,
        stalls: Mapping[str, Sequence[core.Stall]] | None = None,
        clear: bool = False,
        record: bool | None = None,
    ) -> None:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S_%f")[:-3]
        self.config = config
        self.clear = clear
        self.run_id = f"{stamp}-{name}"
        self.directory = Path(config.recording.directory) / self.run_id
        self.recording_error = ""
        self._record = config.recording.enabled if record is None else record
        self._ring_directory = RING_DIRECTORY / self.run_id
        self.loops = {
            loop_name: Loop(
                config,
                loop_name,
                self._ring_directory / f"{loop_name}.ring",
                stalls=(stalls or {}).get(loop_name, ()),
            )
            for loop_name in config.loops
        }
        self.observed: dict[str, Observed] = {}
        self._is_used = False
        self._recorder: RecorderProcess | None = None
        self._result: RecordingResult | None = None
        self._stop = threading.Event()
        self._stopped_by = ""
        self._summary: RunSummary | None = None

    def __enter__(self) -> Run:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stopped_by = kind.__name__
        self.stop()

    def start(self) -> None:
        """Configures and activates. Raises what these raise."""
        self.configure()
        self.activate()

    def configure(self) -> None:
        """Opens the devices and allocates everything; nothing moves yet.

        Raises ConfigError, LinkError, RtloopError; then everything is ended again, and the run is over.
        """
        if self._is_used:
            raise RtloopError("this run was started already; make a new Run to run again")
        self._is_used = True
        with self._ended_on_error():
            for loop in self.loops.values():
                loop.configure()

    def activate(self) -> None:
        """Activates every loop, then starts the recorder.

        Raises LinkError, HostRefusedError, RtloopError; then everything is ended again, and the run is over.
        """
        if self.observed:
            raise RtloopError("this run is active already")
        with self._ended_on_error():
            for loop in self.loops.values():
                loop.activate(clear=self.clear)
            facts = self._facts()
            for name, loop in self.loops.items():
                loop.publish_metadata(self.run_id, {**facts, "policy_sha256": loop.policy_sha256})
                self.observed[name] = Observed(loop)
            if self._record:
                self._start_recorder()

    def observe(self) -> None:
        """Counts what the loops have done since, and looks after the recorder. Call it now and then:
        a ring holds ``ring_seconds`` of its loop."""
        # The loops go on without a recorder: a robot must not drop its arm because a disk is full.
        if self._recorder is not None and not self.recording_error:
            self.recording_error = self._recorder.poll() or ""
        for observed in self.observed.values():
            observed.update()

    def wait(
        self, duration_s: float | None = None, on_tick: Callable[[], None] | None = None
    ) -> None:
        """Returns after ``duration_s``, once a stop was requested, or when every loop is in FAULT."""
        end = None if duration_s is None else time.monotonic() + duration_s
        while not self._stop.is_set():
            left_s = TICK_S if end is None else min(TICK_S, end - time.monotonic())
            if left_s <= 0:
                self._stopped_by = "duration"
                return
            self._stop.wait(left_s)
            self.observe()
            if on_tick is not None:
                on_tick()
            if all(loop.status()["state"] != "active" for loop in self.loops.values()):
                self.request_stop("fault")

    def request_stop(self, by: str) -> None:
        """Ends ``wait`` soon. Safe from a signal handler or another thread; the first caller is remembered."""
        if not self._stop.is_set():
            self._stopped_by = by
        self._stop.set()

    def stop(self) -> RunSummary:
        """Ends the loops (safe command last) and the recording; returns the summary. Idempotent."""
        if self._summary is not None:
            return self._summary
        problems = [fault for loop in self.loops.values() if (fault := loop.fault())]
        rights = self.rights
        summaries = {}
        problems += self._deactivate()
        for name, observed in self.observed.items():
            summaries[name] = observed.finish()
        self.observed.clear()
        self._end_loops()
        self._finish_recording()
        if self.recording_error:
            problems.append(self.recording_error)
        self._summary = RunSummary(
            loops=summaries,
            rights=tuple(rights),
            recording=None if self._recorder is None else self.recording,
            stopped_by=self._stopped_by or "stop",
            problems=tuple(problems),
        )
        return self._summary

    def write_report(self) -> Path:
        """Renders the recording as HTML, beside it. After :meth:`stop`; raises RecordingError."""
        from rtloop.report.page import write_report

        return write_report(self.recording, self.directory / REPORT_NAME)

    @property
    def recording(self) -> Path:
        return self.directory / RECORDING_NAME

    @property
    def is_recorded(self) -> bool:
        """Whether there is a whole recording (after :meth:`stop`)."""
        return self._result is not None and not self.recording_error

    @property
    def rights(self) -> list[RightReport]:
        """The kernel's and every loop's rights; each once."""
        found = [kernel_report()]
        for loop in self.loops.values():
            found += [right for right in loop.rights if right not in found]
        return found

    # --- inside ---

    @contextmanager
    def _ended_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._end_loops()
            self._remove_rings()
            raise

    def _facts(self) -> dict[str, Any]:
        facts = host.facts()
        first = next(iter(self.loops.values()))
        facts["versions"]["onnxruntime"] = first.onnxruntime_version
        return {
            **facts,
            "config_text": self.config.source_text,
            "config_path": str(self.config.path),
            "rights": [right.as_dict() for right in self.rights],
            "started": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        }

    def _start_recorder(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RtloopError(
                f"cannot create {self.directory} for the recording: {error.strerror}. Name another "
                "recording.directory, or switch recording off"
            ) from error
        cpus = {
            cpu
            for loop in self.loops.values()
            for cpu in loop.loop_config.realtime.cpu_affinity or ()
        }
        rings = [loop.ring_path for loop in self.loops.values()]
        self._recorder = RecorderProcess.start(rings, self.recording, avoid_cpus=sorted(cpus))

    def _deactivate(self) -> list[str]:
        problems = []
        for loop in self.loops.values():
            try:
                loop.deactivate()
            except RtloopError as error:
                problems.append(str(error))
        return problems

    def _end_loops(self) -> None:
        self._deactivate()
        for loop in self.loops.values():
            loop.cleanup()

    def _finish_recording(self) -> None:
        if self._recorder is None:
            self._remove_rings()
            return
        self._result = self._recorder.wait()
        if self._result.error and not self.recording_error:
            self.recording_error = self._result.error

    def _remove_rings(self) -> None:
        for loop in self.loops.values():
            loop.ring_path.unlink(missing_ok=True)
        if self._ring_directory.exists():
            self._ring_directory.rmdir()


def exit_code(summary: RunSummary) -> int:
    """0: all loops kept their class; 1: a fault, a broken limit, or an incomplete recording."""
    for loop in summary.loops.values():
        if loop.state == "fault" or loop.limit_broken > 0:
            return 1
        if loop.loop_class == "hard" and loop.misses > 0:
            return 1
    return 1 if summary.problems else 0
