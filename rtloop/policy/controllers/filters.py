"""Targets made smooth in each cycle: a low-pass filter, a rate limiter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.section import Section
from rtloop.config.values import Name, PositiveNumber, PositiveValues
from rtloop.policy.controllers.controller import CONTROLLERS, Controller, between
from rtloop.policy.shaping import row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.measured import Names, measured, measured_rules
from rtloop.policy.terms.start import has_acted

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class LowPassConfig(Section):
    """Of first order: what is slower than its cutoff passes."""

    cutoff_hz: PositiveNumber = Field(description="where the half of the power is left")


@CONTROLLERS.register
class LowPass(Controller):
    """A low-pass filter of first order, which begins at its first target:
    y += (1 - exp(-2 pi cutoff T)) (x - y).
    """

    kind = "low_pass"

    low_pass: LowPassConfig = Field(description="its cutoff")

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        yield from ()

    def emit(self, builder: GraphBuilder, target: str, scope: Scope, names: Names | None) -> str:
        if builder.period_s is None:
            raise ValueError("the period of the loop is not known")
        size = builder.size(target)
        share = 1.0 - math.exp(-2 * math.pi * self.low_pass.cutoff_hz * float(builder.period_s))
        last = builder.feedback("low_pass", (1, size), lambda _: passed, of_applied=True)
        before = builder.node("Where", [has_acted(builder), last, target], "passed_before")
        parts = [
            builder.node("Mul", [before, builder.constant(row(1 - share, 1), "kept")], "of_before"),
            builder.node("Mul", [target, builder.constant(row(share, 1), "let")], "of_target"),
        ]
        passed = builder.node("Add", parts, "low_passed")
        return passed


class RateLimitConfig(Section):
    """How fast targets may move."""

    max_per_s: PositiveValues = Field(description="the largest change in a second, per element")
    measured: Name | None = Field(
        default=None,
        alias="from",
        description="the input or group that the first target starts from; null is that target itself",
    )


@CONTROLLERS.register
class RateLimit(Controller):
    """No faster than so much a second, from where it is measured to be."""

    kind = "rate_limit"

    rate_limit: RateLimitConfig = Field(description="the largest rate")

    def reads(self) -> tuple[str | None, ...]:
        return (self.rate_limit.measured,)

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        at = (*here, self.kind)
        lists = {"max_per_s": self.rate_limit.max_per_s}
        yield from same_length(at, lists, size, "the policy's output", here)
        if self.rate_limit.measured is not None:
            keys = (*at, "from")
            yield from measured_rules(keys, self.rate_limit.measured, scope, names, size)

    def emit(self, builder: GraphBuilder, target: str, scope: Scope, names: Names | None) -> str:
        if builder.period_s is None:
            raise ValueError("the period of the loop is not known")
        size = builder.size(target)
        first = target
        if self.rate_limit.measured is not None:
            known = measured(builder, self.rate_limit.measured, scope, names)
            first = builder.must_be_finite(known)
        last = builder.feedback("rate_limited", (1, size), lambda _: limited, of_applied=True)
        before = builder.node("Where", [has_acted(builder), last, first], "limited_before")
        step = builder.constant(
            row(self.rate_limit.max_per_s, size) * row(float(builder.period_s), 1), "largest_step"
        )
        low = builder.node("Sub", [before, step], "slowest")
        high = builder.node("Add", [before, step], "fastest")
        limited = between(builder, target, low, high, "rate_limited")
        return limited
