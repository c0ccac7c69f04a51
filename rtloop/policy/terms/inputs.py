"""Terms that read the loop's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name
from rtloop.policy.terms.elements import Elements, Scope
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

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        if self.input not in scope.inputs:
            known = list(scope.inputs)
            yield unknown((*here, "input"), self.input, "input", known, scope.inputs_at)

    def elements(self, scope: Scope) -> Elements:
        return scope.inputs[self.input]

    def declared_at(self, scope: Scope) -> Keys:
        return (*scope.inputs_at, self.input)

    def emit(self, builder: GraphBuilder) -> str:
        return builder.input(self.input)


def every_input(names: Iterable[str]) -> tuple[ObservationTerm, ...]:
    """The observation where none is given: all inputs, joined in their order."""
    return tuple(InputTerm(input=name) for name in names)
