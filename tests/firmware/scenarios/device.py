"""What a scenario knows of a device: where it is, how it is reset, and what it says at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


class Device(ABC):
    """A device that is up: a cart-pole of one command value, IDLE, to whom nobody has said HELLO yet.

    ``address`` is what ``device:`` of a link would be: the path of a serial line, ``zmq+tcp://host:port``
    or ``udp://host:port``. It is the same after a reset.
    """

    address: str

    @abstractmethod
    def reset(self) -> None:
        """As its reset button does, in whatever state it is; returns when it is up again, with another
        boot_id."""

    @abstractmethod
    def stop(self) -> dict[str, Any]:
        """Ends it; its summary, {} where it has none. May be called again."""


@dataclass(frozen=True)
class DeviceKind:
    """``start`` gets the test's request (for further fixtures), an empty folder and options; it skips
    with a reason where such a device cannot be had.

    ``options`` are those of ``rtloop-firmware`` that this kind can do, without their ``--``; a scenario
    that needs another one is skipped for it. ``rate_hz`` is a loop that its line carries. A kind that does
    not ``keeps_time`` has a clock that stands still, then steps, where its program is not run.
    """

    name: str
    start: Callable[[pytest.FixtureRequest, Path, dict[str, str]], Device]
    options: frozenset[str] = field(default_factory=frozenset)
    rate_hz: int = 50
    keeps_time: bool = True
