"""Values of the elements of a command: one for all, a list, or by the names of the elements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, TypeVar

from pydantic import Discriminator, Field, StringConstraints, Tag

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.config.section import Section
from rtloop.config.values import (
    NAME_OF_ELEMENT,
    Name,
    Number,
    NumberList,
    PositiveNumber,
    PositiveNumberList,
)

REST = "*"
"""The key of all elements that no other key names."""

V = TypeVar("V")


class Hold(Section):
    """The value that was measured last."""

    hold: Name = Field(description="the input of the loop that measures it")
    named: Annotated[str, StringConstraints(pattern=NAME_OF_ELEMENT, max_length=64)] | None = Field(
        default=None,
        description="what the input calls it: {}_pos, where {} is what the * of the key stands for, or "
        "else the name of the element; null is the same name",
    )

    def source(self, key: str, name: str) -> str:
        """The element of the input that is held for the element ``name``, which has its value by ``key``."""
        return name if self.named is None else self.named.replace("{}", _part(key, name) or name)


def _kind(value: object) -> str:
    """Which of the types below a value is; ``{hold: NAME}`` is no element called hold."""
    if isinstance(value, Hold) or (isinstance(value, dict) and isinstance(value.get("hold"), str)):
        return "@hold"
    if isinstance(value, dict):
        return "@names"
    return "@list" if isinstance(value, list | tuple) else "@number"


_BY_NAME = Discriminator(
    _kind,
    custom_error_type="no_hold",
    custom_error_message="a number, a list of numbers, or numbers by the names of elements",
)


def _number_or_hold(value: object) -> str:
    return "@hold" if isinstance(value, dict | Hold) else "@number"


ElementKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""The name of an element, or a pattern, in which ``*`` stands for any part of one."""
_ByName = Annotated[dict[ElementKey, V], Field(min_length=1)]
_ValueOrHold = Annotated[
    Annotated[Number, Tag("@number")] | Annotated[Hold, Tag("@hold")],
    Discriminator(_number_or_hold),
]
CommandValues = Annotated[
    Annotated[Number, Tag("@number")]
    | Annotated[NumberList, Tag("@list")]
    | Annotated[_ByName[Number], Tag("@names")],
    _BY_NAME,
]
"""One number for all elements, one per element, or by name."""
CommandLimits = Annotated[
    Annotated[Number, Tag("@number")]
    | Annotated[NumberList, Tag("@list")]
    | Annotated[_ByName[Number | None], Tag("@names")],
    _BY_NAME,
]
"""As ``CommandValues``; by name, None is no limit."""
PositiveCommandLimits = Annotated[
    Annotated[PositiveNumber, Tag("@number")]
    | Annotated[PositiveNumberList, Tag("@list")]
    | Annotated[_ByName[PositiveNumber | None], Tag("@names")],
    _BY_NAME,
]
SafeValues = Annotated[
    Annotated[Number, Tag("@number")]
    | Annotated[NumberList, Tag("@list")]
    | Annotated[Hold, Tag("@hold")]
    | Annotated[_ByName[_ValueOrHold], Tag("@names")],
    Discriminator(_kind),
]
"""As ``CommandValues``; each of them may be what was measured last."""

Value = float | Hold | None
"""Of one element."""
Values = float | tuple[float, ...] | Hold | Mapping[str, Value]
"""What any of the types above is, once it is read."""


def key_of(values: Values, name: str) -> str | None:
    """By which key of a mapping the element has its value: its name, a pattern, or ``*``; None by none."""
    keys = _keys_of(values, name) if isinstance(values, Mapping) else []
    return keys[0] if keys else None


def value_of(values: Values, names: Sequence[str], index: int) -> Value:
    """The value of one of the elements ``names``. Raises KeyError, IndexError where there is none."""
    if isinstance(values, Mapping):
        key = key_of(values, names[index])
        if key is None:
            raise KeyError(names[index])
        return values[key]
    return values[index] if isinstance(values, tuple) else values


def name_rules(
    here: Keys,
    values: Mapping[str, Value],
    names: Sequence[str],
    are_all: bool = True,
    of: str = "the command",
) -> Iterator[Problem]:
    """Broken rules of a mapping at ``here``: each element has one value, each key an element.

    Without ``are_all`` there may be more elements than ``names``, which a key may mean. They are ``of``
    something that people know.
    """
    for key in values:
        if not are_all or key == REST or any(_part(key, name) is not None for name in names):
            continue
        near = get_close_matches(key, names, 1)
        nearest = f"'{near[0]}'" if near else None
        what = "a pattern of elements" if "*" in key else "an element"
        expected = f"{what} of {of}: {any_of(list(names))}"
        yield Problem((*here, key), expected, f"the name '{key}'", nearest, at_key=True)
    doubled: set[tuple[str, ...]] = set()
    missing = []
    for name in names:
        keys = tuple(_keys_of(values, name))
        if len(keys) > 1 and keys not in doubled:
            doubled.add(keys)
            expected = f"one pattern for each element; '{name}' is in '{keys[0]}', too"
            found = f"the pattern '{keys[1]}'"
            yield Problem((*here, keys[1]), expected, found, at_key=True)
        if not keys:
            missing.append(f"'{name}'")
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        expected = 'a value for each element; "*" is all that no other key names'
        found = f"no value for {', '.join(missing[:3])}{more}"
        yield Problem(here, expected, found, judged=(here,))


def _keys_of(values: Mapping[str, object], name: str) -> list[str]:
    """The most exact keys of an element; of several patterns none is."""
    if name in values:
        return [name]
    patterns = [key for key in values if key != REST and _part(key, name) is not None]
    return patterns or [key for key in values if key == REST]


def _part(key: str, name: str) -> str | None:
    """What the first ``*`` of a key stands for; the name, where there is none. None where it does not fit."""
    if key == name:
        return name
    if "*" not in key:
        return None
    found = re.fullmatch("(.*)".join(re.escape(part) for part in key.split("*")), name, re.DOTALL)
    return None if found is None else found[1]
