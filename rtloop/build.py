"""From the configuration of a loop to its parts: links, graph, ports, ring, core loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rtloop import core
from rtloop.config import Config, LoopConfig, per_element
from rtloop.config import ObservationTerm as TermConfig
from rtloop.errors import ConfigError, RtloopError
from rtloop.link import Link, check_wire_rate
from rtloop.policy import ActionTerm, ComposedGraph, ObservationTerm, compose
from rtloop.policy.library import onnxruntime_library
from rtloop.realtime.rights import RightReport
from rtloop.telemetry.observe.ring import Signal, make_ring_directory

#: A cycle that is this many periods late (but at least HANG_LIMIT_MIN_NS) is a fault in every class.
HANG_LIMIT_PERIODS = 10
HANG_LIMIT_MIN_NS = 100_000_000


@dataclass
class Parts:
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


class Assembly:
    """Builds the parts of one loop. Everything is allocated here, nothing is started."""

    def __init__(
        self, config: Config, name: str, ring_path: Path, stalls: Sequence[core.Stall]
    ) -> None:
        self.config = config
        self.name = name
        self.loop_config: LoopConfig = config.loops[name]
        self.ring_path = ring_path
        self._stalls = list(stalls)

    def build(self) -> Parts:
        """Raises ConfigError, LinkError, RtloopError; whatever was opened is closed again."""
        links: dict[str, Link] = {}
        try:
            return self._build(links)
        except BaseException:
            for link in links.values():
                link.close()
            raise

    def _build(self, links: dict[str, Link]) -> Parts:
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

        try:
            make_ring_directory(self.ring_path.parent)
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
        return Parts(
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
