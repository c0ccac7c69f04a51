"""Messages made to be patched, and where in their bytes the numbers are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rtloop.core import CdrType

from .message_types import NUMBERS, SIZES, Kind, Path, kinds, message_class


def make_room(message: Any, path: Path, n: int = 0) -> None:
    """Sequences on the way become long enough for ``path``; one that stands there gets ``n`` elements."""
    name, rest = str(path[0]), path[1:]
    kind = kinds(type(message))[name]
    if not kind.is_list:
        if rest:
            make_room(getattr(message, name), rest, n)
        return
    if kind.is_sequence:
        have = list(getattr(message, name))
        need = max(int(rest[0]) + 1, len(have)) if rest else n
        more = [_blank(kind.base) for _ in range(need - len(have))]
        setattr(message, name, [*have[:need], *more])
    if len(rest) > 1:
        make_room(getattr(message, name)[rest[0]], rest[1:], n)


def _blank(base: str) -> Any:
    if base in NUMBERS:
        return {"boolean": False, "octet": b"\0", "float": 0.0, "double": 0.0}.get(base, 0)
    return message_class(base)() if "/" in base else ""


def value_at(message: Any, path: Path) -> Any:
    for part in path:
        message = message[part] if isinstance(part, int) else getattr(message, part)
    return message


def number_at(message: Any, path: Path) -> float:
    value = value_at(message, path)
    return float(value[0] if isinstance(value, bytes) else value)


def set_number(message: Any, path: Path, number: int) -> None:
    """As what stands there is: a bool, an int, a float, or one byte."""
    owner, last = value_at(message, path[:-1]), path[-1]
    there = value_at(message, path)
    value = bytes([number]) if isinstance(there, bytes) else type(there)(number)
    if isinstance(last, int):
        owner[last] = value
    else:
        setattr(owner, last, value)


def set_names(message: Any, path: Path, names: Sequence[str]) -> None:
    make_room(message, path)
    setattr(value_at(message, path[:-1]), str(path[-1]), list(names))


def filled(type_class: Any) -> Any:
    """A message with text in its strings and an element in its sequences."""
    message = type_class()
    for name, kind in kinds(type_class).items():
        if kind.is_sequence:
            setattr(message, name, [_filled_one(kind.base)])
        elif kind.length is None and kind.base not in NUMBERS:
            setattr(message, name, _filled_one(kind.base))
        elif kind.base not in NUMBERS:
            setattr(message, name, [_filled_one(kind.base) for _ in range(kind.length or 0)])
    return message


def _filled_one(base: str) -> Any:
    if "/" in base:
        return filled(message_class(base))
    return "a" if base not in NUMBERS else _blank(base)


def set_times(message: Any, period_ns: int) -> bool:
    """Point i of each trajectory is reached after i + 1 periods; whether there is one."""
    is_there = False
    for name, kind in kinds(type(message)).items():
        if "/" not in kind.base:
            continue
        value = getattr(message, name)
        for i, element in enumerate(value if kind.is_list else [value]):
            if kind.is_list and "time_from_start" in kinds(type(element)):
                time_ns = (i + 1) * period_ns
                element.time_from_start.sec = time_ns // 1_000_000_000
                element.time_from_start.nanosec = time_ns % 1_000_000_000
                is_there = True
            is_there |= set_times(element, period_ns)
    return is_there


class Layout:
    """Goes through a message as its serializer does."""

    def __init__(self) -> None:
        self._at = 0

    def numbers(self, message: Any, path: Path = ()) -> Iterator[tuple[Path, tuple[int, CdrType]]]:
        """Each number: its path, and its offset in the bytes and its type."""
        fields = kinds(type(message))
        if not fields:
            self._pass(1)  # C++ has no struct without members
        for name, kind in fields.items():
            value = getattr(message, name)
            if kind.is_sequence:
                self._pass(4)
            if not kind.is_list:
                yield from self._one(kind, value, (*path, name))
                continue
            for i, element in enumerate(value):
                yield from self._one(kind, element, (*path, name, i))

    def _one(
        self, kind: Kind, value: Any, path: Path
    ) -> Iterator[tuple[Path, tuple[int, CdrType]]]:
        if kind.base in NUMBERS:
            number = NUMBERS[kind.base]
            yield path, (self._pass(SIZES[number]), number)
        elif "/" in kind.base:
            yield from self.numbers(value, path)
        else:
            self._pass(4)
            self._at += 4 * len(value) if kind.base == "wstring" else len(value.encode()) + 1

    def _pass(self, size: int) -> int:
        """One number; its offset. Alignment counts from behind the first four bytes."""
        begin = -(-self._at // size) * size
        self._at = begin + size
        return 4 + begin
