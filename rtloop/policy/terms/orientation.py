"""Terms of an orientation, which an input or a group gives as a quaternion or as angles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name, Number
from rtloop.policy.shaping import gathered
from rtloop.policy.terms import rotations
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.rotations import Order
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder

SIZES = {"wxyz": 4, "xyzw": 4, "rpy": 3}
Mount = Annotated[tuple[Number, Number, Number], Strict(False)]
_AXES = ("x", "y", "z")


def orientation_rules(keys: Keys, name: str, order: Order, scope: Scope) -> Iterator[Problem]:
    """Broken rules of an orientation that is read under a name, which stands at ``keys``."""
    how = (
        f"{SIZES[order]} values in the order {order}; a group picks them: {{input: …, select: […]}}"
    )
    return _vector_rules(keys, name, order, how, scope)


def _vector_rules(keys: Keys, name: str, order: str, how: str, scope: Scope) -> Iterator[Problem]:
    vector, size = scope.vector(name), len(order)
    if vector is None:
        yield unknown(keys, name, "input or group", scope.vector_names, scope.inputs_at)
    elif vector.element_count not in (None, size):
        found = f"'{name}', which has {vector.element_count}"
        yield Problem(keys, how, found, judged=((*scope.inputs_at, name),))
    elif vector.element_names is not None and not _are_in_order(vector.element_names, order):
        found = f"'{name}', with {', '.join(vector.element_names)}"
        yield Problem(keys, how, found, judged=((*scope.inputs_at, name),))


def _are_in_order(names: Sequence[str], order: str) -> bool:
    """Whether the names, as far as they say which axis each is of, are in the order of these letters."""
    words = [re.split(r"[^a-z]+", name.lower())[-1] for name in names]
    if {*words} in ({"roll", "pitch", "yaw"}, {"r", "p", "y"}):
        axes = [_AXES["rpy".index(word[0])] for word in words]
    else:
        axes = [word[-1:] for word in words]
    wanted = list("xyz" if order == "rpy" else order)
    return sorted(axes) != sorted(wanted) or axes == wanted


class _OrientationTerm(ObservationTerm):
    """The value of the key of a kind is the name of an orientation."""

    order: Order = Field(
        default="wxyz", description="of its values; rpy is roll, pitch and yaw in radians"
    )
    mount: Mount | None = Field(
        default=None,
        description="roll, pitch and yaw of the sensor in the frame of the body, in radians",
    )

    @property
    def of(self) -> str:
        """The input or group that gives the orientation."""
        return str(getattr(self, self.kind))

    @property
    def label(self) -> str:
        return f"{self.kind} of '{self.of}'"

    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def least_size(self, name: str, scope: Scope) -> int:
        return SIZES[self.order]

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        yield from orientation_rules((*here, self.kind), self.of, self.order, scope)

    def matrix(self, builder: GraphBuilder) -> str:
        return rotations.orientation(builder, self.of, self.order, self.mount)


@TERMS.register
class ProjectedGravityTerm(_OrientationTerm):
    """The direction of gravity in the frame of the body: R(q)^T (0, 0, -1).

    The quaternion is normalised. One of zeros is no orientation: the loop goes to FAULT.
    """

    kind = "projected_gravity"

    projected_gravity: Name = Field(
        description="name of the input or group with the orientation of the body in the world"
    )

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, _AXES)

    def emit(self, builder: GraphBuilder) -> str:
        up = gathered(builder, self.matrix(builder), [6, 7, 8], "up")
        return builder.node("Neg", [up], "gravity")


@TERMS.register
class EulerTerm(_OrientationTerm):
    """Roll, pitch and yaw in radians: the rotations about x, then y, then z of the world."""

    kind = "euler_xyz"

    euler_xyz: Name = Field(description="name of the input or group with an orientation")

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, ("roll", "pitch", "yaw"))

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        matrix = self.matrix(builder)

        def element(row: int, column: int) -> str:
            return gathered(builder, matrix, [3 * row + column], "element")

        one = builder.constant(np.ones((1, 1), np.float32), "one")
        minus_one = builder.constant(-np.ones((1, 1), np.float32), "minus_one")
        sine = builder.node("Neg", [element(2, 0)], "sin_pitch")
        sine = builder.node(
            "Max", [builder.node("Min", [sine, one], "at_most"), minus_one], "at_least"
        )
        parts = [
            rotations.arctan2(builder, element(2, 1), element(2, 2)),
            builder.node("Asin", [sine], "pitch"),
            rotations.arctan2(builder, element(1, 0), element(0, 0)),
        ]
        return builder.node("Concat", parts, "euler", axis=1)


@TERMS.register
class RotationTerm(_OrientationTerm):
    """The rotation matrix from the frame of the body to that of the world, or to that of another body.

    A matrix is shown row by row; so is `6d`, which leaves out its third column, as Isaac Lab does.
    """

    kind = "rotation"

    rotation: Name = Field(description="name of the input or group with an orientation")
    relative_to: Name | None = Field(
        default=None,
        description="an orientation of the same order in whose frame it is seen: R(relative_to)^T R",
    )
    expressed_in: Literal["body", "world"] = Field(
        default="body",
        description="world is the rotation from `relative_to` to it as the world sees it: R "
        "R(relative_to)^T",
    )
    align_yaw: bool = Field(
        default=False,
        description="true to take the yaw of the first cycle out, of each of the orientations its own",
    )
    show: Literal["matrix", "6d"] = Field(
        default="matrix", description="all nine elements, or the first two columns"
    )

    def reads(self) -> tuple[str, ...]:
        return (self.of,) if self.relative_to is None else (self.of, self.relative_to)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        yield from super().source_rules(here, scope)
        if self.relative_to is not None:
            keys = (*here, "relative_to")
            yield from orientation_rules(keys, self.relative_to, self.order, scope)
        elif "expressed_in" in self.model_fields_set:
            yield Problem((*here, "expressed_in"), "`relative_to` beside it", at_key=True)

    def elements(self, scope: Scope) -> Elements:
        names = tuple(f"r{index // 3}{index % 3}" for index in self._shown)
        return Vector(len(names), names)

    def emit(self, builder: GraphBuilder) -> str:
        matrix = self._aligned(builder, self.matrix(builder))
        if self.relative_to is not None:
            other = rotations.orientation(builder, self.relative_to, self.order)
            inverse = rotations.transposed(builder, self._aligned(builder, other))
            pair = (inverse, matrix) if self.expressed_in == "body" else (matrix, inverse)
            matrix = rotations.product(builder, *pair)
        if self.show == "matrix":
            return matrix
        return gathered(builder, matrix, self._shown, "columns")

    @property
    def _shown(self) -> list[int]:
        return [i for i in range(9) if self.show == "matrix" or i % 3 < 2]

    def _aligned(self, builder: GraphBuilder, matrix: str) -> str:
        if not self.align_yaw:
            return matrix
        key = ("without_first_yaw", matrix)
        return builder.once(key, lambda: rotations.without_first_yaw(builder, matrix))


@TERMS.register
class RotatedTerm(ObservationTerm):
    """A vector in the frame of the body: one of a sensor that is mounted there, or one of the world."""

    kind = "rotated"

    rotated: Name = Field(description="name of the input or group with a vector: x, y, z")
    mount: Mount | None = Field(
        default=None,
        description="of the sensor whose vector it is: its roll, pitch and yaw in the body, in radians",
    )
    into: Name | None = Field(
        default=None, description="the orientation of the body, where it is a vector of the world"
    )
    order: Order = Field(default="wxyz", description="of the orientation")

    @property
    def label(self) -> str:
        return f"rotated '{self.rotated}'"

    def reads(self) -> tuple[str, ...]:
        return (self.rotated,) if self.into is None else (self.rotated, self.into)

    def least_size(self, name: str, scope: Scope) -> int:
        return 3 if name == self.rotated else SIZES[self.order]

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        how = "3 values: x, y, z"
        yield from _vector_rules((*here, self.kind), self.rotated, "xyz", how, scope)
        if (self.mount is None) == (self.into is None):
            found = "both" if self.mount is not None else "neither mount nor into"
            yield Problem((*here, self.kind), "exactly one of mount and into", found, at_key=True)
        elif self.into is not None:
            yield from orientation_rules((*here, "into"), self.into, self.order, scope)

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, _AXES)

    def emit(self, builder: GraphBuilder) -> str:
        vector = builder.vector(self.rotated)
        if self.mount is not None:
            matrix = rotations.fixed(builder, rotations.rotation_of(*self.mount))
        else:
            body = rotations.orientation(builder, self.into or "", self.order)
            matrix = rotations.transposed(builder, body)
        return rotations.turned(builder, matrix, vector)
