"""What the stream that people read can do, and a block of lines redrawn in place on it."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
#: Values of TERM that promise neither colour nor a cursor that moves.
_DUMB = {"", "dumb", "unknown"}
#: Where the stream is a terminal that does not tell its size, as serial consoles do.
_SIZE = os.terminal_size((80, 24))
#: In a file or a pipe a line may be as long as it likes.
_UNLIMITED = 1_000_000


class Terminal:
    """A stream for people. One that is no terminal, or a dumb one, gets plain lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self.redraws = self._is_terminal and os.environ.get("TERM", "") not in _DUMB
        """Whether lines can be written over."""
        # https://no-color.org: any value but an empty one.
        self._has_colour = self.redraws and not os.environ.get("NO_COLOR")

    def wrapped(self, text: str) -> str:
        """Sentences broken between their words where the terminal would break them within one."""
        if not self._is_terminal:
            return text
        return "\n".join(
            textwrap.fill(
                line,
                self.columns,
                subsequent_indent=line[: len(line) - len(line.lstrip())],
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in text.split("\n")
        )

    def write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def styled(self, text: str, *styles: str) -> str:
        if not self._has_colour or not styles:
            return text
        codes = ";".join(_COLOURS[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    @property
    def columns(self) -> int:
        """What fits on a line now. The last column stays free: some terminals wrap when it is written."""
        return max(self.size.columns - 1, 1) if self._is_terminal else _UNLIMITED

    @property
    def size(self) -> os.terminal_size:
        """As of now; it changes while a person drags the window's edge."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _SIZE
        return os.terminal_size((size.columns or _SIZE.columns, size.lines or _SIZE.lines))


class Block:
    """The last lines on a terminal, drawn again and again in the same place.

    The cursor stands below them, so that whatever else is written comes after them.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._drawn: list[int] = []
        """Lengths of the lines that are there."""

    def draw(self, lines: Sequence[str]) -> None:
        """Over what was drawn before. Each line must fit; what is too many for the height is left out."""
        height = max(self._terminal.size.lines - 1, 1)
        if len(lines) > height:
            left_out = len(lines) - height + 1
            lines = [*lines[: height - 1], f"and {left_out} more"[: self._terminal.columns]]
        text = "".join(f"{line}\n" for line in lines)
        self._terminal.write(self._back() + text)
        self._drawn = [len(_STYLE.sub("", line)) for line in lines]

    def erase(self) -> None:
        """The lines are gone; what is written next stands in their place."""
        if self._drawn:
            self._terminal.write(self._back())
        self._drawn = []

    def leave(self) -> None:
        """The lines stay as they are; the next ones are drawn below."""
        self._drawn = []

    def _back(self) -> str:
        """To where the block begins, with nothing left from there on."""
        if not self._drawn:
            return ""
        # A line longer than a window that was made narrower since takes several rows of it.
        columns = self._terminal.size.columns
        rows = sum(max(-(-length // columns), 1) for length in self._drawn)
        return f"\x1b[{rows}F\x1b[J"
