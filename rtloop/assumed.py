"""What a device will tell of its samples and commands, as far as configuration and policy decide it.

Names and sizes are the device's, and a configuration is judged without it: what was selected by name
or index is there, and where only one size makes the policy's observation full, it is that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from rtloop.config import Config, LoopConfig
from rtloop.errors import ConfigError, Finding
from rtloop.policy import Policy
from rtloop.policy.demands import demands, of_inputs, picked
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.memory import LastTargetTerm
from rtloop.ports.signal import Signal

_Signals = dict[str, tuple[Signal, ...]]


def assumed_inputs(config: Config, name: str, policy: Policy) -> _Signals:
    """The elements of every input of the loop ``name``, in the order of the file.

    Raises ConfigError where no device could fill the observation of the policy.
    """
    loop = config.loops[name]
    outputs = assumed_outputs(loop, policy).values()
    command = [Vector(len(told), tuple(signal.name for signal in told)) for told in outputs]
    scope = loop.policy.scope(loop.inputs, (), policy, command)
    names = _least_names(loop, scope)
    sizes = {key: len(least) for key, least in names.items()}
    open_inputs = [key for key, section in loop.inputs.items() if section.element_count is None]
    observed = partial(_observation_size, loop, scope, names)
    wanted = sum(tensor.size for stage in policy.stages for tensor in stage.observed.values())
    if policy.function is not None:  # it takes whatever is observed
        wanted = observed(sizes)
    elif not policy.stages:
        wanted = max(observed(sizes), _commanded_size(loop, policy))
    # A size that counts several times is that of an input which several terms read whole.
    times = {key: observed({**sizes, key: sizes[key] + 1}) - observed(sizes) for key in open_inputs}
    open_inputs = [key for key in open_inputs if times[key] > 0]
    missing = wanted - observed(sizes)
    for key in open_inputs:
        room = loop.inputs[key].element_limit - sizes[key]
        more = max(0, min(missing // times[key], room))
        sizes[key] += more
        missing -= more * times[key]
    if missing and open_inputs and policy.stages:
        total = observed(sizes)
        bound = "at least" if missing < 0 else "at most"
        if 0 < missing < min(times[key] for key in open_inputs):
            bound = "either more or fewer than"
            total = wanted
        listed = ", ".join(f"'{key}'" for key in open_inputs)
        found = f"an observation of {bound} {total} values, whatever the size of {listed}"
        expected = f"{wanted}, the size of the policy's input {policy.observation}"
        place = config.where("loops", name, "policy", "observation")
        raise ConfigError([Finding.of(place, found, expected)])
    scope = replace(scope, inputs=_vectors(names, sizes))
    for demand in demands(loop.policy, scope):  # also of what comes to an input that was open
        if demand.vector in sizes and loop.inputs[demand.vector].element_count is None:
            sizes[demand.vector] = max(sizes[demand.vector], demand.least)
    return {key: _signals(names[key], sizes[key]) for key in loop.inputs}


def assumed_outputs(loop: LoopConfig, policy: Policy) -> _Signals:
    """The elements of every output of the loop, in the order of the file; together the policy's action."""
    scope = loop.policy.scope(loop.inputs, (), policy, loop.outputs.values())
    actions = list(loop.policy.action_terms.values())
    whole = scope.action.element_count or 0
    size = sum(action.size(scope) or whole for action in actions)
    wanted = [target for action in actions for target in action.targets(scope) or ()]
    are_placed = bool(wanted)
    terms = (term for listed in loop.policy.terms.values() for term in listed)
    observed = [picked(term, scope) for term in terms if isinstance(term, LastTargetTerm)]
    wanted += [name for names_of_term in observed for name in names_of_term]
    names: dict[str, tuple[str, ...]] = {}
    for key, section in loop.outputs.items():
        known = section.element_names
        if known is None and section.named:
            # Those that no other output has, and those that values are given for by name.
            own = [name for target in wanted if (name := _name_at(key, target, loop)) is not None]
            known = tuple(dict.fromkeys((*own, *section.exact_names)))[: section.element_count]
        names[key] = known or ()
        wanted = [
            target
            for target in wanted
            if target not in names[key] and _name_at(key, target, loop) not in names[key]
        ]
    known_sizes = {key: section.element_count for key, section in loop.outputs.items()}
    missing = size - sum(1 if n is None else n for n in known_sizes.values())
    sizes = {}
    for key, count in known_sizes.items():
        more = 0
        if count is None:
            more = max(0, min(missing, loop.outputs[key].element_limit - 1))
            missing -= more
        sizes[key] = 1 + more if count is None else count
        if names[key]:
            sizes[key] = max(len(names[key]), (count or 0) if are_placed else sizes[key])
    return {key: _signals(names[key], size) for key, size in sizes.items()}


def _name_at(key: str, target: str, loop: LoopConfig) -> str | None:
    """What an output calls an element that is commanded as OUTPUT.NAME; None where another one is named."""
    output, _, name = target.partition(".")
    if output == key:
        return name
    return None if name and output in loop.outputs else target


def _least_names(loop: LoopConfig, scope: Scope) -> dict[str, tuple[str, ...]]:
    """The names of each input's elements: all of them, or those that its device must have at least."""
    asked = list(of_inputs(loop.policy, scope))
    names: dict[str, tuple[str, ...]] = {}
    for key, section in loop.inputs.items():
        if section.element_count is not None:
            names[key] = section.element_names or _numbered(range(section.element_count))
            continue
        own = [demand for demand in asked if demand.vector == key]
        known: dict[str, None] = {}
        for demand in sorted(own, key=lambda demand: len(demand.names)):  # without a choice first
            if demand.names and not any(known.keys() >= {*called} for called in demand.names):
                known |= dict.fromkeys(demand.names[0])
        least = max([1, *(demand.least for demand in own)])
        names[key] = (*known, *_numbered(range(len(known), least)))
    return names


def _observation_size(
    loop: LoopConfig, scope: Scope, names: Mapping[str, Sequence[str]], sizes: Mapping[str, int]
) -> int:
    scope = replace(scope, inputs=_vectors(names, sizes))
    sections = [section for _, section, _ in loop.policy.sections.values()] or [loop.policy]
    lists = [terms for section in sections for _, terms in section.observed().values()]
    return sum(term.size(scope) or 0 for terms in lists for term in terms)


def _commanded_size(loop: LoopConfig, policy: Policy) -> int:
    """The elements of all outputs, where one action commands all that is observed; else 0."""
    first, *more = loop.policy.action_terms.values()
    if more or first.select is not None or first.group is not None:
        return 0
    return sum(map(len, assumed_outputs(loop, policy).values()))


def _vectors(names: Mapping[str, Sequence[str]], sizes: Mapping[str, int]) -> dict[str, Vector]:
    return {
        key: Vector(size, tuple(signal.name for signal in _signals(names[key], size)))
        for key, size in sizes.items()
    }


def _signals(names: Sequence[str], size: int) -> tuple[Signal, ...]:
    return tuple(Signal(name) for name in (*names, *_numbered(range(len(names), size))))


def _numbered(numbers: range) -> tuple[str, ...]:
    return tuple(str(number) for number in numbers)
