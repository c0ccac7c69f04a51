"""Writes firmware/tests/test_vectors.json: what the wire looks like, for C and Python alike.

Run ``python -m tests.firmware.make_test_vectors`` after a deliberate change of the protocol; a test
refuses a file that this would not write.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

from tests.firmware import reference as ref

FILE = Path(__file__).parents[2] / "firmware" / "tests" / "test_vectors.json"

SCHEMA = (
    "rtloop-schema 1\nname cartpole\nsensor cart_position m f32 1000\n"
    "sensor cart_velocity m/s f32 1000\nsensor pole_angle rad f32 1000\n"
    "sensor pole_rate rad/s f32 1000\ncommand force N f32 1000\n"
)

STATUS = {
    "state": 4,
    "loop_class": 1,
    "reasons": 0x7F,
    "boot_id": 0xDEADBEEF,
    "rx_packets": 1,
    "crc_errors": 2,
    "frame_errors": 3,
    "seq_gaps": 4,
    "late_commands": 5,
    "rejected_commands": 6,
    "command_timeouts": 7,
    "tx_packets": 0xFFFFFFFF,
}
EVENT = {
    "event": 1,
    "loop_class": 0,
    "reasons": 2,
    "time_us": 0xFFFFFFF0,
    "valid_until_us": 0xFFFFFF00,
    "lateness_us": 240,
    "total": 17,
    "state": 3,
}
STATS = {
    "loop_class": 1,
    "max_misses": 2,
    "window": 1000,
    "max_consecutive": 1,
    "boot_id": 0xDEADBEEF,
    "period_us": 1000,
    "deadline_us": 900,
    "jobs": 1_000_000,
    "skipped": 3,
    "misses": 17,
    "limit_broken": 5,
    "most_consecutive": 4,
    "lateness_max_us": 240,
    "worst_job": 0xFFFFFFFE,
    "first_miss_job": 40_000,
    "began_us": 2**32 + 1,
    "worst_us": 2**63,
    "first_miss_us": 2**32 + 40_000_900,
    "response_max_us": 1140,
    "release_latency_max_us": 1023,
    "sample_to_actuation_max_us": 3999,
    "traced": 999,
    "untraced": 1,
}
REPLY = {
    "version": 1,
    "state": 1,
    "reasons": 0,
    "n_sensor": 4,
    "n_command": 1,
    "schema_bytes": len(SCHEMA),
    "sensor_period_us": 1000,
    "command_timeout_us": 20000,
    "boot_id": 0x01020304,
    "name": "cartpole",
}
SENSOR = {
    "sample_time_us": 123456789,
    "state": 3,
    "reasons": 0,
    "command_seq": 0xFFFF,
    "late_commands": 258,
}

# (name of the vector, message, fields)
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("hello", "hello", {"min_version": 1, "max_version": 1}),
    ("hello with the widest range", "hello", {"min_version": 0, "max_version": 255}),
    ("hello reply", "hello_reply", REPLY),
    ("hello reply, longest name", "hello_reply", {**REPLY, "name": "n" * 23, "state": 4}),
    ("hello reply, no name", "hello_reply", {**REPLY, "name": "", "version": 0}),
    ("schema request", "schema_request", {"offset": 200}),
    ("schema chunk, full", "schema_chunk", {"offset": 0, "total": 400, "bytes": b"s" * 200}),
    ("schema chunk, empty", "schema_chunk", {"offset": 9, "total": 9, "bytes": b""}),
    ("time request", "time_request", {"host_ns": 0x0102030405060708}),
    ("time reply", "time_reply", {"host_ns": 2**64 - 1, "t2_us": 2**32, "t3_us": 2**32 + 7}),
    ("sensor", "sensor", {**SENSOR, "values": [0.0, -0.0, 1.5, -2.25]}),
    ("sensor without values", "sensor", {**SENSOR, "values": []}),
    ("sensor, full", "sensor", {**SENSOR, "values": [i / 8 for i in range(128)]}),
    ("command", "command", {"valid_until_us": 0, "values": [0.1]}),
    ("command at the wrap", "command", {"valid_until_us": 0xFFFFFFFF, "values": [3.4e38, 1e-45]}),
    ("command, not finite", "command", {"valid_until_us": 1, "values": ["inf", "-inf", "nan"]}),
    ("command, full", "command", {"valid_until_us": 5, "values": [-i / 4 for i in range(128)]}),
    ("arm", "arm", {"loop_class": 1, "max_late_commands": 500, "command_timeout_us": 20000}),
    ("arm hard", "arm", {"loop_class": 0, "max_late_commands": 1, "command_timeout_us": 0}),
    ("clear", "clear", {}),
    ("stop", "stop", {"reason_bits": 32}),
    ("event", "event", EVENT),
    ("event, early", "event", {**EVENT, "event": 4, "lateness_us": -2147483648}),
    ("status request", "status_request", {}),
    ("status", "device_status", STATUS),
    ("event, a missed deadline", "event", {**EVENT, "event": 5, "loop_class": 2}),
    ("stats request", "stats_request", {}),
    ("stats", "stats", STATS),
    ("stats without a miss", "stats", {**STATS, "misses": 0, "lateness_max_us": -2147483648}),
    ("stats without a loop", "stats", {**dict.fromkeys(STATS, 0), "loop_class": 255}),
    ("histogram request", "histogram_request", {"kind": 2}),
    ("histogram", "histogram_counts", {"kind": 0, "counts": [0, 7, 2**32 - 1]}),
    ("histogram, empty", "histogram_counts", {"kind": 1, "counts": []}),
    ("histogram, full", "histogram_counts", {"kind": 2, "counts": [3 * i for i in range(80)]}),
]


def floats(fields: dict[str, Any]) -> dict[str, Any]:
    if "values" not in fields:
        return fields
    return {**fields, "values": [float(value) for value in fields["values"]]}


def packet_vectors() -> list[dict[str, Any]]:
    vectors = []
    for i, (name, message, fields) in enumerate(CASES):
        header = {
            "type": ref.MESSAGES[message][0],
            "flags": i % 16,
            "seq": (65530 + i) % 65536,
            "ack": 256 * i,
            "schema_id": 0 if message.startswith("hello") else ref.schema_id(SCHEMA),
            "time_us": (2**32 - 10 + i) % 2**32,
        }
        payload = ref.encode_message(message, floats(fields))
        packet = ref.encode_packet(payload=payload, **header)
        plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        vectors.append(
            {
                "name": name,
                "header": header,
                "message": message,
                "fields": plain,
                "payload": payload.hex(),
                "packet": packet.hex(),
                "frame": ref.encode_frame(packet).hex(),
            }
        )
    return vectors


def frame_vectors() -> list[dict[str, str]]:
    """Byte strings at the edges of COBS; none needs to be a packet."""
    rising = bytes(1 + i % 255 for i in range(ref.PACKET_MAX))
    last = ref.PACKET_MAX - 1
    cases = {
        "one zero": b"\0",
        "one byte": b"\x01",
        "two zeros": b"\0\0",
        "zero first": b"\0\x11",
        "zero last": b"\x11\0",
        "zero inside": b"\x11\0\x22",
        "code-like bytes": b"\x01\x02\x03\xff",
        "longest, all zeros": bytes(ref.PACKET_MAX),
        "longest, no zeros": rising,
        "longest, all 255": b"\xff" * ref.PACKET_MAX,
        "longest, zero first": b"\0" + rising[:last],
        "longest, zero last": rising[:last] + b"\0",
        "longest but one": rising[:last],
        "one byte less than a block": rising[:253],
        "one block": rising[:254],
        "one block and a zero": rising[:254] + b"\0",
        "one block and a byte": rising[:255],
        "a zero and one block": b"\0" + rising[:254],
        "a zero within a block's reach": rising[:253] + b"\0" + rising[:253],
        "two blocks": rising[:508],
        "two blocks and a zero": rising[:508] + b"\0",
        "a full block among zeros": b"\0" + rising[:254] + b"\0\0" + rising[:30],
    }
    return [
        {"name": name, "packet": packet.hex(), "frame": ref.encode_frame(packet).hex()}
        for name, packet in cases.items()
    ]


def bad_packets() -> list[dict[str, str]]:
    good = ref.encode_packet(8, 1, 2, 3, 4, b"\x05\x06\x07\x08")
    other_version = bytes([0x20]) + good[1:-4]
    other_version += zlib.crc32(other_version).to_bytes(4, "little")
    too_long = bytes([0x10]) + bytes(ref.PACKET_MAX - 4)
    too_long += zlib.crc32(too_long).to_bytes(4, "little")
    flipped = bytearray(good)
    flipped[13] ^= 0x10
    cases = {
        "nothing": b"",
        "one byte less than a header and a CRC": ref.encode_packet(10, 0, 0, 0, 0, b"")[:15],
        "cut by one byte": good[:-1],
        "one bit flipped": bytes(flipped),
        "bytes swapped": good[:2] + good[3:4] + good[2:3] + good[4:],
        "CRC of zeros": bytes(16),
        "another version": other_version,
        "version flipped by noise": bytes([good[0] ^ 0x30]) + good[1:],
        "one byte more than a packet": too_long,
    }
    vectors = []
    for name, packet in cases.items():
        try:
            ref.decode_packet(packet)
        except ValueError as error:
            vectors.append({"name": name, "packet": packet.hex(), "status": str(error)})
        else:
            raise AssertionError(f"{name} is a good packet")
    return vectors


def streams() -> list[dict[str, Any]]:
    """What a receiver makes of a line; that a packet is damaged is for its CRC to tell."""
    a = ref.encode_packet(13, 1, 0, 7, 1000, b"")
    b = ref.encode_packet(7, 2, 0, 7, 2000, bytes(range(60)))
    frame_a, frame_b = ref.encode_frame(a), ref.encode_frame(b)
    noise = random.Random(1).randbytes(64).replace(b"\0", b"\1")
    cases = {
        "two frames": frame_a + frame_b,
        "empty frames between": b"\0\0" + frame_a + b"\0" + frame_b,
        "joined in the middle": frame_a[5:] + frame_b,
        "a lost delimiter joins two": frame_a[:-1] + frame_b + frame_a,
        "a lost byte costs one": frame_a + frame_b[:20] + frame_b[21:] + frame_a,
        "noise before a delimiter": noise + b"\0" + frame_a,
        "noise joined to a frame": noise + frame_a + frame_b,
        "longer than any packet": 3 * (b"\xff" + b"\x33" * 254) + b"\0" + frame_a,
        "one byte longer than a packet": (
            2 * (b"\xff" + b"\x33" * 254) + b"\x22" + b"\x33" * 33 + b"\0" + frame_b
        ),
        "a full block that a zero might follow": b"\xff" + b"\x33" * 254 + b"\x01\0" + frame_a,
        "a full block cut": b"\xff" + b"\x33" * 253 + b"\0" + frame_a,
        "endless without a delimiter": b"\x05" * 2000 + b"\0" + frame_a,
        "a code without its block": b"\x09\x01\x02\0" + frame_a,
        "a frame of nothing": b"\x01\0" + frame_a,
        "cut at the end": frame_a + frame_b[:-1],
    }
    vectors = []
    for name, stream in cases.items():
        packets, broken, empty = ref.decode_frames(stream)
        vectors.append(
            {
                "name": name,
                "bytes": stream.hex(),
                "packets": ref.hexes(packets),
                "errors": broken,
                "empty": empty,
            }
        )
    return vectors


def checksums() -> list[dict[str, Any]]:
    cases = [b"", b"\0", b"123456789", bytes(range(256)), SCHEMA.encode()]
    return [{"bytes": case.hex(), "crc32": zlib.crc32(case)} for case in cases]


def schema_ids() -> list[dict[str, Any]]:
    # The low half of this text's CRC is 0, so its id is 1.
    texts = (f"schema {i}" for i in range(10**6))
    unlucky = next(text for text in texts if zlib.crc32(text.encode()) & 0xFFFF == 0)
    return [{"text": text, "id": ref.schema_id(text)} for text in ("", SCHEMA, unlucky)]


def text() -> str:
    vectors = {
        "packets": packet_vectors(),
        "frames": frame_vectors(),
        "bad_packets": bad_packets(),
        "streams": streams(),
        "checksums": checksums(),
        "schema_ids": schema_ids(),
    }
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
