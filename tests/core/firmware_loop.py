"""A loop on the firmware program, over the real handshake: real time, stepped by the test."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rtloop import core
from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Link
from tests.core.conftest import first_of, read_records
from tests.running import UNDISTURBED

S = 1_000_000_000
#: Of the device, and beyond what a shared machine stalls a test.
COMMAND_TIMEOUT_MS = 10_000


class FirmwareLoop:
    """Armed and begun on entering; on leaving the loop has ended and ``summary`` is the device's."""

    def __init__(
        self, folder: Path, *, rate_hz: float, sensor_hz: int = 1000, sensors: int = 4
    ) -> None:
        self.period_ns = int(S / rate_hz)
        self.sensor_period_ns = S // sensor_hz
        self.summary: dict[str, Any] = {}
        self._sensors = sensors
        self._ring_path = str(folder / "ring")
        arguments = [
            *UNDISTURBED,
            *("--rate-hz", str(sensor_hz), "--sensors", str(sensors)),
            *("--command-timeout-ms", str(COMMAND_TIMEOUT_MS)),
        ]
        self._device = FirmwareProcess(folder / "tty", arguments)

    def __enter__(self) -> FirmwareLoop:
        self._device.start()
        self.link = Link.open("cart", str(self._device.link), 3_000_000)
        self.port = self._port()
        config = core.LoopConfig()
        config.name = "rates"
        config.loop_class = core.LoopClass.soft
        config.period_ns = config.deadline_ns = self.period_ns
        config.inputs, config.outputs = [core.InputConfig(0)], [core.OutputConfig(0, safe=[0.0])]
        ring = core.RingWriter(self._ring_path, 1 << 14, 1, self._sensors, 1, b"{}")
        graph = first_of(self._sensors)
        self.loop = core.Loop(config, [self.port], graph, ring, core.MonotonicClock())
        self.link.arm(loop_class=2)
        self.loop.begin()
        return self

    def _port(self) -> core.Port:
        info = self.link.resync()
        options = {
            "fd": self.link.fileno(),
            "keeps_packets": int(self.link.keeps_packets),
            "schema_id": info.schema_id,
            "n_sensor": self._sensors,
            "n_command": 1,
            "clock_offset_ns": info.clock_offset_ns,
            "clock_error_ns": info.clock_error_ns,
            "clock_time_ns": info.clock_time_ns,
            "command_validity_ns": COMMAND_TIMEOUT_MS * 500_000,
            "command_timeout_ns": COMMAND_TIMEOUT_MS * 1_000_000,
            "obey_timeout_ns": 20 * S,
            "reconnects": 0,
            "is_armed": 1,
            "accounts": 0,
            "silence_timeout_ns": 20 * S,
        }
        return core.Port("link", options)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.loop.end()
        self.link.stop()
        self.link.close()
        self.summary = self._device.stop()

    def step(self, cycles: int) -> None:
        for _ in range(cycles):
            assert self.loop.step(), self.loop.status()

    def records(self) -> np.ndarray[Any, Any]:
        return read_records(self._ring_path)
