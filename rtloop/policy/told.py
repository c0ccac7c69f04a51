"""What the metadata of a policy's models tell of its joints: all alike, and as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from rtloop.errors import Place
from rtloop.policy.metadata import JOINTS, POSE, joints_in, numbers_in, unreadable
from rtloop.policy.model_file import Source
from rtloop.policy.roles import Stage
from rtloop.policy.section import PolicyConfig

#: Metadata have three decimals.
ROUNDED = 5e-4 + 1e-9
_T = TypeVar("_T")
_TRAINED = "what the policy was trained with"


@dataclass(frozen=True)
class Told:
    """None where the metadata of no model have it."""

    joints: tuple[str, ...] | None = None
    joints_at: str = ""
    """Where the metadata have it, as people say it."""
    pose: tuple[float, ...] | None = None
    pose_at: str = ""


def told_of_joints(stages: Sequence[Stage], where: Callable[..., Place]) -> Told:
    """What every model says that says it. Raises ConfigError where two disagree, or joints and pose do."""
    acting = Source(stages[-1].name, where)
    joints: tuple[str, ...] | None = None
    pose: tuple[float, ...] | None = None
    joints_at = pose_at = ""
    for at, names in _each_of(stages, JOINTS, joints_in):
        if joints is not None and names != joints:
            found = (
                f"joints that contradict each other: {_first_other(joints, joints_at, names, at)}"
            )
            raise acting.wrong(found, f"the same joints in both, in one order: {_TRAINED}")
        joints, joints_at = (joints, joints_at) if joints is not None else (names, at)
    for at, values in _each_of(stages, POSE, numbers_in):
        if pose is not None and not _are_equal(values, pose):
            found = f"poses that contradict each other: {list(pose)} in {pose_at}, {list(values)} in {at}"
            raise acting.wrong(found, f"the same pose in both: {_TRAINED}")
        pose, pose_at = (pose, pose_at) if pose is not None else (values, at)
    if joints is not None and pose is not None and len(joints) != len(pose):
        found = (
            f"{len(joints)} joints in {joints_at}, and a pose of {len(pose)} values in {pose_at}"
        )
        raise acting.wrong(found, "one value for each joint")
    return Told(joints, joints_at, pose, pose_at)


def refuse_unreadable(
    section: PolicyConfig, stages: Sequence[Stage], where: Callable[..., Place]
) -> None:
    """Metadata that the configuration leaves the joints or the pose to must say them. Raises ConfigError."""
    for stage in stages:
        for key, (text, expected) in unreadable(stage.file.metadata).items():
            said = "default_joint_pos" if key in POSE else "joints"
            if getattr(section, said) is None:
                at, _, path = section.sections[stage.name]
                found = f"'{key}' of its metadata, which cannot be read: {text}"
                cure = f"{expected}; or `{said}` of the policy"
                raise Source(str(path), partial(where, *at)).wrong(found, cure)


def refuse_contradiction(section: PolicyConfig, told: Told, where: Callable[..., Place]) -> None:
    """The configuration may say what the metadata do not, and nothing else. Raises ConfigError."""
    source = Source("policy", where)
    joints, pose = section.joints, section.default_joint_pos
    if joints is not None and told.joints is not None and joints != told.joints:
        other = _first_other(joints, "the configuration", told.joints, told.joints_at)
        found = f"joints that are not those of the model's metadata: {other}"
        raise source.wrong(found, "the order in which the policy was trained", "joints")
    if pose is not None and told.pose is not None and not _are_equal(pose, told.pose):
        found = f"a default_joint_pos that is not that of the model's metadata, {told.pose_at}"
        raise source.wrong(found, f"{list(told.pose)}, as it was trained", "default_joint_pos")
    if pose is not None and told.joints is not None and len(pose) != len(told.joints):
        found = (
            f"a pose of {len(pose)} values for the {len(told.joints)} joints in {told.joints_at}"
        )
        raise source.wrong(found, "one value for each joint", "default_joint_pos")
    if joints is not None and told.pose is not None and len(joints) != len(told.pose):
        found = f"{len(joints)} joints for the pose of {len(told.pose)} values in {told.pose_at}"
        raise source.wrong(found, "one joint for each value", "joints")


def _each_of(
    stages: Sequence[Stage],
    keys: Sequence[str],
    read: Callable[[dict[str, str], tuple[str, ...]], _T | None],
) -> Iterator[tuple[str, _T]]:
    """What the models say under any of these keys, that of the acting model first: where, and what."""
    for stage in reversed(stages):
        for key in keys:
            value = read(dict(stage.file.metadata), (key,))
            if value is not None:
                yield f"`{key}` of model '{stage.name}'", value


def _first_other(one: Sequence[str], one_at: str, other: Sequence[str], other_at: str) -> str:
    shorter = min(len(one), len(other))
    index = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    first, second = (
        f"number {index} is '{names[index]}'" if index < len(names) else f"there are {len(names)}"
        for names in (one, other)
    )
    return f"in {one_at} {first}, in {other_at} {second}"


def _are_equal(one: Sequence[float], other: Sequence[float]) -> bool:
    close = (abs(a - b) <= ROUNDED for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and all(close)
