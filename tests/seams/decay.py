"""A toy term with a state of its own: an exponential average of an input, ``{decay: NAME, keep: 0.9}``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name
from rtloop.policy.terms.elements import Elements, Scope
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class DecayTerm(ObservationTerm):
    """An exponential average of an input."""

    kind = "decay"

    decay: Name = Field(description="name of an input of this loop")
    keep: float = Field(default=0.9, gt=0, lt=1, description="share of the average that stays")

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if self.decay not in scope.inputs:
            known = list(scope.inputs)
            yield unknown((*here, "decay"), self.decay, "input", known, scope.inputs_at)

    def elements(self, scope: Scope) -> Elements:
        return scope.inputs[self.decay]

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        shape = builder.inputs[self.decay].shape
        before = builder.feedback("average", shape, lambda _: average)
        kept = builder.constant(np.array([[self.keep]], np.float32), "keep")
        rest = builder.constant(np.array([[1 - self.keep]], np.float32), "rest")
        old = builder.node("Mul", [before, kept], "old")
        new = builder.node("Mul", [builder.input(self.decay), rest], "new")
        average = builder.node("Add", [old, new], "average")
        return average
