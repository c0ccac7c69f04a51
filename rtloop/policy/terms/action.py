"""From the policy's output to the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of, unknown
from rtloop.config.values import ElementNames, Name, Selection, Text
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.joints import Joints, Pattern, joint_names, joint_rules, unfound
from rtloop.policy.terms.limits import TorqueLimitConfig
from rtloop.policy.terms.measured import measured_rules
from rtloop.policy.terms.shape import Shape
from rtloop.policy.terms.start import Duration, StartConfig
from rtloop.policy.terms.term import pose_rules


@dataclass(frozen=True)
class Sink:
    """What is known of an output of the loop, which takes a part of the command."""

    size: int
    names: tuple[str, ...] | None = None
    """Of its elements; None where they have none."""
    default: tuple[float, ...] | None = None
    """What elements get that no action commands; None where there is nothing for them."""


class ActionTerm(Shape):
    """From policy output to command: ``clip(y * scale + offset + plus)``, in that order.

    Before that y is smoothed and faded in; behind it, the target is limited by its torque. The values
    go to the outputs of the loop by the names of their elements, or, where there are none, in their
    order. Elements that no action commands stay at the output's ``default``.
    """

    output: Text | None = Field(
        default=None, description="which output of the model, or MODEL.OUTPUT; null is the action"
    )
    group: Name | None = Field(
        default=None,
        description="a group of the policy whose values are commanded, no output of a model",
    )
    select: Selection | None = Field(
        default=None, description="indices of elements of the output, in order; null is all"
    )
    joints: Joints | None = Field(
        default=None,
        description="`policy`, or names: the joints that the elements are, in their order",
    )
    named: Pattern = Field(
        default="{}",
        description="how the outputs of the loop name the element of a joint: {}_target",
    )
    to: ElementNames | None = Field(
        default=None,
        description="the elements of the outputs of the loop that are commanded, by name",
    )
    plus: Name | None = Field(
        default=None,
        description="an input or group that is added after the offset: a residual action",
    )
    smooth: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of the newest output in a moving average, which `last_action` sees; 1 is none",
    )
    fade_in_s: Duration | None = Field(
        default=None,
        description="from the first step that acts: the action, and what `last_action` sees of it, grows "
        "from 0 to 1",
    )
    relative: bool = Field(
        default=False,
        description="true to add to the target that left last, after all limits, in place of an offset",
    )
    measured: Name | None = Field(
        default=None,
        alias="from",
        description="the input or group with the measured pose that the first relative target adds to; "
        "null is default_joint_pos",
    )
    start: StartConfig | None = Field(
        default=None,
        description="first the command goes from the measured pose to another; no action is applied meanwhile",
    )
    torque_limit: TorqueLimitConfig | None = Field(
        default=None, description="the target is cut to what a torque limit allows; last of all"
    )

    def names(self, scope: Scope, size: int) -> tuple[str, ...] | None:
        """What the values are called: joints, where the policy has as many; None where they have no names."""
        if self.joints is not None:
            return joint_names(self.joints, scope.joints)
        if self.select is None and self.group is None and scope.joints is not None:
            return scope.joints if len(scope.joints) == size else None
        return None

    def targets(self, scope: Scope, size: int) -> tuple[str, ...] | None:
        """The names of the elements of outputs that take the values; None where order decides."""
        if self.to is not None:
            return self.to
        names = self.names(scope, size)
        return None if names is None else tuple(self.named.replace("{}", name) for name in names)

    def reads(self) -> set[str]:
        """The inputs and groups in which the elements are found."""
        named = [self.measured]
        if self.start is not None:
            named.append(self.start.measured)
        if self.torque_limit is not None:
            named += [self.torque_limit.position, self.torque_limit.velocity]
        return {name for name in named if name is not None}

    def element_names(self, scope: Scope, size: int) -> tuple[str, ...] | None:
        """By what the values are found in a measured vector: joints, or else the elements they go to."""
        return self.names(scope, size) or self.to

    def rules(
        self, here: Keys, scope: Scope, size: int | None, sinks: Mapping[str, Sink] | None
    ) -> Iterator[Problem]:
        """Broken rules of the action at ``here``, of ``size`` values, once the models are known."""
        joints_at = (*scope.groups_at[:-1], "joints")
        if self.joints is not None and (
            scope.are_models_known or joint_names(self.joints, scope.joints) is not None
        ):
            yield from joint_rules((*here, "joints"), self.joints, scope.joints, joints_at)
        if self.group is not None and self.group not in scope.groups:
            known = list(scope.groups)
            yield unknown((*here, "group"), self.group, "group", known, scope.groups_at)
        if self.plus is not None:
            names = None if size is None else self.element_names(scope, size)
            yield from measured_rules((*here, "plus"), self.plus, scope, names, size)
        yield from self._key_rules(here)
        yield from self._measured_rules(here, scope, size)
        if size is None:
            return
        names = self.names(scope, size)
        if self.offset == DEFAULT_POSE:
            yield from pose_rules((*here, "offset"), scope, names, size)
        key = "to" if self.to is not None else "joints"
        wanted = self.targets(scope, size)
        if wanted is None or sinks is None:
            return
        if len(wanted) != size:
            yield Problem((*here, key), f"{size} names, one for each value", f"{len(wanted)} names")
            return
        known = [name for sink in sinks.values() for name in sink.names or ()]
        if known and (lacks := unfound(wanted, known, "outputs of the loop")) is not None:
            yield Problem((*here, key), lacks, ", ".join(f"'{name}'" for name in wanted[:3]))
        elif not known and (self.to is not None or self.joints is not None):
            expected = "outputs whose elements have names; without them the order decides"
            yield Problem((*here, key), expected, any_of(list(wanted)[:3]))

    def _key_rules(self, here: Keys) -> Iterator[Problem]:
        if self.relative and self.offset != 0:
            expected = "no offset beside `relative`: it would be added in every step anew"
            yield Problem((*here, "offset"), expected, judged=((*here, "relative"),), at_key=True)
        if self.measured is not None and not self.relative:
            expected = "`relative: true` beside it, or `from` under `start`"
            yield Problem((*here, "from"), expected, "from", at_key=True)
        elif self.measured is not None and self.start is not None:
            expected = "no `from` beside `start`, at whose end the first relative target begins"
            yield Problem((*here, "from"), expected, "both", at_key=True)
        scales = self.scale if isinstance(self.scale, tuple) else (self.scale,)
        limit = self.torque_limit
        if limit is not None and limit.last_action == "limited" and 0 in scales:
            expected = (
                "`last_action: unlimited` where a scale is 0: no action commands the limited target"
            )
            yield Problem((*here, "torque_limit"), expected, "limited", at_key=True)

    def _measured_rules(self, here: Keys, scope: Scope, size: int | None) -> Iterator[Problem]:
        names = None if size is None else self.element_names(scope, size)
        if self.measured is not None:
            yield from measured_rules((*here, "from"), self.measured, scope, names, size)
        elif self.relative and self.start is None and size is not None:
            pose = None if scope.pose is None else scope.pose.of(names, size)
            if pose is None:
                expected = f"`from: NAME`, or a {DEFAULT_POSE} of {size} values: what the first one adds to"
                yield Problem((*here, "relative"), expected, "relative", at_key=True)
        if self.start is not None:
            yield from self.start.rules((*here, "start"), scope, names, size)
        if self.torque_limit is not None:
            yield from self.torque_limit.rules((*here, "torque_limit"), scope, names, size)


def placed(
    wanted: Sequence[tuple[str, ...] | None], sizes: Sequence[int], sinks: Mapping[str, Sink]
) -> list[int | float] | str:
    """Where each element of the command comes from: the position of a value of the actions, or a default.

    ``wanted`` are the targets of each action, of these sizes. A text says why there is no such command.
    """
    names = [name for sink in sinks.values() for name in sink.names or (None,) * sink.size]
    total = len(names)
    if all(targets is None for targets in wanted) or all(name is None for name in names):
        if sum(sizes) != total:
            return f"{total}, the size of the outputs"
        return list(range(total))
    source: dict[str, int] = {}
    position = 0
    for targets in wanted:
        if targets is None:
            return "`to` or `joints` for each action, where one has them"
        for target in targets:
            if target in source:
                return f"each element of the outputs once; '{target}' is commanded twice"
            source[target] = position
            position += 1
    command: list[int | float] = []
    for key, sink in sinks.items():
        for index, name in enumerate(sink.names or (None,) * sink.size):
            if name is not None and name in source:
                command.append(source[name])
            elif sink.default is not None:
                command.append(float(sink.default[index]))
            else:
                return f"an action for element '{name}' of output '{key}', or `default` there"
    return command
