"""What a transport is to the link above it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from rtloop import core
from rtloop.errors import LinkError

#: Of what was received before, so many packets are dropped: of a flood there is no end.
DISCARDED_MAX = 4096


class RefusedError(LinkError):
    """The network says that nobody is there now. That is no loss: a moment later somebody may be."""


class Line(Protocol):
    """An open line. Reads and writes raise LinkError when it is gone.

    Its descriptor is non-blocking, and the core reads and writes it as this class does.
    """

    device: str
    #: Bits per second that the wire carries; None where it sets no limit of its own.
    bit_rate: int | None
    #: Whether received bytes are passed on at once.
    low_latency: bool
    #: Whether each read and each write is one packet; otherwise they are bytes of a stream, and packets are
    #: framed.
    keeps_packets: bool
    #: What to check when bytes come but no packet that holds, after "Check that".
    check: str

    def fileno(self) -> int: ...
    def read(self, timeout_s: float) -> bytes:
        """The bytes that are there, or the next packet, after at most ``timeout_s``; empty when none came."""

    def write(self, data: bytes, timeout_s: float = 0.5) -> None:
        """All of it; also raises LinkError when the line does not take it within ``timeout_s``."""

    def discard_input(self) -> None:
        """Drops what was received and not read, up to a bound."""

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        """For the threads that carry its packets, where there are any: what became of each right."""

    def close(self) -> None:
        """May be called again."""


class Transport(ABC):
    """One way for packets to travel."""

    scheme: str
    """What a device begins with, before ``://``; empty for a path."""
    device: str
    """What is written as a device, in words, behind "expected"."""

    rule: str = ""
    """What more has to be right about it, behind ``device``."""

    where_lost: str
    """What to check where packets do not arrive whole, behind "check"."""

    has_threads: bool = False
    """Whether an open line has threads of its own, which carry its packets."""

    def takes(self, device: str) -> bool:
        """Whether a device with this scheme is written rightly."""
        return True

    @abstractmethod
    def open(self, device: str, baud: int) -> Line:
        """Opens a device for this process alone. Raises LinkError that says what to do."""

    @abstractmethod
    def bit_rate(self, baud: int) -> int | None:
        """Bits per second that the wire carries; None where it sets no limit of its own."""

    @abstractmethod
    def host_problem(self, device: str) -> tuple[str, str] | None:
        """What this host lacks to open it: what was found, what is expected; None where nothing."""

    def latency_problem(self, device: str) -> str:
        """What holds received bytes back on this host, with its fix; empty where nothing is known to.

        ``device`` has been opened.
        """
        return ""


registered: dict[str, Transport] = {}
"""All transports, by scheme."""


def register(transport: type[Transport]) -> type[Transport]:
    """Decorates the class of a transport."""
    registered[transport.scheme] = transport()
    return transport
