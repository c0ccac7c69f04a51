"""A file that an exporter wrote, read as data: nothing in it is constructed, and what is wrong has a place."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rtloop.config.document import LOADER, Unreadable, refuse_depth
from rtloop.config.problem import printable
from rtloop.errors import ConfigError, Finding, Place

Numbers = float | tuple[float, ...]


class _Loader(LOADER):  # type: ignore[misc]
    """YAML's plain values, and the one Python object that exporters write: a slice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A key that is there twice would mean what stands last, and only to this reader."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    found = f"found the key '{printable(key.value[:60])}' a second time"
                    raise yaml.constructor.ConstructorError(None, None, found, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _slice(loader: Any, node: Any) -> slice:
    values = loader.construct_sequence(node)
    is_whole = all(value is None or type(value) is int for value in values)
    if len(values) > 3 or not is_whole or values[2:] == [0]:
        raise yaml.constructor.ConstructorError(
            None,
            None,
            "found a slice of other things than numbers, or a step of 0",
            node.start_mark,
        )
    return slice(*(values or [None]))


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:builtins.slice", _slice)


#: Of a file that may hold anything, in a message.
_SHOWN = reprlib.Repr()
_SHOWN.maxstring, _SHOWN.maxlist, _SHOWN.maxdict, _SHOWN.maxlevel = 62, 20, 20, 4


@dataclass(frozen=True)
class Entry:
    """A value of such a file, and its keys."""

    file: str
    value: Any
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Where it stands, for a comment: ``deploy.yaml: actions.JointPositionAction.scale``."""
        return f"{self.file}: {'.'.join(self.keys)}" if self.keys else self.file

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def __getitem__(self, key: str) -> Entry:
        """The value of a key; of None where there is none. Raises ConfigError."""
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping")
        return Entry(self.file, self.value.get(key), (*self.keys, str(key)))

    def items(self) -> Iterator[Entry]:
        """The values of a mapping or a list. Raises ConfigError."""
        if isinstance(self.value, dict):
            yield from (self[key] for key in self.value)
        elif isinstance(self.value, list):
            for index, value in enumerate(self.value):
                yield Entry(self.file, value, (*self.keys[:-1], f"{self.keys[-1]}[{index}]"))
        else:
            raise self.wrong("a mapping or a list")

    @property
    def key(self) -> str:
        return self.keys[-1]

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.wrong("a text")
        return self.value

    def texts(self) -> tuple[str, ...]:
        if not isinstance(self.value, list) or not all(isinstance(v, str) for v in self.value):
            raise self.wrong("a list of texts")
        return tuple(self.value)

    def whole(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong("a whole number")
        return self.value

    def whole_numbers(self) -> tuple[int, ...]:
        return tuple(entry.whole() for entry in self._listed())

    def number(self) -> float:
        if not isinstance(self.value, int | float) or isinstance(self.value, bool):
            raise self.wrong("a number")
        try:
            return float(self.value)
        except OverflowError:  # an integer of hundreds of digits
            raise self.wrong("a number that a float holds") from None

    def positive(self) -> float:
        number = self.number()
        if not 0 < number < float("inf"):
            raise self.wrong("a number above 0")
        return number

    def pair(self) -> tuple[float, float]:
        return self._pair(self.number_list())

    def number_list(self) -> tuple[float, ...]:
        return tuple(entry.number() for entry in self._listed())

    def numbers(self) -> Numbers:
        """One number for all elements, or one for each; of rows for several environments, the first."""
        if isinstance(self.value, list):
            if self.value and isinstance(self.value[0], list):
                return next(self.items()).number_list()
            return self.number_list()
        return self.number()

    def ranges(self) -> tuple[Numbers, Numbers]:
        """``[lowest, highest]``, or a list of such pairs, one for each element."""
        pairs = [entry.number_list() for entry in self.items()] if self._is_rows else None
        if pairs is None:
            return self.pair()
        ends = [self._pair(pair) for pair in pairs]
        return tuple(low for low, _ in ends), tuple(high for _, high in ends)

    def wrong(self, expected: str) -> ConfigError:
        """The error of what stands here."""
        found = (
            "nothing"
            if self.value is None
            else f"{type(self.value).__name__} {_SHOWN.repr(self.value):.60}"
        )
        place = Place(self.file, key=".".join(self.keys))
        return ConfigError([Finding.of(place, found, expected)])

    def _listed(self) -> Iterator[Entry]:
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return self.items()

    @property
    def _is_rows(self) -> bool:
        return isinstance(self.value, list) and bool(self.value) and isinstance(self.value[0], list)

    def _pair(self, pair: tuple[float, ...]) -> tuple[float, float]:
        if len(pair) != 2:
            raise self.wrong("[lowest, highest]")
        return pair[0], pair[1]


def read_yaml(path: Path) -> Entry:
    """The content of a YAML file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        refuse_depth(text)
        value = yaml.load(text, _Loader)  # plain values, and slices
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(str(path), *((mark.line + 1, mark.column + 1) if mark else ()))
        found = " ".join(str(error.problem).split())
        expected = "YAML of plain values, each key once; a tag that would run code is refused"
        raise ConfigError([Finding(f"{found}; expected {expected}", place)]) from None
    except Unreadable as error:
        place = Place(str(path), error.line, error.column)
        raise ConfigError([Finding.of(place, error.found, error.expected)]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # Characters that no YAML has, and numbers that Python does not read.
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: found no YAML ({printable(text)})") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: found no mapping; expected what an exporter wrote")
    return Entry(path.name, value)
