"""``rtloop-firmware``, the library as a Linux program, over each of its transports."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.program import FirmwareProgram
from tests.firmware.scenarios.device import Device, DeviceKind

LOOP_OPTIONS = ("loop-class", "loop-deadline-us", "loop-delay-us", "loop-delay-every")
OPTIONS = frozenset({"clock-drift-ppm", "clock-start-us", "rate-hz", *LOOP_OPTIONS})


class HostProgram(Device):
    def __init__(self, executable: Path, line: Path, transport: str, options: list[str]) -> None:
        self._executable, self._line, self._options = executable, line, options
        self._transport = transport
        self._program = self._start(f"{_scheme(transport)}://127.0.0.1:0")
        self.address = str(line)
        if transport != "serial":
            self._packets_at = self._program.address  # the third word of READY, whatever it is
            self.address = self._packets_at.replace("tcp://", "zmq+tcp://")
        self._summary: dict[str, Any] | None = None

    def _start(self, packets_at: str) -> FirmwareProgram:
        offer = [] if self._transport == "serial" else [f"--{self._transport}", packets_at]
        return FirmwareProgram(self._executable, self._line, *offer, *self._options)

    def reset(self) -> None:
        self._program.kill()
        self._program = self._start(getattr(self, "_packets_at", ""))

    def stop(self) -> dict[str, Any]:
        if self._summary is None:
            self._summary = self._program.stop()
        return self._summary

    def kill(self) -> None:
        self._program.kill()


def _scheme(transport: str) -> str:
    return {"zmq": "tcp"}.get(transport, transport)


def _start(
    transport: str, request: pytest.FixtureRequest, folder: Path, options: dict[str, str]
) -> Device:
    executable = request.getfixturevalue("firmware_build") / "host" / "rtloop-firmware"
    # A pole that stands still: what a scenario shows has to do with its wire, and not with the plant.
    arguments = ["--angle-rad", "0", "--noise", "0"]
    # So that what a cut held up, or a stall, is no flood, of which a host looks at the last packets only.
    for name, value in {"rate-hz": "200", **options}.items():
        arguments += [f"--{name}", value]
    device = HostProgram(executable, folder / "line", transport, arguments)
    request.addfinalizer(device.kill)
    return device


HOST_PROGRAM_KINDS = tuple(
    DeviceKind(f"host-{transport}", functools.partial(_start, transport), OPTIONS)
    for transport in ("serial", "zmq", "udp")
)
