"""A recorded line: each packet of it, and what is damaged between them."""

from __future__ import annotations

import random

import pytest

from rtloop.link.capture import Captured, decoded
from tests.firmware import reference as ref


def frame(name: str, seq: int, **fields: object) -> bytes:
    payload = ref.encode_message(name, dict(fields))
    return ref.encode_frame(
        ref.encode_packet(ref.MESSAGES[name][0], seq, 7, 9, 1000 + seq, payload)
    )


def sample(seq: int) -> bytes:
    fields = {"sample_time_us": seq, "state": 3, "reasons": 0, "command_seq": 0, "late_commands": 0}
    return frame("sensor", seq, **fields, values=[1.5, -2.0])


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_both_directions_are_decoded_with_their_places(size: int) -> None:
    hello = frame("hello", 0, min_version=1, max_version=1)
    data = b"\0" + hello + sample(5) + b"\0" + sample(6)
    first, second, third = decoded(pieces(data, size))
    assert (first.type, first.is_of_host, first.offset, first.size) == (
        "HELLO",
        True,
        1,
        len(hello),
    )
    assert (second.type, second.is_of_host, second.seq) == ("SENSOR", False, 5)
    assert (second.ack, second.schema_id, second.time_us) == (7, 9, 1005)
    assert second.fields is not None
    assert second.fields["values"] == [1.5, -2.0]
    assert third.offset == 1 + len(hello) + second.size + 1
    assert data[third.offset : third.offset + third.size] == sample(6)


def test_damage_is_told_where_it_is_and_what_is_behind_it_is_decoded() -> None:
    whole = sample(1)
    flipped = bytes([whole[0], whole[1], whole[2] ^ 0xFF or 1, *whole[3:]])
    data = whole + flipped + b"\x09\x01\0" + sample(3) + sample(4)[:-5]
    found = list(decoded([data]))
    assert [f.is_packet for f in found] == [True, False, False, True, False]
    assert [f.error for f in found[1:3]] == [
        "packet fails its CRC",
        "no frame: its COBS codes do not add up",
    ]
    assert found[3].missing == 1
    assert found[4].error == "cut: no delimiter until the end"
    assert sum(f.size for f in found) == len(data)


def test_what_is_missing_is_counted_for_each_side_by_its_own_numbers() -> None:
    def time(seq: int) -> bytes:
        return frame("time_request", seq, host_ns=1)

    hello = frame("hello", 500, min_version=1, max_version=1)
    data = time(1) + sample(65534) + time(2) + sample(1) + time(5) + hello + time(501) + sample(0)
    missing = {(f.type, f.seq): f.missing for f in decoded([data]) if f.missing}
    assert missing == {("SENSOR", 1): 2, ("TIME_REQUEST", 5): 2}


def test_an_unknown_type_and_a_payload_of_another_size_are_packets_with_an_error() -> None:
    unknown = ref.encode_frame(ref.encode_packet(200, 0, 0, 0, 0, b"abc"))
    short = ref.encode_frame(ref.encode_packet(ref.MESSAGES["arm"][0], 0, 0, 0, 0, b"x"))
    first, second = decoded([unknown + short])
    assert (first.type, first.error) == ("type 200", "there is no message of type 200")
    assert (second.type, second.error) == ("ARM", "1 bytes are no ARM")


def test_no_bytes_make_it_fail_and_each_byte_is_accounted_for() -> None:
    rng = random.Random(1)
    for _ in range(300):
        data = bytes(rng.choices([0, 0, 1, 2, 255, rng.randrange(256)], k=rng.randrange(200)))
        found: list[Captured] = list(decoded(pieces(data, 1 + rng.randrange(50))))
        ends = [f.offset + f.size for f in found]
        assert ends == sorted(ends)
        assert sum(f.size for f in found) == len(data) - _lone_delimiters(data)


def _lone_delimiters(data: bytes) -> int:
    return sum(1 for i, byte in enumerate(data) if byte == 0 and (i == 0 or data[i - 1] == 0))
