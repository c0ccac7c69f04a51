"""What a serial driver does with received bytes before it passes them on: by sysfs, the line stays closed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: ASYNC_LOW_LATENCY of <linux/tty_flags.h>.
_LOW_LATENCY = 1 << 13
SYS = Path("/sys")


@dataclass(frozen=True)
class DriverLatency:
    """``driver`` is empty where there is none, as of a pty. ``timer_ms`` is that of FTDI's adapters, which
    collect bytes for so long; ``low_latency`` is what the driver was told. None where it does not tell."""

    driver: str = ""
    timer_ms: int | None = None
    low_latency: bool | None = None


def driver_latency(device: str) -> DriverLatency:
    """Of a device by its path; a symlink counts for what it points to."""
    name = os.path.basename(os.path.realpath(device))
    node = SYS / "class/tty" / name
    driver = node / "device/driver"
    if not driver.exists():
        return DriverLatency()
    flags = _number(node / "flags")
    return DriverLatency(
        driver.resolve().name,
        _number(node / "device/latency_timer"),
        None if flags is None else bool(flags & _LOW_LATENCY),
    )


def latency_problem(device: str) -> str:
    """What holds received bytes back while the line is open, with its fix; empty where nothing is known to."""
    found = driver_latency(device)
    if found.timer_ms is None or found.timer_ms <= 1:
        return ""
    name = os.path.basename(os.path.realpath(device))
    return (
        f"{found.driver} collects received bytes for up to {found.timer_ms} ms (latency_timer), and did not "
        f"take low latency: each sample may be that late. Until it is unplugged: `echo 1 | sudo tee "
        f"{SYS}/class/tty/{name}/device/latency_timer`; for good, a udev rule: "
        'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", ATTR{latency_timer}="1"'
    )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(), 0)
    except (OSError, ValueError):
        return None
