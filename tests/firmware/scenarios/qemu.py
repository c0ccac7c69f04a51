"""Arm code on an emulated Cortex-M4F, over its UART."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.emulated.firmware import EmulatedFirmware
from rtloop.demos.emulated.image import missing_tools
from tests.firmware.scenarios.device import Device, DeviceKind
from tests.firmware.scenarios.host_program import LOOP_OPTIONS

OPTIONS = frozenset({"clock-drift-ppm", "clock-start-us", "rate-hz", *LOOP_OPTIONS})


class EmulatedBoard(Device):
    def __init__(self, line: Path, options: list[str]) -> None:
        self._board = EmulatedFirmware(line, options)
        self._board.start()
        self.address = str(line)

    def reset(self) -> None:
        self._board.reset()

    def stop(self) -> dict[str, Any]:
        return self._board.stop()


def _start(request: pytest.FixtureRequest, folder: Path, options: dict[str, str]) -> Device:
    if missing := missing_tools():
        pytest.skip(missing)
    arguments = ["--angle-rad", "0", "--noise", "0"]
    # Two threads of the emulator hand over each byte: what preempts them slows the line down.
    arguments += ["--priority", "60"] if os.geteuid() == 0 else []
    for name, value in {"rate-hz": "100", **options}.items():
        arguments += [f"--{name}", value]
    board = EmulatedBoard(folder / "line", arguments)
    request.addfinalizer(board.stop)
    return board


QEMU_KINDS = (DeviceKind("qemu-serial", _start, OPTIONS, keeps_time=False),)
