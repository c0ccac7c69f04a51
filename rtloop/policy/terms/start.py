"""How a policy begins to act: along a line from where the machine stands, in each cycle, then by and by.

Both count what was applied: the line cycles, the rest runs of the policy. A result that was discarded advances
nothing, so that the command never moves faster than it was told to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.section import Section
from rtloop.config.values import Name, NamedValues
from rtloop.policy.shaping import row
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.matching import pose_rules
from rtloop.policy.terms.measured import Names, measured, measured_rules

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder

Duration = Annotated[float, Field(gt=0, le=600)]
"""Seconds, short enough to count their cycles in float32."""
_COUNTED = 2.0**24
"""Where counting ends: float32 holds every whole number up to there."""


class StartConfig(Section):
    """From the pose that is measured in the first step along a straight line to another."""

    ramp_s: Duration = Field(description="how long, in cycles of the loop and their nominal period")
    measured: Name = Field(
        alias="from", description="the input or group with the measured positions"
    )
    to: NamedValues | None = Field(
        default=None,
        description="the pose, per element: numbers, or default_joint_pos; null is what an action of 0 "
        "commands",
    )

    def pose(self, *, relative: bool) -> float | tuple[float, ...] | str | None:
        """Where it ends; None is what an action of 0 commands, which a relative one has not at first."""
        return DEFAULT_POSE if self.to is None and relative else self.to

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None, *, relative: bool
    ) -> Iterator[Problem]:
        """Broken rules of the start at ``here``, of an action of ``size`` elements of these names."""
        yield from measured_rules((*here, "from"), self.measured, scope, names, size)
        to = self.pose(relative=relative)
        if isinstance(to, tuple):
            yield from same_length(here, {"to": to}, size, "the policy's output", here)
        elif isinstance(to, str) and to != DEFAULT_POSE:
            yield Problem((*here, "to"), f"numbers, or {DEFAULT_POSE}")
        elif isinstance(to, str) and size is not None:
            yield from pose_rules((*here, "to"), scope, names, size, is_moved=False)


def cycles_in(time_s: float, period_s: Fraction | None) -> int:
    """The cycles, or runs of the policy, that last for this time at least."""
    if period_s is None:
        raise ValueError("the period of the loop is not known")
    return math.ceil(Fraction(repr(time_s)) / period_s)


def has_acted(builder: GraphBuilder) -> str:
    """bool [1, 1]: whether a command was applied since the reset."""
    zero = _constant(builder, 0.0)
    return builder.once(
        "has_acted", lambda: builder.node("Greater", [_applied_cycles(builder), zero], "has_acted")
    )


def acts(builder: GraphBuilder, first_cycle: int) -> str:
    """bool [1, 1]: whether so many commands were applied since the reset."""
    first = _constant(builder, first_cycle)
    cycles = _applied_cycles(builder)
    return builder.once(
        ("acts", first_cycle), lambda: builder.node("GreaterOrEqual", [cycles, first], "acts")
    )


def fade(builder: GraphBuilder, first_cycle: int, time_s: float) -> str:
    """float32 [1, 1]: 0 until ``first_cycle``, from there by equal parts to 1, in the runs of the policy in
    this time."""
    runs = cycles_in(time_s, builder.period_s)

    def following(done: str) -> str:
        more = _one_more(builder, done)
        if not first_cycle:
            return more
        return builder.node("Where", [acts(builder, first_cycle), more, done], "acted_runs")

    def make() -> str:
        return builder.feedback("acting_runs", (1, 1), following, of_applied=True)

    done = builder.once(("acting_runs", first_cycle), make)
    share = _share(builder, done, runs, "fade_in")
    if not first_cycle:
        return share
    shares = [acts(builder, first_cycle), share, _constant(builder, 0.0)]
    return builder.once(("fade", share), lambda: builder.node("Where", shares, "faded_in"))


def ramp(
    builder: GraphBuilder, start: StartConfig, scope: Scope, names: Names | None, end: str
) -> str:
    """The pose of this step on the line to ``end``, float32 [1, size]; it stands there then.

    Until a command was applied the line begins where the machine is measured to be.
    """
    size = builder.size(end)
    now = builder.must_be_finite(measured(builder, start.measured, scope, names))
    acted = has_acted(builder)
    before = builder.feedback("start_pose", (1, size), lambda _: begin, of_applied=True)
    begin = builder.node("Where", [acted, before, now], "begin")
    cycles = cycles_in(start.ramp_s, builder.cycle_s)
    gone = _share(builder, _applied_cycles(builder), cycles, "gone_of_ramp")
    left = builder.node("Sub", [_constant(builder, 1.0), gone], "left_of_ramp")
    parts = [
        builder.node("Mul", [begin, left], "of_start_pose"),
        builder.node("Mul", [end, gone], "of_ramp_end"),
    ]
    return builder.node("Add", parts, "ramp")


def _applied_cycles(builder: GraphBuilder) -> str:
    """float32 [1, 1]: the commands that were applied since the reset."""

    def make() -> str:
        count = partial(_one_more, builder)
        return builder.feedback("applied_cycles", (1, 1), count, of_applied=True)

    with builder.each_cycle():
        return builder.once("applied_cycles", make)


def _one_more(builder: GraphBuilder, count: str) -> str:
    more = builder.node("Add", [count, _constant(builder, 1.0)], "one_more_applied")
    return builder.node("Min", [more, _constant(builder, _COUNTED)], "counted_applied")


def _share(builder: GraphBuilder, done: str, total: int, label: str) -> str:
    """float32 [1, 1]: how much of ``total`` is done with this one, 1 at most."""

    def make() -> str:
        now = builder.node("Add", [done, _constant(builder, 1.0)], "done_with_this")
        share = builder.node("Div", [now, _constant(builder, total)], "share_done")
        return builder.node("Min", [share, _constant(builder, 1.0)], label)

    return builder.once((label, done, total), make)


def _constant(builder: GraphBuilder, value: float) -> str:
    return builder.once(("start", value), lambda: builder.constant(row(value, 1), "start_constant"))
