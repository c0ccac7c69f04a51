"""The program of a CdrReader, from what is wanted of a message class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rtloop.core import CdrOp
from rtloop.errors import ConfigError

from .message_types import NUMBERS, SIZES, STRINGS, Kind, Path, kinds, message_class

#: (op, a, b) as rtloop/core/topics/cdr_reader.hpp has them; of one with a body, ``a`` is the body.
_Step = tuple[CdrOp, Any, int]


@dataclass
class Wanted:
    """What is wanted of a field, and of what is in it."""

    value: int | None = None
    """It is a number, and becomes this value."""
    first: int | None = None
    """It is a sequence with one number per joint; the first joint's becomes this value."""
    is_names: bool = False
    is_stamp: bool = False
    is_exact: bool = False
    """It is a sequence that ends with the last element that is wanted."""
    inside: dict[str | int, Wanted] = field(default_factory=dict)

    def at(self, path: Path) -> Wanted:
        """Where it is not there yet, made."""
        wanted = self
        for part in path:
            wanted = wanted.inside.setdefault(part, Wanted())
        return wanted


def program(type_class: Any, wanted: Wanted) -> list[tuple[int, int, int]]:
    """The steps of a CdrReader. What stands behind the last that is wanted is not looked at."""
    steps = _struct(type_class, wanted)
    while steps and steps[-1][0] not in (CdrOp.take, CdrOp.names, CdrOp.joints, CdrOp.stamp):
        steps.pop()
    return _flat(steps)


def _struct(type_class: Any, wanted: Wanted) -> list[_Step]:
    # C++ has no struct without members, so one of a message without fields is sent.
    fields = kinds(type_class) or {"": Kind("uint8")}
    return [
        step
        for name, kind in fields.items()
        for step in _field(kind, wanted.inside.get(name, Wanted()))
    ]


def _field(kind: Kind, wanted: Wanted) -> list[_Step]:
    if wanted.is_names:
        return [(CdrOp.names, 0, 0)]
    if wanted.first is not None:
        return [(CdrOp.joints, NUMBERS[kind.base], wanted.first)]
    if kind.length is not None:
        return _elements(kind.base, wanted, kind.length)
    if not kind.is_sequence:
        return _one(kind.base, wanted)
    n: int = max((int(i) + 1 for i in wanted.inside), default=0)
    opened = [(CdrOp.count, n, int(wanted.is_exact)), *_elements(kind.base, wanted, n)]
    if kind.base in NUMBERS:
        return [*opened, (CdrOp.skip_rest, SIZES[NUMBERS[kind.base]], n)]
    return [*opened, (CdrOp.rest, _one(kind.base, Wanted()), n)]


def _elements(base: str, wanted: Wanted, n: int) -> list[_Step]:
    """``n`` of them."""
    steps: list[_Step] = []
    at = 0
    for i in sorted(map(int, wanted.inside)):
        steps += [*_passed(base, i - at), *_one(base, wanted.inside[i])]
        at = i + 1
    return [*steps, *_passed(base, n - at)]


def _passed(base: str, n: int) -> list[_Step]:
    if n == 0:
        return []
    if base in NUMBERS:
        return [(CdrOp.skip, SIZES[NUMBERS[base]], n)]
    if base in STRINGS:
        return [(CdrOp.strings, STRINGS[base], n)]
    if "/" not in base:
        raise ConfigError(f"found a field of type {base} in front of what is wanted; expected none")
    body = _one(base, Wanted())
    return body if n == 1 else [(CdrOp.repeat, body, n)]


def _one(base: str, wanted: Wanted) -> list[_Step]:
    if wanted.value is not None:
        return [(CdrOp.take, NUMBERS[base], wanted.value)]
    if "/" not in base:
        return _passed(base, 1)
    stamp: list[_Step] = [(CdrOp.stamp, 0, 0)] if wanted.is_stamp else []
    return [*stamp, *_struct(message_class(base), wanted)]


def _flat(steps: Sequence[_Step]) -> list[tuple[int, int, int]]:
    """The program; numbers of one size that are passed one after the other, in one step."""
    merged: list[_Step] = []
    for op, a, b in steps:
        if op == CdrOp.skip and merged and merged[-1][:2] == (op, a):
            b += merged.pop()[2]
        merged.append((op, a, b))
    flat: list[tuple[int, int, int]] = []
    for op, a, b in merged:
        body = _flat(a) if isinstance(a, list) else []
        flat += [(int(op), len(body) or int(a), b), *body]
    return flat
