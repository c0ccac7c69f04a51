"""What exporters write into the metadata of a model: joints, their default pose, their gains."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TypeVar

from rtloop.errors import ConfigError

T = TypeVar("T")

#: By what it means, the keys that hold it: mjlab, whole_body_tracking and legged_control2; holosoma.
JOINTS = ("joint_names", "dof_names")
POSE = ("default_joint_pos",)
_LISTED = ", as a JSON list or with commas between them"
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
                found[key] = (_shown(metadata[key]), f"{expected}{_LISTED}")
    return found


def told_in(
    metadata: Mapping[str, str], key: str, read: Callable[..., T | None], expected: str, file: str
) -> T | None:
    """What ``read``, one of these functions, finds under a key; None where there is no such key.

    Raises ConfigError where it finds nothing there: what is broken is not the same as what is untold.
    """
    value = read(metadata, (key,))
    if value is None and metadata.get(key, "").strip():
        found = _shown(metadata[key])
        raise ConfigError(f"{file}: metadata {key}: found '{found}'; expected {expected}")
    return value


def told_names(metadata: Mapping[str, str], key: str, file: str) -> tuple[str, ...] | None:
    """A list of texts. Raises ConfigError where there is something else."""
    return told_in(metadata, key, names_in, f"names{_LISTED}", file)


def told_numbers(metadata: Mapping[str, str], key: str, file: str) -> tuple[float, ...] | None:
    """A list of finite numbers. Raises ConfigError where there is something else."""
    return told_in(metadata, key, numbers_in, f"finite numbers{_LISTED}", file)


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


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
    value = json_in(text)
    return value if isinstance(value, list) else None


def json_in(text: str) -> object:
    """A value that is written as JSON; None where the text is none, or nested without end."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
