"""What a bridge is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rtloop.link.messages import DeviceEvent, Sample

LOST, SILENT = "LOST", "SILENT"


@dataclass(frozen=True)
class Note:
    """What the bridge itself has to say: ``what`` is lost, back, silent, restarted, held or disarmed."""

    what: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Terms:
    """How a device is commanded. ``command_timeout_ms`` is what it is armed with, 0 its own.

    A command is repeated until it is ``command_hold_ms`` old; then the device gets a STOP. 0: it is sent once,
    and the device's own command timeout is what ends it.
    """

    command_timeout_ms: float = 0.0
    command_hold_ms: float = 200.0


class Listener(Protocol):
    """Called in the bridge's own thread; what it raises ends the bridge."""

    def sample(self, sample: Sample) -> object: ...
    def state(self, told: str) -> object:
        """Whenever it is another one: as ``SAFE: LIMIT``, LOST or SILENT."""

    def event(self, event: DeviceEvent | Note, age_ns: int) -> object:
        """``age_ns`` is how long ago it happened."""


@dataclass
class Counts:
    """Since the bridge was opened."""

    samples: int = 0
    lost_packets: int = 0
    damaged_packets: int = 0
    commands: int = 0
    """Received and passed on; one that is held is sent more often."""
    refused_commands: int = 0
    reconnections: int = 0
