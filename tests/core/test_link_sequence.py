"""The numbers of a device's packets at the host: lost, overtaken and doubled ones, against the truth."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from tests.core.fake_device import ACTIVE, SCHEMA_ID, FakeDevice
from tests.core.linked_loop import LinkedLoop

EVENT, SENSOR = 12, 7
#: RTL_SEQUENCE_WINDOW is 64.
REACH = 40


@pytest.fixture(params=["udp", "seqpacket"])
def device(request: pytest.FixtureRequest) -> Iterator[FakeDevice]:
    device = FakeDevice(wire=request.param)
    yield device
    device.unplug()


def sample(device: FakeDevice, number: int, age_us: int = 0) -> bytes:
    """A SENSOR whose first value is its number; made so long ago."""
    now_us = (device.now_us() - age_us) & 0xFFFFFFFF
    head = struct.pack("<IBBHHH", now_us, ACTIVE, 2, 0, 0, 0)
    payload = head + np.array([number, 0.0], "<f4").tobytes()
    return core.packet_encode(SENSOR, number & 0xFFFF, 0, SCHEMA_ID, now_us, payload)


@dataclass
class Network:
    """Loses, doubles and holds back by up to ``REACH`` numbers; the first packet it delivers."""

    seed: int
    lost: float
    doubled: float
    delayed: float

    def deliveries(self, n: int) -> list[int]:
        """Numbers in the order in which they arrive."""
        draw = random.Random(self.seed)
        arriving = [(0.0, 0)]
        for number in range(1, n):
            copies = 0 if draw.random() < self.lost else 2 if draw.random() < self.doubled else 1
            for _ in range(copies):
                held = draw.randrange(1, REACH) if draw.random() < self.delayed else 0
                arriving.append((number + held + draw.random() / 2, number))
        return [number for _, number in sorted(arriving)]


def truth(arrived: list[int]) -> dict[str, int]:
    seen: set[int] = set()
    reordered = repeated = 0
    for number in arrived:
        repeated += number in seen
        reordered += number not in seen and bool(seen) and number < max(seen)
        seen.add(number)
    return {
        "rx_packets": len(seen),
        "rx_lost": max(seen) + 1 - len(seen),
        "rx_reordered": reordered,
        "rx_repeated": repeated,
        "rx_errors": 0,
    }


@pytest.mark.parametrize(
    "network",
    [
        Network(1, lost=0.1, doubled=0, delayed=0),
        Network(2, lost=0, doubled=0.2, delayed=0),
        Network(3, lost=0, doubled=0, delayed=0.2),
        Network(4, lost=0.05, doubled=0.05, delayed=0.05),
        Network(5, lost=0.5, doubled=0.5, delayed=0.9),
    ],
    ids=str,
)
def test_the_counts_are_the_truth_and_no_sample_goes_back(
    device: FakeDevice, tmp_path: Path, network: Network
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    arrived = network.deliveries(600)
    packets = {number: sample(device, number, age_us=600 - number) for number in range(600)}
    newest = -1.0
    for at in range(0, len(arrived), 20):
        for number in arrived[at : at + 20]:
            os.write(device.master, packets[number])
        assert linked.loop.step()
        read = linked.last()[1][0]
        assert read >= newest
        newest = read
        assert newest == max(arrived[: at + 20])
    counters = linked.port.counters()
    expected = truth(arrived)
    assert {name: counters[name] for name in expected} == expected


def test_a_sample_that_an_event_overtook_is_still_the_newest_sample(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    os.write(device.master, sample(device, 1))
    overtaken = sample(device, 2)
    event = struct.pack("<BBHIIiIB3x", 2, 0, 0, 0, 0, 0, 1, ACTIVE)
    now_us = device.now_us() & 0xFFFFFFFF
    os.write(device.master, core.packet_encode(EVENT, 3, 0, SCHEMA_ID, now_us, event))
    os.write(device.master, overtaken)
    assert linked.loop.step()
    assert linked.last()[1][0] == 2.0
    assert linked.port.counters()["rx_lost"] == 0


def test_a_copy_of_an_event_is_no_second_one(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    event = struct.pack("<BBHIIiIB3x", 2, 0, 0, 0, 0, 0, 1, ACTIVE)
    packet = core.packet_encode(EVENT, 3, 0, SCHEMA_ID, device.now_us() & 0xFFFFFFFF, event)
    for _ in range(2):
        os.write(device.master, packet)
    assert linked.loop.step()
    assert linked.port.counters()["device_events"] == 1


def test_copies_of_a_sample_do_not_make_a_device_alive(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", silence_timeout_ns=60_000_000)
    linked.loop.begin()
    packet = sample(device, 1)
    os.write(device.master, packet)
    for _ in range(10_000):
        if not linked.loop.step():
            break
        os.write(device.master, packet)
    assert linked.loop.status()["fault_reason"] == core.FAULT_REASONS["port_error"]


def test_a_device_that_was_reset_is_followed_at_once_and_its_numbers_are_no_gap(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    os.write(device.master, sample(device, 40_000))
    assert linked.loop.step()
    device.offset_ns -= 600_000_000_000  # its clock begins anew, too
    os.write(device.master, sample(device, 5))
    linked.loop.step()
    counters = linked.port.counters()
    assert (counters["rx_packets"], counters["rx_lost"]) == (2, 0)
    assert linked.last()[1][0] == 5.0
