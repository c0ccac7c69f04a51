"""A terminal of a given size that a test may look at: what a person would see on it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios

_CODES = re.compile(r"\x1b\[(\d*(?:;\d+)*)([A-Za-z])|([^\x1b]+)")

_END = "\0"


class Screen:
    """A pty with a window. It wraps as terminals do: also what is there already when it gets narrower.

    Its cursor is where the text ends, or where ``ESC [ n F`` has put it, at the start of a row above.
    """

    def __init__(self, columns: int, lines: int = 24) -> None:
        self._master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self._lines = [""]
        self._up = 0  # rows from the last one to the cursor
        self.received = ""
        self.resize(columns, lines)

    def resize(self, columns: int, lines: int = 24) -> None:
        self.columns = columns
        window = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, window)

    def rows(self) -> list[str]:
        """Every row from the first ever written, without colour."""
        self._take()
        *rows, _ = self._rows()  # the cursor's own, empty
        return rows

    def _rows(self) -> list[str]:
        rows = []
        for line in self._lines:
            rows += [line[i : i + self.columns] for i in range(0, max(len(line), 1), self.columns)]
        return rows

    def _take(self) -> None:
        # What is written to a pty arrives a little later, in order.
        self.stream.write(_END)
        self.stream.flush()
        data = b""
        while not data.endswith(_END.encode()):
            data += os.read(self._master, 1 << 16)
        text = data.decode()[:-1]
        self.received += text
        for count, command, plain in _CODES.findall(text):
            if plain:
                assert self._up == 0, "it writes over what is there and does not erase it"
                first, *more = plain.split("\n")
                self._lines[-1] += first
                self._lines += more
            elif command == "F":
                self._up = int(count)
            elif command == "J":
                self._lines = [*self._rows()[: -self._up - 1], ""]
                self._up = 0
            else:
                assert command == "m", f"what does {command} do?"

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stream.close()
        os.close(self._master)
