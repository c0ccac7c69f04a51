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
import os
import re
import secrets
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rtloop.demos.emulated.emulator import Emulator
from rtloop.demos.emulated.image import EMULATOR, firmware_image
from rtloop.demos.parent import end_with_parent
from rtloop.errors import RtloopError

_SUMMARY_TIMEOUT_S = 2.0
_ENDS = (signal.SIGTERM, signal.SIGINT)
#: What the console hears, see firmware/qemu/main.c.
_LETTERS = {signal.SIGUSR2: b"e", signal.SIGQUIT: b"f", signal.SIGALRM: b"h"}


def _emulated(image: Path, arguments: Sequence[str], priority: int) -> Emulator:
    """The board of ``firmware/qemu``. Raises RtloopError."""
    words = ["firmware", *arguments]
    return Emulator(
        [
            "-machine", "mps2-an386", "-serial", "chardev:link", "-serial", "chardev:console",
            "-semihosting-config",
            ",".join(["enable=on", "target=native", *(f"arg={word}" for word in words)]),
            "-kernel", str(image),
        ],
        priority,
    )  # fmt: skip


def _summary(board: Emulator) -> str:
    """Empty from a firmware that does not answer."""
    board.press(b"s")
    end_s = time.monotonic() + _SUMMARY_TIMEOUT_S
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([board.console], [], [], left_s)[0]:
            lines = board.lines()
            if lines is None:
                break
            for line in lines:
                if line.startswith("{"):
                    return line
    return ""


def _caught_signals() -> socket.socket:
    """What is read from it are their numbers, also of those that came before anyone read."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.detach())
    for number in (*_ENDS, signal.SIGHUP, *_LETTERS):
        signal.signal(number, lambda *_: None)
    return woken


def _serve(board: Emulator, woken: socket.socket) -> None:
    """Until a signal ends it, or the emulator ends by itself: RtloopError.

    The next signal is obeyed once the board is up again, which a letter would not find listening, and of which
    each start is told.
    """
    waiting: deque[signal.Signals] = deque()
    is_up = True
    while True:
        readable = select.select([board.console, woken], [], [])[0]
        if board.console in readable:
            lines = board.lines()
            if lines is None:
                raise RtloopError(f"{EMULATOR} ended by itself: {board.end()}")
            for line in lines:
                if line.startswith("READY "):
                    is_up = True
                    print(f"RESTARTED {line.removeprefix('READY ')}", flush=True)
        waiting.extend(map(signal.Signals, woken.recv(64) if woken in readable else b""))
        if any(caught in _ENDS for caught in waiting):
            return
        while waiting and is_up:
            caught = waiting.popleft()
            is_up = caught == signal.SIGUSR2
            if caught == signal.SIGHUP:
                with suppress(OSError, ValueError):  # that it has ended is for `lines` to tell
                    board.reset()
            else:
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

    of: type[int] | type[float]
    low: float
    high: float

    def __call__(self, text: str) -> float:
        with suppress(ValueError):
            number = self.of(text)
            if self.low <= number <= self.high:
                return number
        what = "an integer" if self.of is int else "a number"
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
    woken = _caught_signals()  # before READY, which invites them
    try:
        _run(_emulated(firmware_image(), words, priority), pty, woken)
    except RtloopError as error:
        print(f"emulated board: {error}", file=sys.stderr)
        return 1
    return 0


def _run(board: Emulator, pty: Path | None, woken: socket.socket) -> None:
    try:
        if pty is not None:
            _link(pty, board.line)
        print(f"READY {board.line}", flush=True)
        _serve(board, woken)
        print(_summary(board), flush=True)
    finally:
        board.end()
        if pty is not None:
            _unlink(pty, board.line)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main())
