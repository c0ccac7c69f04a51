"""From what models answer to the command: each value in its place among the elements of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rtloop.config.problem import Keys
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.acting import Acted, acted, awaited, first_acting_cycle
from rtloop.policy.findings import refuse
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.section import PolicyConfig
from rtloop.policy.shaping import gathered
from rtloop.policy.terms.action import ActionTerm, Sink, answer_called, placed
from rtloop.policy.terms.elements import Scope


def command_of(
    builder: GraphBuilder,
    section: PolicyConfig,
    scope: Scope,
    sinks: Mapping[str, Sink] | None,
    where: Callable[..., Place],
) -> str:
    """The command: float32 [1, m], for the elements of all outputs in their order.

    ``sinks`` None is an output that takes all of the action. Raises ConfigError.
    """
    actions = section.action_terms
    first_cycle = first_acting_cycle(builder, actions.values())
    # What a model answers before its policy acts is of no use; what terms give is where a start leads to.
    awaited_until = first_cycle if section.sections else 0
    sources: list[_Source] = []
    for keys, action in actions.items():
        with builder.blaming(where(*keys)):
            source = _source(builder, action, keys, awaited_until, where)
        size = builder.size(source.values)
        problems = [
            *action.rules(keys, scope, size, sinks),
            *action.shape_rules(keys, size, "the policy's output", keys),
        ]
        refuse(problems, section, where)
        sources.append(source)
    sizes = [builder.size(source.values) for source in sources]
    places = _places(list(actions.items()), sizes, scope, sinks, where)
    element_of = {place: at for at, place in enumerate(places) if isinstance(place, int)}
    values: list[Acted] = []
    at = 0
    for (keys, action), source, size in zip(actions.items(), sources, sizes, strict=True):
        own = [element_of[number] for number in range(at, at + size)]
        at += size
        with builder.blaming(where(*keys)):
            between = section.between
            values.append(acted(builder, action, source.values, scope, first_cycle, own, between))
    raw = awaited(builder, builder.raw_action, awaited_until)
    with builder.each_cycle():
        _take(builder, raw, sources, values, list(actions), where)
        return _scattered(builder, [value.targets for value in values], places)


def _places(
    actions: Sequence[tuple[Keys, ActionTerm]],
    sizes: Sequence[int],
    scope: Scope,
    sinks: Mapping[str, Sink] | None,
    where: Callable[..., Place],
) -> list[int | float]:
    if sinks is None:
        return list(range(sum(sizes)))
    wanted = [action.targets(scope) for _, action in actions]
    places = placed(wanted, sizes, sinks)
    if not isinstance(places, str):
        return places
    told = ", ".join(f"{key} {sink.size}" for key, sink in sinks.items())
    total = sum(sink.size for sink in sinks.values())
    found = f"an action of {sum(sizes)} values for outputs of {total} ({told})"
    raise ConfigError([Finding.of(where(*actions[0][0]), found, places)])


def _take(
    builder: GraphBuilder,
    raw: str,
    sources: Sequence[_Source],
    values: Sequence[Acted],
    keys: Sequence[Keys],
    where: Callable[..., Place],
) -> None:
    """Tells what ``last_action`` sees: the raw action, with what actions made of its elements."""
    size = builder.size(raw)
    parts, taken_at = [raw], list(range(size))
    end = size
    for source, value, at in zip(sources, values, keys, strict=True):
        if source.of_raw is None or value.taken == source.values:
            continue
        for number, element in enumerate(source.of_raw):
            if taken_at[element] != element:
                expected = "each element of the policy's output smoothed, faded in or limited by one action"
                found = f"element {element}, which an action before changes too"
                raise ConfigError([Finding.of(where(*at), found, expected)])
            taken_at[element] = end + number
        parts.append(value.taken)
        end += len(source.of_raw)
    if len(parts) == 2 and taken_at == list(range(size, end)):
        builder.took(parts[1])
    elif len(parts) > 1:
        every = builder.node("Concat", parts, "raw_and_taken", axis=1)
        builder.took(gathered(builder, every, taken_at, "taken_action"))
    else:
        builder.took(raw)


def _scattered(builder: GraphBuilder, values: list[str], places: list[int | float]) -> str:
    import numpy as np

    value = values[0] if len(values) == 1 else builder.node("Concat", values, "actions", axis=1)
    if places == list(range(builder.size(value))):
        return builder.node("Identity", [value], "command")
    fixed = [place for place in places if isinstance(place, float)]
    if fixed:
        size = builder.size(value)
        rest = builder.constant(np.array([fixed], np.float32), "defaults")
        value = builder.node("Concat", [value, rest], "with_defaults", axis=1)
        numbers = iter(range(size, size + len(fixed)))
        places = [next(numbers) if isinstance(place, float) else place for place in places]
    return gathered(builder, value, [int(place) for place in places], "command")


@dataclass(frozen=True)
class _Source:
    values: str
    """What an action is made of: float32 [1, n]."""
    of_raw: tuple[int, ...] | None
    """Which elements of the raw action they are; None where they are none."""


def _source(
    builder: GraphBuilder,
    action: ActionTerm,
    keys: Keys,
    first_cycle: int,
    where: Callable[..., Place],
) -> _Source:
    if action.group is not None:
        value = builder.vector(action.group)
    elif action.output is None:
        value = builder.raw_action
    else:
        known = answer_called(action.output, builder.answers)
        if known is None:
            outputs = ", ".join(builder.answers) or "this policy has none"
            expected = f"an output of a model: {outputs}"
            raise ConfigError([Finding.of(where(*keys, "output"), f"'{action.output}'", expected)])
        value = builder.answer(known)
    is_raw = value == builder.raw_action
    if action.group is None:
        value = awaited(builder, value, first_cycle)
    size = builder.size(value)
    if action.select is None:
        return _Source(value, tuple(range(size)) if is_raw else None)
    indices = [element for element in action.select if isinstance(element, int) and element < size]
    if len(indices) != len(action.select):
        expected = f"indices below {size}, the size of the output"
        raise ConfigError([Finding.of(where(*keys, "select"), f"{list(action.select)}", expected)])
    picked = gathered(builder, value, indices, "action")
    return _Source(picked, tuple(indices) if is_raw else None)
