"""Every kind of device that the scenarios are played with. A new one is a line here."""

from __future__ import annotations

from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.host_program import HOST_PROGRAM_KINDS
from tests.firmware.scenarios.qemu import QEMU_KINDS
from tests.firmware.scenarios.zephyr import ZEPHYR_KINDS

KINDS: tuple[DeviceKind, ...] = (*HOST_PROGRAM_KINDS, *QEMU_KINDS, *ZEPHYR_KINDS)
