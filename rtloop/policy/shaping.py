"""From a term to its values: select, minus, wrap, scale, offset, clip, history; and terms joined.

A step that a term does not use is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rtloop.errors import Place, do_each
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.history import remembered
from rtloop.policy.terms.matching import Values, places
from rtloop.policy.terms.shape import Shape
from rtloop.policy.terms.term import ObservationTerm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Row = npt.NDArray[np.float32]


def joined(
    builder: GraphBuilder,
    terms: Sequence[ObservationTerm],
    scope: Scope,
    where: Callable[..., Place],
    label: str,
) -> str:
    """The values of terms, one after the other: float32 [1, n]. ``where`` tells the place of a term.

    Raises ConfigError with every term whose nodes fail, or yield anything else than they say.
    """
    values: dict[int, str] = {}

    def add(index: int, term: ObservationTerm) -> None:
        with builder.blaming(where(index, term.kind)):
            values[index] = _values(builder, term, scope)

    do_each(partial(add, index, term) for index, term in enumerate(terms))
    if len(terms) == 1:
        return values[0]
    return builder.node("Concat", [values[index] for index in range(len(terms))], label, axis=1)


def _values(builder: GraphBuilder, term: ObservationTerm, scope: Scope) -> str:
    size = term.elements(scope).element_count or 0

    def source() -> str:
        tensor = term.emit(builder)
        builder.check(tensor, (1, size))
        return tensor

    value = builder.once(("source", term.source), source)
    picked = term.indices(scope)
    if picked != tuple(range(size)):
        value = gathered(builder, value, picked, "selected")
    value = _less(builder, value, term, scope)
    if term.wrap is not None:
        value = _wrapped(builder, value, *term.wrap)
    value = shaped(builder, value, term, pose_row(term, scope, term.step_names(scope), len(picked)))
    if term.history is not None:
        value = remembered(builder, value, len(picked), term.history)
    return value


def gathered(builder: GraphBuilder, value: str, indices: Sequence[int], label: str) -> str:
    """Elements of a vector [1, n], by their indices."""
    import numpy as np

    picked = builder.constant(np.array(indices, np.int64), f"{label}_indices")
    return builder.node("Gather", [value, picked], label, axis=1)


def met(builder: GraphBuilder, name: str, values: Values, scope: Scope) -> str:
    """The elements of an input or group that belong to values, in their order: float32 [1, n]."""
    vector, value = scope.vector(name), builder.vector(name)
    indices = None if vector is None else places(values, vector)
    return value if indices is None else gathered(builder, value, indices, "of_the_same_names")


def shaped(builder: GraphBuilder, value: str, shape: Shape, offset: Row) -> str:
    """Scale, offset and clip of a vector [1, n]. ``offset`` is that of each element, [1, n]."""
    value = applied(builder, "Mul", value, row(shape.scale, builder.size(value)), 1.0)
    return clipped(builder, applied(builder, "Add", value, offset, 0.0), shape)


def clipped(builder: GraphBuilder, value: str, shape: Shape) -> str:
    """A vector [1, n] between the bounds of a shape, if it has some."""
    import numpy as np

    size = builder.size(value)
    if shape.clip is None:
        return value
    builder.must_be_finite(value)  # a clip would make a plausible number of an infinity
    low, high = shape.clip
    value = applied(builder, "Max", value, row(low, size), -np.inf)
    return applied(builder, "Min", value, row(high, size), np.inf)


def applied(builder: GraphBuilder, operator: str, value: str, operand: Row, neutral: float) -> str:
    """The operator with one constant for each element; nothing where all of them change nothing."""
    if not (operand != neutral).any():
        return value
    name = operator.lower()
    return builder.node(operator, [value, builder.constant(operand, f"{name}_by")], name)


def row(values: float | Sequence[float], size: int) -> Row:
    """float32 [1, size] of one number for all, or one for each."""
    import numpy as np

    made: Row = np.broadcast_to(np.asarray(values, np.float32), (1, size)).copy()
    return made


def pose_row(shape: Shape, scope: Scope, names: tuple[str, ...] | None, size: int) -> Row:
    """The offset of a shape whose elements have these names: float32 [1, size]."""
    return row(named_values(shape.offset, scope, names, size), size)


def named_values(
    values: float | tuple[float, ...] | str, scope: Scope, names: tuple[str, ...] | None, size: int
) -> float | tuple[float, ...]:
    """Numbers as they are, or those of the default pose."""
    if not isinstance(values, str):
        return values
    pose = None if scope.pose is None else scope.pose.of(names, size)
    if values != DEFAULT_POSE or pose is None:
        raise ValueError(f"'{values}' gives no value for {size} elements")
    return pose


def _less(builder: GraphBuilder, value: str, term: ObservationTerm, scope: Scope) -> str:
    minus = term.minus
    if isinstance(minus, str) and minus != DEFAULT_POSE:
        other = met(builder, minus, term.values(scope), scope)
        return builder.node("Sub", [value, other], "difference")
    size = builder.size(value)
    operand = row(named_values(minus, scope, term.step_names(scope), size), size)
    return applied(builder, "Sub", value, operand, 0.0)


def _wrapped(builder: GraphBuilder, value: str, low: float, high: float) -> str:
    """x - (high - low) * floor((x - low) / (high - low)), element by element: from low, and below high."""
    import numpy as np

    size = builder.size(value)
    turn = builder.constant(row(float(np.float32(high) - np.float32(low)), size), "turn")
    above = applied(builder, "Sub", value, row(low, size), 0.0)
    turns = builder.node("Floor", [builder.node("Div", [above, turn], "turns")], "whole_turns")
    wrapped = builder.node("Sub", [value, builder.node("Mul", [turns, turn], "by")], "turned")
    # Beside a bound it is rounded, to the upper one or past it; a NaN stays one.
    lowest = builder.constant(row(low, size), "lowest")
    past = [
        builder.node("Less", [wrapped, lowest], "too_low"),
        builder.node("GreaterOrEqual", [wrapped, builder.constant(row(high, size), "above")], "up"),
    ]
    return builder.node("Where", [builder.node("Or", past, "past"), lowest, wrapped], "wrapped")
