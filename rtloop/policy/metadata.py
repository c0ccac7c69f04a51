"""What exporters write into the metadata of a model: joints, their default pose, their gains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite

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


def joints_in(metadata: Mapping[str, str], keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """The names of joints, which are different; None where there are none under these keys."""
    names = names_in(metadata, keys)
    return names if names and all(names) and len(set(names)) == len(names) else None


def numbers_in(metadata: Mapping[str, str], keys: tuple[str, ...]) -> tuple[float, ...] | None:
    """A list of finite numbers, as JSON or CSV; None where there is none under these keys."""
    listed = _listed(metadata, keys)
    if listed is None:
        return None
    try:
        numbers = tuple(float(str(item)) for item in listed)
    except (TypeError, ValueError):
        return None
    return numbers if all(map(isfinite, numbers)) else None


def unreadable(metadata: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """By the keys of JOINTS and POSE that are there and say nothing: what they hold, and what is read."""
    found = {}
    for keys, read, expected in (
        (JOINTS, joints_in, "different names"),
        (POSE, numbers_in, "finite numbers"),
    ):
        for key in keys:
            if metadata.get(key, "").strip() and read(metadata, (key,)) is None:
                text = metadata[key]
                shown = text if len(text) <= 60 else f"{text[:57]}..."
                found[key] = (shown, f"{expected}, as a JSON list or with commas between them")
    return found


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
    if not text.startswith(("[", "{")):
        return list(text.split(","))
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None
