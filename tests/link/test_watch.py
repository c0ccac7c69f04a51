"""What is counted of a device that is watched, against what was sent."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from rtloop.errors import LinkError
from rtloop.link import Link, parse_schema
from rtloop.link.messages import PacketType
from rtloop.link.packet_stream import Packet
from rtloop.link.watch import Watch
from tests.firmware import reference as ref
from tests.link.scripted_device import SCHEMA, ScriptedDevice, scripted_info

SCHEMA_ID = parse_schema(SCHEMA).id


class Received:
    """In place of a packet stream: what has come, and what was asked."""

    def __init__(self, packets: list[Packet]) -> None:
        self.packets = packets
        self.sent: list[PacketType] = []
        self.errors = 0
        self.line: Any = type("Line", (), {"device": "/dev/x"})()

    def send(self, type: PacketType, payload: bytes = b"") -> None:
        self.sent.append(type)

    def receive(self, end: float) -> Packet | None:
        return self.packets.pop(0) if self.packets else None


def sensor(seq: int, sample_time_us: int = 0, schema_id: int = SCHEMA_ID) -> Packet:
    fields: dict[str, Any] = {
        "sample_time_us": sample_time_us & 0xFFFFFFFF,
        "state": 1,
        "reasons": 0,
    }
    fields |= {"command_seq": 0, "late_commands": 0, "values": [float(seq), 0.0]}
    payload = ref.encode_message("sensor", fields)
    return Packet(PacketType.SENSOR, 0, seq & 0xFFFF, 0, schema_id, 0, payload, time.monotonic_ns())


def watched(packets: list[Packet], offset_ns: int = 0) -> Watch:
    stream: Any = Received(packets)
    watch = Watch(stream, scripted_info(offset_ns))
    assert list(watch.until(0.0)) == []
    return watch


def test_losses_repetitions_and_packets_that_were_overtaken_are_counted_as_what_they_are() -> None:
    rng = random.Random(1)
    for _ in range(100):
        first = rng.randrange(0x10000)
        sent = list(range(first, first + 500))
        kept = [seq for seq in sent[1:-1] if rng.random() > 0.05]
        arrived = [sent[0], *sorted(kept, key=lambda seq: seq + rng.randrange(5)), sent[-1]]
        repeated = [seq for seq in arrived for _ in range(1 + (rng.random() < 0.1))]
        watch = watched([sensor(seq) for seq in repeated])
        assert watch.lost == len(sent) - len(arrived)
        assert watch.sample is not None
        assert watch.sample.values[0] == sent[-1], "the newest counts, not the last"


def test_samples_that_one_read_brought_have_no_rate_yet() -> None:
    first = sensor(1)
    watch = watched([first, sensor(2)._replace(received_ns=first.received_ns)])
    assert (watch.samples, watch.rate_hz) == (2, 0.0)


def test_a_device_that_began_anew_has_lost_nothing() -> None:
    assert watched([sensor(20_000), sensor(20_001), sensor(3), sensor(4)]).lost == 0


def test_an_age_is_right_when_the_devices_32_bits_wrap() -> None:
    wrap_us = 1 << 32
    now_us = time.monotonic_ns() // 1000
    offset_us = wrap_us - now_us + 1000  # it is 1 ms past the wrap there
    watch = watched([sensor(1, now_us + offset_us - 3000)], offset_us * 1000)
    assert watch.age_ns is not None
    assert watch.age_ns >= 3_000_000
    assert watch.age_ns < 60_000_000_000


def test_another_schema_is_another_firmware() -> None:
    stream: Any = Received([sensor(1, schema_id=SCHEMA_ID ^ 1)])
    with pytest.raises(LinkError, match="another firmware runs now"):
        list(Watch(stream, scripted_info()).until(0.0))


def test_it_asks_for_time_and_counters_and_nothing_else() -> None:
    stream: Any = Received([])
    watch = Watch(stream, scripted_info())
    list(watch.until(0.0))
    assert stream.sent == [PacketType.TIME_REQUEST, PacketType.STATUS_REQUEST]


def test_a_device_that_was_reset_is_greeted_anew_and_that_is_told() -> None:
    is_asleep = False

    def script(request: ref.Packet) -> Any:
        nonlocal is_asleep
        if request.name == "status_request":  # the first one is the watch's
            is_asleep = True
        if is_asleep and request.name == "hello":
            device.boot_id = 2
            return None
        return [] if is_asleep else None

    with ScriptedDevice(script) as device:
        link = Link.open("x", device.path, 1_000_000)
        watch = link.watch()
        told: list[Any] = []
        end_s = time.monotonic() + 30
        while not told and time.monotonic() < end_s:
            told += watch.until(time.monotonic() + 0.1)
        link.close()
    (sentence,) = told
    assert "'scripted' was silent, and has restarted since" in sentence
