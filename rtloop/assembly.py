"""From the configuration of a loop and the elements of its ports to its graph, and to what the core is told.

The elements come from the devices, or are assumed (``rtloop.judge``): the same functions judge both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rtloop import core
from rtloop.config import Config, LoopConfig
from rtloop.config.problem import Keys
from rtloop.errors import ConfigError, Finding, RtloopError
from rtloop.policy import ComposedGraph, Policy, Sink
from rtloop.policy.aot import Backends, backends, in_onnxruntime
from rtloop.policy.callable.function import try_function
from rtloop.policy.findings import findings
from rtloop.policy.runner import runner as runner_of
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.units import differing, unit_rules
from rtloop.ports.command import held_values, hold_rules, numbers, sources
from rtloop.ports.port import InputSection, OutputSection
from rtloop.ports.signal import Signal

#: A cycle that is this many periods late (but at least HANG_LIMIT_MIN_NS) is a fault in every class.
HANG_LIMIT_PERIODS = 10
HANG_LIMIT_MIN_NS = 100_000_000

_Elements = Mapping[str, Sequence[str]]
"""The names of the elements of inputs or outputs; their numbers where they have none."""


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
    _check_inputs(config, name, measured, are_assumed)
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
            _core_input(section, number, measured[key])
            for number, (key, section) in zip(of_port, loop.inputs.items(), strict=False)
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


def sink_of(section: OutputSection, signals: Sequence[Signal]) -> Sink:
    """What the action may know of an output; the elements of a mailbox without names have none."""
    names = tuple(signal.name for signal in signals)
    default = numbers(section.default_or_safe, names, 0.0)
    is_constant = not any(math.isnan(value) for value in default)
    has_names = section.named or section.element_names is not None
    return Sink(len(signals), names if has_names else None, default if is_constant else None)


def _check_inputs(config: Config, name: str, elements: _Elements, are_assumed: bool) -> None:
    """What stands in for a stale sample fits its port. Raises ConfigError."""
    wrong: list[Finding] = []
    for key, section in config.loops[name].inputs.items():
        if are_assumed and section.known_names is None:
            continue  # only the device knows
        here: Keys = ("loops", name, "inputs", key)
        problems = section.stand_in_rules(here, elements[key], len(elements[key]))
        local = (replace(problem, keys=problem.keys[len(here) :]) for problem in problems)
        wrong += findings(local, section, partial(config.where, *here))
    if wrong:
        raise ConfigError(wrong)


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
    if loop.clock is not None:
        out.paced_by = list(loop.inputs).index(loop.clock.input)
        out.timeout_ns = loop.clock.timeout_ns
    out.hang_limit_ns = max(HANG_LIMIT_MIN_NS, HANG_LIMIT_PERIODS * loop.period_ns)
    return out


def _core_input(section: InputSection, port: int, names: Sequence[str]) -> core.InputConfig:
    values = section.stand_in
    if isinstance(values, tuple) and len(values) != len(names):
        values = None  # of a device that is only assumed
    stand_in = () if values is None else numbers(values, names, 0.0)
    on_stale = core.OnStale[section.stale_word]
    return core.InputConfig(port, section.max_age_ns or 0, on_stale, stand_in)


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
