"""Metadata of a model as mjlab, whole_body_tracking and legged_control2 write them: lists as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop.errors import ConfigError
from rtloop.policy.importing.training import Commanded, Observed, Told, Training
from rtloop.policy.metadata import JOINTS, POSE, names_in, numbers_in

#: Names of terms in these projects' tasks, and the functions behind them.
_FUNCTIONS = {
    "joint_pos": "joint_pos_rel",
    "joint_vel": "joint_vel_rel",
    "actions": "last_action",
    "command": "generated_commands",
    "velocity_commands": "generated_commands",
}


def is_mjlab(metadata: Mapping[str, str]) -> bool:
    """Whether these are the keys of such a file."""
    return "joint_names" in metadata


def read(metadata: Mapping[str, str], file: str) -> Training:
    """``file`` is the name of the model. Raises ConfigError."""

    def where(key: str) -> str:
        return f"{file}: metadata {key}"

    def told(key: str) -> Told[tuple[float, ...]] | None:
        values = numbers_in(metadata, (key,))
        return None if values is None else Told(values, where(key))

    joints, pose = names_in(metadata, JOINTS), numbers_in(metadata, POSE)
    scale = told("action_scale")
    actions: tuple[Commanded, ...] = ()
    if scale is not None and pose is not None and joints is not None:
        one = scale.value[0] if len(scale.value) == 1 else scale.value
        actions = (Commanded("position", scale.where, joints=joints, scale=one, offset=pose),)
    observed = _observed(metadata, where("observation_names"))
    gains = {"stiffness": told("joint_stiffness"), "damping": told("joint_damping")}
    todos = []
    if observed:
        todos.append(
            f"{where('observation_names')} tells names alone: each is taken unscaled and unclipped, as mjlab's "
            "own tasks have them; a task with other scales needs them here"
        )
    return Training(
        joints=None if joints is None else Told(joints, where("joint_names")),
        pose=None if pose is None else Told(pose, where("default_joint_pos")),
        observations={"": observed} if observed else {},
        actions=actions,
        counters={"time_step": 0} if "anchor_body_name" in metadata else {},
        gains={key: gain for key, gain in gains.items() if gain is not None},
        todos=tuple(todos),
    )


def _observed(metadata: Mapping[str, str], where: str) -> tuple[Observed, ...]:
    names = names_in(metadata, ("observation_names",)) or ()
    lengths = numbers_in(metadata, ("observation_history_lengths",))
    if lengths is not None and len(lengths) not in (0, len(names)):
        raise ConfigError(
            f"{where} are {len(names)}, and observation_history_lengths {len(lengths)}; expected one for each"
        )
    histories = [max(1, int(length)) for length in lengths or ()] or [1] * len(names)
    return tuple(
        Observed(_FUNCTIONS.get(name, name), f"{where}: {name}", history=history)
        for name, history in zip(names, histories, strict=True)
    )
