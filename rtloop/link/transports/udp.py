"""UDP: each datagram is one packet, and nothing says that it arrives, once, or in order."""

from __future__ import annotations

import errno
import os
import socket
import time

from rtloop import core
from rtloop.errors import LinkError
from rtloop.link.transports.address import RULE, host_and_port, resolved
from rtloop.link.transports.transport import DISCARDED_MAX, RefusedError, Transport, register
from rtloop.link.transports.waiting import is_readable, is_writable

_DATAGRAM_MAX = 4096
#: Of the kernel, which counts a datagram as 832 bytes at least and takes twice the number: 118 of them wait. A
#: cycle takes in 128 at most (core/ports/packet_wire.cpp), so that a flood costs it no more than that.
QUEUE_BYTES = 48 * 1024


class UdpLine:
    """A connected socket: it takes datagrams of its device alone. Reads and writes raise LinkError when nobody
    listens there."""

    bit_rate: int | None = None
    low_latency = True
    keeps_packets = True

    def __init__(self, end: socket.socket, device: str) -> None:
        self.device = device
        self.check = f"what is there is the firmware of a device: {device}"
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def read(self, timeout_s: float) -> bytes:
        """The next packet, after at most ``timeout_s``; empty when none came."""
        try:
            ready = is_readable(self.fileno(), timeout_s)
            return self._end.recv(_DATAGRAM_MAX) if ready else b""
        except BlockingIOError:
            return b""  # the kernel saw a wrong checksum when it was to hand it over
        except (OSError, ValueError) as error:
            raise self._lost(error) from error

    def write(self, data: bytes, timeout_s: float = 0.5) -> None:
        """One packet; also raises LinkError when the network does not take it within ``timeout_s``."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._end.send(data)
                return
            except BlockingIOError:
                remaining = end - time.monotonic()
                if remaining <= 0:
                    raise LinkError(
                        f"the network takes no packets for {self.device} since {timeout_s:g} s; check this "
                        "host's interface"
                    ) from None
                is_writable(self.fileno(), remaining)
            except (OSError, ValueError) as error:
                raise self._lost(error) from error

    def discard_input(self) -> None:
        """Drops what was received and not read, a refusal of what was sent before included."""
        for _ in range(DISCARDED_MAX):
            try:
                self._end.recv(_DATAGRAM_MAX)
            except ConnectionRefusedError:
                continue
            except (OSError, ValueError):
                return

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        """No thread of its own carries its packets."""
        return []

    def close(self) -> None:
        """May be called again."""
        self._end.close()

    def _lost(self, error: Exception) -> LinkError:
        if isinstance(error, ConnectionRefusedError):
            return RefusedError(
                f"nobody listens at {self.device}: the device's host answers, but its firmware does not run, "
                "or has another port"
            )
        is_closed = isinstance(error, ValueError) or getattr(error, "errno", None) == errno.EBADF
        kind = LinkError if is_closed else RefusedError
        return kind(
            f"{self.device} cannot be reached: {error}; check the network, this host's address and the "
            "device's"
        )


@register
class UdpTransport(Transport):
    """A device that takes datagrams."""

    scheme = "udp"
    device = "udp://HOST:PORT"
    rule = RULE
    where_lost = "the network between, and what else loads it and this host"

    def takes(self, device: str) -> bool:
        return host_and_port(device) is not None

    def open(self, device: str, baud: int) -> UdpLine:
        return open_udp(device)

    def bit_rate(self, baud: int) -> None:
        return None

    def host_problem(self, device: str) -> tuple[str, str] | None:
        try:
            open_udp(device).close()
        except LinkError as error:
            return f"'{device}'", str(error)
        return None


def open_udp(device: str) -> UdpLine:
    """Resolves the name, and sends nothing. Raises LinkError that says what to do."""
    addresses = resolved(device, socket.SOCK_DGRAM)
    # Of several the first; a name of both kinds is IPv4 to most boards.
    family, address, port = min(addresses, key=lambda found: found[0] != socket.AF_INET)
    end = socket.socket(family, socket.SOCK_DGRAM)
    try:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
        end.connect((address, port))
    except OSError as error:
        end.close()
        raise LinkError(
            f"there is no way to {device}: {os.strerror(error.errno or 0)}; check this host's network and "
            "the address"
        ) from error
    return UdpLine(end, device)
