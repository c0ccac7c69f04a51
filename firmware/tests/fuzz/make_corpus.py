"""Inputs to begin with, from the test vectors: ``make_corpus.py test_vectors.json FOLDER``.

One folder a target. A first byte of 0 says: the bytes of a line (fuzz.h).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

GREETING = b"\xff" + bytes(7) + b"\1\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)
ZMTP_CHOICES = 32
COMMAND = 4


def zmtp_frame(flags: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


def ready(socket_type: bytes) -> bytes:
    name = b"\5READY\x0bSocket-Type" + len(socket_type).to_bytes(4, "big") + socket_type
    return zmtp_frame(COMMAND, name)


def inputs(vectors: dict[str, list[dict[str, str]]]) -> Iterator[tuple[str, bytes]]:
    """(target, input)."""
    packets = [row["packet"] for row in vectors["packets"] + vectors["bad_packets"]]
    connection = GREETING + ready(b"DEALER")
    for packet in map(bytes.fromhex, packets):
        yield "packet", packet
        if len(packet) >= 16:
            yield "messages", packet[1:2] + packet[12:-4]
        connection += zmtp_frame(0, packet)
    for stream in vectors["streams"]:
        yield "frames", b"\0" + bytes.fromhex(stream["bytes"])
    for row in vectors["packets"]:
        frame = bytes.fromhex(row["frame"])
        for first in (0, 2):  # in ACTIVE, and not yet
            for piece in (frame, frame + frame):
                yield "device", bytes([first, min(len(piece), 255), 1]) + piece
    ping = zmtp_frame(COMMAND, b"\4PING\0\5context")
    for end in (b"", ping, zmtp_frame(COMMAND, b"\5ERROR\0"), zmtp_frame(1, b"of two") * 2):
        yield "zmtp", bytes(1 + ZMTP_CHOICES) + connection + end
    yield "zmtp", bytes(1 + ZMTP_CHOICES) + GREETING + ready(b"ROUTER") + ping
    yield "zmtp", bytes(1 + ZMTP_CHOICES) + GREETING + ready(b"REQ")
    for target in ("frames", "device", "zmtp"):
        yield target, bytes([1]) + bytes(range(256)) * 4  # choices


def main() -> None:
    vectors = json.loads(Path(sys.argv[1]).read_text())
    corpus = Path(sys.argv[2])
    for number, (target, data) in enumerate(inputs(vectors)):
        (corpus / target).mkdir(parents=True, exist_ok=True)
        (corpus / target / f"vector-{number}").write_bytes(data)
    (corpus / "stamp").touch()


if __name__ == "__main__":
    main()
