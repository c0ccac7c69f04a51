"""The Python binding of the C codec against the vectors that the C tests use, too."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from rtloop import core
from rtloop.link.schema import schema_id
from tests.firmware import make_test_vectors
from tests.firmware import reference as ref

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(make_test_vectors.FILE.read_text())


def named(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[kind], ids=lambda v: str(v["name"]))


def test_the_file_is_the_one_that_the_reference_writes() -> None:
    assert make_test_vectors.FILE.read_text() == make_test_vectors.text()


@named("packets")
def test_packets_encode_to_their_vectors(vector: dict[str, Any]) -> None:
    header, payload = vector["header"], bytes.fromhex(vector["payload"])
    assert core.packet_encode(payload=payload, **header).hex() == vector["packet"]


@named("packets")
def test_packets_decode_to_what_was_encoded(vector: dict[str, Any]) -> None:
    decoded = core.packet_decode(bytes.fromhex(vector["packet"]))
    header = vector["header"]
    expected = [header[k] for k in ("type", "flags", "seq", "ack", "schema_id", "time_us")]
    assert list(decoded) == [*expected, bytes.fromhex(vector["payload"])]


@named("packets")
def test_messages_decode_to_their_fields(vector: dict[str, Any]) -> None:
    packet = ref.decode_packet(bytes.fromhex(vector["packet"]))
    expected = {name: value for name, value in packet.fields.items() if name != "count"}
    fields = core.message_decode(vector["header"]["type"], bytes.fromhex(vector["payload"]))
    assert repr(dict(sorted(fields.items()))) == repr(dict(sorted(expected.items())))


def test_a_message_of_no_known_type_or_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no message of type 99"):
        core.message_decode(99, b"")
    for name, number in core.MESSAGE_TYPES.items():
        if name not in ("CLEAR", "STATUS_REQUEST", "STATS_REQUEST"):  # of no payload
            with pytest.raises(ValueError, match=f"1 bytes are no {name}"):
                core.message_decode(number, b"x")


@named("frames")
def test_frames_match_their_vectors_both_ways(vector: dict[str, Any]) -> None:
    packet, frame = bytes.fromhex(vector["packet"]), bytes.fromhex(vector["frame"])
    assert core.frame_encode(packet) == frame
    assert core.FrameDecoder().feed(frame) == [packet]


@named("bad_packets")
def test_bad_packets_are_refused_with_a_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        core.packet_decode(bytes.fromhex(vector["packet"]))


@named("streams")
@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_streams_give_the_same_packets_in_pieces_of_any_size(
    vector: dict[str, Any], piece: int
) -> None:
    stream = bytes.fromhex(vector["bytes"])
    decoder = core.FrameDecoder()
    packets = [
        p for at in range(0, len(stream), piece) for p in decoder.feed(stream[at : at + piece])
    ]
    assert [packet.hex() for packet in packets] == vector["packets"]
    assert decoder.errors == vector["errors"]


def test_the_binding_and_the_reference_agree_on_random_packets() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        payload = bytes(rng.choices([0, 1, 255, rng.randrange(256)], k=rng.randrange(525)))
        header = {
            "type": rng.randrange(256),
            "seq": rng.randrange(65536),
            "ack": rng.randrange(65536),
        }
        header |= {"schema_id": rng.randrange(65536), "time_us": rng.randrange(2**32)}
        header |= {"flags": rng.randrange(16)}
        packet = core.packet_encode(payload=payload, **header)
        assert packet == ref.encode_packet(payload=payload, **header)
        assert core.frame_encode(packet) == ref.encode_frame(packet)
        assert core.FrameDecoder().feed(ref.encode_frame(packet)) == [packet]


def test_schema_ids_match_their_vectors() -> None:
    for vector in VECTORS["schema_ids"]:
        assert schema_id(vector["text"].encode()) == vector["id"]
