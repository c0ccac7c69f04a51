"""A configuration as a program gives it: its values as a file would have them, and what each is called.

Arguments stand where the lines of a file stand in messages: ``loops["balance"].inputs["pole"].max_age_ms``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from rtloop.config.document import MAX_DEPTH, MAX_VALUES, has_controls
from rtloop.config.kinds import KindSection
from rtloop.config.problem import Keys, Problem
from rtloop.config.section import Section, in_words_of_files, name_in_python
from rtloop.errors import ConfigError, Place

_ABSENT = object()
_LARGEST_INT = 1 << 64


class _Unfit:
    """In place of what no file could say: no type of the schema takes it."""


class Given:
    """What was given to a section (``data``), as plain values, and what is wrong with it as such.

    Mappings and sections become dict (inputs, outputs and terms, whose class says their kind, stay),
    sequences and arrays list, paths str, numbers of numpy those of Python.
    """

    def __init__(self, arguments: Mapping[str, Any], root: type[Section]) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._values: dict[Keys, Any] = {}
        self._places: dict[Keys, int] = {}
        self.data = self._plain(self._by_one_name(arguments, root, ()), ())

    def place(self, keys: Keys, at_key: bool = False) -> tuple[int, int]:
        """A number that orders problems as the arguments were given; of the nearest parent if absent."""
        while keys not in self._places:
            keys = keys[:-1]
        return self._places[keys], 0

    def found(self, keys: Keys) -> str:
        """What was given, in words."""
        value = self._at(keys)
        return "nothing" if value is _ABSENT else describe(value)

    def where(self, at: tuple[int, int], keys: Keys) -> Place:
        """The argument, for messages; of a section alone behind its name."""
        own, name = spoken(keys, self.data, self._root), self._root.__name__
        is_whole = "loops" in self._root.model_fields
        return Place(key=own if own and is_whole else f"{name}.{own}".rstrip("."))

    def refuse(self) -> None:
        """Raises ConfigError where something is wrong, though no section minds."""
        if self.problems:
            raise self.refused(None)

    def refused(self, error: ValidationError | None) -> ConfigError:
        """What to raise for what pydantic says, and for what was wrong before."""
        from rtloop.config.loading import findings, problems_in  # which know all sections

        problems = list(self.problems)
        if error is not None:
            problems += problems_in(self, error, {"folder": ""}, self._root)
        return ConfigError(findings([self._in_python(p) for p in problems], self))

    # --- inside ---

    def _plain(self, value: Any, keys: Keys) -> Any:
        self._places[keys] = len(self._places)
        self._values[keys] = value
        if len(keys) > MAX_DEPTH or len(self._places) > MAX_VALUES:
            return self._beyond(keys)
        if isinstance(value, KindSection):
            return value
        if isinstance(value, Section):
            value = value.model_dump(by_alias=True)
        if isinstance(value, Mapping):
            return {
                name: self._plain(each, (*keys, name)) for name, each in self._items(value, keys)
            }
        if isinstance(value, str):
            return self._text(value, keys)
        if _is_array(value):
            if value.ndim == 0:
                number = value.tolist()
                return number if isinstance(number, bool | int | float) else _Unfit()
            rows = value if value.ndim > 1 else value.tolist()
            return [self._plain(row, (*keys, index)) for index, row in enumerate(rows)]
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self._plain(each, (*keys, index)) for index, each in enumerate(value)]
        if isinstance(value, os.PathLike):
            path = os.fspath(value)
            return self._text(path, keys) if isinstance(path, str) else _Unfit()
        if isinstance(value, int) and abs(value) > _LARGEST_INT:
            return math.inf if value > 0 else -math.inf  # as a file's: Python refuses to print it
        return value if value is None or isinstance(value, bool | int | float) else _Unfit()

    def _items(self, value: Mapping[Any, Any], keys: Keys) -> list[tuple[str, Any]]:
        for key in value:
            if not isinstance(key, str):
                self.problems.append(
                    Problem(keys, "names as keys, in quotes", f"the key {describe(key)}")
                )
            elif has_controls(key):
                found = f"the key {key!a}"
                self.problems.append(Problem(keys, "a key without control characters", found))
        if keys[:1] == ("loops",) and len(keys) == 2:
            from rtloop.config.sections import LoopConfig

            value = self._by_one_name(value, LoopConfig, keys)
        return [(key, each) for key, each in value.items() if isinstance(key, str)]

    def _by_one_name(
        self, value: Mapping[Any, Any], kind: type[Section], keys: Keys
    ) -> Mapping[Any, Any]:
        """Its keys as a file has them; of what is given by both names of a key, the file's counts."""
        for name, field in kind.model_fields.items():
            alias = field.alias
            if {name, alias} <= value.keys() and name_in_python(name, alias) != alias:
                both = f"{describe(value[name])}, and {describe(value[alias])} as {alias!r}"
                self.problems.append(
                    Problem((*keys, str(alias)), "one of them: they are one key", both)
                )
                value = {key: each for key, each in value.items() if key != name}
        words: Mapping[Any, Any] = in_words_of_files(value, kind)
        return words

    def _text(self, value: str, keys: Keys) -> str:
        if has_controls(value):
            expected = "text on one line, without control characters"
            self.problems.append(Problem(keys, expected, describe(value)))
            return "?"
        return str.__str__(value)  # not how a word of an enumeration would print itself

    def _beyond(self, keys: Keys) -> Any:
        what = "levels of nesting" if len(keys) > MAX_DEPTH else "values"
        most = MAX_DEPTH if len(keys) > MAX_DEPTH else MAX_VALUES
        if not any(problem.expected.startswith("the few") for problem in self.problems):
            found = f"more than {most} {what}"
            self.problems.append(Problem(keys[:3], f"the few {what} of a configuration", found))
        return None

    def _at(self, keys: Keys) -> Any:
        if keys in self._values:
            return self._values[keys]
        value: Any = self._at(keys[:-1]) if keys else _ABSENT
        try:
            if isinstance(value, Section):
                return value.under(str(keys[-1]))
            return value[keys[-1]]
        except (AttributeError, LookupError, TypeError):
            return _ABSENT

    def _in_python(self, problem: Problem) -> Problem:
        """Without the file that a schema speaks of; rows in place of numbers are told of their array."""
        expected = problem.expected
        for file in ("this file", "this one"):
            expected = expected.replace(f"relative to {file}", "relative to the working directory")
        array = keys = problem.keys
        while array and _is_array(self._values.get(array[:-1])):
            array = array[:-1]
        levels = len(keys) - len(array)
        if levels and _is_array(self._values.get(keys)):
            expected = f"an array of {levels} dimension{'' if levels == 1 else 's'}"
            return replace(problem, keys=array, expected=expected, found=None, nearest=None)
        return replace(problem, expected=expected)


def spoken(keys: Keys, data: Any, root: type[BaseModel]) -> str:
    """``("loops", "balance", "class")`` as ``loops["balance"].loop_class``; empty of the whole."""
    from rtloop.config.wording import sections_at

    text = ""
    for n, key in enumerate(keys):
        if isinstance(key, int):
            text += f"[{key}]"
            continue
        sections = sections_at(keys[:n], data, root)
        if not sections or not key.isidentifier() or len(key) > 60:
            text += f"[{json.dumps(key if len(key) <= 60 else key[:40] + '...')}]"
            continue
        named = {
            field.alias: name_in_python(name, field.alias)
            for section in sections
            for name, field in section.model_fields.items()
        }
        text += f".{named.get(key, key)}"
    return text.removeprefix(".")


def describe(value: Any) -> str:
    """A value in words, as Python writes it."""
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | str | os.PathLike):
        text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
        return text if len(text) <= 60 else f"{text[:20]}...{text[-37:]}"
    if _is_array(value):
        return f"an array of shape {tuple(value.shape)}" if value.ndim else repr(value.tolist())
    if isinstance(value, Section):
        return f"a section {type(value).__name__}"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    name = type(value).__name__
    return f"an object of class {name}"


def _is_array(value: Any) -> bool:
    """Of numpy, or one of its numbers: a configuration does without, and does not import it."""
    return hasattr(value, "tolist") and hasattr(value, "ndim") and hasattr(value, "shape")
