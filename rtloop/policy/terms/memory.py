"""Terms that remember: their value comes from the cycle before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.policy.terms.elements import Elements, Scope
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class PreviousActionTerm(ObservationTerm):
    """The raw output of the policy in the last cycle whose command was applied, before `action` and
    before any limit of the output; zeros before that. A result that was discarded never becomes it.
    """

    kind = "previous_action"

    previous_action: bool = Field(
        description="true for the raw policy output of the last applied command"
    )

    def elements(self, scope: Scope) -> Elements:
        return scope.action

    def emit(self, builder: GraphBuilder) -> str:
        shape = (1, builder.action_size)
        return builder.feedback(
            "previous_action", shape, lambda _: builder.raw_action, of_applied=True
        )
