"""Conditions on what is measured that end the loop: the safe command goes out, and FAULT is latched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, number, same_length, unknown
from rtloop.config.section import Section
from rtloop.config.values import Name, Number, Values, per_element
from rtloop.policy.shaping import gathered, row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.joints import Joints, joint_names, joint_rules, unfound
from rtloop.policy.terms.orientation import SIZES, ProjectedGravityTerm, orientation_rules
from rtloop.policy.terms.rotations import Order

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class BadOrientationConfig(Section):
    """The body is tilted too far from upright."""

    limit_angle: float = Field(
        gt=0, lt=math.pi, description="the largest tilt that goes on, in rad"
    )
    orientation: Name = Field(
        description="name of the input or group with the orientation of the body in the world"
    )
    order: Order = Field(
        default="wxyz", description="of its values; rpy is roll, pitch and yaw in radians"
    )
    mount: Annotated[tuple[Number, Number, Number], Strict(False)] | None = Field(
        default=None,
        description="roll, pitch and yaw of the sensor in the frame of the body, in radians",
    )

    def reads(self) -> set[str]:
        """The inputs and groups that are judged."""
        return {self.orientation}

    def element_names(self, scope: Scope) -> tuple[str, ...]:
        """Of the elements that these must have; () where order decides."""
        return ()

    @property
    def least_size(self) -> int:
        """How many elements these must have at least."""
        return SIZES[self.order]

    def rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of the section at ``here``."""
        keys = (*here, "orientation")
        yield from orientation_rules(keys, self.orientation, self.order, scope)

    def emit(self, builder: GraphBuilder, scope: Scope) -> str:
        """Adds the nodes that judge: bool [1, n], in the order of ``sentences``."""
        import numpy as np

        term = ProjectedGravityTerm(
            projected_gravity=self.orientation, order=self.order, mount=self.mount
        )
        gravity = builder.once(("source", term.source), lambda: term.emit(builder))
        builder.must_be_finite(gravity)
        down = gathered(builder, gravity, [2], "gravity_down")
        highest = np.full((1, 1), -math.cos(self.limit_angle), np.float32)
        least = builder.constant(highest, "upright_enough")
        return builder.node("Greater", [down, least], "bad_orientation")

    def sentences(self, scope: Scope) -> list[str]:
        """What is so where a flag is true."""
        return [f"the body is tilted by more than {number(self.limit_angle)} rad"]


class JointPosOutOfLimitConfig(Section):
    """A joint is outside its range."""

    position: Name = Field(description="name of the input or group with the measured positions")
    joints: Joints | None = Field(
        default=None,
        description="`policy`, or names: whose limits these are, in their order; null is all elements of "
        "the vector",
    )
    min: Values = Field(description="the lowest position that goes on, per joint")
    max: Values = Field(description="the highest position that goes on, per joint")

    def reads(self) -> set[str]:
        """The inputs and groups that are judged."""
        return {self.position}

    def element_names(self, scope: Scope) -> tuple[str, ...]:
        """Of the elements that these must have; () where order decides."""
        return (None if self.joints is None else joint_names(self.joints, scope.joints)) or ()

    @property
    def least_size(self) -> int:
        """How many elements these must have at least."""
        return max(len(v) if isinstance(v, tuple) else 1 for v in (self.min, self.max))

    def rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of the section at ``here``."""
        keys = (*here, "position")
        vector = scope.vector(self.position)
        if vector is None:
            yield unknown(
                keys, self.position, "input or group", scope.vector_names, scope.inputs_at
            )
            return
        size, source, size_at = vector.element_count, self.position, keys
        if self.joints is not None:
            names = joint_names(self.joints, scope.joints)
            size = None if names is None else len(names)
            source, size_at = "joints", (*here, "joints")
            if names is not None or scope.are_models_known:
                policy_at = (*scope.groups_at[:-1], "joints")
                yield from joint_rules(size_at, self.joints, scope.joints, policy_at)
            if vector.element_names is None and not vector.named:
                expected = f"elements with names, which those of '{self.position}' have not"
                yield Problem(size_at, expected, judged=(keys,), at_key=True)
            elif names is not None and vector.element_names is not None:
                lacks = unfound(names, vector.element_names, f"'{self.position}'")
                if lacks is not None:
                    yield Problem(
                        keys, lacks, f"'{self.position}', whose elements go by other names"
                    )
        yield from same_length(here, {"min": self.min, "max": self.max}, size, source, size_at)
        lowest = self.min if isinstance(self.min, tuple) else (self.min,)
        highest = self.max if isinstance(self.max, tuple) else (self.max,)
        for i in range(max(len(lowest), len(highest))):
            low, high = lowest[min(i, len(lowest) - 1)], highest[min(i, len(highest) - 1)]
            if not low < high:
                found = f"{number(low)} and {number(high)}"
                yield Problem((*here, "min"), "min < max", found, judged=((*here, "max"),))
                return

    def emit(self, builder: GraphBuilder, scope: Scope) -> str:
        """Adds the nodes that judge: bool [1, n], in the order of ``sentences``."""
        position = builder.must_be_finite(builder.vector(self.position))
        vector, names = scope.vector(self.position), self.element_names(scope)
        if names and vector is not None and vector.element_names is not None:
            indices = [vector.element_names.index(name) for name in names]
            position = gathered(builder, position, indices, "limited_joints")
        size = builder.size(position)
        low = builder.constant(row(self.min, size), "lowest_position")
        high = builder.constant(row(self.max, size), "highest_position")
        below = builder.node("Less", [position, low], "below_limit")
        above = builder.node("Greater", [position, high], "above_limit")
        return builder.node("Or", [below, above], "joint_pos_out_of_limit")

    def sentences(self, scope: Scope) -> list[str]:
        """What is so where a flag is true, joint by joint."""
        vector = scope.vector(self.position)
        size = 0 if vector is None else vector.element_count or 0
        names = self.element_names(scope) or (None if vector is None else vector.element_names)
        told = [f"'{name}'" for name in names or ()]
        told = told or [f"element {index} of '{self.position}'" for index in range(size)]
        low, high = (per_element(values, len(told)) for values in (self.min, self.max))
        return [
            f"{name} is outside {number(a)} to {number(b)}"
            for name, a, b in zip(told, low, high, strict=True)
        ]


class TerminationsConfig(Section):
    """When a policy is at its end, in Isaac Lab's words."""

    bad_orientation: BadOrientationConfig | None = Field(
        default=None, description="the body is tilted too far from upright"
    )
    joint_pos_out_of_limit: JointPosOutOfLimitConfig | None = Field(
        default=None, description="a joint is outside its range"
    )

    @property
    def given(self) -> dict[str, BadOrientationConfig | JointPosOutOfLimitConfig]:
        """By name, those that the file has."""
        every = {
            "bad_orientation": self.bad_orientation,
            "joint_pos_out_of_limit": self.joint_pos_out_of_limit,
        }
        return {name: termination for name, termination in every.items() if termination is not None}

    def rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of the section at ``here``."""
        for name, termination in self.given.items():
            yield from termination.rules((*here, name), scope)

    def emit(self, builder: GraphBuilder, scope: Scope) -> str:
        """Adds the nodes of all: bool [1, n]; empty without any."""
        flags = [termination.emit(builder, scope) for termination in self.given.values()]
        if len(flags) < 2:
            return flags[0] if flags else ""
        return builder.node("Concat", flags, "terminations", axis=1)

    def sentences(self, scope: Scope) -> tuple[str, ...]:
        """What each flag of ``emit`` says when it is true."""
        return tuple(
            f"{name}: {sentence}"
            for name, termination in self.given.items()
            for sentence in termination.sentences(scope)
        )
