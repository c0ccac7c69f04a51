"""What a term of Isaac Lab reads on a robot: the inputs of a loop, and the term of rtloop over them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

QUATERNION = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Reading:
    """The kind of a term, and the input that it reads."""

    kind: str = "input"
    input: str = ""
    size: int | None = None
    """Of the term; None where the training tells."""
    initial: tuple[float, ...] | None = None
    todo: str = ""
    of_joints: bool = False
    """Whether it has one element for each joint."""
    minus_pose: bool = False
    of_robot: bool = False
    """Whether it is what the one robot measures: all such terms read the same."""


_ESTIMATED = "the velocity of the base has no sensor: it comes from an estimator"
_ORIENTATION = (
    "the orientation of the base in the world, as w, x, y, z; write `order: xyzw` at its term where "
    "yours is x, y, z, w, and `mount` where the sensor is turned against the base"
)
_QUATERNION = "the quaternion as w, x, y, z"
_READINGS = {
    "base_lin_vel": Reading(input="base_lin_vel", size=3, todo=_ESTIMATED, of_robot=True),
    "base_ang_vel": Reading(input="base_ang_vel", size=3, of_robot=True),
    "imu_ang_vel": Reading(input="imu_ang_vel", size=3),
    "imu_lin_acc": Reading(input="imu_lin_acc", size=3),
    "projected_gravity": Reading(
        "projected_gravity", "imu_quat_wxyz", 3, QUATERNION, todo=_ORIENTATION, of_robot=True
    ),
    "imu_projected_gravity": Reading(
        "projected_gravity", "imu_quat_wxyz", 3, QUATERNION, todo=_ORIENTATION
    ),
    "root_quat_w": Reading(
        input="imu_quat_wxyz", size=4, initial=QUATERNION, todo=_QUATERNION, of_robot=True
    ),
    "imu_orientation": Reading(input="imu_quat_wxyz", size=4, initial=QUATERNION, todo=_QUATERNION),
    "generated_commands": Reading(input="command"),
    "joint_pos": Reading(input="joint_pos", of_joints=True, of_robot=True),
    "joint_pos_rel": Reading(input="joint_pos", of_joints=True, minus_pose=True, of_robot=True),
    "joint_vel": Reading(input="joint_vel", of_joints=True, of_robot=True),
    "joint_vel_rel": Reading(input="joint_vel", of_joints=True, of_robot=True),
    "last_action": Reading("last_action"),
    "gait_phase": Reading("phase", size=2),
}
_EXPLOY = (
    (re.compile(r"obj\.[^.]+\.joints\.(pos|vel|effort)"), "joint_{}"),
    (re.compile(r"obj\.[^.]+\.(.+)\.w_Q_b"), "{}_quat_wxyz"),
    (re.compile(r"obj\.[^.]+\.(.+)\.lin_vel_b_rt_w_in_b"), "{}_lin_vel"),
    (re.compile(r"obj\.[^.]+\.(.+)\.ang_vel_b_rt_w_in_b"), "{}_ang_vel"),
    (re.compile(r"obj\.[^.]+\.(.+)\.pos_b_rt_w_in_w"), "{}_pos"),
    (re.compile(r"sensor\.[^.]+\.(.+)\.w_Q_b"), "{}_quat_wxyz"),
    (re.compile(r"sensor\.[^.]+\.(.+)\.lin_vel_b_rt_w_in_b"), "{}_lin_vel"),
    (re.compile(r"sensor\.[^.]+\.(.+)\.ang_vel_b_rt_w_in_b"), "{}_ang_vel"),
    (re.compile(r"cmd\.[^.]+\.(.+)"), "{}"),
)


def reading_of(function: str) -> Reading:
    """How a function is read; one that is not known is an input of its name."""
    if function in _READINGS:
        return _READINGS[function]
    if function.startswith("exploy:"):
        return _of_exploy(function.removeprefix("exploy:"))
    if function.startswith("input:"):
        name = function.removeprefix("input:")
        todo = "what this is made of: write its terms, or feed it whole"
        return Reading(input=section_name(name), todo=todo)
    if function.startswith("own:"):
        path = function.removeprefix("own:")
        todo = (
            f"'{path}' is a function of yours: feed it whole, or write the terms that it is made of"
        )
        return Reading(input=section_name(path.rpartition(".")[2]), todo=todo)
    todo = f"rtloop has no term '{function}': feed it whole, or write the terms that it is made of"
    return Reading(input=section_name(function), todo=todo)


def _of_exploy(tensor: str) -> Reading:
    for pattern, name in _EXPLOY:
        if match := pattern.fullmatch(tensor):
            given = name.format(match[1])
            is_turn = given.endswith("_quat_wxyz")
            return Reading(
                input=section_name(given),
                initial=QUATERNION if is_turn else None,
                of_joints=given.startswith("joint_") and tensor.startswith("obj."),
            )
    return Reading(input=section_name(tensor), todo=f"what exploy calls '{tensor}'")


def section_name(text: Any) -> str:
    """A text as the name of an input: ``a-z``, digits and underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    return (name if name[:1].isalpha() else f"in_{name}")[:32].rstrip("_")


def numbered(name: str, number: int) -> str:
    """The name of the second, third, … section that would be called ``name``."""
    return f"{name[: 32 - len(f'_{number}')]}_{number}"
