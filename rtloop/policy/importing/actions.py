"""From the actions of a training to those of a loop, and the outputs that take them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from rtloop.errors import ConfigError
from rtloop.policy.importing.bounds import one_number, shape
from rtloop.policy.importing.sides import Sides
from rtloop.policy.importing.sound import refuse_other_length
from rtloop.policy.importing.terms import POSE, Joints, TermDrafter
from rtloop.policy.importing.training import Commanded

_OUTPUTS = {
    "position": "joint_pos_target",
    "velocity": "joint_vel_target",
    "effort": "joint_effort",
}
_SUFFIXES = {"position": "{}_pos", "velocity": "{}_vel", "effort": "{}_effort"}


@dataclass
class OutputDraft:
    """An output of the loop that is to be written."""

    size: int
    names: tuple[str, ...] | None
    is_position: bool = False
    """Whether it commands where joints are to be."""
    where: str = ""


@dataclass
class ActionDraft:
    """All actions and outputs, and the groups that some of them command or add."""

    actions: list[tuple[dict[str, Any], str]]
    outputs: dict[str, OutputDraft]
    groups: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    """The keys of the only term of each, and a remark."""
    taken: Collection[str] = ()
    """The names of inputs, which no group may have."""

    def group(self, wanted: str, keys: dict[str, Any], note: str) -> str:
        """The name of a group of this term, numbered where another has it."""
        name, number = wanted, 1
        while name in self.taken or self.groups.get(name, (keys, note))[0] != keys:
            number += 1
            name = f"{wanted}_{number}"
        self.groups[name] = keys, note
        return name


def drafted_actions(
    sides: Sides, parts: tuple[Commanded, ...], joints: Joints, drafter: TermDrafter
) -> ActionDraft:
    """Raises ConfigError where the parts are not all of the action."""
    size = sides.action.size
    if not parts:
        return _untold(size, joints, drafter)
    shares = [part.size or len(part.joints or ()) for part in parts]
    of_action = [share for part, share in zip(parts, shares, strict=True) if part.output is None]
    if of_action and sum(of_action) != size:
        listed = ", ".join(
            f"{part.where} {share}" for part, share in zip(parts, shares, strict=True)
        )
        raise ConfigError(
            f"the files contradict each other: actions of {sum(of_action)} values ({listed}); expected "
            f"{size}, the size of the model's output {sides.action}"
        )
    told = [name for part in parts for name in part.joints or ()]
    is_shared = len(set(told)) != len(told)  # a joint gets a position and a velocity
    draft = ActionDraft([], {}, taken=drafter.inputs)
    position = 0
    for part, share in zip(parts, shares, strict=True):
        keys: dict[str, Any] = {}
        if part.output is not None and len(parts) > 1:
            keys["output"] = part.output
        elif len(of_action) > 1:
            keys["select"] = list(range(position, position + share))
        position += share
        if part.joints is not None:
            is_policy = part.joints == joints.policy
            keys["joints"] = "policy" if is_policy else list(part.joints)
            if is_shared:
                keys["named"] = _SUFFIXES[part.quantity]
        refuse_other_length(part.where, share, part.scale, part.offset, *(part.clip or ()))
        shaped = shape(part.scale, part.offset, part.clip, share)
        if shaped.get("offset") == one_number(part.offset) and _is_pose(part, joints):
            shaped["offset"] = POSE
        if part.plus_measured:
            keys = _added(draft, part, keys, shaped, sides, drafter)
        else:
            keys |= shaped
        draft.actions.append((keys, part.where))
        _add_output(draft, part, share, joints, is_shared, drafter)
    return draft


def _added(
    draft: ActionDraft,
    part: Commanded,
    keys: dict[str, Any],
    shaped: dict[str, Any],
    sides: Sides,
    drafter: TermDrafter,
) -> dict[str, Any]:
    """The action of what is added to where the joints are, and the groups that it takes."""
    joints = {"joints": keys["joints"]} if "joints" in keys else {}
    there = {"input": drafter.joint_input("joint_pos", part.where), **joints}
    plus = {"plus": draft.group("measured", there, "what relative actions are added to")}
    if "clip" not in shaped:
        return {**keys, **shaped, **plus}
    # An action clips last, so what is clipped before something is added is a group.
    output = {"output": f"policy.{part.output or sides.action.name}"}
    select = {"select": keys["select"]} if "select" in keys else {}
    delta = {**output, **select, **shaped}
    named = {"named": keys["named"]} if "named" in keys else {}
    note = "clipped before it is added to where the joints are"
    return {"group": draft.group("delta", delta, note), **joints, **named, **plus}


def _untold(size: int, joints: Joints, drafter: TermDrafter) -> ActionDraft:
    names = joints.robot if joints.policy is not None and len(joints.policy) == size else None
    drafter.todos.append(
        "what the output of the policy means is told nowhere: add `scale` and `offset` under `action`, and the "
        "`names` of what it commands"
        if names is None
        else "the scale and offset of the action are told nowhere: add them under `action`"
    )
    keys: dict[str, Any] = {"joints": "policy"} if names is not None else {}
    output = OutputDraft(len(names or ()) or size, names, names is not None)
    name = drafter.name("joint_pos_target" if names is not None else "action")
    return ActionDraft([(keys, "")], {name: output})


def _is_pose(part: Commanded, joints: Joints) -> bool:
    """Whether the offset is the default pose of the joints of the part."""
    if joints.pose is None or joints.policy is None or part.joints is None:
        return False
    by_name = dict(zip(joints.policy, joints.pose.value, strict=False))
    return part.offset == tuple(by_name.get(name) for name in part.joints)


def _add_output(
    draft: ActionDraft,
    part: Commanded,
    share: int,
    joints: Joints,
    is_shared: bool,
    drafter: TermDrafter,
) -> None:
    name = drafter.name(_OUTPUTS[part.quantity])
    pattern = _SUFFIXES[part.quantity] if is_shared else "{}"
    there = draft.outputs.get(name)
    commanded = set(part.joints or ())
    order = [joint for joint in joints.robot or part.joints or () if joint in commanded]
    names = tuple(pattern.replace("{}", joint) for joint in order) or None
    if there is not None:
        names = (*(there.names or ()), *(names or ())) or None
        share += there.size
    draft.outputs[name] = OutputDraft(
        len(names) if names else share, names, part.quantity == "position"
    )
