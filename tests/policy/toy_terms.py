"""Two kinds of term that rtloop does not have: importing this file is all it takes to use them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm


@TERMS.register
class NormTerm(ObservationTerm):
    """The Euclidean length of an input's sample."""

    kind = "norm"

    norm: Name = Field(description="name of an input of this loop")
    factor: float = Field(default=1.0, gt=0, description="multiplies the length")

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if self.norm not in scope.inputs:
            known = list(scope.inputs)
            yield unknown((*here, "norm"), self.norm, "input", known, scope.inputs_at)

    def elements(self, scope: Scope) -> Elements:
        return Vector(1, ("norm",))

    def emit(self, builder: GraphBuilder) -> str:
        factor = builder.constant(np.array([[self.factor]], np.float32), "norm_factor")
        norm = builder.node("ReduceL2", [builder.input(self.norm)], "norm", keepdims=1)
        return builder.node("Mul", [norm, factor], "norm_scaled")


@TERMS.register
class CyclesTerm(ObservationTerm):
    """How often the policy has run before."""

    kind = "cycles"

    cycles: bool = Field(description="true for the number of cycles so far")

    def elements(self, scope: Scope) -> Elements:
        return Vector(1)

    def emit(self, builder: GraphBuilder) -> str:
        def one_more(cycles: str) -> str:
            one = builder.constant(np.ones((1, 1), np.float32), "one")
            return builder.node("Add", [cycles, one], "cycles_next")

        return builder.feedback("cycles", (1, 1), one_more)
