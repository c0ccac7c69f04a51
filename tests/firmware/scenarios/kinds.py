"""Every kind of device that the scenarios are played with. A new one is a line here."""

from __future__ import annotations

from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.host_program import HOST_PROGRAM_KINDS

KINDS: tuple[DeviceKind, ...] = (*HOST_PROGRAM_KINDS,)
