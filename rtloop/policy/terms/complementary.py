"""Two sensors of one thing: one fast that drifts, one that is right in the long run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name, PositiveNumber
from rtloop.policy.shaping import row
from rtloop.policy.terms.elements import Elements, Scope, Vector, names_of
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


@TERMS.register
class ComplementaryTerm(ObservationTerm):
    """A complementary filter: what is slower than its time constant comes from the value, what is faster from
    its rate. It begins at the value, and runs in each cycle of the loop, whatever `every` of the policy is.
    """

    # Higgins, A comparison of complementary and Kalman filtering, 1975, of first order:
    # y = s (y + rate dt) + (1 - s) value, s = T / (T + dt).

    kind = "complementary"
    is_of_each_cycle = True

    complementary: Name = Field(
        description="name of an input or group: noisy, without drift, as an angle of gravity"
    )
    rate: Name = Field(description="input or group: its derivative, as a gyro measures it")
    time_constant_s: PositiveNumber = Field(description="the time constant T, in seconds")

    def reads(self) -> tuple[str, ...]:
        return (self.complementary, self.rate)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        vectors = {self.kind: self.complementary, "rate": self.rate}
        known = {key: scope.vector(name) for key, name in vectors.items()}
        for key, name in vectors.items():
            if known[key] is None:
                at = (*here, key)
                yield unknown(at, name, "input or group", scope.vector_names, scope.inputs_at)
        value, rate = known[self.kind], known["rate"]
        if value is None or rate is None:
            return
        keys, found = (*here, "rate"), f"'{self.rate}'"
        if None not in (value.element_count, rate.element_count) and (
            value.element_count != rate.element_count
        ):
            expected = f"{value.element_count} values, as many as '{self.complementary}' has"
            yield Problem(keys, expected, f"{found}, which has {rate.element_count}")
        named = names_of(value.element_names), names_of(rate.element_names)
        if (
            None not in named
            and set(named[0] or ()) == set(named[1] or ())
            and named[0] != named[1]
        ):
            expected = f"a group that brings them into the order of '{self.complementary}'"
            yield Problem(keys, expected, found)

    def elements(self, scope: Scope) -> Elements:
        return scope.vector(self.complementary) or Vector()

    def emit(self, builder: GraphBuilder) -> str:
        with builder.each_cycle():
            return self._filtered(builder)

    def _filtered(self, builder: GraphBuilder) -> str:
        if builder.period_s is None:
            raise ValueError("the period of the loop is not known")
        value = builder.vector(self.complementary)
        rate = builder.vector(self.rate)
        period_s = float(builder.period_s)
        share = self.time_constant_s / (self.time_constant_s + period_s)
        size = builder.size(value)
        last = builder.feedback("complementary", (1, size), lambda _: filtered)
        moved = builder.node("Mul", [rate, builder.constant(row(period_s, 1), "period_s")], "moved")
        carried = builder.node("Add", [last, moved], "carried_on")
        parts = [
            builder.node("Mul", [carried, builder.constant(row(share, 1), "share")], "of_rate"),
            builder.node("Mul", [value, builder.constant(row(1 - share, 1), "rest")], "of_value"),
        ]
        mixed = builder.node("Add", parts, "complementary")
        filtered = builder.node("Where", [builder.has_run, mixed, value], "filtered")
        return filtered
