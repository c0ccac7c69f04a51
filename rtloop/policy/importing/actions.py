"""From the actions of a training to those of a loop, and the outputs that take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rtloop.errors import ConfigError
from rtloop.policy.importing.sides import Sides
from rtloop.policy.importing.terms import POSE, Joints, TermDrafter, finite, one_number
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
    """All actions and outputs, and the group that some of them add."""

    actions: list[tuple[dict[str, Any], str]]
    outputs: dict[str, OutputDraft]
    measured: dict[str, Any] | None = None


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
    draft = ActionDraft([], {})
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
        if one_number(part.scale) != 1.0:
            keys["scale"] = one_number(part.scale)
        offset = _offset(part, joints)
        if offset is not None:
            keys["offset"] = offset
        if part.clip is not None:
            keys["clip"] = [one_number(finite(end)) for end in part.clip]
        if part.plus_measured:
            name = drafter.joint_input("joint_pos", part.where)
            draft.measured = {
                "input": name,
                **({"joints": keys["joints"]} if "joints" in keys else {}),
            }
            keys["plus"] = "measured"
        draft.actions.append((keys, part.where))
        _add_output(draft, part, share, joints, is_shared, drafter)
    return draft


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


def _offset(part: Commanded, joints: Joints) -> Any:
    offset = one_number(part.offset)
    if offset == 0.0:
        return None
    if joints.pose is not None and joints.policy is not None and part.joints is not None:
        by_name = dict(zip(joints.policy, joints.pose.value, strict=False))
        if part.offset == tuple(by_name.get(name) for name in part.joints):
            return POSE
    return offset


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
