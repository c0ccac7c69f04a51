"""The wire, written from docs/protocol.md alone: frames, packets, and what a device sends in them."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

HELLO, HELLO_REPLY, SCHEMA_REQUEST, SCHEMA_CHUNK, TIME_REQUEST, TIME_REPLY, SENSOR = range(1, 8)
COMMAND, ARM, CLEAR, STOP, EVENT, STATUS_REQUEST, STATUS = range(8, 15)
STATS_REQUEST, STATS, HISTOGRAM_REQUEST, HISTOGRAM = range(15, 19)
ACCOUNTS = 1  # a flag of HELLO_REPLY
INIT, IDLE, ARMED, ACTIVE, SAFE = range(5)
COMMAND_TIMEOUT, DEADLINE_MISSES, LINK_ERRORS, NON_FINITE, LIMIT, HOST_STOP, HARDWARE = (
    1 << bit for bit in range(7)
)
U32 = 0xFFFFFFFF


class Packet(NamedTuple):
    """As received; ``payload`` is what is between header and CRC."""

    type: int
    seq: int
    schema_id: int
    payload: bytes


def schema_id(text: bytes) -> int:
    return zlib.crc32(text) & 0xFFFF or 1


def packet(
    type: int,
    seq: int,
    ack: int,
    schema: int,
    time_us: int,
    payload: bytes,
    version: int = 1,
    flags: int = 0,
) -> bytes:
    head = struct.pack(
        "<BBHHHI", version << 4 | flags, type, seq & 0xFFFF, ack, schema, time_us & U32
    )
    return head + payload + struct.pack("<I", zlib.crc32(head + payload))


def unpacked(data: bytes) -> Packet | None:
    """None when it is damaged."""
    if len(data) < 16 or struct.pack("<I", zlib.crc32(data[:-4])) != data[-4:]:
        return None
    _, type, seq, _, schema, _ = struct.unpack_from("<BBHHHI", data)
    return Packet(type, seq, schema, data[12:-4])


def framed(data: bytes) -> bytes:
    """COBS: blocks of what is between zeros, each behind its length, and 0 at the end."""
    blocks = []
    for piece in data.split(b"\0"):
        rest = piece
        while len(rest) >= 254:
            blocks.append(b"\xff" + rest[:254])
            rest = rest[254:]
        blocks.append(bytes([len(rest) + 1]) + rest)
    return b"".join(blocks) + b"\0"


def unframed(frame: bytes) -> bytes:
    """What is in a frame without its 0; nothing when it is damaged."""
    data = bytearray()
    at = 0
    while at < len(frame):
        length = frame[at]
        block = frame[at + 1 : at + length]
        if len(block) != length - 1:
            return b""
        data += block
        at += length
        if length < 255 and at < len(frame):
            data.append(0)
    return bytes(data)
