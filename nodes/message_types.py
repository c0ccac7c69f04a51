"""What message classes say of themselves: the kinds of their fields, and what stands at a path.

A path is dotted names, with ``[i]`` into arrays and sequences: ``twist.linear.x``, ``points[0].positions``.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtloop.core import CdrType
from rtloop.errors import ConfigError

#: Of ``get_fields_and_field_types()``; the others have the names of CdrType.
NUMBERS = {kind.name: kind for kind in CdrType}
NUMBERS |= {"octet": CdrType.uint8, "float": CdrType.float32, "double": CdrType.float64}
#: Bytes of a number.
SIZES = {kind: np.dtype(kind.name.replace("boolean", "bool")).itemsize for kind in CdrType}
#: Bytes of a character.
STRINGS = {"string": 1, "wstring": 4}

Path = tuple["str | int", ...]


def message_class(name: str) -> Any:
    """The class of ``package/msg/Name``. Raises ConfigError when it is not installed."""
    if not (parts := re.fullmatch(r"([a-z]\w*)/(?:msg/)?([A-Z]\w*)", name)):
        raise ConfigError(
            f"found the type {name!r}; expected one such as sensor_msgs/msg/JointState"
        )
    package, short = parts.groups()
    try:
        module = importlib.import_module(f"{package}.msg")
    except ImportError:
        apt = f"apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        raise ConfigError(
            f"found the type {name}; expected one that is installed here: {apt}"
        ) from None
    if not hasattr(getattr(module, short, None), "get_fields_and_field_types"):
        near = _nearest(short, [n for n in dir(module) if not n.startswith("_")])
        raise ConfigError(f"found the type {name}; expected one of the messages of {package}{near}")
    return getattr(module, short)


@dataclass(frozen=True)
class Kind:
    """What a field is: ``base``, a number, a string or a message, or an array or a sequence of them."""

    base: str
    length: int | None = None
    """Of an array."""
    is_sequence: bool = False
    most: int | None = None
    """Of a bounded sequence."""

    @classmethod
    def of(cls, text: str) -> Kind:
        """As ``get_fields_and_field_types()`` has it: ``sequence<string<5>, 3>``, ``double[36]``."""
        if found := re.fullmatch(r"sequence<(.+?)(?:, (\d+))?>", text):
            most = int(found[2]) if found[2] else None
            return cls(_unbounded(found[1]), is_sequence=True, most=most)
        if found := re.fullmatch(r"(.+)\[(\d+)\]", text):
            return cls(_unbounded(found[1]), length=int(found[2]))
        return cls(_unbounded(text))

    @property
    def is_list(self) -> bool:
        return self.is_sequence or self.length is not None

    def __str__(self) -> str:
        base = NUMBERS[self.base].name if self.base in NUMBERS else self.base.replace("/", "/msg/")
        if not self.is_list:
            return f"a {base}"
        return f"a sequence of {base}" if self.is_sequence else f"an array of {self.length} {base}"


def _unbounded(base: str) -> str:
    return base.partition("<")[0]


def kinds(type_class: Any) -> dict[str, Kind]:
    return {name: Kind.of(text) for name, text in type_class.get_fields_and_field_types().items()}


def ros_name(type_class: Any) -> str:
    return f"{type_class.__module__.partition('.')[0]}/msg/{type_class.__name__}"


def has_stamp(type_class: Any) -> bool:
    header = kinds(type_class).get("header")
    return header == Kind("std_msgs/Header")


def _parse(path: str) -> Path:
    if not re.fullmatch(r"[A-Za-z]\w*(\[\d+\])*(\.[A-Za-z]\w*(\[\d+\])*)*", path):
        raise ConfigError(
            f"found the field {path!r}; expected a path such as twist.linear.x or data[2]"
        )
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", path))


def _nearest(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, 1)
    return f"; nearest {near[0]}" if near else ""


def resolve(type_class: Any, path: str) -> tuple[Path, Kind]:
    """A path and what stands there."""
    parts = _parse(path)
    kind = Kind("/".join((type_class.__module__.partition(".")[0], type_class.__name__)))
    for part in parts:
        if isinstance(part, int):
            if not kind.is_list:
                raise _wrong(path, f"{kind} has no elements", f"no [{part}]")
            end = kind.length if kind.length is not None else kind.most
            if end is not None and part >= end:
                raise _wrong(path, f"{kind} ends before it", f"an index below {end}")
            kind = Kind(kind.base)
            continue
        if kind.is_list:
            raise _wrong(path, f"it is {kind}", f"an index, as in [0].{part}")
        if "/" not in kind.base:
            raise _wrong(path, f"{kind} has no fields", f"no .{part}")
        inside = kinds(message_class(kind.base))
        if part not in inside:
            listed = ", ".join(inside)
            near = _nearest(part, list(inside))
            raise _wrong(path, f"{kind} has no {part}", f"one of its fields {listed}{near}")
        kind = inside[part]
    return parts, kind


def _wrong(path: str, why: str, expected: str) -> ConfigError:
    return ConfigError(f"found the field {path}, but {why}; expected {expected}")


def field_paths(
    type_class: Any, fields: Sequence[str], joints: Sequence[str] | None, by_name: Path | None
) -> list[Path]:
    """Where each field is: a number, or with joints a sequence with room for them; else raises ConfigError."""
    paths = []
    for text in fields:
        path, kind = resolve(type_class, text)
        if "/" in kind.base:
            inside = ", ".join(kinds(message_class(kind.base)))
            raise _wrong(text, f"it is {kind}", f"a number in it; its fields are {inside}")
        if kind.base not in NUMBERS:
            raise _wrong(text, f"it is {kind}", "a number")
        if joints is None and kind.is_list:
            raise _wrong(text, f"it is {kind}", f"an element, as {text}[0], or joints")
        if joints is not None:
            _check_joints(text, kind, len(joints), by_name)
        if path in paths:
            raise ConfigError(f"found the field {text} twice; expected it once")
        paths.append(path)
    return paths


def _check_joints(text: str, kind: Kind, n: int, by_name: Path | None) -> None:
    if not kind.is_list:
        raise _wrong(text, f"it is {kind}", "a sequence with a number for each joint, or no joints")
    if kind.length is not None and (by_name is not None or kind.length != n):
        raise _wrong(text, f"it is {kind}", f"a sequence of {n} numbers, for each joint one")
    if kind.most is not None and kind.most < n:
        raise _wrong(text, f"it is {kind}, at most {kind.most}", f"one with room for {n} joints")


def names_path(type_class: Any, names: str | None) -> Path | None:
    """Where the names of the joints are; None when there are none."""
    wanted = Kind("string", is_sequence=True)
    if names is not None:
        path, kind = resolve(type_class, names)
        if (kind.base, kind.is_sequence) != (wanted.base, True):
            raise ConfigError(f"found names: {names}, which is {kind}; expected {wanted}")
        return path
    level: list[tuple[Path, Any]] = [((), type_class)]
    while level:
        found: list[Path] = []
        below: list[tuple[Path, Any]] = []
        for path, each in level:
            for name, kind in kinds(each).items():
                if kind.base == "string" and kind.is_sequence:
                    found.append((*path, name))
                elif "/" in kind.base and not kind.is_list:
                    below.append(((*path, name), message_class(kind.base)))
        if len(found) > 1:
            listed = ", ".join(".".join(map(str, path)) for path in found)
            raise ConfigError(
                f"found several sequences of strings ({listed}); expected names: one of them"
            )
        if found:
            return found[0]
        level = below
    return None
