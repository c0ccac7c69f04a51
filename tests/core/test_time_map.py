"""The device's clock, mapped to the host's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtloop import core

S = 1_000_000_000
MS = 1_000_000
OFFSET = 12_345 * S


def exchange(time: core.TimeMap, at_ns: int, out_ns: int, back_ns: int, offset_ns: int) -> None:
    t2 = at_ns + out_ns + offset_ns
    time.exchange(at_ns, t2, t2, at_ns + out_ns + back_ns)


def test_the_shortest_round_trip_wins() -> None:
    time = core.TimeMap(OFFSET, 900_000, 0)
    exchange(time, 10 * MS, 10_000, 10_000, OFFSET)
    exchange(time, 20 * MS, 10_000, 800_000, OFFSET)  # delayed on the way back: off by 395 µs
    time.advance(30 * MS)
    assert time.offset_ns == OFFSET
    assert time.error_ns < 15_000


def test_the_offset_is_slewed_never_stepped() -> None:
    time = core.TimeMap(OFFSET, 5 * MS, 0)
    exchange(time, 1 * MS, 10_000, 10_000, OFFSET + 2 * MS)
    before = time.offset_ns
    for cycle in range(1, 6000):
        time.advance(cycle * MS)
        if cycle % 50 == 0:
            exchange(time, cycle * MS, 10_000, 10_000, OFFSET + 2 * MS)
        assert 0 <= time.offset_ns - before <= 500  # 500 ppm of 1 ms
        before = time.offset_ns
    assert time.offset_ns == OFFSET + 2 * MS


def test_the_error_bound_grows_with_age() -> None:
    time = core.TimeMap(OFFSET, 1000, 0)
    time.advance(10 * S)
    assert time.error_ns == 1000 + 10 * 100_000  # 100 ppm


@given(st.integers(0, 1 << 40), st.integers(-(1 << 30), 1 << 30))
def test_a_32_bit_device_time_is_widened_to_the_nearest(now_us: int, ago_us: int) -> None:
    time = core.TimeMap(OFFSET, 0, 0)
    now_ns = now_us * 1000
    sampled_ns = now_ns - ago_us * 1000
    device_us = time.to_device_us(sampled_ns)
    assert time.to_host_ns(device_us & 0xFFFFFFFF, now_ns) == sampled_ns


def test_an_exchange_that_cannot_be_is_ignored() -> None:
    time = core.TimeMap(OFFSET, 1000, 0)
    time.exchange(100, 5 * S, 7 * S, 200)  # the device claims longer than the round trip
    time.advance(0)
    assert time.offset_ns == OFFSET
