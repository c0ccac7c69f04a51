"""A loop of the configuration, from YAML to threads: configure, activate, deactivate, cleanup."""

from __future__ import annotations

import atexit
import math
import os
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rtloop import core
from rtloop.build import Parts, build
from rtloop.config import Config, LoopConfig
from rtloop.errors import Finding, Place, RtloopError, do_each
from rtloop.fault import faulty_port, in_words
from rtloop.judge import new_ring, refuse_denied, refuse_slow
from rtloop.opening import Opened, close, open_ports, port_errors
from rtloop.policy import Policy
from rtloop.policy.callable.answering import Answering
from rtloop.policy.callable.function import FunctionError
from rtloop.ports.around import Graph
from rtloop.ports.command import holds
from rtloop.ports.port import Port
from rtloop.realtime.rights import RightReport, report
from rtloop.realtime.threads import function_thread, guard_thread, link_thread, loop_thread
from rtloop.realtime.timing import REAL_TIME, Drive, Timing
from rtloop.reconnection import Reconnection
from rtloop.stopping import go_on
from rtloop.telemetry.observe.link_packets import LinkPackets
from rtloop.telemetry.observe.ring import LoopMetadata
from rtloop.telemetry.observe.summary import FunctionTimes, PortLosses

WARM_UP_RUNS = 200
#: From arming to the first sample of every input.
FIRST_SAMPLE_TIMEOUT_S = 5.0
FIRST_SAMPLE_LOOK_S = 0.0005
DEACTIVATE_TIMEOUT_NS = 1_000_000_000

_T = TypeVar("_T")
_Command = tuple[np.ndarray[Any, Any], int]
"""What is in force, and since when."""

_active_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
_all_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
#: In a forked child: what is its parent's, and must not be closed from here.
_of_the_parent: list[object] = []


@dataclass
class _Activation:
    """What exists between :meth:`Loop.prepare` and :meth:`Loop.finalize`."""

    ring: core.RingWriter
    loop: core.Loop
    threads: Drive
    metadata: LoopMetadata | None = None
    rights: list[RightReport] = field(default_factory=list)
    armed: list[Port] = field(default_factory=list)
    reconnections: list[Reconnection] = field(default_factory=list)
    answering: Answering | None = None
    #: Ends the thread of a loop that was let go of without an end.
    forsaken: weakref.finalize[[], _Activation] | None = None
    #: To end, the first time (``time.monotonic``).
    asked_s: float = math.inf
    has_ended: bool = False

    def publish_accounts(self) -> None:
        """Puts what devices say of themselves by now into the ring; where that has no room, nothing new."""
        accounts = {port.name: told for port in self.armed if (told := port.account()) is not None}
        if self.metadata is not None and accounts != self.metadata.accounts:
            self.metadata = replace(self.metadata, accounts=accounts)
            with suppress(ValueError):
                self.ring.set_metadata(self.metadata.to_json().encode())


class Loop:
    """One loop, with the states of a ROS 2 lifecycle node; it goes round as often as one likes.

    ``configure`` opens the ports and composes the graph; ``cleanup`` lets them go. In between, activation
    has three steps, so that the loops of a run start together: :meth:`prepare` each, :meth:`arm` each,
    :meth:`release` all. ``deactivate`` ends the threads, safe command last; ``finalize`` closes the ring
    once observers have had their last look. A FAULT is latched until the next activation.

    ``stalls`` injects slowness (tests and ``--overload``); ``graph`` is that of the node that runs it;
    ``timing`` drives its cycles, the same for all loops of a run.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        *,
        stalls: Sequence[core.Stall] = (),
        graph: Graph | None = None,
        timing: Timing = REAL_TIME,
    ) -> None:
        self.config = config
        self.name = name
        self.loop_config: LoopConfig = config.loops[name]
        self._stalls = tuple(stalls)
        self._graph = graph
        self._timing = timing
        self._opened: Opened | None = None
        self._parts: Parts | None = None
        #: By output, what ``read_output`` says of it once it was cleaned up.
        self._last_commands: Mapping[str, _Command | ValueError] = {}
        self._activation: _Activation | None = None
        self._hangs = False
        _all_loops.add(self)

    # --- lifecycle ---

    def open(self) -> None:
        """Opens the ports, the first part of :meth:`configure`, of whose errors it raises the same.

        All loops of a run are open before one is configured: it may read another.
        """
        Loop.open_all([self])

    @staticmethod
    def open_all(loops: Sequence[Loop]) -> None:
        """The same of all loops of a run, whose devices are asked at once. Raises what is wrong with any."""
        for loop in loops:
            loop._refuse_configured()
        if loops:
            names = [loop.name for loop in loops]
            first = loops[0]
            opened = open_ports(first.config, names, first._graph, first._timing)
            for loop in loops:
                loop._opened = opened[loop.name]

    def configure(
        self, policies: Mapping[str, Policy] | None = None, loops: Iterable[Loop] = ()
    ) -> None:
        """Raises ConfigError, LinkError, RtloopError; whatever was opened is closed again.

        ``policies`` are the loop's own, by name, where they were loaded already; ``loops`` those of its run.
        """
        self._refuse_configured()
        if self._opened is None:
            self.open()
        opened = {loop.name: loop._opened for loop in (*loops, self) if loop._opened is not None}
        try:
            self._parts = build(self.config, self.name, self._stalls, policies, opened)
        except BaseException:
            self._opened = None  # and closed
            raise
        self._last_commands = {}

    def prepare(self, ring_path: Path, process_rights: Sequence[RightReport] = ()) -> None:
        """Agrees with the devices, and sets up a new ring and the threads: warm, and waiting. Nothing is sent.

        ``process_rights`` are those of the whole process that this loop asked for.
        Raises HostRefusedError when a right was denied and the configuration says ``on_denied: fail``,
        ConfigError when the policy is too slow for its deadline or budget here, LinkError, StoppedError,
        RtloopError; then nothing is left of the activation but the file of the ring.
        """
        parts = self._configured()
        if self._hangs:
            raise RtloopError(
                f"a cycle of loop '{self.name}', or its Python function, hung and may still use its graph; "
                "call cleanup() and configure() first"
            )
        if self._activation is not None:
            raise RtloopError(f"loop '{self.name}' is active already; call deactivate() first")
        for port, place in self.placed_ports:
            go_on()
            with port_errors(self.name, port.name, "prepared", place):
                port.prepare()
        go_on()
        self._activation = activation = self._new_activation(parts, ring_path)
        _end_before_all_else(self)
        with self._ended_on_error():
            set_up = activation.threads.set_up(
                loop_thread(self.name, self.loop_config),
                guard_thread(self.name, self.loop_config),
                WARM_UP_RUNS,
                go_on,
            )
            activation.rights += process_rights
            activation.rights += [report(r, self.name) for r in set_up.loop_rights]
            activation.rights += [report(r, f"{self.name} guard") for r in set_up.guard_rights]
            activation.rights += self._port_rights(parts)
            refuse_denied(self.config, self.name, activation.rights)
            go_on()
            if set_up.error:
                message = f"loop '{self.name}' did not start: {' '.join(set_up.error.split())}"
                keys = ("policies",) if self.loop_config.policies else ("policy", "model")
                place = self.config.where("loops", self.name, *keys)
                raise RtloopError([Finding(message, place)])
            if self._timing.is_real:
                refuse_slow(self.config, self.name, set_up.warm_up_ns)
            self._start_answering(parts, activation)

    def refuse_unready(self, *, clear: bool = False) -> None:
        """Raises LinkError where a device, as it was found, could not be armed; sends nothing."""

        def ask(port: Port, place: Place) -> None:
            with port_errors(self.name, port.name, "armed", place):
                port.refuse_unready(clear)

        do_each(partial(ask, port, place) for port, place in self.placed_ports)

    def arm(self, *, clear: bool = False) -> None:
        """Arms the devices of a loop that is prepared; ``clear`` allows to clear one that is latched SAFE.

        Raises LinkError when a device does not arm, StoppedError; then the loop is deactivated.
        """
        activation = self._prepared()
        with self._ended_on_error():
            for port, place in self.placed_ports:
                go_on()
                activation.armed.append(port)
                with port_errors(self.name, port.name, "armed", place):
                    port.arm(clear)

    @staticmethod
    def release(loops: Sequence[Loop]) -> int:
        """Starts the cycles of loops that are armed, on one first release, which is returned (ns).

        Not before every input of every loop has its first sample, fresh where a stale one is a fault.
        Raises RtloopError when one has none in time, StoppedError; then nothing was started.
        """
        activations = [loop._prepared() for loop in loops]
        for activation in activations:
            activation.loop.rearm()
        end_s = time.monotonic() + FIRST_SAMPLE_TIMEOUT_S
        # All of them anew each time: while one is awaited, another grows old.
        timing = loops[0]._timing
        while timing.is_real and {a.loop.missing_input() for a in activations} != {None}:
            go_on()
            # In words once only: who may send on a topic takes asking the whole graph of ROS.
            if time.monotonic() > end_s and (
                missing := [found for loop in loops if (found := loop._missing_input())]
            ):
                raise RtloopError(missing)
            time.sleep(FIRST_SAMPLE_LOOK_S)
        go_on()
        first_release_ns = timing.release([activation.threads for activation in activations])
        for loop in loops:
            loop._look_after_ports()
        return first_release_ns

    def request_stop(self) -> None:
        """Ends the cycles soon, safe command last, and returns at once; :meth:`deactivate` does the rest."""
        if self._activation is not None:
            self._activation.asked_s = min(self._activation.asked_s, time.monotonic())
            for reconnection in self._activation.reconnections:
                reconnection.request_end()
            self._activation.loop.request_stop()

    def deactivate(self) -> None:
        """Ends the threads, safe command last, and stops the devices; nothing to do when they have ended.

        Raises RtloopError when a device does not confirm that it is safe, and when a cycle does not return: the
        safe command was sent all the same, and the loop is not activated again before it is configured anew.
        """
        activation = self._activation
        if activation is None or activation.has_ended:
            return
        activation.has_ended = True
        self.request_stop()
        timeout_ns = DEACTIVATE_TIMEOUT_NS + self.loop_config.period_ns
        returned = activation.threads.deactivate(timeout_ns)
        for reconnection in activation.reconnections:
            reconnection.end()
        answers = activation.answering is None or activation.answering.end(
            float(self.loop_config.policy_period_s)
        )
        if activation.forsaken is not None:
            activation.forsaken.detach()
        # That a port does not answer whose loss is the fault is no news.
        lost = faulty_port(self._configured(), activation.loop.status(), "port_error")
        # All loops of a run are asked at once, and then awaited one after the other.
        ended_s = min(time.monotonic(), activation.asked_s + timeout_ns / 1e9)
        unconfirmed = []
        for port in sorted(activation.armed, key=lambda port: not port.hardware_id):
            port.ended_s = ended_s
            if (text := _stopped(port)) and port is not lost:
                unconfirmed.append(text)
        activation.publish_accounts()
        _active_loops.discard(self)
        if not returned:
            self._hangs = True
            core.leaks_are_meant()
            raise RtloopError(
                f"a cycle of loop '{self.name}' hangs and did not end; the safe command was sent"
            )
        if not answers:
            self._hangs = True
            core.leaks_are_meant()
            unconfirmed.append(
                f"the Python function of loop '{self.name}' hangs and did not end; the safe command was sent "
                "without it"
            )
        if unconfirmed:
            raise RtloopError("; ".join(unconfirmed))

    def finalize(self) -> None:
        """Lets go of the ring of a loop that was deactivated: observers see it as finalized."""
        if self._activation is not None and self._activation.has_ended:
            self._activation = None

    def cleanup(self) -> None:
        """Closes the ports and lets everything go. Raises what :meth:`deactivate` raises, afterwards."""
        try:
            self.deactivate()
        finally:
            self.finalize()
            hung, self._hangs = self._hangs, False
            if self._parts is not None:
                ports = self._parts.output_ports
                self._last_commands = {name: _last_command(port) for name, port in ports.items()}
            self._parts = None
            opened, self._opened = self._opened, None
            if opened is not None:
                with ExitStack() as every:
                    every.callback(close, opened.ports)
                    # A cycle that hangs holds its ports; what is behind them is free for the next.
                    for port in opened.ports if hung else ():
                        every.callback(port.let_go)

    # --- while it runs ---

    def status(self) -> dict[str, Any]:
        """The live state: see :meth:`rtloop.core.RingReader.status`. Raises RtloopError when not active."""
        return self._prepared().loop.status()

    def write_input(self, name: str, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
        """Puts a sample into the mailbox ``name``, from :meth:`configure` to :meth:`cleanup`.

        What was written before an activation counts in it, with its own time: docs/safe.md. Raises KeyError,
        ValueError (no mailbox, or wrong size), TypeError (not one row of numbers), RtloopError when not
        configured. NaN and infinity are let through, as from a device: what the policy makes of them is judged.
        """
        port = _named(self._configured().input_ports, name)
        row = np.asarray(values)
        if row.ndim > 1 or row.dtype.kind not in "fiub":
            found = f"{row.dtype}{list(row.shape)}"
            raise TypeError(f"values of '{name}': found {found}; expected one row of real numbers")
        try:
            port.put(np.ascontiguousarray(row, np.float32))
        except ValueError as error:
            raise ValueError(f"values of '{name}': {error}") from None

    def read_output(self, name: str) -> tuple[np.ndarray[Any, Any], int]:
        """The command in the mailbox ``name``, float32 [size], and since when it is in force (ns, -1 none yet).

        Until it is configured anew, also after :meth:`cleanup`: the safe command that ended the loop can still
        be read. Before the first command it is the safe one, NaN where that is to hold what will be measured.
        Raises KeyError, ValueError (no mailbox), RtloopError when it was never configured.
        """
        parts = self._parts  # another thread may clean up meanwhile
        if parts is not None or not self._last_commands:
            return _named((parts or self._configured()).output_ports, name).core.newest()
        last = _named(self._last_commands, name)
        if isinstance(last, ValueError):
            raise last
        return last

    def publish_metadata(self, run_id: str, run: Mapping[str, Any]) -> None:
        """Puts what an observer needs beside the records into the ring. ``run``: facts of the whole run."""
        parts = self._configured()
        metadata = LoopMetadata(
            run_id=run_id,
            loop=self.name,
            loop_class=self.loop_config.loop_class,
            period_ns=self.loop_config.period_ns,
            deadline_ns=self.loop_config.deadline_ns,
            inputs=tuple(parts.inputs),
            outputs=tuple(parts.outputs),
            sources=self.loop_config.sources,
            realtime_ns_offset=self._timing.realtime_ns_offset(),
            run={**run, **parts.facts},
            max_share=self.loop_config.share_limits,
            ports=tuple(port.name for port in parts.ports),
        )
        activation = self._prepared()
        activation.metadata = metadata
        activation.ring.set_metadata(metadata.to_json().encode())

    def publish_accounts(self) -> None:
        """Puts what its devices say of themselves by now into the ring: its host may die any time."""
        if self._activation is not None and not self._activation.has_ended:
            self._activation.publish_accounts()

    def losses(self) -> tuple[PortLosses, ...]:
        """Of every port that was lost since the activation, though its loss was no fault."""
        reconnections = [] if self._activation is None else self._activation.reconnections
        told = [reconnection.losses() for reconnection in reconnections]
        return tuple(losses for losses in told if losses.losses > 0)

    def packets(self) -> list[LinkPackets]:
        """What became of the packets of each of its links since the activation."""
        return [
            LinkPackets.of(
                port.core.counters(), loop=self.name, link=port.name, hardware_id=port.hardware_id
            )
            for port in (self._parts.ports if self._parts is not None else ())
            if port.counts_packets
        ]

    def function_times(self) -> FunctionTimes | None:
        """What the calls of its Python function took since the activation; None where it has none."""
        answering = None if self._activation is None else self._activation.answering
        return None if answering is None else answering.times()

    @property
    def hangs(self) -> bool:
        """Whether a cycle or its function did not return when it was deactivated; cleanup() lets go of it."""
        return self._hangs

    @property
    def is_asking_this_thread(self) -> bool:
        """Whether this is the thread of its policy's Python function."""
        answering = None if self._activation is None else self._activation.answering
        return answering is not None and answering.is_this_thread

    def reconnections_told(self) -> list[str]:
        """What happened to such ports since the activation, a sentence each."""
        reconnections = [] if self._activation is None else self._activation.reconnections
        return [text for reconnection in reconnections for text in reconnection.told]

    @property
    def rights(self) -> list[RightReport]:
        """What this activation asked for, and what became of it."""
        return self._prepared().rights

    @property
    def ports(self) -> tuple[Port, ...]:
        """What was opened for it, each once: ``status()["fault_port"]`` is an index into them."""
        return self._configured().ports

    @property
    def input_ports(self) -> Mapping[str, Port]:
        """The same, by the names of its inputs."""
        return self._configured().input_ports

    @property
    def output_ports(self) -> Mapping[str, Port]:
        """The same, by the names of its outputs."""
        return self._configured().output_ports

    @property
    def placed_ports(self) -> Sequence[tuple[Port, Place]]:
        """All of them, each with the place where the configuration names it."""
        parts = self._configured()
        return tuple(zip(parts.ports, parts.places, strict=True))

    @property
    def onnxruntime_version(self) -> str:
        return self._configured().onnxruntime_version

    @property
    def notes(self) -> tuple[str, ...]:
        """What was concluded of its policy without being asked, a sentence each."""
        return self._configured().notes

    def fault(self) -> str:
        """Why the loop is in FAULT, and what to do; empty when it is not."""
        if self._activation is None:
            return ""
        return in_words(self.name, self.loop_config, self._configured(), self.status())

    # --- inside ---

    def _refuse_configured(self) -> None:
        if self._parts is not None:
            raise RtloopError(f"loop '{self.name}' is configured already; call cleanup() first")

    def _configured(self) -> Parts:
        if self._parts is None:
            raise RtloopError(f"loop '{self.name}' is not configured; call configure() first")
        return self._parts

    def _prepared(self) -> _Activation:
        if self._activation is None:
            raise RtloopError(f"loop '{self.name}' is not active; activate it first")
        return self._activation

    def _disown(self) -> None:
        """In a forked child: devices, threads and ring are the parent's. The loop is unconfigured here."""
        _of_the_parent.append((self._activation, self._parts, self._opened))
        self._activation = self._parts = self._opened = None
        self._last_commands = {}
        self._hangs = False

    def _new_activation(self, parts: Parts, ring_path: Path) -> _Activation:
        ring = new_ring(self.config, self.name, ring_path, len(parts.inputs), len(parts.outputs))
        try:
            cores = [port.core for port in parts.ports]
            clock = self._timing.clock()
            loop = core.Loop(parts.core_config, cores, parts.runner, ring, clock)
        except (OSError, ValueError) as error:
            raise RtloopError(f"loop '{self.name}' cannot be activated: {error}") from error
        return _Activation(ring, loop, self._timing.drive(loop, clock, self.loop_config.period_ns))

    def _port_rights(self, parts: Parts) -> list[RightReport]:
        """Of threads that carry samples and commands, those of one port ask for the same; and of drivers."""
        rights: list[RightReport] = []
        for port in parts.ports:
            setup = link_thread(port.name, self.loop_config)
            whose = f"{self.name} {port.threads_of} {port.name}"
            rights += [report(r, whose) for r in port.schedule(setup)]
            rights += [replace(r, name=f"{whose} {r.name}") for r in port.driver_rights()]
        return list(dict.fromkeys(rights))

    def _start_answering(self, parts: Parts, activation: _Activation) -> None:
        """The thread of a Python function. Raises RtloopError where it fails, StoppedError."""
        acting = parts.acting
        call, external = acting.graph.call, acting.runner.external
        if call is None or external is None:
            return
        activation.answering = Answering(
            call.function, external, function_thread(self.name, self.loop_config)
        )
        activation.forsaken = weakref.finalize(activation, external.close)
        try:
            activation.answering.start(go_on)
        except FunctionError as error:
            place = self.config.where("loops", self.name, "policy", "python")
            message = f"loop '{self.name}' did not start: {error}"
            raise RtloopError([Finding(message, place)]) from error

    def _look_after_ports(self) -> None:
        """Of a loop that was just released: those of its ports that may be lost and come back."""
        activation = self._prepared()
        loop = activation.loop  # not the activation, which must end when it is let go of
        for port in self._configured().ports:
            if port.back_off is not None:
                reconnection = Reconnection(
                    self.name,
                    port,
                    port.back_off,
                    lambda: loop.status()["state"] == "fault",
                )
                activation.reconnections.append(reconnection)
                reconnection.start()

    def _missing_input(self) -> Finding | None:
        """The input whose first sample is awaited, and what to do; None when every one has its sample."""
        index = self._prepared().loop.missing_input()
        if index is None:
            return None
        name, section = list(self.loop_config.inputs.items())[index]
        fresh = section.stale_word == "fault" and section.max_age_ms is not None
        sample = f"sample younger than {section.max_age_ms:g} ms" if fresh else "sample"
        outputs = self.loop_config.outputs.values()
        if any(hold.hold == name for output in outputs for _, hold in holds((), output.safe)):
            sample = f"finite {sample}"
        source = self.input_ports[name]
        return Finding(
            f"loop '{self.name}' did not start: input '{name}' ({source.name}) had no {sample} within "
            f"{FIRST_SAMPLE_TIMEOUT_S:g} s. {source.awaits}",
            self.config.where("loops", self.name, "inputs", name),
        )

    @contextmanager
    def _ended_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(RtloopError):  # what ended it says more
                self.deactivate()
            self.finalize()
            raise


def _last_command(port: Port) -> _Command | ValueError:
    """What its ``newest`` gives or raises."""
    try:
        command: _Command = port.core.newest()
    except Exception as error:  # a port is anybody's code, and this is asked while all are let go
        return ValueError(str(error))
    return command


def _stopped(port: Port) -> str:
    """What :meth:`Port.stop` says; a port that raises instead must not keep the next from its stop."""
    try:
        return port.stop()
    except Exception as error:
        return f"'{port.name}' was not stopped in order: {error!r}"


def _end_before_all_else(loop: Loop) -> None:
    # What its ports close at the end of the process carries the STOP: who registers last is called first.
    _active_loops.add(loop)
    atexit.unregister(_deactivate_all)
    atexit.register(_deactivate_all)


def _deactivate_all() -> None:
    # The last line of defence: a Python program that ends while loops run.
    loops = list(_active_loops)
    for loop in loops:
        loop.request_stop()
    for loop in loops:
        with suppress(Exception):
            loop.deactivate()
    core.process_will_end()


def _disown_all() -> None:
    for loop in list(_all_loops):
        loop._disown()
    _active_loops.clear()
    if _all_loops:
        core.leaks_are_meant()


atexit.register(_deactivate_all)
os.register_at_fork(after_in_child=_disown_all)


def _named(there: Mapping[str, _T], name: str) -> _T:
    """One by its name. Raises KeyError."""
    try:
        return there[name]
    except KeyError:
        raise KeyError(f"found {name!r}; expected one of {', '.join(there) or 'none'}") from None
