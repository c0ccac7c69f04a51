"""Packets over a line, with requests that are repeated until they are answered."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from rtloop import core
from rtloop.errors import LinkError
from rtloop.link.messages import PacketType
from rtloop.link.transports import Line
from rtloop.stopping import go_on

Answer = TypeVar("Answer")

#: How a message begins that is no packet, but says why a gateway passes nothing on.
REFUSED = b"refused: "


class Packet(NamedTuple):
    """A received packet. ``received_ns`` is CLOCK_MONOTONIC."""

    type: int
    flags: int
    seq: int
    ack: int
    schema_id: int
    time_us: int
    payload: bytes
    received_ns: int


class PacketStream:
    """Damaged packets are counted in ``errors`` and otherwise treated as lost."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.schema_id = 0
        self.received_bytes = 0
        self._seq = 0
        self._ack = 0
        self._packet_errors = 0
        self._waiting: deque[Packet] = deque()
        self._decoder = core.FrameDecoder()

    @property
    def errors(self) -> int:
        return self._packet_errors + self._decoder.errors

    @property
    def last_seq(self) -> int:
        """Of the newest packet sent; an answer acknowledges it."""
        return self._seq - 1 & 0xFFFF

    def go_on_from(self, seq: int) -> None:
        """The next packet has this number: others were sent meanwhile, and the device counts gaps."""
        self._seq = seq

    def restart(self) -> None:
        """Forgets what was received; on a stream ends whatever frame was cut on the way to the device."""
        self.line.discard_input()
        self._packet_errors += self._decoder.errors
        self._decoder = core.FrameDecoder()
        self._waiting.clear()
        if not self.line.keeps_packets:
            self.line.write(b"\0")

    def send(self, type: PacketType, payload: bytes = b"") -> None:
        """Raises LinkError; StoppedError, for all but a STOP, once a stop was asked for."""
        if type is not PacketType.STOP:
            go_on()
        now_us = time.monotonic_ns() // 1000 & 0xFFFFFFFF
        packet = core.packet_encode(type, self._seq, self._ack, self.schema_id, now_us, payload)
        self._seq = self._seq + 1 & 0xFFFF
        self.line.write(packet if self.line.keeps_packets else core.frame_encode(packet))

    def receive(self, end: float) -> Packet | None:
        """The next packet, or None when none came until ``time.monotonic()`` is ``end``."""
        while not self._waiting:
            remaining = end - time.monotonic()
            if remaining <= 0:
                return None
            data = self.line.read(remaining)
            self._take(data, time.monotonic_ns())
        return self._waiting.popleft()

    def request(
        self,
        type: PacketType,
        payload: bytes,
        answer_type: PacketType,
        accept: Callable[[Packet], Answer | None],
        attempts: int,
        timeout_s: float,
    ) -> Answer | None:
        """Sends until ``accept`` returns something for a packet of ``answer_type``.

        None when no attempt was answered within ``timeout_s`` of its own.
        """
        for _ in range(attempts):
            self.send(type, payload)
            end = time.monotonic() + timeout_s
            while (packet := self.receive(end)) is not None:
                if packet.type == answer_type and (answer := accept(packet)) is not None:
                    return answer
        return None

    def _take(self, data: bytes, received_ns: int) -> None:
        self.received_bytes += len(data)
        for bare in self._packets(data):
            try:
                packet = Packet(*core.packet_decode(bare), received_ns)
            except ValueError:
                if self.line.keeps_packets and bare.startswith(REFUSED):
                    raise LinkError(_refusal(self.line.device, bare)) from None
                self._packet_errors += 1
                continue
            self._ack = packet.seq
            self._waiting.append(packet)

    def _packets(self, data: bytes) -> list[bytes]:
        if self.line.keeps_packets:
            return [data] if data else []
        return self._decoder.feed(data)


def _refusal(device: str, message: bytes) -> str:
    said = message.removeprefix(REFUSED).decode("ascii", "replace")
    return f"{device} refused: {''.join(c if c.isprintable() else '?' for c in said)}"
