"""From the policy's output to the command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, any_of, unknown
from rtloop.config.values import ElementNames, Name, Selection, Text
from rtloop.policy.controllers.controller import CONTROLLERS, Controller
from rtloop.policy.terms.elements import DEFAULT_POSE, Elements, Scope, Vector, names_of
from rtloop.policy.terms.joints import Joints, Pattern, joint_names, joint_rules, unfound
from rtloop.policy.terms.limits import TorqueLimitConfig
from rtloop.policy.terms.matching import Values, matching_rules, pose_rules
from rtloop.policy.terms.measured import measured_rules
from rtloop.policy.terms.shape import Shape
from rtloop.policy.terms.start import Duration, StartConfig


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
        description="the elements of the outputs of the loop that are commanded, by name, as OUTPUT.NAME where "
        "several have it",
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
        default=None, description="the target is cut to what a torque limit allows"
    )
    controllers: Annotated[
        tuple[Annotated[Controller, CONTROLLERS], ...], Strict(False), Field(max_length=16)
    ] = Field(
        default=(),
        description="what makes commands of the targets in each cycle, one after the other",
    )

    def source(self, scope: Scope) -> Elements:
        """What the values are picked from. Of a model's output without names the joints of the policy are the
        names, where there are as many; nothing is known while the models are not."""
        if self.group is not None:
            return (scope.vector(self.group) if self.group in scope.groups else None) or Vector()
        if self.output is None:
            return scope.action
        answer = scope.outputs.get(answer_called(self.output, scope.outputs) or "", Vector())
        size, joints = answer.element_count, scope.joints
        if answer.element_names is not None:
            return answer
        return Vector(size, joints if joints is not None and len(joints) == size else None)

    def size(self, scope: Scope) -> int | None:
        """The number of values; None while it is not known."""
        return len(self.select) if self.select is not None else self.source(scope).element_count

    def names(self, scope: Scope) -> tuple[str, ...] | None:
        """What the values are called: joints, or the elements of a group; None where they have no names."""
        if self.joints is not None:
            return joint_names(self.joints, scope.joints)
        names = names_of(self.source(scope).element_names)
        if names is None or self.select is None:
            return names
        picked = [e for e in self.select if isinstance(e, int) and e < len(names)]
        return tuple(names[e] for e in picked) if len(picked) == len(self.select) else None

    def is_moved(self) -> bool:
        """Whether the values are in another order than at their source."""
        numbers = [element for element in self.select or () if isinstance(element, int)]
        return numbers != sorted(numbers)

    def targets(self, scope: Scope) -> tuple[str, ...] | None:
        """The names of the elements of outputs that take the values; None where order decides."""
        if self.to is not None:
            return self.to
        names = self.names(scope)
        return None if names is None else tuple(self.named.replace("{}", name) for name in names)

    def values(self, scope: Scope, size: int | None) -> Values:
        """What a vector that is added comes to."""
        called = Values.of(size, self.names(scope), self.targets(scope))
        return replace(called, is_moved=self.is_moved())

    @property
    def gives_efforts(self) -> bool:
        """Whether the command is no target any more, but what a controller makes of it."""
        return any(controller.gives_efforts for controller in self.controllers)

    def reads(self) -> set[str]:
        """The inputs and groups in which the elements are found."""
        named = [self.measured]
        if self.start is not None:
            named.append(self.start.measured)
        if self.torque_limit is not None:
            named += [self.torque_limit.position, self.torque_limit.velocity]
        for controller in self.controllers:
            named += controller.reads()
        return {name for name in named if name is not None}

    def element_names(self, scope: Scope) -> tuple[str, ...] | None:
        """By what the values are found in a measured vector: joints, or else the elements they go to."""
        of_group = self.group is not None and self.joints is None
        return (self.to if of_group else None) or self.names(scope) or self.to

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
        yield from self._key_rules(here)
        yield from self._select_rules(here)
        yield from self._plus_rules(here, scope, size)
        yield from self._measured_rules(here, scope, size)
        if size is None:
            return
        if self.offset == DEFAULT_POSE:
            yield from pose_rules(
                (*here, "offset"), scope, self.names(scope), size, self.is_moved()
            )
        if sinks is not None:
            yield from self._target_rules(here, scope, size, sinks)

    def _target_rules(
        self, here: Keys, scope: Scope, size: int, sinks: Mapping[str, Sink]
    ) -> Iterator[Problem]:
        """Whether the outputs have the elements that the values are for."""
        known = [name for name in addresses(sinks) if name]
        wanted = self.targets(scope)
        if wanted is None:
            joints = [self.named.replace("{}", joint) for joint in scope.joints or ()]
            if any(name in joints for name in known):
                expected = (
                    f"`joints`, the joints of the policy that its {size} values are, or `to`, the elements "
                    "of the outputs that they are for"
                )
                yield Problem(here, expected, f"{size} values without names", at_key=True)
            return
        given = [key for key in ("to", "named", "joints") if key in self.model_fields_set]
        keys = (*here, given[0]) if given else here
        told = ", ".join(f"'{name}'" for name in wanted[:3])
        if len(wanted) != size:
            yield Problem(keys, f"{size} names, one for each value", f"{len(wanted)} names")
        elif known and (lacks := unfound(_short(wanted, sinks), known, "outputs of the loop")):
            cure = "" if given else "; `named` says how they call a joint, `to` which they are"
            yield Problem(keys, f"{lacks}{cure}", told, at_key=not given)
        elif not known and given:
            expected = "outputs whose elements have names; without them the order decides"
            yield Problem(keys, expected, any_of(list(wanted)[:3]))

    def _plus_rules(self, here: Keys, scope: Scope, size: int | None) -> Iterator[Problem]:
        if self.plus is None:
            return
        keys, vector = (*here, "plus"), scope.vector(self.plus)
        if vector is None:
            known = scope.vector_names
            yield unknown(keys, self.plus, "input or group", known, scope.inputs_at)
            return
        values = self.values(scope, size)
        yield from matching_rules(keys, values, vector, f"'{self.plus}'", scope)

    def _select_rules(self, here: Keys) -> Iterator[Problem]:
        select = self.select or ()
        for position, element in enumerate(select):
            keys = (*here, "select", position)
            if element in select[:position]:
                expected = (
                    "each element once; one that commands several is selected by several `actions`"
                )
                yield Problem(keys, expected)

    def _key_rules(self, here: Keys) -> Iterator[Problem]:
        if self.group is not None and self.output is not None:
            expected = "either `output` of a model, or `group`"
            yield Problem(
                (*here, "group"), expected, "both", judged=((*here, "output"),), at_key=True
            )
        if self.relative and self.offset != 0:
            expected = "no offset beside `relative`: it would be added in every step anew"
            yield Problem((*here, "offset"), expected, judged=((*here, "relative"),), at_key=True)
        if self.relative and self.gives_efforts:
            expected = (
                "no `relative` beside controllers that command efforts: what left last is no target"
            )
            yield Problem((*here, "relative"), expected, "relative", at_key=True)
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
        names = None if size is None else self.element_names(scope)
        if self.measured is not None:
            yield from measured_rules((*here, "from"), self.measured, scope, names, size)
        elif self.relative and self.start is None and size is not None:
            pose = None if scope.pose is None else scope.pose.of(names, size, self.is_moved())
            if pose is None:
                expected = f"`from: NAME`, or a {DEFAULT_POSE} of {size} values: what the first one adds to"
                yield Problem((*here, "relative"), expected, "relative", at_key=True)
        if self.start is not None:
            at = (*here, "start")
            yield from self.start.rules(at, scope, names, size, relative=self.relative)
        if self.torque_limit is not None:
            yield from self.torque_limit.rules((*here, "torque_limit"), scope, names, size)
        for index, controller in enumerate(self.controllers):
            yield from controller.rules((*here, "controllers", index), scope, names, size)


def answer_called(name: str, answers: Iterable[str]) -> str | None:
    """Of ``MODEL.OUTPUT`` the one that is called ``name``, with its model or without; None where none is, or
    several are."""
    known = [answer for answer in answers if name in (answer, answer.partition(".")[2])]
    return known[0] if len(known) == 1 else None


def addresses(sinks: Mapping[str, Sink]) -> list[str]:
    """What each element of the outputs is commanded by: its name, as OUTPUT.NAME where several have it. Empty
    where it has none: a number is no name."""
    every = [name for sink in sinks.values() for name in sink.names or ()]
    return [
        "" if name.isdigit() else name if every.count(name) == 1 else f"{key}.{name}"
        for key, sink in sinks.items()
        for name in sink.names or ("0",) * sink.size
    ]


def _short(targets: Sequence[str], sinks: Mapping[str, Sink]) -> list[str]:
    """The targets as ``addresses`` has them: OUTPUT.NAME is a name where only one output has it."""
    whole = {
        f"{key}.{name}": address
        for (key, name), address in zip(
            (
                (key, name)
                for key, sink in sinks.items()
                for name in sink.names or ("0",) * sink.size
            ),
            addresses(sinks),
            strict=True,
        )
    }
    own = {address for address in whole.values() if address}
    return [target if target in own else whole.get(target) or target for target in targets]


def placed(
    wanted: Sequence[tuple[str, ...] | None], sizes: Sequence[int], sinks: Mapping[str, Sink]
) -> list[int | float] | str:
    """Where each element of the command comes from: the position of a value of the actions, or a default.

    ``wanted`` are the targets of each action, of these sizes. A text says why there is no such command.
    """
    names = addresses(sinks)
    total = len(names)
    if all(targets is None for targets in wanted) or not any(names):
        if sum(sizes) != total:
            return f"{total}, the size of the outputs"
        return list(range(total))
    source: dict[str, int] = {}
    position = 0
    for targets in wanted:
        if targets is None:
            return "`to` or `joints` for each action, where one has them"
        for target in _short(targets, sinks):
            if target in source:
                cure = "" if "." in target else f". OUTPUT.{target} is that of one output"
                return f"each element of the outputs once; '{target}' is commanded twice{cure}"
            source[target] = position
            position += 1
    command: list[int | float] = []
    each = ((key, sink, index) for key, sink in sinks.items() for index in range(sink.size))
    for name, (key, sink, index) in zip(names, each, strict=True):
        if name in source:
            command.append(source[name])
        elif sink.default is not None:
            command.append(float(sink.default[index]))
        else:
            told = None if sink.names is None else sink.names[index]
            return f"an action for element '{told}' of output '{key}', or `default` there"
    lost = [target for target, position in source.items() if position not in command]
    return f"outputs with elements {any_of(lost)}" if lost else command
