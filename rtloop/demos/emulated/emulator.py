"""QEMU with the link of a board on a pty that is held open, its console and its monitor on sockets."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rtloop.demos.emulated.image import EMULATOR
from rtloop.errors import RtloopError

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 10.0


class Emulator:
    """A running emulator whose firmware has said READY on its console, and is at work on the line ``line``.

    ``arguments`` say which board it is; ``-serial chardev:link`` and ``-serial chardev:console`` in them,
    which of its UARTs these are. It ends with the process that started it.
    """

    def __init__(self, arguments: Sequence[str], priority: int) -> None:
        """``priority`` is its SCHED_FIFO; 0: none. Raises RtloopError."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self.console, console_end = socket.socketpair()
        self._monitor, monitor_end = socket.socketpair()
        self._replies = self._monitor.makefile("rb")
        self._monitor.settimeout(_START_TIMEOUT_S)
        self._text = b""
        own_pid = os.getpid()
        with console_end, monitor_end:
            self._process = subprocess.Popen(
                [
                    EMULATOR, "-display", "none", "-nodefaults", "-S",
                    "-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}",
                    "-mon", "chardev=monitor,mode=control",
                    "-chardev", "pty,id=link",
                    "-chardev", f"socket,id=console,fd={console_end.fileno()}",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(console_end.fileno(), monitor_end.fileno()),
                start_new_session=True,  # Ctrl-C is for us: a board has a summary to give
                preexec_fn=lambda: _end_with(own_pid, priority),
            )  # fmt: skip
        if priority and os.sched_getscheduler(self._process.pid) != os.SCHED_FIFO:
            print(f"the emulator runs without SCHED_FIFO {priority}: denied", file=sys.stderr)
        try:
            json.loads(self._replies.readline())  # its greeting
            self.ask("qmp_capabilities")
            devices = self.ask("query-chardev")
            filename = next(each["filename"] for each in devices if each["label"] == "link")
            self.line = str(filename).removeprefix("pty:")
            # Held open, the line outlives each host, and the emulator need not look for one: it
            # would do so once a second. QEMU has made it raw.
            self._held = os.open(self.line, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            self.ask("cont")
            self.wait_until_ready()
        except (OSError, ValueError, StopIteration) as error:
            raise RtloopError(f"{EMULATOR} did not start: {self.end() or error}") from None

    def wait_until_ready(self) -> None:
        """Also after a reset. Raises ValueError."""
        while select.select([self.console], [], [], _START_TIMEOUT_S)[0]:
            lines = self.lines()
            if lines is None:
                break
            if any("READY" in line for line in lines):
                return
        raise ValueError("its firmware did not get ready")

    def reset(self) -> None:
        """Presses the reset button."""
        self.ask("system_reset")

    def ask(self, command: str) -> Any:
        """Of the emulator's monitor (QMP). Raises OSError, ValueError."""
        self._monitor.sendall(json.dumps({"execute": command}).encode() + b"\n")
        while True:  # events come between
            said = json.loads(self._replies.readline())
            if "return" in said:
                return said["return"]
            if "error" in said:
                raise ValueError(said["error"]["desc"])

    def press(self, letter: bytes) -> None:
        """To its console. That the emulator has ended is for ``lines`` to tell."""
        with suppress(OSError):
            self.console.sendall(letter)

    def lines(self) -> list[str] | None:
        """What its console has said, whole lines; None when the emulator has ended."""
        try:
            got = self.console.recv(4096)
        except ConnectionResetError:  # it ended before it had read all that was sent to it
            got = b""
        *lines, self._text = (self._text + got).split(b"\n")
        return None if not got else [line.decode(errors="replace") for line in lines]

    def end(self) -> str:
        """Ends the emulator; what it had said. May be called again."""
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip()


def _end_with(parent: int, priority: int) -> None:
    """In the emulator, before it is one."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if priority:
        with suppress(OSError):  # the parent says so
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    if os.getppid() != parent:
        os._exit(0)
