"""Writing that holds nobody up: to a terminal that nobody reads, a pipe without a reader, a full disk."""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TextIO

#: What waits for a slow reader at most; what comes then is dropped.
PENDING_MAX_BYTES = 65536
#: A reader that takes nothing for so long is not waited for at the end.
STUCK_S = 2.0
_LOOK_S = 0.01


class Outlet(io.TextIOBase):
    """A text stream whose ``write`` never waits and never fails: a thread of its own does.

    What the stream's encoding lacks is replaced. Once writing has failed, everything is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._fd = stream.fileno()
        except OSError:  # no file: a program has put something of its own in its place
            self._fd = -1
        self._encoding = stream.encoding or "utf-8"
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._written_bytes = 0
        self._has_failed = False
        self._changed = threading.Condition()
        stream.flush()
        threading.Thread(target=self._drain, name="outlet", daemon=True).start()

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, "replace")
        with self._changed:
            if not self._has_failed and self._pending_bytes + len(data) <= PENDING_MAX_BYTES:
                self._pending.append(data)
                self._pending_bytes += len(data)
                self._changed.notify()
        return len(text)

    def flush(self) -> None:
        """Does nothing: the thread writes as fast as it may."""

    def finish(self) -> None:
        """Waits until everything is written, as long as somebody reads. It may be used on."""
        written, end_s = -1, 0.0
        while self._pending_bytes and not self._has_failed:
            if self._written_bytes != written:
                written, end_s = self._written_bytes, time.monotonic() + STUCK_S
            if time.monotonic() > end_s:
                return
            time.sleep(_LOOK_S)

    @property
    def has_failed(self) -> bool:
        """Whether what is written goes nowhere: its reader has left, or the disk is full."""
        return self._has_failed

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _drain(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
                data = self._pending.popleft()
            try:
                self._write(data)
            except OSError:
                with self._changed:
                    self._has_failed = True
                    self._pending.clear()
                    self._pending_bytes = 0
                return
            with self._changed:
                self._pending_bytes -= len(data)

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            self._stream.write(data.decode(self._encoding))
            self._written_bytes += len(data)
            return
        while data:
            try:
                n = os.write(self._fd, data)
            except BlockingIOError:
                select.select([], [self._fd], [], STUCK_S)
                continue
            data = data[n:]
            self._written_bytes += n


def say(text: str, stream: TextIO | None = None) -> bool:
    """Prints a line, and waits for whoever reads it. Whether it was written: if not, why is on stderr."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # What is left in its buffer would fail once more at the interpreter's end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        if stream is not sys.stderr and not isinstance(error, BrokenPipeError):
            say(f"rtloop: cannot print: {error.strerror}", sys.stderr)
        return False
    return True


def secure_standard_streams() -> None:
    """Descriptors 0 to 2 are open, and what their encoding lacks is replaced.

    A program that was started without one of them would open a device under its number, and print there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="replace")
