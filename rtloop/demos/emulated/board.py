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
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rtloop.demos.emulated.emulator import Emulator
from rtloop.demos.emulated.image import EMULATOR, firmware_image
from rtloop.demos.parent import end_with_parent
from rtloop.errors import RtloopError

_SUMMARY_TIMEOUT_S = 2.0
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
    board.console.sendall(b"s")
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


def _serve(board: Emulator) -> None:
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
                board.reset()
            elif caught in _LETTERS:
                board.console.sendall(_LETTERS[caught])


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
    parser.add_argument("--command-timeout-ms", type=int, default=100, help="default 100")
    parser.add_argument("--boot-id", type=int, help="of the first start (default: drawn)")
    parser.add_argument("--clock-start-us", type=int, default=0, help="device time at a start")
    parser.add_argument("--clock-drift-ppm", type=int, default=0, help="how much it is fast")
    loop = parser.add_argument_group("its own loop, as of rtloop-firmware")
    loop.add_argument("--loop-class", choices=("hard", "firm", "soft"), default="soft")
    loop.add_argument("--loop-deadline-us", type=int, default=0, help="default: the period")
    loop.add_argument("--loop-limit", default="0/0", metavar="M/N", help="default: no limit")
    loop.add_argument("--loop-delay-us", type=int, default=0)
    loop.add_argument("--loop-delay-every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of noise and pushes")
    parser.add_argument("--angle-rad", type=float, default=0.1, help="of the pole, at a start")
    parser.add_argument("--noise", type=float, default=1.0, help="of the sensors; 0 is exact")
    parser.add_argument("--push-newton", type=float, default=0.0, help="the strongest push")
    parser.add_argument("--push-interval-s", type=float, default=4.0, help="between pushes")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO of the emulator")
    return parser.parse_args()


def _rate(text: str) -> int:
    rate_hz = int(text)
    if rate_hz < 1 or 1_000_000 % rate_hz:
        raise argparse.ArgumentTypeError(f"{text} does not divide 1000000")
    return rate_hz


def main() -> int:
    options = vars(_options())
    end_with_parent()
    pty, priority = options.pop("pty"), options.pop("priority")
    if options["boot_id"] is None:
        options["boot_id"] = secrets.randbits(32)
    words = [word for name, value in options.items() for word in (_option(name), str(value))]
    try:
        _run(_emulated(firmware_image(), words, priority), pty)
    except RtloopError as error:
        print(f"emulated board: {error}", file=sys.stderr)
        return 1
    return 0


def _run(board: Emulator, pty: Path | None) -> None:
    try:
        if pty is not None:
            _link(pty, board.line)
        print(f"READY {board.line}", flush=True)
        _serve(board)
        print(_summary(board), flush=True)
    finally:
        board.end()
        if pty is not None:
            _unlink(pty, board.line)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main())
