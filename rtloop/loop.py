"""A loop of the configuration, from YAML to threads: configure, activate, deactivate, cleanup."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtloop import core
from rtloop.config import Config, LoopConfig, per_element
from rtloop.config import ObservationTerm as TermConfig
from rtloop.errors import ConfigError, HostRefusedError, LinkError, RtloopError
from rtloop.link import Link, Reason, check_wire_rate
from rtloop.policy import ActionTerm, ComposedGraph, ObservationTerm, compose
from rtloop.policy.library import onnxruntime_library
from rtloop.realtime.rights import RightReport, denied, report
from rtloop.telemetry.ring import LoopMetadata, Signal

WARM_UP_RUNS = 200
#: A cycle that is this many periods late (but at least HANG_LIMIT_MIN_NS) is a fault in every class.
HANG_LIMIT_PERIODS = 10
HANG_LIMIT_MIN_NS = 100_000_000
DEACTIVATE_TIMEOUT_NS = 1_000_000_000

_active_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


@dataclass
class _Parts:
    """What exists between configure and cleanup."""

    links: dict[str, Link]
    link_ports: dict[str, core.LinkPort]
    mailboxes: dict[str, core.InputMailbox]
    commands: dict[str, core.OutputMailbox]
    inputs: list[Signal]
    outputs: list[Signal]
    graph: ComposedGraph
    ring: core.RingWriter
    loop: core.Loop
    onnxruntime_version: str
    latency_hold: core.CpuLatencyHold | None = None
    rights: list[RightReport] = field(default_factory=list)


class Loop:
    """One loop, with the states of a ROS 2 lifecycle node.

    ``configure`` opens the links, composes the graph and allocates everything; ``activate`` arms the device
    and starts the threads; ``deactivate`` ends them, safe command last; ``cleanup`` lets everything go.
    A FAULT is latched until the next ``activate``.

    ``stalls`` injects slowness (tests and ``--overload``). ``clear`` allows to clear a device that is
    latched SAFE.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        ring_path: Path,
        *,
        stalls: Sequence[core.Stall] = (),
        clear: bool = False,
    ) -> None:
        self.config = config
        self.name = name
        self.loop_config: LoopConfig = config.loops[name]
        self.ring_path = ring_path
        self._stalls = list(stalls)
        self._clear = clear
        self._parts: _Parts | None = None

    # --- lifecycle ---

    def configure(self) -> None:
        """Raises ConfigError, LinkError, RtloopError; whatever was opened is closed again."""
        if self._parts is not None:
            raise RtloopError(f"loop '{self.name}' is configured already; call cleanup() first")
        links: dict[str, Link] = {}
        try:
            self._parts = self._build(links)
        except BaseException:
            for link in links.values():
                link.close()
            raise

    def activate(self) -> list[RightReport]:
        """Arms the devices and starts the threads; returns the rights asked for.

        Raises HostRefusedError when a right was denied and the configuration says ``on_denied: fail``,
        LinkError when a device does not arm.
        """
        parts = self._configured()
        realtime = self.loop_config.realtime
        rights = []
        if realtime.lock_memory:
            rights.append(report(core.lock_memory()))
        if realtime.cpu_dma_latency_us is not None:
            parts.latency_hold = core.CpuLatencyHold(realtime.cpu_dma_latency_us)
            rights.append(report(parts.latency_hold.right))
        must_be_granted = realtime.on_denied == "fail"
        if must_be_granted:
            self._refuse(denied(rights))
        try:
            for link in parts.links.values():
                self._arm(link)
            # A mailbox's initial value counts as written now.
            for name, mailbox in parts.mailboxes.items():
                initial = self.loop_config.inputs[name].mailbox
                mailbox.put(np.array(initial, np.float32))
            activation = parts.loop.activate(
                self._thread("rt", 0), self._thread("rtg", 1), WARM_UP_RUNS, must_be_granted
            )
            rights += [report(right, f"{self.name}") for right in activation.loop_rights]
            rights += [report(right, f"{self.name} guard") for right in activation.guard_rights]
            parts.rights = rights
            if must_be_granted:
                self._refuse(denied(rights))
            if activation.error:
                raise RtloopError(f"loop '{self.name}' did not start: {activation.error}")
        except BaseException:
            self.deactivate()
            raise
        _active_loops.add(self)
        return rights

    def deactivate(self) -> None:
        """Ends the threads, safe command last. Raises RtloopError when a cycle does not return."""
        parts = self._parts
        if parts is None:
            return
        returned = parts.loop.deactivate(DEACTIVATE_TIMEOUT_NS + self.loop_config.period_ns)
        for link in parts.links.values():
            link.stop()
        parts.latency_hold = None
        _active_loops.discard(self)
        if not returned:
            raise RtloopError(
                f"a cycle of loop '{self.name}' hangs and did not end; the safe command was sent"
            )

    def cleanup(self) -> None:
        """Closes links and ring: observers see the ring as finalized."""
        parts, self._parts = self._parts, None
        if parts is not None:
            for link in parts.links.values():
                link.close()

    # --- while it runs ---

    def status(self) -> dict[str, Any]:
        """The live state: see :meth:`rtloop.core.RingReader.status`."""
        return self._configured().loop.status()

    def write_input(self, name: str, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
        """Puts a sample into the mailbox ``name``. Raises KeyError, ValueError (wrong size)."""
        self._configured().mailboxes[name].put(np.ascontiguousarray(values, np.float32))

    def read_output(self, name: str) -> tuple[np.ndarray[Any, Any], int]:
        """The command in the mailbox ``name``, float32 [size], and when it was written (ns, -1 never)."""
        return self._configured().commands[name].newest()

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
            realtime_ns_offset=time.time_ns() - time.monotonic_ns(),
            run=dict(run),
        )
        parts.ring.set_metadata(metadata.to_json().encode())

    @property
    def rights(self) -> list[RightReport]:
        return self._configured().rights

    @property
    def policy_sha256(self) -> str:
        return self._configured().graph.sha256

    @property
    def onnxruntime_version(self) -> str:
        return self._configured().onnxruntime_version

    def fault(self) -> str:
        """Why the loop is in FAULT, and what to do; empty when it is not."""
        status = self.status()
        reasons = {value: key for key, value in core.FAULT_REASONS.items()}
        reason = reasons.get(status["fault_reason"], "none")
        if reason == "none":
            return ""
        return f"loop '{self.name}' is in FAULT: {self._explain(reason, status)}"

    # --- inside ---

    def _configured(self) -> _Parts:
        if self._parts is None:
            raise RtloopError(f"loop '{self.name}' is not configured; call configure() first")
        return self._parts

    def _refuse(self, problems: list[RightReport]) -> None:
        if problems:
            listed = "\n  ".join(str(problem) for problem in problems)
            raise HostRefusedError(
                f"loop '{self.name}' demands rights (on_denied: fail) that were denied:\n  {listed}"
            )

    def _build(self, links: dict[str, Link]) -> _Parts:
        config = self.loop_config
        inputs_from = [port.link for port in config.inputs.values()]
        outputs_to = [port.link for port in config.outputs.values()]
        for name in [*inputs_from, *outputs_to]:
            if name is not None and name not in links:
                link_config = self.config.links[name]
                link = links[name] = Link.open(name, link_config.device, link_config.baud)
                check_wire_rate(link_config.baud, link.info.schema, config.nominal_rate_hz)

        inputs = {name: self._input_signals(name, links) for name in config.inputs}
        graph = self._compose({name: inputs[name] for name in inputs})
        outputs = self._output_signals(links, graph.action.size)

        ports = {name: core.LinkPort(self._port_config(name, link)) for name, link in links.items()}
        mailboxes = {
            name: core.InputMailbox(len(port.mailbox))
            for name, port in config.inputs.items()
            if port.mailbox is not None
        }
        commands = {}
        for name, output in config.outputs.items():
            if output.link is None:
                commands[name] = core.OutputMailbox(per_element(output.safe, len(outputs[name])))
        all_inputs = [signal for signals in inputs.values() for signal in signals]
        all_outputs = [signal for signals in outputs.values() for signal in signals]

        self.ring_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            runner = core.Graph(
                onnxruntime_library(),
                graph.model,
                [(spec.name, list(spec.shape)) for spec in graph.inputs],
                (graph.action.name, list(graph.action.shape)),
                [(f.input_name, (f.output_name, list(f.shape))) for f in graph.feedback],
            )
            ring = core.RingWriter(
                str(self.ring_path), config.ring_cycles, len(all_inputs), len(all_outputs), b"{}"
            )
            loop = core.Loop(
                self._core_config({name: len(signals) for name, signals in outputs.items()}),
                [
                    mailboxes[name] if port.link is None else ports[port.link]
                    for name, port in config.inputs.items()
                ],
                [
                    commands[name] if port.link is None else ports[port.link]
                    for name, port in config.outputs.items()
                ],
                runner,
                ring,
                core.MonotonicClock(),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise RtloopError(f"loop '{self.name}' cannot be configured: {error}") from error
        return _Parts(
            links=links,
            link_ports=ports,
            mailboxes=mailboxes,
            commands=commands,
            inputs=all_inputs,
            outputs=all_outputs,
            graph=graph,
            ring=ring,
            loop=loop,
            onnxruntime_version=runner.onnxruntime_version,
        )

    def _input_signals(self, name: str, links: Mapping[str, Link]) -> list[Signal]:
        port = self.loop_config.inputs[name]
        if port.link is not None:
            sensors = links[port.link].info.schema.sensors
            return [Signal(f"{name}.{sensor.name}", sensor.unit) for sensor in sensors]
        return [Signal(f"{name}.{i}", "") for i in range(len(port.mailbox or ()))]

    def _output_signals(self, links: Mapping[str, Link], n_action: int) -> dict[str, list[Signal]]:
        signals: dict[str, list[Signal]] = {}
        for name, port in self.loop_config.outputs.items():
            if port.link is not None:
                commands = links[port.link].info.schema.commands
                signals[name] = [Signal(f"{name}.{c.name}", c.unit) for c in commands]
            else:
                size = port.element_count or 1
                signals[name] = [Signal(f"{name}.{i}", "") for i in range(size)]
        total = sum(len(s) for s in signals.values())
        if total != n_action:
            where = self.config.where("loops", self.name, "outputs")
            sizes = ", ".join(f"{name} {len(s)}" for name, s in signals.items())
            raise ConfigError(
                f"{where}: found outputs of {total} values ({sizes}); expected {n_action}, "
                "the size of the policy's action"
            )
        return signals

    def _compose(self, inputs: Mapping[str, list[Signal]]) -> ComposedGraph:
        policy = self.loop_config.policy
        terms = [self._term(term, i, inputs) for i, term in enumerate(policy.observation)]
        return compose(
            policy.model,
            {name: len(signals) for name, signals in inputs.items()},
            terms,
            ActionTerm(policy.action.scale, policy.action.offset, policy.action.clip),
            policy.state,
            policy.fix_dimensions,
        )

    def _term(
        self, term: TermConfig, index: int, inputs: Mapping[str, list[Signal]]
    ) -> ObservationTerm:
        indices: list[int] | None = None
        if term.select is not None:
            indices = []
            known = [s.name.partition(".")[2] for s in inputs.get(term.input or "", [])]
            for position, element in enumerate(term.select):
                if isinstance(element, int):
                    indices.append(element)
                elif element in known:
                    indices.append(known.index(element))
                else:
                    where = self.config.where(
                        "loops", self.name, "policy", "observation", index, "select", position
                    )
                    raise ConfigError(
                        f"{where}: found '{element}'; expected a field of input '{term.input}': "
                        f"{', '.join(known)}"
                    )
        return ObservationTerm(
            input=term.input,
            previous_action=bool(term.previous_action),
            indices=None if indices is None else tuple(indices),
            scale=term.scale,
            offset=term.offset,
            clip=term.clip,
        )

    def _port_config(self, link_name: str, link: Link) -> core.LinkConfig:
        config = self.loop_config
        timeout_ns = self.config.links[link_name].command_timeout_ns
        info = link.info
        port = core.LinkConfig()
        port.fd = link.fileno()
        port.schema_id = info.schema_id
        port.n_sensor = len(info.schema.sensors)
        port.n_command = len(info.schema.commands)
        port.clock_offset_ns = info.clock_offset_ns
        port.clock_error_ns = info.clock_error_ns
        port.clock_time_ns = info.clock_time_ns
        # The next cycle's command supersedes this one within a period; a late soft result keeps some value.
        port.command_validity_ns = timeout_ns if config.loop_class == "soft" else config.period_ns
        port.silence_timeout_ns = max(timeout_ns, 3 * config.period_ns)
        return port

    def _core_config(self, output_sizes: Mapping[str, int]) -> core.LoopConfig:
        config = self.loop_config
        out = core.LoopConfig()
        out.name = self.name
        out.loop_class = core.LoopClass[config.loop_class]
        out.period_ns = config.period_ns
        out.deadline_ns = config.deadline_ns
        out.budget_ns = config.budget_ns or 0
        if config.limit is not None and config.loop_class != "hard":
            out.max_misses = config.limit.max_misses
            out.window = config.limit.window
            out.max_consecutive = config.limit.max_consecutive or 0
            out.fault_on_broken_limit = config.limit.on_broken == "fault"
        out.default_on_miss = config.on_miss == "default"
        out.on_overrun = core.Overrun[config.on_overrun]
        out.max_catch_up = config.max_catch_up
        out.output_at_deadline = config.output == "at_deadline"
        out.hang_limit_ns = max(HANG_LIMIT_MIN_NS, HANG_LIMIT_PERIODS * config.period_ns)
        out.inputs = [
            core.InputConfig(port.max_age_ns or 0, core.OnStale[port.on_stale])
            for port in config.inputs.values()
        ]
        out.outputs = [
            core.OutputConfig(
                *(
                    () if values is None else per_element(values, output_sizes[name])
                    for values in (
                        port.min,
                        port.max,
                        port.max_rate_per_s,
                        port.safe,
                        port.default_or_safe,
                    )
                )
            )
            for name, port in config.outputs.items()
        ]
        out.stalls = self._stalls
        return out

    def _thread(self, prefix: str, above: int) -> core.ThreadSetup:
        realtime = self.loop_config.realtime
        setup = core.ThreadSetup()
        setup.name = f"{prefix}:{self.name}"
        setup.scheduler = core.Scheduler[realtime.scheduler]
        setup.priority = realtime.thread_priority + above
        if realtime.scheduler == "deadline":
            self._reserve(setup, is_guard=above > 0)
        elif realtime.cpu_affinity is not None:
            cpus = list(realtime.cpu_affinity)
            if above:
                # The guard keeps off the loop's CPUs where it can: its wake-up at d would delay the
                # release at d, and a CPU that is stuck must not take its guard with it.
                cpus = sorted(set(core.allowed_cpus()) - set(cpus)) or cpus
            setup.cpus = cpus
        return setup

    def _reserve(self, setup: core.ThreadSetup, *, is_guard: bool) -> None:
        config = self.loop_config
        if is_guard:
            # The highest FIFO priority still yields to SCHED_DEADLINE; the loop's own throttling lets it run.
            setup.scheduler = core.Scheduler.fifo
            setup.priority = 99
            return
        setup.period_ns = config.period_ns
        setup.deadline_ns = config.deadline_ns
        setup.runtime_ns = config.budget_ns or config.deadline_ns // 2

    def _arm(self, link: Link) -> None:
        loop_class = self.loop_config.loop_class
        link.arm(
            loop_class=core.CLASSES[loop_class],
            max_late_commands=1 if loop_class == "hard" else 0,
            command_timeout_us=self.config.links[link.name].command_timeout_ns // 1000,
            clear=self._clear,
        )

    def _explain(self, reason: str, status: Mapping[str, Any]) -> str:
        if reason == "port_error":
            ports = [*self.loop_config.inputs.items(), *self.loop_config.outputs.items()]
            name, port = ports[status["fault_port"]]
            cause = os.strerror(status["fault_errno"])
            link = self.config.links.get(port.link or "")
            device = f" ({link.device})" if link else ""
            return (
                f"the link '{port.link or name}'{device} was lost: {cause}. The safe command was "
                "sent, and the device goes SAFE by its command timeout. Check cable and device"
            )
        if reason == "device_safe":
            reasons = [
                f"'{name}' ({Reason(port.counters()['device_reasons']).names()})"
                for name, port in self._configured().link_ports.items()
            ]
            return (
                f"the device of link {', '.join(reasons)} latched SAFE by itself. Find out why, "
                "then activate the loop anew with --clear"
            )
        explanations = {
            "deadline_miss": "a hard deadline was missed; the safe command was sent at the deadline",
            "limit_broken": "more misses than its limit allows (limit: max_misses, max_consecutive)",
            "non_finite": "the policy returned NaN or infinity; look at its inputs in the recording",
            "stale_input": "an input was older than max_age_ms (on_stale: fault)",
            "hang": "a cycle hung; the guard sent the safe command",
            "infer_error": "ONNX Runtime reported an error while running the graph",
        }
        return f"{explanations[reason]}. It is latched: activate the loop anew to go on"


def _deactivate_all() -> None:
    # The last line of defence: a Python program that ends while loops run.
    for loop in list(_active_loops):
        try:
            loop.deactivate()
        except (LinkError, RtloopError, OSError):
            continue


atexit.register(_deactivate_all)
