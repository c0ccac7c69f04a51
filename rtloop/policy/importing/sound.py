"""What files tell must be such as a loop can hold: names and numbers are judged once, for all formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan

from rtloop.config.document import has_controls
from rtloop.config.problem import printable
from rtloop.config.values import FLOAT32_MAX
from rtloop.errors import ConfigError
from rtloop.policy.exported_file import Numbers
from rtloop.policy.importing.bounds import Bounds
from rtloop.policy.importing.training import Training

_NAME_LENGTH_MAX = 64


def refuse_unsound(training: Training) -> None:
    """Raises ConfigError for what is no name or no number, and for bounds in the wrong order."""
    joints, pose = training.joints, training.pose
    if joints is not None:
        _names(joints.value, joints.where)
    if pose is not None:
        _numbers(pose.value, f"{pose.where}: the pose")
        if joints is not None and len(pose.value) != len(joints.value):
            raise ConfigError(
                f"{pose.where}: found {len(pose.value)} values; expected {len(joints.value)}, "
                "one for each joint"
            )
    for terms in training.observations.values():
        for term in terms:
            _names(term.joints or (), term.where)
            _numbers(term.scale, f"{term.where}: scale")
            _numbers(0.0 if term.minus is None else term.minus, f"{term.where}: offsets")
            _bounds(term.clip, f"{term.where}: clip")
    for action in training.actions:
        _names(action.joints or (), action.where)
        _numbers(action.scale, f"{action.where}: scale")
        _numbers(action.offset, f"{action.where}: offset")
        _bounds(action.clip, f"{action.where}: clip")
    for told in training.ranges.values():
        _bounds(told.value, told.where)


def refuse_controls(what: str, texts: Iterable[str]) -> None:
    """Raises ConfigError for a text that no configuration can hold."""
    for text in texts:
        if has_controls(text):
            raise ConfigError(
                f"{what}: found '{printable(text)[:80]}'; expected no control characters"
            )


def refuse_other_length(what: str, size: int, *vectors: Numbers | None) -> None:
    """Raises ConfigError where one is a list of numbers, and not one for each of ``size`` elements."""
    for values in vectors:
        if isinstance(values, tuple) and len(values) != size:
            raise ConfigError(f"{what}: found {len(values)} values; expected one number, or {size}")


def _names(names: Sequence[str], where: str) -> None:
    for position, name in enumerate(names):
        if not name or has_controls(name) or len(name) > _NAME_LENGTH_MAX:
            expected = f"a name of 1 to {_NAME_LENGTH_MAX} printable characters"
            raise ConfigError(f"{where}: found '{printable(name)[:80]}'; expected {expected}")
        if name in names[:position]:
            raise ConfigError(f"{where}: found '{name}' twice; expected each joint once")


def _numbers(values: Numbers, what: str) -> None:
    for value in values if isinstance(values, tuple) else (values,):
        if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
            raise ConfigError(
                f"{what}: found {value:g}; expected finite numbers, as a float32 holds"
            )


def _bounds(clip: Bounds | None, what: str) -> None:
    if clip is None:
        return
    rows = [end if isinstance(end, tuple) else (end,) for end in clip]
    for low, high in zip(*rows, strict=True):
        if isnan(low) or isnan(high) or low > high:
            raise ConfigError(f"{what}: found [{low:g}, {high:g}]; expected [lowest, highest]")
