"""Metadata of a model as holosoma writes them: lists and mappings as JSON."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop.policy.importing.training import Told, Training
from rtloop.policy.metadata import json_in, told_names, told_numbers


def is_holosoma(metadata: Mapping[str, str]) -> bool:
    """Whether these are the keys of such a file."""
    return "dof_names" in metadata


def read(metadata: Mapping[str, str], file: str) -> Training:
    """``file`` is the name of the model. Raises ConfigError."""
    joints = told_names(metadata, "dof_names", file)
    gains = {}
    for name, key in (("stiffness", "kp"), ("damping", "kd")):
        if (values := told_numbers(metadata, key, file)) is not None:
            gains[name] = Told(values, f"{file}: metadata {key}")
    todos = [
        f"{file} tells neither default_joint_pos, nor the scale of the action, nor what is observed; holosoma "
        "has them in the configuration of the task: its terms are in alphabetical order (actions, "
        "base_ang_vel, command_…, cos_phase, dof_pos, dof_vel, projected_gravity, sin_phase)"
    ]
    if (ranges := _ranges(metadata)) is not None:
        todos.append(f"{file}: metadata command_ranges, for the `clip` of the command: {ranges}")
    return Training(
        joints=Told(joints, f"{file}: metadata dof_names") if joints else None,
        gains=gains,
        todos=tuple(todos),
    )


def _ranges(metadata: Mapping[str, str]) -> str | None:
    ranges = json_in(metadata.get("command_ranges", ""))
    if not isinstance(ranges, dict) or not ranges:
        return None
    return ", ".join(f"{key} {value}" for key, value in ranges.items())
