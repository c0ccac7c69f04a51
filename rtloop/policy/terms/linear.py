"""A matrix times a vector: state feedback, a transmission between joints and motors, a mixer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name, NumberList
from rtloop.policy.terms.elements import Elements, Scope, Vector, in_other_order
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class LinearTerm(ObservationTerm):
    """A matrix times an input or group. State feedback is that of a group `{input: x, minus: reference}`, and a
    group of it is commanded by an action.
    """

    kind = "linear"

    linear: Name = Field(description="name of an input or group")
    matrix: Annotated[
        tuple[NumberList, ...], Strict(False), Field(min_length=1, max_length=1024)
    ] = Field(description="its rows: one for each value, with a factor for each element")

    @property
    def label(self) -> str:
        return f"matrix of '{self.linear}'"

    def reads(self) -> tuple[str, ...]:
        return (self.linear,)

    def least_size(self, name: str, scope: Scope) -> int:
        return len(self.matrix[0])

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        keys, vector = (*here, "linear"), scope.vector(self.linear)
        for index, row in enumerate(self.matrix):
            if len(row) != len(self.matrix[0]):
                expected = f"{len(self.matrix[0])} numbers, as in the first row"
                yield Problem((*here, "matrix", index), expected, f"{len(row)}")
        if vector is None:
            yield unknown(keys, self.linear, "input or group", scope.vector_names, scope.inputs_at)
        elif vector.element_count not in (None, len(self.matrix[0])):
            expected = (
                f"rows of {vector.element_count} numbers, as many as '{self.linear}' has values"
            )
            yield Problem((*here, "matrix"), expected, f"rows of {len(self.matrix[0])}")
        elif self.linear in scope.inputs and in_other_order(
            vector.element_names or (), scope.joints
        ):
            expected = "a group that says their order with `joints`: here it is not the policy's"
            yield Problem(keys, expected, f"'{self.linear}'")

    def elements(self, scope: Scope) -> Elements:
        return Vector(len(self.matrix))

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        columns = builder.constant(np.array(self.matrix, np.float32).T.copy(), "matrix")
        return builder.node("MatMul", [builder.vector(self.linear), columns], "linear")
