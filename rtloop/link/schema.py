"""The schema: what a device measures and takes, agreed on before anything moves.

Canonical text, ended by a newline, as the firmware holds it::

    rtloop-schema 1
    name cartpole
    sensor cart_position m f32 1000
    command force N f32 1000

One line a field: direction, name, unit (``-`` for none), type, rate in Hz. The sensors come first;
all sensors have one rate, and all commands, because each direction is one packet.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from rtloop.core import LINK_VALUES_MAX
from rtloop.errors import LinkError

_FIRST_LINE = "rtloop-schema 1"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class SchemaField:
    """One value of a packet."""

    name: str
    unit: str
    type: str
    rate_hz: int


@dataclass(frozen=True)
class Schema:
    """``sensors`` and ``commands`` in the order of their packets; ``text`` as it was sent."""

    name: str
    sensors: tuple[SchemaField, ...]
    commands: tuple[SchemaField, ...]
    text: str

    @property
    def id(self) -> int:
        """What every packet carries: never 0."""
        return schema_id(self.text.encode())


def schema_id(text: bytes) -> int:
    """The low 16 bits of the text's CRC-32, 1 in place of 0."""
    return zlib.crc32(text) & 0xFFFF or 1


def parse_schema(text: str) -> Schema:
    """Reads and checks a canonical schema text. Raises LinkError that names the line."""
    lines = text.split("\n")
    if lines.pop() != "":
        raise _wrong(len(lines) + 1, "the end of the text", "a newline after the last line")
    if not lines or lines[0] != _FIRST_LINE:
        raise _wrong(1, _quoted(lines[:1]), f"'{_FIRST_LINE}'")
    name = lines[1].removeprefix("name ") if len(lines) > 1 else ""
    if len(lines) < 2 or not lines[1].startswith("name ") or not _NAME.fullmatch(name):
        raise _wrong(2, _quoted(lines[1:2]), "'name' and a name of a-z, 0-9 and _")
    fields: dict[str, list[SchemaField]] = {"sensor": [], "command": []}
    for number, line in enumerate(lines[2:], start=3):
        direction, field = _field(number, line)
        if direction == "sensor" and fields["command"]:
            raise _wrong(number, f"'{line}'", "all sensors before the first command")
        _check_against(number, field, fields[direction])
        fields[direction].append(field)
    return Schema(name, tuple(fields["sensor"]), tuple(fields["command"]), text)


def _field(number: int, line: str) -> tuple[str, SchemaField]:
    words = line.split(" ")
    if len(words) != 5 or words[0] not in ("sensor", "command") or "" in words:
        raise _wrong(number, f"'{line}'", "'sensor' or 'command', then name, unit, type and rate")
    direction, name, unit, type_name, rate = words
    if not _NAME.fullmatch(name):
        raise _wrong(number, f"the name '{name}'", "a name of a-z, 0-9 and _")
    if type_name != "f32":
        raise _wrong(number, f"the type '{type_name}'", "f32, the only type of version 1")
    if not (rate.isascii() and rate.isdigit()) or rate.startswith("0"):
        raise _wrong(number, f"the rate '{rate}'", "a rate in Hz, a whole number from 1")
    return direction, SchemaField(name, unit, type_name, int(rate))


def _check_against(number: int, field: SchemaField, others: Sequence[SchemaField]) -> None:
    if any(other.name == field.name for other in others):
        raise _wrong(number, f"'{field.name}' a second time", "every name once a direction")
    if others and others[0].rate_hz != field.rate_hz:
        expected = f"{others[0].rate_hz} Hz, the rate of '{others[0].name}' in the same packet"
        raise _wrong(number, f"'{field.name}' at {field.rate_hz} Hz", expected)
    if len(others) == LINK_VALUES_MAX:
        raise _wrong(
            number, f"value {LINK_VALUES_MAX + 1}", f"at most {LINK_VALUES_MAX} values a direction"
        )


def _quoted(lines: Sequence[str]) -> str:
    return f"'{lines[0]}'" if lines else "nothing"


def _wrong(number: int, found: str, expected: str) -> LinkError:
    return LinkError(
        f"the device's schema is wrong in line {number}: found {found}, expected {expected}; "
        "correct it in the firmware"
    )
