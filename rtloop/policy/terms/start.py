"""How a policy begins to act: along a line from where the machine stands, then by and by.

Both count the steps whose command was applied. A result that was discarded advances nothing, so that the
command never moves faster than it was told to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.section import Section
from rtloop.config.values import Name, NamedValues
from rtloop.policy.shaping import named_values, row
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.measured import Names, measured, measured_rules
from rtloop.policy.terms.term import pose_rules

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder

Duration = Annotated[float, Field(gt=0, le=600)]
"""Seconds, short enough to count their steps in float32."""
_COUNTED = 2.0**24
"""Where counting ends: float32 holds every whole number up to there."""


class StartConfig(Section):
    """From the pose that is measured in the first step along a straight line to another."""

    ramp_s: Duration = Field(description="how long, in steps of the policy and its nominal period")
    measured: Name = Field(
        alias="from", description="the input or group with the measured positions"
    )
    to: NamedValues = Field(
        default=DEFAULT_POSE, description="the pose, per element: numbers, or default_joint_pos"
    )

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        """Broken rules of the start at ``here``, of an action of ``size`` elements of these names."""
        yield from measured_rules((*here, "from"), self.measured, scope, names, size)
        if not isinstance(self.to, str):
            yield from same_length(here, {"to": self.to}, size, "the policy's output", here)
        elif self.to != DEFAULT_POSE:
            yield Problem((*here, "to"), f"numbers, or {DEFAULT_POSE}")
        elif size is not None:
            yield from pose_rules((*here, "to"), scope, names, size, is_moved=False)


def steps_in(time_s: float, period_s: Fraction | None) -> int:
    """The steps of the policy that last for this time at least."""
    if period_s is None:
        raise ValueError("the period of the policy is not known")
    return math.ceil(Fraction(repr(time_s)) / period_s)


def has_acted(builder: GraphBuilder) -> str:
    """bool [1, 1]: whether a command was applied since the reset."""
    zero = _constant(builder, 0.0)
    return builder.once(
        "has_acted", lambda: builder.node("Greater", [_applied_steps(builder), zero], "has_acted")
    )


def acts(builder: GraphBuilder, first_step: int) -> str:
    """bool [1, 1]: whether so many commands were applied since the reset."""
    first = _constant(builder, first_step)
    steps = _applied_steps(builder)
    return builder.once(
        ("acts", first_step), lambda: builder.node("GreaterOrEqual", [steps, first], "acts")
    )


def fade(builder: GraphBuilder, first_step: int, steps: int) -> str:
    """float32 [1, 1]: 0 until ``first_step``, from there by equal parts to 1 in so many steps."""

    def make() -> str:
        one = _constant(builder, 1.0)
        done = [_applied_steps(builder), _constant(builder, 1 - first_step)]
        part = [builder.node("Add", done, "fading_steps"), _constant(builder, steps)]
        at_least = [builder.node("Div", part, "faded_in"), _constant(builder, 0.0)]
        return builder.node("Min", [builder.node("Max", at_least, "fading"), one], "fade_in")

    return builder.once(("fade", first_step, steps), make)


def ramp(
    builder: GraphBuilder, start: StartConfig, scope: Scope, names: Names | None, size: int
) -> str:
    """The pose of this step on the line, float32 [1, size]; it stands at its end.

    Until a command was applied the line begins where the machine is measured to be.
    """
    now = measured(builder, start.measured, scope, names)
    acted = has_acted(builder)
    before = builder.feedback("start_pose", (1, size), lambda _: begin, of_applied=True)
    begin = builder.node("Where", [acted, before, now], "begin")
    gone = fade(builder, 0, steps_in(start.ramp_s, builder.period_s))
    left = builder.node("Sub", [_constant(builder, 1.0), gone], "left_of_ramp")
    end = builder.constant(row(named_values(start.to, scope, names, size), size), "ramp_end")
    parts = [
        builder.node("Mul", [begin, left], "of_start_pose"),
        builder.node("Mul", [end, gone], "of_ramp_end"),
    ]
    return builder.node("Add", parts, "ramp")


def _applied_steps(builder: GraphBuilder) -> str:
    """float32 [1, 1]: the commands that were applied since the reset."""

    def following(steps: str) -> str:
        more = builder.node("Add", [steps, _constant(builder, 1.0)], "one_more_applied")
        return builder.node("Min", [more, _constant(builder, _COUNTED)], "counted_applied")

    return builder.once(
        "applied_steps",
        lambda: builder.feedback("applied_steps", (1, 1), following, of_applied=True),
    )


def _constant(builder: GraphBuilder, value: float) -> str:
    return builder.once(("start", value), lambda: builder.constant(row(value, 1), "start_constant"))
