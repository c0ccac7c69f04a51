"""Proportional-integral-derivative control with anti-windup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.section import Section
from rtloop.config.values import Name, Ranges, Values
from rtloop.policy.controllers.controller import CONTROLLERS, Controller, between
from rtloop.policy.shaping import applied, row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.measured import Names, measured, measured_rules
from rtloop.policy.terms.shape import bound_length

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class PidConfig(Section):
    """``clip(kp * error + ki * integral of error - kd * rate)``, error = target - measured."""

    measured: Name = Field(description="the input or group that is to follow the targets")
    rate: Name | None = Field(
        default=None,
        description="the input or group with its derivative, as it is measured; required with a kd",
    )
    kp: Values = Field(default=0.0, description="per element")
    ki: Values = Field(default=0.0, description="per element, and second")
    kd: Values = Field(default=0.0, description="per element, times a second")
    limit: Ranges = Field(
        description="[lowest, highest] of what it commands; each a number, or one per element"
    )

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        """Broken rules of the section at ``here``."""
        lists = {key: getattr(self, key) for key in ("kp", "ki", "kd")}
        yield from same_length(here, lists, size, "the policy's output", here)
        lists_of_bounds = {
            i: bound for i, bound in enumerate(self.limit) if isinstance(bound, tuple)
        }
        keys = (*here, "limit")
        yield from bound_length(keys, lists_of_bounds, size, "the policy's output", here)
        low, high = (bound if isinstance(bound, tuple) else (bound,) for bound in self.limit)
        if any(a >= b for a, b in zip(low * len(high), high * len(low), strict=False)):
            yield Problem(keys, "[lowest, highest] with lowest < highest")
        yield from measured_rules((*here, "measured"), self.measured, scope, names, size)
        if self.rate is not None:
            yield from measured_rules((*here, "rate"), self.rate, scope, names, size)
        elif any(self.kd if isinstance(self.kd, tuple) else (self.kd,)):
            # A difference over cycles, of which any may be lost, is another rate each time.
            expected = "`rate` beside it: the name of an input or group"
            yield Problem((*here, "kd"), expected, "a kd of nothing", at_key=True)


@CONTROLLERS.register
class PidController(Controller):
    """A command that makes what is measured follow the targets. Its integral stands while the command is at a
    limit that it would push past (conditional integration: Åström and Hägglund, Advanced PID Control, 3.5), and
    while results are not applied; its derivative is that of what is measured, so that no step of a target
    shows in it.
    """

    kind = "pid"
    gives_efforts = True

    pid: PidConfig = Field(description="gains, limits, and what is measured")

    def reads(self) -> tuple[str | None, ...]:
        return self.pid.measured, self.pid.rate

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        yield from self.pid.rules((*here, self.kind), scope, names, size)

    def emit(self, builder: GraphBuilder, target: str, scope: Scope, names: Names | None) -> str:
        import numpy as np

        size = builder.size(target)
        now = measured(builder, self.pid.measured, scope, names)
        error = builder.node("Sub", [target, now], "control_error")
        wanted = applied(builder, "Mul", error, row(self.pid.kp, size), 1.0)
        kd, ki = row(self.pid.kd, size), row(self.pid.ki, size)
        if self.pid.rate is not None and kd.any():
            rate = measured(builder, self.pid.rate, scope, names)
            damped = builder.node("Mul", [rate, builder.constant(kd, "kd")], "d")
            wanted = builder.node("Sub", [wanted, damped], "p_and_d")
        if not ki.any():
            return between(builder, wanted, *self.pid.limit, "pid")
        before = builder.feedback("integral", (1, size), lambda _: integral, of_applied=True)
        per_cycle = ki * np.float32(builder.period_s or 0)
        added = builder.node("Mul", [error, builder.constant(per_cycle, "ki")], "added")
        more = builder.node("Add", [before, added], "integral_with_this")
        wanted = builder.node("Add", [wanted, more], "p_i_and_d")
        command = between(builder, wanted, *self.pid.limit, "pid")
        past = builder.node("Sub", [wanted, command], "past_the_limit")
        pushing = builder.node("Mul", [past, added], "pushing")
        zero = builder.constant(row(0.0, 1), "nothing")
        winds_up = builder.node("Greater", [pushing, zero], "winds_up")
        integral = builder.node("Where", [winds_up, before, more], "integral_kept")
        return command
