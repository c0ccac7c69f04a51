"""Whether what was measured is of the unit of what it becomes: a position is no force, whatever their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from rtloop.config.problem import Keys, Problem
from rtloop.policy.section import PolicyConfig
from rtloop.policy.show import group_elements
from rtloop.policy.terms.action import ActionTerm, Sink, placed
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.matching import Values, places
from rtloop.ports.signal import Signal

Signals = Mapping[str, Sequence[Signal]]


def unit_rules(
    section: PolicyConfig,
    scope: Scope,
    inputs: Signals,
    outputs: Signals,
    sinks: Mapping[str, Sink],
) -> Iterator[Problem]:
    """Measured positions of actions (start, relative, torque limit) that have another unit than the command.

    At keys of the section of the policy. Nothing is compared where a unit is empty, a group computes with a
    value, or a controller makes efforts of targets.
    """
    actions = list(section.action_terms.items())
    sizes = [action.size(scope) or 0 for _, action in actions]
    places_of = placed([action.targets(scope) for _, action in actions], sizes, sinks)
    if isinstance(places_of, str):
        return
    signals = [signal for told in outputs.values() for signal in told]
    taken_by = {place: at for at, place in enumerate(places_of) if isinstance(place, int)}
    for (keys, action), size, end in zip(actions, sizes, accumulate(sizes), strict=True):
        commands = [signals[taken_by[place]] for place in range(end - size, end)]
        for at, vector in _measured(action).items() if not action.gives_efforts else ():
            measured = _units(vector, scope, inputs)
            values = Values.of(size, action.element_names(scope))
            known = scope.vector(vector)
            picked = None if known is None else places(values, known)
            for index, command in zip(picked or range(len(measured)), commands, strict=False):
                if index < len(measured):
                    yield from differing(measured[index], command, (*keys, *at))


def differing(measured: Signal, command: Signal, keys: Keys) -> Iterator[Problem]:
    """The one rule, for an element that is measured and the one of the command that it becomes."""
    if measured.unit and command.unit and measured.unit != command.unit:
        found = f"'{measured.name}' in {measured.unit} for '{command.name}' in {command.unit}"
        yield Problem(keys, "what is measured in the unit of the command", found)


def _measured(action: ActionTerm) -> dict[Keys, str]:
    told: dict[Keys, str | None] = {("from",): action.measured}
    if action.start is not None:
        told["start", "from"] = action.start.measured
    if action.torque_limit is not None:
        told["torque_limit", "position"] = action.torque_limit.position
    return {keys: vector for keys, vector in told.items() if vector is not None}


def _units(vector: str, scope: Scope, inputs: Signals) -> Sequence[Signal]:
    if vector in inputs:
        return inputs[vector]
    if vector not in scope.groups:
        return ()
    units = {key: [signal.unit for signal in told] for key, told in inputs.items()}
    return [
        Signal(element.name, element.unit if element.formula.text == "x" else "")
        for element in group_elements(vector, scope, units)
    ]
