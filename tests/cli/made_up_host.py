"""A host into which a test plugs serial devices: its /sys, its /dev/serial/by-id, what pyserial finds."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import serial.tools.list_ports
from serial.tools.list_ports_common import ListPortInfo

from rtloop.link import devices
from rtloop.link.transports import serial_latency


class Host:
    """Its devices are files, taken for character devices."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_id = folder / "by-id"
        self._dev, self._sys = folder / "dev", folder / "sys"
        for made in (self.by_id, self._dev, self._sys):
            made.mkdir()
        self._ports: list[Any] = []
        monkeypatch.setattr(stat, "S_ISCHR", lambda mode: True)
        monkeypatch.setattr(devices, "BY_ID", self.by_id)
        monkeypatch.setattr(serial_latency, "SYS", self._sys)
        monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: list(self._ports))

    def plug(
        self,
        name: str,
        driver: str,
        *,
        usb: bool = True,
        product: str = "FT232R",
        **attributes: str,
    ) -> Path:
        """``latency_timer`` is an attribute of the device, ``flags`` one of the port."""
        path = self._dev / name
        path.touch()
        port: Any = ListPortInfo(str(path))
        if usb:
            port.vid, port.pid = 0x0403, 0x6001
            port.manufacturer, port.product, port.serial_number = "FTDI", product, "A50285BI"
            (self.by_id / "usb-FTDI_FT232R_A50285BI-if00-port0").symlink_to(path)
        self._ports.append(port)
        node = self._sys / "class/tty" / name
        drivers = self._sys / "drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        (node / "device").mkdir(parents=True)
        (node / "device/driver").symlink_to(drivers)
        for attribute, text in attributes.items():
            folder = node if attribute == "flags" else node / "device"
            (folder / attribute).write_text(text)
        return path
