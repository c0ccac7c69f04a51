"""What exporters write into the metadata of a model: joints, their default pose, their gains."""

from __future__ import annotations

import json
from collections.abc import Mapping

#: By what it means, the keys that hold it: mjlab, whole_body_tracking and legged_control2; holosoma.
JOINTS = ("joint_names", "dof_names")
POSE = ("default_joint_pos",)
#: In Hz, how often the policy runs: exploy.
RATE = ("update_rate",)


def names_in(metadata: Mapping[str, str], keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """A list of texts, as JSON or CSV; None where there is none under these keys."""
    listed = _listed(metadata, keys)
    if listed is None or not all(isinstance(item, str) for item in listed):
        return None
    return tuple(str(item).strip() for item in listed)


def numbers_in(metadata: Mapping[str, str], keys: tuple[str, ...]) -> tuple[float, ...] | None:
    """A list of numbers, as JSON or CSV; None where there is none under these keys."""
    listed = _listed(metadata, keys)
    if listed is None:
        return None
    try:
        return tuple(float(str(item)) for item in listed)
    except (TypeError, ValueError):
        return None


def number_in(metadata: Mapping[str, str], keys: tuple[str, ...]) -> float | None:
    """A number above 0; None where there is none under these keys."""
    text = next((metadata[key] for key in keys if key in metadata), "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _listed(metadata: Mapping[str, str], keys: tuple[str, ...]) -> list[object] | None:
    text = next((metadata[key] for key in keys if key in metadata), "").strip()
    if not text:
        return None
    if not text.startswith("["):
        return list(text.split(","))
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None
