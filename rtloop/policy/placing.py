"""From what models answer to the command: each value in its place among the elements of the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rtloop.config.problem import Keys
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.findings import refuse
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.section import PolicyConfig
from rtloop.policy.shaping import gathered, pose_row, shaped
from rtloop.policy.terms.action import ActionTerm, Sink, placed
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
    values = []
    wanted = []
    actions = section.action_terms
    for keys, action in actions.items():
        with builder.blaming(where(*keys)):
            value = _source(builder, action, keys, where)
        size = builder.size(value)
        problems = [
            *action.rules(keys, scope, size, sinks),
            *action.shape_rules(keys, size, "the policy's output", keys),
        ]
        refuse(problems, section, where)
        value = _shaped(builder, action, value, scope)
        values.append(value)
        wanted.append(None if sinks is None else action.targets(scope, size))
    sizes = [builder.size(value) for value in values]
    value = values[0] if len(values) == 1 else builder.node("Concat", values, "actions", axis=1)
    if sinks is None:
        return builder.node("Identity", [value], "command")
    places = placed(wanted, sizes, sinks)
    if isinstance(places, str):
        told = ", ".join(f"{key} {sink.size}" for key, sink in sinks.items())
        total = sum(sink.size for sink in sinks.values())
        found = f"an action of {sum(sizes)} values for outputs of {total} ({told})"
        place = where(*next(iter(actions)))
        raise ConfigError([Finding.of(place, found, places)])
    return _scattered(builder, value, places)


def _scattered(builder: GraphBuilder, value: str, places: list[int | float]) -> str:
    import numpy as np

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


def _source(
    builder: GraphBuilder, action: ActionTerm, keys: Keys, where: Callable[..., Place]
) -> str:
    if action.group is not None:
        value = builder.vector(action.group)
    elif action.output is None:
        value = builder.raw_action
    else:
        known = [
            name for name in builder.answers if action.output in (name, name.partition(".")[2])
        ]
        if len(known) != 1:
            expected = f"an output of a model: {', '.join(builder.answers)}"
            raise ConfigError([Finding.of(where(*keys, "output"), f"'{action.output}'", expected)])
        value = builder.answer(known[0])
    if action.select is None:
        return value
    size = builder.size(value)
    indices = [element for element in action.select if isinstance(element, int) and element < size]
    if len(indices) != len(action.select):
        expected = f"indices below {size}, the size of the output"
        raise ConfigError([Finding.of(where(*keys, "select"), f"{list(action.select)}", expected)])
    return gathered(builder, value, indices, "action")


def _shaped(builder: GraphBuilder, action: ActionTerm, value: str, scope: Scope) -> str:
    size = builder.size(value)
    offset = pose_row(action, scope, action.names(scope, size), size)
    if action.plus is None:
        return shaped(builder, value, action, offset)
    unclipped = action.model_copy(update={"clip": None})
    value = shaped(builder, value, unclipped, offset)
    value = builder.node("Add", [value, builder.vector(action.plus)], "with_residual")
    clip = ActionTerm(clip=action.clip)
    return shaped(builder, value, clip, pose_row(clip, scope, None, size))
