"""The emulated board as the microcontroller of a demo."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rtloop.demos.emulated.image import firmware_image
from rtloop.demos.firmware import READY_TIMEOUT_S, FirmwareProcess
from rtloop.errors import RtloopError

BOARD = (sys.executable, "-m", "rtloop.demos.emulated.board")


class EmulatedFirmware(FirmwareProcess):
    """The cart-pole of ``firmware/qemu``: Arm code, in QEMU. As its base otherwise."""

    def __init__(self, link: Path, arguments: Sequence[str] = ()) -> None:
        super().__init__(link, arguments, BOARD)

    def start(self) -> None:
        firmware_image()  # a build takes longer than a start may
        super().start()

    def reset(self) -> str:
        """Presses the reset button; why the board says that it started again, when it has."""
        return self._restarted_by(signal.SIGHUP)

    def fault(self) -> str:
        """Makes the firmware fault; the same."""
        return self._restarted_by(signal.SIGQUIT)

    def _restarted_by(self, number: signal.Signals) -> str:
        os.kill(self.pid, number)
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], READY_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if not line.startswith("RESTARTED "):
            raise RtloopError(f"the emulated board did not start again: {line!r}")
        return line.removeprefix("RESTARTED ").strip()
