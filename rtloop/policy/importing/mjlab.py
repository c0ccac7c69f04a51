"""Metadata of a model as mjlab, whole_body_tracking and legged_control2 write them: lists as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop.errors import ConfigError
from rtloop.policy.importing.training import Commanded, Observed, Told, Training
from rtloop.policy.metadata import JOINTS, POSE, told_names, told_numbers

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
        values = told_numbers(metadata, key, file)
        return None if values is None else Told(values, where(key))

    joints, pose = told_names(metadata, JOINTS[0], file), told(POSE[0])
    scale = told("action_scale")
    actions: tuple[Commanded, ...] = ()
    todos = []
    if scale is not None and joints is not None:
        one = scale.value[0] if len(scale.value) == 1 else scale.value
        offset = 0.0 if pose is None else pose.value
        actions = (Commanded("position", scale.where, joints=joints, scale=one, offset=offset),)
        if pose is None:
            todos.append("default_joint_pos is told nowhere: add the `offset` of the action")
    observed = _observed(metadata, file)
    gains = {"stiffness": told("joint_stiffness"), "damping": told("joint_damping")}
    if observed:
        todos.append(
            f"{where('observation_names')} tells names alone: each is taken unscaled and unclipped, as mjlab's "
            "own tasks have them; a task with other scales needs them here"
        )
    return Training(
        joints=None if joints is None else Told(joints, where("joint_names")),
        pose=pose,
        observations={"": observed} if observed else {},
        actions=actions,
        counters={"time_step": 0} if "anchor_body_name" in metadata else {},
        gains={key: gain for key, gain in gains.items() if gain is not None},
        todos=tuple(todos),
    )


def _observed(metadata: Mapping[str, str], file: str) -> tuple[Observed, ...]:
    where = f"{file}: metadata observation_names"
    names = told_names(metadata, "observation_names", file) or ()
    lengths = told_numbers(metadata, "observation_history_lengths", file)
    if lengths is not None and len(lengths) != len(names):
        raise ConfigError(
            f"{where} are {len(names)}, and observation_history_lengths {len(lengths)}; expected one for each"
        )
    for length in lengths or ():
        if length < 0 or length != int(length):
            raise ConfigError(
                f"{file}: metadata observation_history_lengths: found {length:g}; expected whole numbers"
            )
    histories = [max(1, int(length)) for length in lengths or [1] * len(names)]
    return tuple(
        Observed(
            _FUNCTIONS.get(name, name),
            f"{where}: {name}",
            history=history,
            is_history_told=lengths is not None,
        )
        for name, history in zip(names, histories, strict=True)
    )
