"""From the configuration of a loop to its parts: ports, graph, and what the core is told.

What is told of the elements of its ports comes from the devices, or is assumed (``rtloop.judge``): the same
functions judge both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from rtloop import core
from rtloop.config import Config, LoopConfig, SwitchConfig
from rtloop.config.problem import Keys
from rtloop.errors import ConfigError, Finding, Place, RtloopError, StoppedError
from rtloop.policy import ComposedGraph, Policy, Sink
from rtloop.policy.aot import Backends, backends, in_onnxruntime
from rtloop.policy.callable.function import try_function
from rtloop.policy.findings import findings
from rtloop.policy.runner import runner as runner_of
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.start import cycles_in
from rtloop.policy.units import differing, unit_rules
from rtloop.ports.command import held_values, hold_rules, numbers, sources
from rtloop.ports.port import OutputSection, Port, PortSection
from rtloop.ports.signal import Signal

#: A cycle that is this many periods late (but at least HANG_LIMIT_MIN_NS) is a fault in every class.
HANG_LIMIT_PERIODS = 10
HANG_LIMIT_MIN_NS = 100_000_000

_Elements = Mapping[str, Sequence[str]]
"""The names of the elements of inputs or outputs; their numbers where they have none."""


@dataclass(frozen=True)
class Parts:
    """What a loop is made of between configure and cleanup: opened and composed, nothing armed."""

    ports: tuple[Port, ...]
    """Each once. Their order is what ``core.InputConfig.port`` and ``status()["fault_port"]`` mean."""
    places: tuple[Place, ...]
    """Where the configuration names what each of the ports has opened."""
    input_ports: dict[str, Port]
    """By the name of the loop's input."""
    output_ports: dict[str, Port]
    """By the name of the loop's output."""
    inputs: tuple[Signal, ...]
    """All elements of all inputs in the order of the file, named ``<input>.<element>``."""
    outputs: tuple[Signal, ...]
    """All elements of all outputs, likewise."""
    policies: Mapping[str, Assembled]
    """By name, in the order of the file; "" the only one."""
    runner: core.Runner
    """The graph of the only one, or the switch between them."""
    core_config: core.LoopConfig
    onnxruntime_version: str
    notes: tuple[str, ...]
    """What was concluded of its policies without being asked."""
    facts: Mapping[str, object]
    """What its recording says of them."""

    @property
    def acting(self) -> Assembled:
        """The policy that acts."""
        number = self.runner.acting if isinstance(self.runner, core.Switch) else 0
        return list(self.policies.values())[number]

    def close(self) -> None:
        """Closes every port; raises what the last that failed raised."""
        close(self.ports)


def close(ports: Iterable[Port]) -> None:
    """Closes each of them; raises what the last that failed raised."""
    with ExitStack() as every:
        for port in ports:
            every.callback(port.close)


@dataclass(frozen=True)
class Opened:
    """The ports of a loop, before it is known what it does between them."""

    input_ports: dict[str, Port]
    """By the name of the loop's input."""
    output_ports: dict[str, Port]
    """By the name of the loop's output."""
    places: dict[Port, Place]
    """Where the configuration names what each of the ports has opened."""
    relays: dict[str, core.Relay]
    """By the name of an output that other loops read: where they read it."""

    @property
    def ports(self) -> tuple[Port, ...]:
        """Each once. Their order is what ``core.InputConfig.port`` means."""
        return tuple(dict.fromkeys((*self.input_ports.values(), *self.output_ports.values())))


@dataclass(frozen=True)
class Assembled:
    """A loop but for its ports: the graph between their elements, ready to run, and its configuration."""

    graph: ComposedGraph
    runner: core.Graph
    core_config: core.LoopConfig
    """Its inputs and outputs count ports in the order of ``ports_of``."""
    notes: tuple[str, ...]
    """What was concluded of the policy without being asked."""
    backends: Backends
    """What runs its models."""


def build(
    config: Config,
    name: str,
    stalls: Sequence[core.Stall] = (),
    policies: Mapping[str, Policy] | None = None,
    opened: Mapping[str, Opened] | None = None,
) -> Parts:
    """Opens the ports of the loop ``name`` and composes its graphs. Nothing is armed or started.

    ``stalls`` injects slowness; ``policies`` are the loop's, where they were loaded already; ``opened`` has the
    ports of all loops that were opened already, which a loop that reads another needs. Raises ConfigError,
    LinkError, RtloopError; then every port of it is closed again.
    """
    own = (opened or {}).get(name) or open_ports(config, name)
    with ExitStack() as on_error:
        on_error.callback(close, own.ports)
        _connect(config, name, own, opened or {})
        inputs = {key: port.inputs for key, port in own.input_ports.items()}
        outputs = {key: port.outputs for key, port in own.output_ports.items()}
        assembled = {
            policy: assemble(
                alone, name, inputs, outputs, (policies or {}).get(policy), relays=own.relays
            )
            for policy, alone in config.each_policy(name).items()
        }
        runner = _runner(config, name, inputs, assembled)
        core_config = next(iter(assembled.values())).core_config
        core_config.stalls = list(stalls)
        on_error.pop_all()
    return Parts(
        ports=own.ports,
        places=tuple(own.places[port] for port in own.ports),
        input_ports=own.input_ports,
        output_ports=own.output_ports,
        inputs=_named(inputs),
        outputs=_named(outputs),
        policies=assembled,
        runner=runner,
        core_config=core_config,
        onnxruntime_version=runner.onnxruntime_version,
        notes=tuple(
            f"{policy}: {note}" if policy else note
            for policy, each in assembled.items()
            for note in each.notes
        ),
        facts=_facts(config.loops[name], assembled, inputs),
    )


def _runner(
    config: Config,
    name: str,
    inputs: Mapping[str, Sequence[Signal]],
    assembled: Mapping[str, Assembled],
) -> core.Runner:
    """The graph of an only policy; of several, a switch. Raises ConfigError, RtloopError."""
    runners = [each.runner for each in assembled.values()]
    loop = config.loops[name]
    if loop.switch is None:
        return runners[0]
    element = _selector(config, name, loop.switch, inputs)
    cycles = cycles_in(loop.switch.blend_s, loop.period_s)
    following = loop.switch.following(list(assembled))
    try:
        return core.Switch(
            runners, list(loop.inputs).index(loop.switch.input), element, cycles, following
        )
    except ValueError as error:
        found = Finding(
            f"loop '{name}' cannot be configured: {error}", config.where("loops", name, "policies")
        )
        raise RtloopError([found]) from error


def _selector(
    config: Config, name: str, switch: SwitchConfig, inputs: Mapping[str, Sequence[Signal]]
) -> int:
    """The index of the selector in its input. Raises ConfigError where a device has no such element."""
    names = [signal.name for signal in inputs[switch.input]]
    element = switch.element_in(names)
    if element is not None:
        return element
    wrong = switch.wrong_element(("loops", name, "switch"), names)
    found = wrong.found or repr(switch.element)
    raise ConfigError([Finding.of(config.where(*wrong.keys), found, wrong.expected)])


def _facts(
    loop: LoopConfig,
    assembled: Mapping[str, Assembled],
    inputs: Mapping[str, Sequence[Signal]],
) -> dict[str, object]:
    """Of several policies, the one that acts first is the loop's; the others are told by their names."""

    def by_label(facts: Callable[[Assembled], Mapping[str, str]]) -> dict[str, str]:
        return {
            f"{policy}/{key}" if policy else key: value
            for policy, each in assembled.items()
            for key, value in facts(each).items()
        }

    first = next(iter(assembled.values()))
    told: dict[str, object] = {
        "policy_sha256": first.graph.sha256,
        "models_sha256": by_label(lambda each: each.graph.models_sha256),
        "policy_backends": by_label(lambda each: each.backends.by_model),
    }
    if loop.switch is not None:
        element = loop.switch.element_in([signal.name for signal in inputs[loop.switch.input]])
        before = list(loop.inputs).index(loop.switch.input)
        sizes = [len(inputs[key]) for key in list(loop.inputs)[:before]]
        told |= {"policies": list(assembled), "selector": sum(sizes) + (element or 0)}
    return told


def assemble(
    config: Config,
    name: str,
    inputs: Mapping[str, Sequence[Signal]],
    outputs: Mapping[str, Sequence[Signal]],
    policy: Policy | None = None,
    *,
    are_assumed: bool = False,
    backend: str | None = None,
    relays: Mapping[str, core.Relay] | None = None,
) -> Assembled:
    """The graph of the loop ``name`` between the elements of its inputs and outputs, by their names.

    ``are_assumed``: devices may have more elements, and other names where these are numbers; ``backend``
    stands in for that of the configuration; ``relays`` are those of outputs that other loops read. Raises
    ConfigError, RtloopError with everything that is wrong.
    """
    loop = config.loops[name]
    where = partial(config.where, "loops", name, "policy")
    policy = policy or loop.policy.load(where)
    measured = {key: [signal.name for signal in signals] for key, signals in inputs.items()}
    commanded = {key: [signal.name for signal in signals] for key, signals in outputs.items()}
    _check_outputs(config, name, commanded, measured, are_assumed)
    sizes = {key: len(signals) for key, signals in outputs.items()}
    sinks = {key: sink_of(loop.outputs[key], signals) for key, signals in outputs.items()}
    elements = {key: Vector(len(names), tuple(names)) for key, names in measured.items()}
    command = [Vector(sink.size, sink.names) for sink in sinks.values()]
    scope = loop.policy.scope(elements, (), policy, command)
    n_action = loop.policy.size_by_order(scope, sinks)
    fits = n_action in (None, sum(sizes.values()))
    graph = loop.policy.compose(
        measured,
        where,
        policy,
        sinks if fits or not policy.stages else None,
        loop.period_s,
    )
    _check_action(config, name, sizes, n_action)
    _check_units(config, name, scope, inputs, outputs, sinks)
    try:
        chosen = _backends(loop, graph, backend or loop.policy.backend)
        runner = runner_of(graph, chosen.objects)
        is_known = not are_assumed or all(s.element_count is not None for s in loop.inputs.values())
        if policy.function is not None and is_known:
            try_function(policy.function, graph.observation_size, where("python"))
        core_config = _core_config(name, loop)
        of_port = _port_numbers(loop)
        core_config.inputs = [
            core.InputConfig(number, section.max_age_ns or 0, core.OnStale[section.on_stale])
            for number, section in zip(of_port, loop.inputs.values(), strict=False)
        ]
        core_config.outputs = [
            _core_output(section, number, commanded[key], measured, (relays or {}).get(key))
            for number, (key, section) in zip(
                of_port[len(loop.inputs) :], loop.outputs.items(), strict=True
            )
        ]
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        found = Finding(f"loop '{name}' cannot be configured: {text}", where("model"))
        raise RtloopError([found]) from error
    notes = (*policy.notes_in(loop.policy), *chosen.notes)
    return Assembled(graph, runner, core_config, notes, chosen)


def _backends(loop: LoopConfig, graph: ComposedGraph, backend: str) -> Backends:
    """Raises StoppedError; RuntimeError and ValueError where onnxruntime cannot run the graph."""
    if backend == "aot":
        return backends(graph, loop.policy.aot_cache)
    return in_onnxruntime(graph)


def _port_numbers(loop: LoopConfig) -> list[int]:
    """For each input, then for each output: the number of its port. Sections of one identity share one."""
    numbers: dict[object, int] = {}
    return [
        numbers.setdefault(section.identity or index, len(numbers))
        for index, section in enumerate(loop.port_sections)
    ]


@contextmanager
def port_errors(loop: str, port: str, done: str, place: Place) -> Iterator[None]:
    """Whatever a port raises inside, which may be anybody's code, is an RtloopError at ``place``.

    ``done`` is what was to be done with the port: "opened".
    """
    try:
        yield
    except StoppedError:  # nothing is wrong anywhere
        raise
    except RtloopError as error:
        error.at(place)
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        message = f"loop '{loop}': port '{port}' could not be {done}: {text}"
        raise RtloopError([Finding(message, place)]) from error


def open_ports(config: Config, name: str) -> Opened:
    """The ports of the inputs and of the outputs of a loop; sections of one identity share one.

    Raises ConfigError, LinkError, RtloopError; then every port that was opened is closed again.
    """
    with ExitStack() as on_error:
        opened = _opened(config, name, on_error)
        on_error.pop_all()
    return opened


def _opened(config: Config, name: str, on_error: ExitStack) -> Opened:
    loop = config.loops[name]
    places: dict[Port, Place] = {}
    shared: dict[tuple[str, str], Port] = {}

    def opened(direction: str, key: str, section: PortSection) -> Port:
        identity = section.identity
        port = None if identity is None else shared.get(identity)
        if port is None:
            place = config.where(*section.opened_at(("loops", name, direction, key)))
            with port_errors(name, section.port_name or key, "opened", place):
                port = section.open(key, loop, config.links)
            on_error.callback(port.close)
            places[port] = place
        if identity is not None:
            shared[identity] = port
        return port

    input_ports = {key: opened("inputs", key, section) for key, section in loop.inputs.items()}
    output_ports = {key: opened("outputs", key, section) for key, section in loop.outputs.items()}
    relays = {
        key: _relay(loop, port, readers)
        for key, port in output_ports.items()
        if (readers := config.readers(name, key))
    }
    return Opened(input_ports, output_ports, places, relays)


def _relay(loop: LoopConfig, port: Port, readers: Sequence[LoopConfig]) -> core.Relay:
    """Keeps as many commands as come while a reader is late by a period, or by those it catches up with."""
    behind_ns = max(reader.period_ns * (1 + reader.catch_up) for reader in readers)
    kept = -(-behind_ns // loop.period_ns) + loop.catch_up + 3
    return core.Relay(len(port.outputs), kept, loop.output == "at_deadline")


def _connect(config: Config, name: str, own: Opened, opened: Mapping[str, Opened]) -> None:
    """Tells each input that reads another loop what it reads. Raises RtloopError where that is not open."""
    for key, section in config.loops[name].inputs.items():
        if section.read_output is None:
            continue
        other, output = section.read_output
        if other not in opened:
            found = (
                f"input '{key}' of loop '{name}' reads loop '{other}', which is not there: the loops of a file "
                "that read each other run together, in one `rtloop.Run`"
            )
            raise RtloopError([Finding(found, config.where("loops", name, "inputs", key, "loop"))])
        signals = opened[other].output_ports[output].outputs
        own.input_ports[key].read_from(opened[other].relays[output], signals)


def _named(signals: Mapping[str, Sequence[Signal]]) -> tuple[Signal, ...]:
    """All elements in one vector, as ``PORT.ELEMENT``."""
    return tuple(
        Signal(f"{name}.{element.name}", element.unit)
        for name, elements in signals.items()
        for element in elements
    )


def sink_of(section: OutputSection, signals: Sequence[Signal]) -> Sink:
    """What the action may know of an output; the elements of a mailbox without names have none."""
    names = tuple(signal.name for signal in signals)
    default = numbers(section.default_or_safe, names, 0.0)
    is_constant = not any(math.isnan(value) for value in default)
    has_names = section.named or section.element_names is not None
    return Sink(len(signals), names if has_names else None, default if is_constant else None)


def _check_outputs(
    config: Config, name: str, elements: _Elements, inputs: _Elements, are_assumed: bool
) -> None:
    """Each list of an output fits its port, each name is of an element. Raises ConfigError."""
    sizes = {key: len(names) for key, names in elements.items()}
    wrong = [
        Finding.of(
            config.where("loops", name, "outputs", key, vector),
            f"a list of {len(values)}",
            f"{sizes[key]}, the size of the command of port '{section.port_name or key}', or one "
            "number for all",
        )
        for key, section in config.loops[name].outputs.items()
        for vector, values in section.vectors.items()
        if isinstance(values, tuple) and len(values) != sizes[key]
    ]
    for key, section in config.loops[name].outputs.items() if not wrong else ():
        here: Keys = ("loops", name, "outputs", key)
        names: Sequence[str] | None = elements[key]
        measured: dict[str, Sequence[str] | None] = {**inputs}
        if are_assumed and section.known_names is None:
            names = [element for element in elements[key] if not element.isdigit()]
        if are_assumed:
            measured = {k: s.known_names for k, s in config.loops[name].inputs.items()}
        problems = [
            *section.element_rules(here, names, are_all=not are_assumed),
            *hold_rules(here, section.safe, names, measured),
        ]
        local = (replace(p, keys=p.keys[len(here) :]) for p in problems)
        wrong += findings(local, section, partial(config.where, *here))
    if wrong:
        raise ConfigError(wrong)


def _check_units(
    config: Config,
    name: str,
    scope: Scope,
    inputs: Mapping[str, Sequence[Signal]],
    outputs: Mapping[str, Sequence[Signal]],
    sinks: Mapping[str, Sink],
) -> None:
    """What is measured is of the unit of the command that it becomes. Raises ConfigError."""
    loop = config.loops[name]
    measured = {key: [signal.name for signal in signals] for key, signals in inputs.items()}
    every = [signal for signals in inputs.values() for signal in signals]
    problems = [
        replace(problem, keys=("policy", *problem.keys))
        for problem in unit_rules(loop.policy, scope, inputs, outputs, sinks)
    ]
    for key, signals in outputs.items():
        safe, names = loop.outputs[key].safe, [signal.name for signal in signals]
        for at, index, source in held_values(safe, names, measured):
            keys: Keys = ("outputs", key, "safe", *at)
            problems += differing(every[source], signals[index], keys)
    found = {
        problem.keys: Finding.of(
            config.where("loops", name, *problem.keys), problem.found or "", problem.expected
        )
        for problem in reversed(problems)
    }
    if found:
        raise ConfigError(list(reversed(found.values())))


def _check_action(
    config: Config, name: str, sizes: Mapping[str, int], n_action: int | None
) -> None:
    """All outputs together fit the action; None: names decide. Raises ConfigError."""
    total = sum(sizes.values())
    if n_action not in (None, total):
        told = ", ".join(f"{key} {size}" for key, size in sizes.items())
        found = f"outputs of {total} values ({told})"
        expected = f"{n_action}, the size of the policy's action"
        raise ConfigError([Finding.of(config.where("loops", name, "outputs"), found, expected)])


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


def _core_output(
    section: OutputSection,
    port: int,
    names: Sequence[str],
    inputs: _Elements,
    relay: core.Relay | None,
) -> core.OutputConfig:
    limits = (
        (section.min, -math.inf),
        (section.max, math.inf),
        (section.max_rate_per_s, math.inf),
        (section.safe, 0.0),
        (section.default_or_safe, 0.0),
    )
    low, high, rate, safe, default = (
        () if values is None else numbers(values, names, no_limit) for values, no_limit in limits
    )
    return core.OutputConfig(
        port, low, high, rate, safe, default, sources(section.safe, names, inputs), relay
    )
