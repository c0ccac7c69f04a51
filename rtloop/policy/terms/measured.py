"""Measured values of the elements that an action commands, found by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.policy.shaping import gathered
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.joints import unfound

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder

Names = tuple[str, ...]


def measured_rules(
    keys: Keys, vector: str, scope: Scope, names: Names | None, size: int | None
) -> Iterator[Problem]:
    """Broken rules of an input or group at ``keys`` that gives one value for each element of an action.

    ``names`` are those of its elements, None where they have none; ``size`` None is not known yet.
    """
    known = scope.vector(vector)
    if known is None:
        yield unknown(keys, vector, "input or group", scope.vector_names, scope.inputs_at)
        return
    if size is None:
        return
    if names is not None and known.element_names is not None:
        lacks = unfound(names, known.element_names, f"'{vector}'")
        if lacks is not None:
            yield Problem(keys, lacks, f"'{vector}', whose elements go by other names")
    elif known.element_count not in (None, size):
        expected = f"{size} elements, as the action has"
        yield Problem(keys, expected, f"'{vector}', which has {known.element_count}")


def measured(builder: GraphBuilder, vector: str, scope: Scope, names: Names | None) -> str:
    """The values of an input or group in the order of the action's elements: float32 [1, n].

    By their names; where one of the two has none, in their order.
    """
    value = builder.vector(vector)
    known = scope.vector(vector)
    found = None if known is None else known.element_names
    if names is None or found is None or found == names:
        return value
    return gathered(builder, value, [found.index(name) for name in names], "measured")
