"""Terms whose values are there already: an input, a constant, a group, an output of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of, unknown
from rtloop.config.values import Name, NumberList, Text
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class InputTerm(ObservationTerm):
    """The newest sample of an input of this loop."""

    kind = "input"

    input: Name = Field(description="name of an input of this loop")

    @property
    def label(self) -> str:
        return f"input '{self.input}'"

    @property
    def prefix(self) -> str:
        return self.input

    @property
    def is_of_the_machine(self) -> bool:
        return True

    def reads(self) -> tuple[str, ...]:
        return (self.input,)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if self.input not in scope.inputs:
            known = list(scope.inputs)
            yield unknown((*here, "input"), self.input, "input", known, scope.inputs_at)

    def elements(self, scope: Scope) -> Elements:
        return scope.inputs.get(self.input, Vector())

    def declared_at(self, scope: Scope) -> Keys:
        return (*scope.inputs_at, self.input)

    def emit(self, builder: GraphBuilder) -> str:
        return builder.input(self.input)


@TERMS.register
class GroupTerm(ObservationTerm):
    """The terms of a group of the policy, joined."""

    kind = "group"

    group: Name = Field(description="name of a group of this policy")

    @property
    def label(self) -> str:
        return f"group '{self.group}'"

    def inner(self, scope: Scope) -> Sequence[ObservationTerm]:
        return scope.groups[self.group]

    def reads(self) -> tuple[str, ...]:
        return (self.group,)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if self.group not in scope.groups:
            known = list(scope.groups)
            yield unknown((*here, "group"), self.group, "group", known, scope.groups_at)

    def elements(self, scope: Scope) -> Elements:
        return scope.vector(self.group) or Vector()

    def emit(self, builder: GraphBuilder) -> str:
        return builder.vector(self.group)


@TERMS.register
class ConstantTerm(ObservationTerm):
    """Numbers that never change."""

    kind = "constant"

    constant: NumberList = Field(description="the numbers")

    @property
    def fixed(self) -> tuple[float, ...]:
        return self.constant

    def elements(self, scope: Scope) -> Elements:
        return Vector(len(self.constant))

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        return builder.constant(np.array([self.constant], np.float32), "constant")


@TERMS.register
class OutputTerm(ObservationTerm):
    """What a model answers: in this cycle if it runs earlier, else in the one before."""

    kind = "output"

    output: Text = Field(description="MODEL.OUTPUT; of a policy with one model, policy.OUTPUT")
    start: Literal["zero", "answer"] = Field(
        default="zero",
        description="what stands for the cycle before the first: zeros, or what the model answers to zeros",
    )

    @property
    def label(self) -> str:
        return f"output '{self.output}'"

    @property
    def prefix(self) -> str:
        return self.output

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if scope.are_models_known and self.output not in scope.outputs:
            known = any_of(list(scope.outputs)) if scope.outputs else "this policy has none"
            expected = f"an output of a model: {known}"
            yield Problem((*here, "output"), expected)

    def elements(self, scope: Scope) -> Elements:
        return scope.outputs.get(self.output, Vector())

    def emit(self, builder: GraphBuilder) -> str:
        return builder.answer(self.output, from_zeros=self.start == "answer")


def every_input(names: Iterable[str]) -> tuple[ObservationTerm, ...]:
    """The observation where none is given: all inputs, joined in their order."""
    return tuple(InputTerm(input=name) for name in names)
