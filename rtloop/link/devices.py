"""The serial devices of this host, as far as they can be told without opening one."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.link.transports import of
from rtloop.link.transports.serial_latency import DriverLatency, driver_latency

if TYPE_CHECKING:
    from serial.tools.list_ports_linux import SysFS

BY_ID = Path("/dev/serial/by-id")
PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """A process that has a device open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


@dataclass(frozen=True)
class SerialDevice:
    """``path`` may be another device after the next plug, ``by_id`` stays that of this adapter; it is empty
    where there is none. The USB ids are None of what is not on USB. ``problem``: why this user cannot open it,
    and what to do.
    """

    path: str
    by_id: str = ""
    vendor_id: int | None = None
    product_id: int | None = None
    manufacturer: str = ""
    product: str = ""
    serial_number: str = ""
    latency: DriverLatency = field(default_factory=DriverLatency)
    holders: tuple[Holder, ...] = ()
    problem: str = ""

    @property
    def usb_id(self) -> str:
        """As lsusb writes it; empty of what is not on USB."""
        if self.vendor_id is None or self.product_id is None:
            return ""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"


def serial_devices() -> list[SerialDevice]:
    """Those that have a driver: on USB first, by their names. None of them is opened."""
    import serial.tools.list_ports

    found = sorted(serial.tools.list_ports.comports(), key=lambda p: (p.vid is None, p.device))
    stable = _stable_names()
    held = _holders({os.path.realpath(port.device) for port in found})
    return [_device(port, stable, held) for port in found]


def _device(
    port: SysFS, stable: dict[str, str], held: dict[str, tuple[Holder, ...]]
) -> SerialDevice:
    real = os.path.realpath(port.device)
    transport = of(port.device)
    lacks = None if transport is None else transport.host_problem(port.device)
    return SerialDevice(
        path=port.device,
        by_id=stable.get(real, ""),
        vendor_id=port.vid,
        product_id=port.pid,
        manufacturer=_printable(port.manufacturer),
        product=_printable(port.product),
        serial_number=_printable(port.serial_number),
        latency=driver_latency(port.device),
        holders=held.get(real, ()),
        problem="" if lacks is None else f"found {lacks[0]}; expected {lacks[1]}",
    )


def _printable(text: str | None) -> str:
    """A device's own words are shown in terminals: nothing in them may control one."""
    return "".join(c if c.isprintable() else "?" for c in text or "")


def _stable_names() -> dict[str, str]:
    """By what they point to now: the paths that udev gives by maker, product and serial number."""
    try:
        return {os.path.realpath(link): str(link) for link in sorted(BY_ID.iterdir())}
    except OSError:
        return {}


def _holders(devices: set[str]) -> dict[str, tuple[Holder, ...]]:
    """Who has which of them open. Only root sees everybody; others see their own processes."""
    held: dict[str, list[Holder]] = {}
    for process in PROC.glob("[0-9]*"):
        try:
            paths = _open_files(process)
            name = (process / "comm").read_text().strip()
        except OSError:  # another user's, or it has ended
            continue
        for path in paths & devices:
            held.setdefault(path, []).append(Holder(int(process.name), _printable(name)))
    return {path: tuple(sorted(who, key=lambda h: h.pid)) for path, who in held.items()}


def _open_files(process: Path) -> set[str]:
    paths = set()
    for fd in (process / "fd").iterdir():
        with suppress(OSError):  # it was closed since
            paths.add(os.readlink(fd))
    return paths
