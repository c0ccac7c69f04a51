"""Proportional-derivative control: what turns a position policy's targets into torques."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.section import Section
from rtloop.config.values import Name, PositiveValues, Values
from rtloop.policy.controllers.controller import CONTROLLERS, Controller, between
from rtloop.policy.shaping import applied, row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.measured import Names, measured, measured_rules

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class PdConfig(Section):
    """``clip(stiffness * (target - position) - damping * velocity, -limit, limit)``."""

    position: Name = Field(description="the input or group with the measured positions")
    velocity: Name | None = Field(
        default=None,
        description="the input or group with the measured velocities; required with a damping",
    )
    stiffness: PositiveValues = Field(description="per element")
    damping: Values = Field(default=0.0, description="per element")
    limit: PositiveValues | None = Field(
        default=None, description="the largest torque, per element; null is none"
    )

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        """Broken rules of the section at ``here``."""
        lists = {key: getattr(self, key) for key in ("stiffness", "damping", "limit")}
        yield from same_length(here, lists, size, "the policy's output", here)
        damping = self.damping if isinstance(self.damping, tuple) else (self.damping,)
        if min(damping) < 0:
            yield Problem((*here, "damping"), "0 or more", f"{min(damping):g}")
        yield from measured_rules((*here, "position"), self.position, scope, names, size)
        if self.velocity is not None:
            yield from measured_rules((*here, "velocity"), self.velocity, scope, names, size)
        elif max(damping) > 0:
            expected = "`velocity` beside it: the name of an input or group"
            yield Problem((*here, "damping"), expected, "a damping of nothing", at_key=True)


@CONTROLLERS.register
class PdController(Controller):
    """Torques that pull each element to its target, and damp its velocity."""

    kind = "pd"
    gives_efforts = True
    remembers = False

    pd: PdConfig = Field(description="gains, and what is measured")

    def reads(self) -> tuple[str | None, ...]:
        return self.pd.position, self.pd.velocity

    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        yield from self.pd.rules((*here, self.kind), scope, names, size)

    def emit(self, builder: GraphBuilder, target: str, scope: Scope, names: Names | None) -> str:
        size = builder.size(target)
        position = measured(builder, self.pd.position, scope, names)
        error = builder.node("Sub", [target, position], "position_error")
        torque = applied(builder, "Mul", error, row(self.pd.stiffness, size), 1.0)
        if self.pd.velocity is not None:
            velocity = measured(builder, self.pd.velocity, scope, names)
            damped = applied(builder, "Mul", velocity, row(self.pd.damping, size), 1.0)
            torque = builder.node("Sub", [torque, damped], "pd")
        if self.pd.limit is None:
            return torque
        limit = row(self.pd.limit, size).reshape(-1).tolist()
        return between(builder, torque, [-most for most in limit], limit, "torque")
