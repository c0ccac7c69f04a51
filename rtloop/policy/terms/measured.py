"""Measured values of the elements that an action commands, found by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.policy.shaping import met
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.matching import Values, matching_rules

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
    if size is not None:
        yield from matching_rules(keys, Values.of(size, names), known, f"'{vector}'", scope)


def measured(builder: GraphBuilder, vector: str, scope: Scope, names: Names | None) -> str:
    """The values of an input or group in the order of the action's elements: float32 [1, n].

    By their names; where one of the two has none, in their order.
    """
    return met(builder, vector, Values.of(None, names), scope)
