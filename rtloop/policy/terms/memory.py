"""Terms that remember: their value comes from the cycle before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class LastActionTerm(ObservationTerm):
    """The raw output of the policy in the last cycle whose command was applied, before `action` and
    before any limit of the output; zeros before that. A result that was discarded never becomes it. Of an
    action that is smoothed, faded in or limited by its torque, it is what came of that.
    """

    kind = "last_action"

    last_action: bool = Field(
        description="true for the raw policy output of the last applied command"
    )

    def elements(self, scope: Scope) -> Elements:
        return scope.action

    def emit(self, builder: GraphBuilder) -> str:
        return _last_action(builder)


@TERMS.register
class PreviousActionTerm(ObservationTerm):
    """What `last_action` is, by its older name."""

    kind = "previous_action"

    previous_action: bool = Field(description="true for what `last_action` is")

    def elements(self, scope: Scope) -> Elements:
        return scope.action

    def emit(self, builder: GraphBuilder) -> str:
        return _last_action(builder)


@TERMS.register
class LastTargetTerm(ObservationTerm):
    """The command that left for the outputs last, after all limits; the safe command before the first.

    What stood in for a late result counts: it is what the actuators were told.
    """

    kind = "last_target"

    last_target: bool = Field(description="true for the command that left last, of all outputs")

    @property
    def is_of_the_machine(self) -> bool:
        return True

    def elements(self, scope: Scope) -> Elements:
        return scope.command

    def emit(self, builder: GraphBuilder) -> str:
        return builder.last_command


@TERMS.register
class FirstStepTerm(ObservationTerm):
    """1 in the first step after an activation, 0 from then on: what tells a recurrent model to begin anew."""

    kind = "is_first_step"

    is_first_step: bool = Field(description="true for whether this is the first step")

    def elements(self, scope: Scope) -> Elements:
        return Vector(1)

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        one, zero = (
            builder.constant(np.full((1, 1), value, np.float32), "first_or_not") for value in (1, 0)
        )
        return builder.node("Where", [builder.has_run, zero, one], "is_first_step")


def _last_action(builder: GraphBuilder) -> str:
    shape = (1, builder.action_size)
    return builder.once(
        "last_action",
        lambda: builder.feedback(
            "last_action", shape, lambda _: builder.taken_action, of_applied=True
        ),
    )
