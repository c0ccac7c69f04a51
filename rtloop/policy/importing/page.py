"""A YAML file with comments, written line by line."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from rtloop.config.problem import flow as quoted
from rtloop.config.problem import printable

WIDTH = 100
ELEMENT = "-"
TODO = "# TODO(you): "


class Page:
    """What is to be written, and what is left to the reader."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def comment(self, text: str, depth: int = 0) -> None:
        """A remark on lines of its own."""
        self._wrapped("# ", text, "# ", depth)

    def todo(self, text: str, depth: int = 0) -> None:
        """What only the reader knows; ``todos`` finds it again."""
        self._wrapped(TODO, text, "#   ", depth)

    def put(self, key: str, value: Any = None, note: str = "", depth: int = 0) -> None:
        """``key: value  # note``; the note goes above where the line gets too long.

        A value of None opens a mapping or a list below; the key ``ELEMENT`` is one of a list.
        """
        indent = "  " * depth
        text = "" if value is None else value if isinstance(value, Verbatim) else flow(value)
        head = key if key == ELEMENT else f"{flow(key)}:"
        line = f"{indent}{head}{' ' if text else ''}{text}"
        note = _one_line(note)
        remark = f"  # {note}" if note else ""
        if len(line) + len(remark) <= WIDTH + 12:
            self._lines.append(line + remark)
            return
        if note:
            self.comment(note, depth)
        self._lines += _broken(line, indent + "    ")

    def _wrapped(self, first: str, text: str, then: str, depth: int) -> None:
        indent = "  " * depth
        self._lines += textwrap.wrap(
            _one_line(text),
            WIDTH,
            initial_indent=indent + first,
            subsequent_indent=indent + then,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _one_line(text: str) -> str:
    """A remark may quote a file: what would end the line, or is no text in YAML, is written out."""
    return printable(" ".join(text.split()))


def _broken(line: str, indent: str) -> list[str]:
    """A value in several lines, broken behind commas that are in no quotes."""
    lines = [""]
    for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^",])+(?:, |,|$)|, ', line):
        if len(lines[-1]) + len(part.rstrip()) > WIDTH and lines[-1].strip():
            lines.append(indent)
        lines[-1] += part
    return [line.rstrip() for line in lines]


class Verbatim(str):
    """Text that is YAML already."""


def todos(text: str) -> list[tuple[int, str]]:
    """The line, from 1, and the words of each thing that a page leaves to its reader."""
    found: list[tuple[int, str]] = []
    is_open = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith(TODO):
            found.append((number, stripped.removeprefix(TODO)))
            is_open = True
        elif is_open and stripped.startswith("#   "):
            found[-1] = (found[-1][0], f"{found[-1][1]} {stripped[4:]}")
        else:
            is_open = False
    return found


def flow(value: Any) -> str:
    """A value in one line: numbers as they were exported, one for all where all are equal."""
    if isinstance(value, Verbatim):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return number(value)
    return Verbatim(quoted(value)) if isinstance(value, str) else str(value)


def number(value: float) -> str:
    """With every digit that it has, and none that it has not."""
    text = repr(value)
    return text.removesuffix(".0") if "e" not in text else text
