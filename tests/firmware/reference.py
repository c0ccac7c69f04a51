"""The wire protocol a second time, straight from docs/protocol.md, to hold the C code against.

Written for clarity, not speed; needs nothing but the standard library. The shared vectors are made
from it, and the end-to-end tests talk to the firmware program with it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

VERSION = 1
PACKET_MAX = 540

# name: (type, head, what follows the head). "x" bytes are reserved.
MESSAGES: dict[str, tuple[int, str, tuple[str, ...], str]] = {
    "hello": (1, "<BBxx", ("min_version", "max_version"), ""),
    "hello_reply": (
        2,
        "<BBHBBHIII24s",
        (
            "version",
            "state",
            "reasons",
            "n_sensor",
            "n_command",
            "schema_bytes",
            "sensor_period_us",
            "command_timeout_us",
            "boot_id",
            "name",
        ),
        "",
    ),
    "schema_request": (3, "<Hxx", ("offset",), ""),
    "schema_chunk": (4, "<HH", ("offset", "total"), "bytes"),
    "time_request": (5, "<Q", ("host_ns",), ""),
    "time_reply": (6, "<QQQ", ("host_ns", "t2_us", "t3_us"), ""),
    "sensor": (
        7,
        "<IBBHHH",
        ("sample_time_us", "state", "count", "reasons", "command_seq", "late_commands"),
        "values",
    ),
    "command": (8, "<IBxxx", ("valid_until_us", "count"), "values"),
    "arm": (9, "<BxHI", ("loop_class", "max_late_commands", "command_timeout_us"), ""),
    "clear": (10, "<", (), ""),
    "stop": (11, "<Hxx", ("reason_bits",), ""),
    "event": (
        12,
        "<BBHIIiIB3x",
        (
            "event",
            "loop_class",
            "reasons",
            "time_us",
            "valid_until_us",
            "lateness_us",
            "total",
            "state",
        ),
        "",
    ),
    "status_request": (13, "<", (), ""),
    "device_status": (
        14,
        "<BBHIIIIIIIII",
        (
            "state",
            "loop_class",
            "reasons",
            "boot_id",
            "rx_packets",
            "crc_errors",
            "frame_errors",
            "seq_gaps",
            "late_commands",
            "rejected_commands",
            "command_timeouts",
            "tx_packets",
        ),
        "",
    ),
    "stats_request": (15, "<", (), ""),
    "stats": (
        16,
        "<BxHHHIIIIIIIIiIIQQQIIIII",
        (
            "loop_class",
            "max_misses",
            "window",
            "max_consecutive",
            "boot_id",
            "period_us",
            "deadline_us",
            "jobs",
            "skipped",
            "misses",
            "limit_broken",
            "most_consecutive",
            "lateness_max_us",
            "worst_job",
            "first_miss_job",
            "began_us",
            "worst_us",
            "first_miss_us",
            "response_max_us",
            "release_latency_max_us",
            "sample_to_actuation_max_us",
            "traced",
            "untraced",
        ),
        "",
    ),
    "histogram_request": (17, "<Bxxx", ("kind",), ""),
    "histogram_counts": (18, "<BBxx", ("kind", "count"), "counts"),
}
NAME_OF_TYPE = {row[0]: name for name, row in MESSAGES.items()}


class Packet(NamedTuple):
    """A decoded packet; ``fields`` is None when the payload is not the message's."""

    type: int
    flags: int
    seq: int
    ack: int
    schema_id: int
    time_us: int
    payload: bytes

    @property
    def name(self) -> str:
        return NAME_OF_TYPE.get(self.type, f"type {self.type}")

    @property
    def fields(self) -> dict[str, Any]:
        return decode_message(self.name, self.payload)


def encode_message(name: str, fields: dict[str, Any]) -> bytes:
    """The payload of a message; ``values``, ``counts`` and ``bytes`` follow their head."""
    _, head, names, tail = MESSAGES[name]
    fields = dict(fields)
    if tail in ("values", "counts"):
        fields.setdefault("count", len(fields[tail]))
    if isinstance(fields.get("name"), str):
        fields["name"] = fields["name"].encode()
    payload = struct.pack(head, *(fields[field] for field in names))
    if tail == "values":
        payload += struct.pack(f"<{len(fields['values'])}f", *fields["values"])
    elif tail == "counts":
        payload += struct.pack(f"<{len(fields['counts'])}I", *fields["counts"])
    elif tail == "bytes":
        payload += fields["bytes"]
    return payload


def decode_message(name: str, payload: bytes) -> dict[str, Any]:
    """The fields of a payload; raises ValueError when the size is wrong."""
    _, head, names, tail = MESSAGES[name]
    size = struct.calcsize(head)
    rest = payload[size:]
    if len(payload) < size or (rest and not tail):
        raise ValueError(f"{name} of {len(payload)} bytes")
    fields: dict[str, Any] = dict(zip(names, struct.unpack(head, payload[:size]), strict=True))
    if tail == "values":
        fields["values"] = list(struct.unpack(f"<{fields['count']}f", rest))
    elif tail == "counts":
        fields["counts"] = list(struct.unpack(f"<{fields['count']}I", rest))
    elif tail == "bytes":
        fields["bytes"] = rest
    if name == "hello_reply":
        fields["name"] = fields["name"].split(b"\0")[0].decode()
    return fields


def encode_packet(
    type: int, seq: int, ack: int, schema_id: int, time_us: int, payload: bytes, flags: int = 0
) -> bytes:
    head = struct.pack("<BBHHHI", VERSION << 4 | flags, type, seq, ack, schema_id, time_us)
    return head + payload + struct.pack("<I", zlib.crc32(head + payload))


def decode_packet(packet: bytes) -> Packet:
    """Raises ValueError with the status the C code gives."""
    if len(packet) < 16:
        raise ValueError("SHORT")
    if len(packet) > PACKET_MAX:
        raise ValueError("LONG")
    if zlib.crc32(packet[:-4]) != int.from_bytes(packet[-4:], "little"):
        raise ValueError("CRC")
    if packet[0] >> 4 != VERSION:
        raise ValueError("VERSION")
    _, type, seq, ack, schema_id, time_us = struct.unpack("<BBHHHI", packet[:12])
    return Packet(type, packet[0] & 15, seq, ack, schema_id, time_us, packet[12:-4])


def encode_frame(packet: bytes) -> bytes:
    # COBS: each run between zeros is led by its length plus one. A run of more than 254 bytes goes
    # in blocks of 254, led by 255, which stands for no zero; so the end of it is a run of its own,
    # of no bytes if need be, but for the last.
    *inner, last = packet.split(b"\0")
    blocks = [block for run in inner for block in _blocks(run + b"\0")] + _blocks(last)
    return (
        b"".join(bytes([len(block.rstrip(b"\0")) + 1]) + block.rstrip(b"\0") for block in blocks)
        + b"\0"
    )


def _blocks(run: bytes) -> list[bytes]:
    return [run[i : i + 254] for i in range(0, len(run), 254)] or [b""]


def decode_frames(stream: bytes) -> tuple[list[bytes], int, int]:
    """(packets, broken frames, empty frames) of the complete frames in ``stream``."""
    packets: list[bytes] = []
    broken = empty = 0
    for frame in stream.split(b"\0")[:-1]:
        packet = _unstuffed(frame)
        if not frame:
            empty += 1
        elif packet is None or not 0 < len(packet) <= PACKET_MAX:
            broken += 1
        else:
            packets.append(packet)
    return packets, broken, empty


def _unstuffed(frame: bytes) -> bytes | None:
    runs: list[bytes] = []
    i = 0
    separators: list[bytes] = []
    while i < len(frame):
        code = frame[i]
        run = frame[i + 1 : i + code]
        if len(run) != code - 1:
            return None
        runs.append(run)
        separators.append(b"" if code == 255 else b"\0")
        i += code
    joined = b"".join(run + zero for run, zero in zip(runs, separators, strict=True))
    return joined[:-1] if separators and separators[-1] else joined


def schema_id(text: str) -> int:
    return zlib.crc32(text.encode()) & 0xFFFF or 1


def hexes(items: Iterable[bytes]) -> list[str]:
    return [item.hex() for item in items]
