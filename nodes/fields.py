"""Numbers of a message by their paths, compiled for the core from what the message class says of itself.

Without joints each field is a number. With joints each is a sequence with one number per joint: found by name
where the message has names, else by position. The elements are then all joints of the first field, of the
second, …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.utilities import get_rmw_implementation_identifier

from rtloop.core import CdrReader, CdrWriter
from rtloop.errors import ConfigError, RtloopError

from .cdr_program import Wanted, program
from .cdr_template import (
    Layout,
    filled,
    make_room,
    number_at,
    set_names,
    set_number,
    set_times,
    value_at,
)
from .message_types import Path, field_paths, has_stamp, names_path, ros_name

_STAMP: Path = ("header", "stamp")
_STAMP_SECONDS: Path = ("header", "stamp", "sec")


def reader(
    type_class: Any,
    fields: Sequence[str],
    joints: Sequence[str] | None,
    names: str | None,
    stamp: bool,
) -> CdrReader:
    """What takes ``fields`` out of serialized messages of this class, float32[len(elements)].

    ``names`` is the path of the joints' names, by default the message's only ``string[]``. With ``stamp`` it
    takes ``header.stamp`` too. Raises ConfigError for what the class has not.
    """
    chosen = _Chosen.of(type_class, fields, joints, names)
    if stamp and not has_stamp(type_class):
        name = ros_name(type_class)
        raise ConfigError(
            f"found stamp: header; expected stamp: received, for {name} has no header"
        )
    made = CdrReader(chosen.program(stamp), chosen.joints or (), len(chosen.elements))
    _prove_reader(made, chosen, stamp)
    return made


def writer(
    type_class: Any,
    fields: Sequence[str],
    joints: Sequence[str] | None,
    names: str | None,
    period_ns: int = 0,
) -> CdrWriter:
    """What puts float32[len(elements)] into a serialized message of this class.

    The joints' names are in it, all else is the class's default. ``header.stamp`` is the command's time; not
    that of a trajectory, where it stays 0, for "now", and point i is reached after i + 1 times ``period_ns``.
    Raises ConfigError for what the class has not.
    """
    chosen = _Chosen.of(type_class, fields, joints, names)
    message = type_class()
    for path in chosen.paths:
        make_room(message, path, len(chosen.joints or ()))
    if chosen.by_name is not None:
        set_names(message, chosen.by_name, chosen.joints or ())
    is_stamped = has_stamp(type_class) and not set_times(message, period_ns)
    if is_stamped and any(path[:2] == _STAMP for path in chosen.elements):
        raise ConfigError(
            "found a field of header.stamp; expected others: it is the command's time"
        )
    offsets = dict(Layout().numbers(message))
    slots = [(*offsets[path], i) for i, path in enumerate(chosen.elements)]
    stamp_offset = offsets[_STAMP_SECONDS][0] if is_stamped else -1
    made = CdrWriter(bytes(serialize_message(message)), slots, stamp_offset)
    _prove_writer(made, chosen, is_stamped)
    return made


@dataclass(frozen=True)
class _Chosen:
    """What of a message class."""

    type_class: Any
    paths: list[Path]
    joints: Sequence[str] | None
    by_name: Path | None

    @classmethod
    def of(
        cls, type_class: Any, fields: Sequence[str], joints: Sequence[str] | None, names: str | None
    ) -> _Chosen:
        by_name = names_path(type_class, names) if joints is not None else None
        return cls(type_class, field_paths(type_class, fields, joints, by_name), joints, by_name)

    @property
    def elements(self) -> list[Path]:
        """The path of each value in a message whose joints are in our order."""
        if self.joints is None:
            return self.paths
        return [(*path, j) for path in self.paths for j in range(len(self.joints))]

    def program(self, stamp: bool) -> list[tuple[int, int, int]]:
        wanted = Wanted()
        if self.by_name is None:
            for i, path in enumerate(self.elements):
                wanted.at(path).value = i
            for path in self.paths if self.joints is not None else ():
                wanted.at(path).is_exact = True  # another length is another machine
        else:
            for i, path in enumerate(self.paths):
                wanted.at(path).first = i * len(self.joints or ())
            wanted.at(self.by_name).is_names = True
        if stamp:
            wanted.at(_STAMP).is_stamp = True
        return program(self.type_class, wanted)


# What was compiled is held against what the rmw in use makes of a message: another may lay one out otherwise.


def _prove_reader(made: CdrReader, chosen: _Chosen, stamp: bool) -> None:
    message = filled(chosen.type_class)
    for path in chosen.paths:
        make_room(message, path, len(chosen.joints or ()))
    backwards = chosen.by_name is not None
    if chosen.by_name is not None:
        set_names(message, chosen.by_name, list(reversed(chosen.joints or ())))
    expected = []
    for i, path in enumerate(chosen.elements):
        if backwards:
            path = (*path[:-1], len(chosen.joints or ()) - 1 - int(path[-1]))
        set_number(message, path, i % 100 + 1)
        expected.append(number_at(message, path))
    expected_ns = _stamp_ns(message) if stamp else -1
    try:
        found, stamp_ns = made.read(bytes(serialize_message(message)))
    except ValueError as error:
        raise _other_layout(chosen.type_class, str(error)) from None
    if (found.tolist(), stamp_ns) != (expected, expected_ns):
        raise _other_layout(chosen.type_class, f"{found.tolist()} instead of {expected}")


def _prove_writer(made: CdrWriter, chosen: _Chosen, is_stamped: bool) -> None:
    values = np.arange(len(chosen.elements), dtype=np.float32) % 100 + 1
    message = deserialize_message(made.data(values, 1_000_000_002), chosen.type_class)
    written = [number_at(message, path) for path in chosen.elements]
    kinds = [type(value_at(message, path)) for path in chosen.elements]
    expected = [float(kind is bool or value) for kind, value in zip(kinds, values, strict=True)]
    if written != expected or (is_stamped and _stamp_ns(message) != 1_000_000_002):
        raise _other_layout(chosen.type_class, f"{written} instead of {expected}")


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def _other_layout(type_class: Any, why: str) -> RtloopError:
    rmw = get_rmw_implementation_identifier()
    return RtloopError(f"{ros_name(type_class)} as {rmw} serializes it is not understood: {why}")
