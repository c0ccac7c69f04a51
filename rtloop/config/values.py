"""Kinds of values in a configuration: names, finite numbers, numbers per element, times, paths."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

FLOAT32_MAX = 3.4028234663852886e38
"""Samples and commands are float32 on the wire, in the graph and in the ring."""
VECTOR_SIZE_MAX = 1024
"""Elements of the longest vector that a loop reads or writes."""


def _number_or_list(value: object) -> str:
    return "@list" if isinstance(value, list | tuple) else "@number"


def _number_list_or_name(value: object) -> str:
    return "@name" if isinstance(value, str) else _number_or_list(value)


def expanded(value: object) -> object:
    """A path with the home of a user in place of a leading ``~`` or ``~user``, as a shell has it.

    Raises PydanticCustomError, a ValueError, when there is no such user.
    """
    if not isinstance(value, str) or not value.startswith("~"):
        return value
    path = os.path.expanduser(value)
    if path == value:
        expected = "a user of this host after '~', or './~' for a name that begins with '~'"
        raise PydanticCustomError("no_home", expected)
    return path


def _resolved(value: object, info: ValidationInfo) -> object:
    value = expanded(str(value) if isinstance(value, Path) else value)
    folder = (info.context or {}).get("folder", ".")
    if not isinstance(value, str) or not value:
        return value
    path = Path(folder, value).absolute()
    return str(path) if info.mode == "json" else path  # where a path is still to be made of it


NAME_OF_JOINT = r"^[^{}]*\{\}[^{}]*$"
NAME_OF_ELEMENT = r"^[^{}]*(\{\}[^{}]*)?$"
SHA256 = r"^[0-9a-f]{64}$"
PYTHON_NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
PATTERNS = {
    NAME_OF_JOINT: "a text with one {}, which stands for the name of a joint",
    NAME_OF_ELEMENT: "a text, with one {} at most",
    SHA256: "64 hexadecimal digits, 0 to 9 and a to f",
    PYTHON_NAME: "MODULE:NAME of a Python function or class, for example control:act",
}
"""What a text of such a pattern is, in words."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
PathText = Annotated[Text, BeforeValidator(expanded)]
"""A path as it is handed on; ``~`` is the home of the user."""
Number = Annotated[float, Field(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
PositiveNumber = Annotated[float, Field(gt=0, le=FLOAT32_MAX)]
NumberList = Annotated[
    tuple[Number, ...], Strict(False), Field(min_length=1, max_length=VECTOR_SIZE_MAX)
]
PositiveNumberList = Annotated[
    tuple[PositiveNumber, ...], Strict(False), Field(min_length=1, max_length=VECTOR_SIZE_MAX)
]
Values = Annotated[
    Annotated[Number, Tag("@number")] | Annotated[NumberList, Tag("@list")],
    Discriminator(_number_or_list),
]
"""One number for all elements, or one number per element."""
PositiveValues = Annotated[
    Annotated[PositiveNumber, Tag("@number")] | Annotated[PositiveNumberList, Tag("@list")],
    Discriminator(_number_or_list),
]
NamedValues = Annotated[
    Annotated[Number, Tag("@number")]
    | Annotated[NumberList, Tag("@list")]
    | Annotated[Name, Tag("@name")],
    Discriminator(_number_list_or_name),
]
"""``Values``, or the name of what holds them."""
Range = Annotated[tuple[Number, Number], Strict(False)]
Ranges = Annotated[tuple[Values, Values], Strict(False)]
"""[lowest, highest], each one number for all elements, or one per element."""
ElementName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ElementNames = Annotated[
    tuple[ElementName, ...], Strict(False), Field(min_length=1, max_length=VECTOR_SIZE_MAX)
]
Element = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=64), Tag("@field")]
    | Annotated[int, Field(ge=0, lt=VECTOR_SIZE_MAX), Tag("@index")],
    Discriminator(lambda value: "@field" if isinstance(value, str) else "@index"),
]
Selection = Annotated[
    tuple[Element, ...], Strict(False), Field(min_length=1, max_length=VECTOR_SIZE_MAX)
]
Cpus = Annotated[
    tuple[Annotated[int, Field(ge=0, le=8191)], ...], Strict(False), Field(min_length=1)
]
TAGS = frozenset(
    {
        "@number",
        "@scalar",
        "@truth",
        "@whole",
        "@list",
        "@name",
        "@names",
        "@hold",
        "@field",
        "@index",
        "@word",
        "@section",
    }
)
"""Parts of a pydantic error's location that stand for no key of the file."""

Milliseconds = Annotated[float, Field(ge=0.001, le=3_600_000)]

ModelPath = Annotated[Path, BeforeValidator(_resolved)]
"""A path relative to the configuration file (in Python: to the working directory), or with ``~``; absolute
once loaded."""


def as_float32(value: float) -> float:
    """The number that the graph computes with in place of this one."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def nanoseconds(milliseconds: float) -> int:
    """Milliseconds as whole nanoseconds, rounded from the exact value of the float."""
    return round(Fraction(milliseconds) * 1_000_000)


def per_element(values: float | tuple[float, ...], size: int) -> tuple[float, ...]:
    """One number per element: a single number repeated ``size`` times, or the list itself.

    Raises ValueError when a list has another length than ``size``.
    """
    if not isinstance(values, tuple):
        return (values,) * size
    if len(values) != size:
        raise ValueError(f"found {len(values)} values; expected {size}")
    return values
