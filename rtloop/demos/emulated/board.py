"""The emulated board as a program: ``python -m rtloop.demos.emulated.board --pty PATH``.

It runs the image of ``firmware/qemu`` in QEMU (machine mps2-an386) with the first UART on a pty, says
READY and where that is, and RESTARTED and why, whenever the board starts again. Its last line is the
firmware's summary, as JSON.

signals:
  SIGTERM, SIGINT   end
  SIGHUP            press the reset button
  SIGUSR2           press the emergency stop, and the next time release it
  SIGQUIT           make the firmware fault
  SIGALRM           make the firmware hang, until its watchdog resets it
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtloop.demos.emulated.image import EMULATOR, firmware_image
from rtloop.demos.parent import end_with_parent
from rtloop.errors import RtloopError

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 10.0
_SUMMARY_TIMEOUT_S = 2.0
#: What the console hears, see firmware/qemu/main.c.
_LETTERS = {signal.SIGUSR2: b"e", signal.SIGQUIT: b"f", signal.SIGALRM: b"h"}


class Board:
    """A running emulator whose firmware is at work on the line ``line``."""

    def __init__(self, image: Path, arguments: Sequence[str], priority: int) -> None:
        """Raises RtloopError."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self.console, console_end = socket.socketpair()
        self._monitor, monitor_end = socket.socketpair()
        self._replies = self._monitor.makefile("rb")
        self._monitor.settimeout(_START_TIMEOUT_S)
        self._text = b""
        words = ["firmware", *arguments]
        own_pid = os.getpid()
        with console_end, monitor_end:
            self._process = subprocess.Popen(
                [
                    EMULATOR, "-machine", "mps2-an386", "-display", "none", "-nodefaults", "-S",
                    "-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}",
                    "-mon", "chardev=monitor,mode=control",
                    "-chardev", "pty,id=link", "-serial", "chardev:link",
                    "-chardev", f"socket,id=console,fd={console_end.fileno()}",
                    "-serial", "chardev:console",
                    "-semihosting-config",
                    ",".join(["enable=on", "target=native", *(f"arg={word}" for word in words)]),
                    "-kernel", str(image),
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(console_end.fileno(), monitor_end.fileno()),
                start_new_session=True,  # Ctrl-C is for us: it has a summary to give
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
            self._wait_until_ready()
        except (OSError, ValueError, StopIteration) as error:
            raise RtloopError(f"{EMULATOR} did not start: {self._ended() or error}") from None

    def _wait_until_ready(self) -> None:
        while select.select([self.console], [], [], _START_TIMEOUT_S)[0]:
            lines = self.lines()
            if lines is None:
                break
            if any(line.startswith("READY") for line in lines):
                return
        raise ValueError("its firmware did not get ready")

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

    def summary(self) -> str:
        """Empty from a firmware that does not answer."""
        self.press(b"s")
        end_s = time.monotonic() + _SUMMARY_TIMEOUT_S
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([self.console], [], [], left_s)[0]:
                lines = self.lines()
                if lines is None:
                    break
                for line in lines:
                    if line.startswith("{"):
                        return line
        return ""

    def end(self) -> str:
        """Ends the emulator; what it had said."""
        self._process.kill()
        return self._ended()

    def _ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
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


def _serve(board: Board) -> None:
    """Until a signal ends it, or the emulator ends by itself: RtloopError."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    ends = (signal.SIGTERM, signal.SIGINT)
    for number in (*ends, signal.SIGHUP, *_LETTERS):
        signal.signal(number, lambda *_: None)
    while True:
        readable = select.select([board.console, woken], [], [])[0]
        if board.console in readable:
            lines = board.lines()
            if lines is None:
                raise RtloopError(f"{EMULATOR} ended by itself: {board.end()}")
            for line in lines:
                if line.startswith("READY "):
                    print(f"RESTARTED {line.removeprefix('READY ')}", flush=True)
        for caught in map(signal.Signals, woken.recv(64) if woken in readable else b""):
            if caught in ends:
                return
            if caught == signal.SIGHUP:
                with suppress(OSError, ValueError):  # likewise
                    board.ask("system_reset")
            elif caught in _LETTERS:
                board.press(_LETTERS[caught])


def _link(path: Path, target: str) -> None:
    """Only a link is replaced. Raises RtloopError."""
    try:
        if path.is_symlink():
            path.unlink()
        path.symlink_to(target)
    except OSError as error:
        raise RtloopError(f"cannot create the symbolic link {path}: {error.strerror}") from None


def _unlink(path: Path, target: str) -> None:
    with suppress(OSError):
        if os.readlink(path) == target:
            path.unlink()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rtloop.demos.emulated.board",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pty", type=Path, help="make it a link to the line")
    parser.add_argument("--rate-hz", type=_rate, default=250, help="of samples (default 250)")
    parser.add_argument(
        "--command-timeout-ms", type=_Number(int, 1, 60_000), default=100, help="default 100"
    )
    parser.add_argument("--boot-id", type=_U32, help="of the first start (default: drawn)")
    parser.add_argument(
        "--clock-start-us", type=_Number(int, 0, 1 << 62), default=0, help="device time at a start"
    )
    parser.add_argument(
        "--clock-drift-ppm", type=_Number(int, -1000, 1000), default=0, help="how much it is fast"
    )
    loop = parser.add_argument_group("its own loop, as of rtloop-firmware")
    loop.add_argument("--loop-class", choices=("hard", "firm", "soft"), default="soft")
    loop.add_argument(
        "--loop-deadline-us", type=_Number(int, 1, 1_000_000), default=0, help="default: the period"
    )
    loop.add_argument("--loop-limit", type=_limit, metavar="M/N", help="default: no limit")
    loop.add_argument("--loop-delay-us", type=_Number(int, 0, 1_000_000), default=0)
    loop.add_argument("--loop-delay-every", type=_Number(int, 1, _U32_MAX), default=1)
    parser.add_argument("--seed", type=_U32, default=1, help="of noise and pushes")
    parser.add_argument(
        "--angle-rad", type=_Number(float, -3.2, 3.2), default=0.1, help="of the pole, at a start"
    )
    parser.add_argument(
        "--noise", type=_Number(float, 0, 1000), default=1.0, help="of the sensors; 0 is exact"
    )
    parser.add_argument(
        "--push-newton", type=_Number(float, 0, 1000), default=0.0, help="the strongest push"
    )
    parser.add_argument(
        "--push-interval-s", type=_Number(float, 1e-3, 1e6), default=4.0, help="between pushes"
    )
    parser.add_argument(
        "--priority", type=_Number(int, 0, 99), default=0, help="SCHED_FIFO of the emulator"
    )
    options = parser.parse_args()
    if options.loop_deadline_us > 1_000_000 // options.rate_hz:
        parser.error(
            f"--loop-deadline-us is {options.loop_deadline_us}; give at most the period, "
            f"{1_000_000 // options.rate_hz}"
        )
    return options


@dataclass(frozen=True)
class _Number:
    """The firmware reads its arguments without judging them, as nobody could hear its complaints."""

    kind: type[int] | type[float]
    low: float
    high: float

    def __call__(self, text: str) -> float:
        with suppress(ValueError):
            number = self.kind(text)
            if self.low <= number <= self.high:
                return number
        what = "an integer" if self.kind is int else "a number"
        raise argparse.ArgumentTypeError(
            f"{text!r}; give {what} from {self.low:.10g} to {self.high:.10g}"
        )


_U32_MAX = 0xFFFF_FFFF
_U32 = _Number(int, 0, _U32_MAX)


def _limit(text: str) -> str:
    parts = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text, re.ASCII)
    if parts is None or not int(parts[1]) < int(parts[2]) <= 1024:
        raise argparse.ArgumentTypeError(
            f"{text!r}; give M/N with M below N and N at most 1024, e.g. 5/1000"
        )
    return text


def _rate(text: str) -> int:
    rate_hz = int(_Number(int, 1, 10_000)(text))
    if 1_000_000 % rate_hz:
        raise argparse.ArgumentTypeError(
            f"{text!r}, which is no whole number of microseconds; give a divisor of 1000000, "
            "e.g. 100, 200, 250, 500"
        )
    return rate_hz


def main() -> int:
    options = vars(_options())
    end_with_parent()
    pty, priority = options.pop("pty"), options.pop("priority")
    if options["boot_id"] is None:
        options["boot_id"] = secrets.randbits(32)
    given = {name: str(value) for name, value in options.items() if value is not None}
    words = [word for name, value in given.items() for word in (_option(name), value)]
    try:
        _run(Board(firmware_image(), words, priority), pty)
    except RtloopError as error:
        print(f"emulated board: {error}", file=sys.stderr)
        return 1
    return 0


def _run(board: Board, pty: Path | None) -> None:
    try:
        if pty is not None:
            _link(pty, board.line)
        print(f"READY {board.line}", flush=True)
        _serve(board)
        print(board.summary(), flush=True)
    finally:
        board.end()
        if pty is not None:
            _unlink(pty, board.line)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main())
