"""A target that asks for no more torque than the actuators may give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rtloop.config.problem import Keys, Problem, number, same_length
from rtloop.config.section import Section
from rtloop.config.values import FLOAT32_MAX, Name, PositiveValues, Values, as_float32
from rtloop.policy.shaping import row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.measured import Names, measured, measured_rules

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class TorqueLimitConfig(Section):
    """A position controller behind the command, and what it may ask of its actuators:
    ``|stiffness * (target - position) - damping * velocity| <= limit``.
    """

    stiffness: PositiveValues = Field(description="of the controller, per element")
    damping: Values = Field(default=0.0, description="of the controller, per element")
    limit: PositiveValues = Field(description="the largest torque, per element")
    position: Name = Field(description="the input or group with the measured positions")
    velocity: Name | None = Field(
        default=None,
        description="the input or group with the measured velocities; required with a damping",
    )
    last_action: Literal["limited", "unlimited"] = Field(
        default="limited",
        description="what `last_action` sees: the action that would have commanded the limited target, or "
        "the one that the policy asked for",
    )

    stays_cut: bool = Field(
        default=False,
        description="true where a target that was cut stays so until the policy runs again, as where a "
        "controller clips its action in place; false to cut that of the policy anew in each cycle",
    )

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        """Broken rules of the limit at ``here``, on an action of ``size`` elements of these names."""
        lists = {key: getattr(self, key) for key in ("stiffness", "damping", "limit")}
        wrong_lengths = list(same_length(here, lists, size, "the policy's output", here))
        yield from wrong_lengths or self._reach_rules(here)
        damping = self.damping if isinstance(self.damping, tuple) else (self.damping,)
        if min(damping) < 0:
            yield Problem((*here, "damping"), "0 or more", number(min(damping)))
        yield from measured_rules((*here, "position"), self.position, scope, names, size)
        if self.velocity is not None:
            yield from measured_rules((*here, "velocity"), self.velocity, scope, names, size)
        elif max(damping) > 0:
            expected = "`velocity` beside it: the name of an input or group"
            yield Problem((*here, "damping"), expected, "a damping of nothing", at_key=True)

    def _reach_rules(self, here: Keys) -> Iterator[Problem]:
        """How far a target may be is a number that float32 holds."""
        vectors = (self.stiffness, self.damping, self.limit)
        for index in range(max(len(v) if isinstance(v, tuple) else 1 for v in vectors)):
            stiffness, damping, limit = (_each(values, index) for values in vectors)
            if (
                as_float32(stiffness) == 0
                or max(limit, damping) / as_float32(stiffness) > FLOAT32_MAX
            ):
                expected = "a stiffness by which limit and damping can be divided in float32"
                yield Problem((*here, "stiffness"), expected, number(stiffness))
                return


def _each(values: float | tuple[float, ...], index: int) -> float:
    return values[index] if isinstance(values, tuple) else values


def torque_limited(
    builder: GraphBuilder,
    target: str,
    limit: TorqueLimitConfig,
    scope: Scope,
    names: Names | None,
    has_started: str | None,
) -> str:
    """The target nearest to ``target`` whose torque is within the limit.

    ``has_started``, bool [1, 1], is false while a ramp moves the target in each cycle.
    """
    size = builder.size(target)
    if limit.stays_cut and builder.every > 1:
        before = builder.feedback("cut_target", (1, size), lambda _: cut, of_applied=True)
        kept = builder.node("Where", [_is_new(builder), target, before], "target_or_cut")
        if has_started is not None:
            kept = builder.node("Where", [has_started, kept, target], "target_of_ramp_or_cut")
        target = kept
    stiffness = row(limit.stiffness, size)
    still = measured(builder, limit.position, scope, names)
    if limit.velocity is not None:
        velocity = measured(builder, limit.velocity, scope, names)
        per_speed = builder.constant(row(limit.damping, size) / stiffness, "per_speed")
        damped = builder.node("Mul", [velocity, per_speed], "damped")
        still = builder.node("Add", [still, damped], "without_torque")
    reach = builder.constant(row(limit.limit, size) / stiffness, "reach")
    lowest = builder.node("Sub", [still, reach], "lowest")
    highest = builder.node("Add", [still, reach], "highest")
    target = builder.node("Max", [target, lowest], "torque_at_least")
    cut = builder.node("Min", [target, highest], "torque_limited")
    return cut


def _is_new(builder: GraphBuilder) -> str:
    """bool [1, 1], in each cycle: nothing that followed from this run of the policy was applied yet."""
    import numpy as np

    def one_more(runs: str) -> str:
        one = builder.constant(np.ones((1, 1), np.int64), "one")
        return builder.node("Add", [runs, one], "runs_with_this")

    def make() -> str:
        applied = builder.feedback(
            "applied_run", (1, 1), lambda _: runs, of_applied=True, dtype="int64"
        )
        return builder.node("Less", [applied, runs], "is_new")

    with builder.each_cycle(False):
        runs = builder.once(
            "runs_with_this",
            lambda: one_more(builder.feedback("runs", (1, 1), lambda _: runs, dtype="int64")),
        )
    return builder.once("is_new", make)
