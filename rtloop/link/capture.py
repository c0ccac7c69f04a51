"""The bytes of a line, as they were recorded: which packets they hold, and what is damaged between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rtloop import core

_NAMES = {number: name for name, number in core.MESSAGE_TYPES.items()}
#: What a host sends; all else is a device's. Each side numbers its own packets.
_OF_HOST = {"HELLO", "COMMAND", "ARM", "CLEAR", "STOP"}
#: Begin a new count, whatever they carry.
_BEGINNINGS = {"HELLO", "STOP"}


@dataclass(frozen=True)
class Captured:
    """A frame: ``size`` bytes at ``offset``, its delimiter included.

    Either a packet – then ``error`` is empty, or says why the payload is not understood – or damage, of which
    ``type`` is None. ``missing``: packets of the same side that came before it and are not here.
    """

    offset: int
    size: int
    error: str = ""
    type: str | None = None
    is_of_host: bool = False
    seq: int = 0
    ack: int = 0
    schema_id: int = 0
    time_us: int = 0
    missing: int = 0
    fields: dict[str, Any] | None = None

    @property
    def is_packet(self) -> bool:
        return self.type is not None


def decoded(pieces: Iterable[bytes]) -> Iterator[Captured]:
    """Each frame of a stream that comes in pieces. What is behind the last delimiter is told as cut."""
    rest, offset = b"", 0
    newest: dict[bool, int] = {}
    for piece in pieces:
        *frames, rest = (rest + piece).split(b"\0")
        for frame in frames:
            if frame:  # a lone delimiter ends what was cut before, and is no error
                yield _captured(frame, offset, newest)
            offset += len(frame) + 1
    if rest:
        yield Captured(offset, len(rest), "cut: no delimiter until the end")


def _captured(frame: bytes, offset: int, newest: dict[bool, int]) -> Captured:
    size = len(frame) + 1
    packets = core.FrameDecoder().feed(frame + b"\0")
    if not packets:
        return Captured(offset, size, "no frame: its COBS codes do not add up")
    try:
        type, _, seq, ack, schema_id, time_us, payload = core.packet_decode(packets[0])
    except ValueError as damage:
        return Captured(offset, size, str(damage))
    error, fields = "", None
    try:
        fields = core.message_decode(type, payload)
    except ValueError as wrong:
        error = str(wrong)
    name = _NAMES.get(type, f"type {type}")
    is_of_host = name in _OF_HOST or name.endswith("_REQUEST")
    missing = 0
    if is_of_host in newest and name not in _BEGINNINGS:
        missing = seq - newest[is_of_host] - 1 & 0xFFFF
        missing = missing if missing < 0x8000 else 0  # one that goes back began anew
    newest[is_of_host] = seq
    return Captured(
        offset, size, error, name, is_of_host, seq, ack, schema_id, time_us, missing, fields
    )
