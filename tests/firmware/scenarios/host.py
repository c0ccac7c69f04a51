"""A host without rtloop, on any transport: the reference implementation's packets, and no rule of its own."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import zmq

from tests.firmware import reference as ref
from tests.firmware.program import Host
from tests.firmware.test_zmtp import ZmqHost


class UdpHost(Host):
    """A datagram each."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("udp://").rsplit(":", 1)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((host, int(port)))
        self.schema_id = 0
        self.packets = []
        self.broken = 0
        self._seq = 0

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def transmit(self, packet: bytes) -> None:
        with suppress(ConnectionRefusedError):  # nobody listened there before
            self._socket.send(packet)

    def receive(self, timeout_s: float = 0.02) -> list[ref.Packet]:
        new: list[ref.Packet] = []
        while select.select([self._socket], [], [], timeout_s)[0]:
            with suppress(ConnectionRefusedError):
                new.append(ref.decode_packet(self._socket.recv(65536)))
            timeout_s = 0
        self.packets += new
        return new


@contextmanager
def host_at(address: str) -> Iterator[Host]:
    """A host of a device's, or of a wire's, address."""
    if address.startswith("udp://"):
        with UdpHost(address) as host:
            yield host
    elif address.startswith("zmq+tcp://"):
        with zmq.Context() as context:
            end = context.socket(zmq.DEALER)
            end.linger = 0
            end.reconnect_ivl = 20
            end.connect(address.removeprefix("zmq+"))
            with ZmqHost(end) as host:
                yield host
    else:
        with Host(address) as host:
            yield host
