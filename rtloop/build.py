"""From the configuration of a loop to its parts: ports, graph, and what the core is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from rtloop import core
from rtloop.config import Config, LoopConfig, per_element
from rtloop.errors import ConfigError, RtloopError
from rtloop.policy import ComposedGraph
from rtloop.policy.library import onnxruntime_library
from rtloop.ports.port import OutputSection, Port, PortSection
from rtloop.ports.signal import Signal

#: A cycle that is this many periods late (but at least HANG_LIMIT_MIN_NS) is a fault in every class.
HANG_LIMIT_PERIODS = 10
HANG_LIMIT_MIN_NS = 100_000_000


@dataclass(frozen=True)
class Parts:
    """What a loop is made of between configure and cleanup: opened and composed, nothing armed."""

    ports: tuple[Port, ...]
    """Each once. Their order is what ``core.InputConfig.port`` and ``status()["fault_port"]`` mean."""
    input_ports: dict[str, Port]
    """By the name of the loop's input."""
    output_ports: dict[str, Port]
    """By the name of the loop's output."""
    inputs: tuple[Signal, ...]
    """All elements of all inputs in the order of the file, named ``<input>.<element>``."""
    outputs: tuple[Signal, ...]
    """All elements of all outputs, likewise."""
    graph: ComposedGraph
    runner: core.Graph
    core_config: core.LoopConfig
    onnxruntime_version: str

    def close(self) -> None:
        """Closes every port; raises what the last that failed raised."""
        with ExitStack() as every:
            for port in self.ports:
                every.callback(port.close)


def build(config: Config, name: str, stalls: Sequence[core.Stall] = ()) -> Parts:
    """Opens the ports of the loop ``name`` and composes its graph. Nothing is armed or started.

    ``stalls`` injects slowness. Raises ConfigError, LinkError, RtloopError; then every port that was
    opened is closed again.
    """
    loop = config.loops[name]
    with ExitStack() as on_error:
        input_ports, output_ports = _open_ports(config, name, on_error)
        ports = tuple(dict.fromkeys((*input_ports.values(), *output_ports.values())))
        inputs = {key: _signals(key, port.inputs) for key, port in input_ports.items()}
        outputs = {key: _signals(key, port.outputs) for key, port in output_ports.items()}
        graph = loop.policy.compose(
            {key: [signal.name for signal in port.inputs] for key, port in input_ports.items()},
            where=partial(config.where, "loops", name, "policy"),
        )
        _check_outputs(config, name, outputs, graph.action.size)
        try:
            runner = core.Graph(
                onnxruntime_library(),
                graph.model,
                [(spec.name, list(spec.shape)) for spec in graph.inputs],
                (graph.action.name, list(graph.action.shape)),
                [(f.input_name, (f.output_name, list(f.shape))) for f in graph.feedback],
                [f.input_name for f in graph.feedback if f.of_applied],
            )
            core_config = _core_config(name, loop)
            core_config.inputs = [
                core.InputConfig(
                    ports.index(input_ports[key]),
                    section.max_age_ns or 0,
                    core.OnStale[section.on_stale],
                )
                for key, section in loop.inputs.items()
            ]
            core_config.outputs = [
                _core_output(section, ports.index(output_ports[key]), len(outputs[key]))
                for key, section in loop.outputs.items()
            ]
            core_config.stalls = list(stalls)
        except (OSError, ValueError, RuntimeError) as error:
            raise RtloopError(f"loop '{name}' cannot be configured: {error}") from error
        on_error.pop_all()
    return Parts(
        ports=ports,
        input_ports=input_ports,
        output_ports=output_ports,
        inputs=tuple(signal for signals in inputs.values() for signal in signals),
        outputs=tuple(signal for signals in outputs.values() for signal in signals),
        graph=graph,
        runner=runner,
        core_config=core_config,
        onnxruntime_version=runner.onnxruntime_version,
    )


@contextmanager
def port_errors(loop: str, port: str, done: str) -> Iterator[None]:
    """Whatever a port raises inside, which may be anybody's code, is an RtloopError that names both.

    ``done`` is what was to be done with the port: "opened".
    """
    try:
        yield
    except RtloopError:
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise RtloopError(f"loop '{loop}': port '{port}' could not be {done}: {text}") from error


def _open_ports(
    config: Config, name: str, on_error: ExitStack
) -> tuple[dict[str, Port], dict[str, Port]]:
    """The ports of the inputs and of the outputs, by name; sections of one identity share one."""
    loop = config.loops[name]
    shared: dict[tuple[str, str], Port] = {}

    def opened(key: str, section: PortSection) -> Port:
        identity = section.identity
        port = None if identity is None else shared.get(identity)
        if port is None:
            with port_errors(name, section.port_name or key, "opened"):
                port = section.open(key, loop, config.links)
            on_error.callback(port.close)
        if identity is not None:
            shared[identity] = port
        return port

    input_ports = {key: opened(key, section) for key, section in loop.inputs.items()}
    return input_ports, {key: opened(key, section) for key, section in loop.outputs.items()}


def _signals(name: str, elements: tuple[Signal, ...]) -> tuple[Signal, ...]:
    return tuple(Signal(f"{name}.{element.name}", element.unit) for element in elements)


def _check_outputs(
    config: Config, name: str, outputs: Mapping[str, tuple[Signal, ...]], n_action: int
) -> None:
    """Each list of an output fits its port, and all outputs together the policy. Raises ConfigError."""
    wrong = [
        f"{config.where('loops', name, 'outputs', key, vector)}: found a list of {len(values)}; "
        f"expected {len(outputs[key])}, the size of the command of port "
        f"'{section.port_name or key}', or one number for all"
        for key, section in config.loops[name].outputs.items()
        for vector, values in section.vectors.items()
        if isinstance(values, tuple) and len(values) != len(outputs[key])
    ]
    total = sum(len(signals) for signals in outputs.values())
    if total != n_action:
        where = config.where("loops", name, "outputs")
        sizes = ", ".join(f"{key} {len(signals)}" for key, signals in outputs.items())
        wrong.append(
            f"{where}: found outputs of {total} values ({sizes}); expected {n_action}, "
            "the size of the policy's action"
        )
    if wrong:
        raise ConfigError("\n".join(wrong))


def _core_config(name: str, loop: LoopConfig) -> core.LoopConfig:
    out = core.LoopConfig()
    out.name = name
    out.loop_class = core.LoopClass[loop.loop_class]
    out.period_ns = loop.period_ns
    out.deadline_ns = loop.deadline_ns
    out.budget_ns = loop.budget_ns or 0
    if loop.limit is not None and loop.loop_class != "hard":
        out.max_misses = loop.limit.max_misses
        out.window = loop.limit.window
        out.max_consecutive = loop.limit.max_consecutive or 0
        out.fault_on_broken_limit = loop.limit.on_broken == "fault"
    out.default_on_miss = loop.on_miss == "default"
    out.on_overrun = core.Overrun[loop.on_overrun]
    out.max_catch_up = loop.max_catch_up
    out.output_at_deadline = loop.output == "at_deadline"
    out.hang_limit_ns = max(HANG_LIMIT_MIN_NS, HANG_LIMIT_PERIODS * loop.period_ns)
    return out


def _core_output(section: OutputSection, port: int, size: int) -> core.OutputConfig:
    limits = (
        section.min,
        section.max,
        section.max_rate_per_s,
        section.safe,
        section.default_or_safe,
    )
    return core.OutputConfig(
        port, *(() if values is None else per_element(values, size) for values in limits)
    )
