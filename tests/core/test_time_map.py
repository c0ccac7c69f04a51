"""The device's clock, mapped to the host's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtloop import core

S = 1_000_000_000
MS = 1_000_000
US = 1000
OFFSET = 12_345 * S
PPM = 1000  # of a ppb


class Clocks:
    """A link with delays that the test chooses, between clocks whose offset it knows."""

    def __init__(self, offset_ns: int = OFFSET, error_ns: int = 5 * MS, skew_ppb: int = 0) -> None:
        self._offset_ns = offset_ns
        self._skew_ppb = skew_ppb
        self.time = core.TimeMap(offset_ns, error_ns, 0)

    def offset_ns(self, now_ns: int) -> int:
        return self._offset_ns + now_ns * self._skew_ppb // S

    def device_us(self, now_ns: int) -> int:
        return (now_ns + self.offset_ns(now_ns)) // US

    def packet(self, seen_ns: int, delay_ns: int) -> None:
        self.time.packet_arrived(self.device_us(seen_ns - delay_ns) & 0xFFFFFFFF, seen_ns)

    def request(self, seen_ns: int, sent_ns: int, delay_ns: int) -> None:
        self.time.request_arrived(sent_ns, self.device_us(sent_ns + delay_ns), seen_ns)

    def is_honest(self, now_ns: int) -> bool:
        return abs(self.time.offset_ns - self.offset_ns(now_ns)) <= self.time.error_ns


def test_each_direction_counts_by_its_quickest_packet() -> None:
    clocks = Clocks()
    clocks.packet(10 * MS, 700 * US)
    clocks.packet(20 * MS, 10 * US)
    clocks.request(30 * MS, 25 * MS, 20 * US)  # the answer was looked at 5 ms later
    clocks.request(40 * MS, 35 * MS, 900 * US)
    clocks.time.advance(40 * MS)
    assert clocks.is_honest(40 * MS)
    for ms in range(41, 10_000):
        clocks.time.advance(ms * MS)
        if ms % 100 == 0:
            clocks.packet(ms * MS, 10 * US)
            clocks.request(ms * MS, (ms - 5) * MS, 20 * US)
            clocks.time.advance(ms * MS)
    assert abs(clocks.time.offset_ns - OFFSET) < 10 * US
    assert clocks.time.error_ns < 30 * US  # half of both ways, and the drift of 100 ms


def test_packets_that_all_wait_for_the_next_cycle_widen_the_bound_and_nothing_else() -> None:
    clocks = Clocks()
    for cycle in range(1, 1000):  # 20 Hz
        now_ns = cycle * 50 * MS
        clocks.packet(now_ns, 50 * MS - 200 * US)
        clocks.request(now_ns, now_ns - 50 * MS, 200 * US)
        clocks.time.advance(now_ns)
        assert clocks.is_honest(now_ns)


def test_the_offset_is_slewed_never_stepped() -> None:
    clocks = Clocks(OFFSET)
    clocks._offset_ns += 2 * MS
    before = clocks.time.offset_ns
    for ms in range(1, 6000):
        if ms % 50 == 1:
            clocks.packet(ms * MS, 10 * US)
            clocks.request(ms * MS, ms * MS - 30 * US, 10 * US)
        clocks.time.advance(ms * MS)
        assert 0 <= clocks.time.offset_ns - before <= 500 or ms > 4100  # 500 ppm of 1 ms
        assert clocks.is_honest(ms * MS)
        before = clocks.time.offset_ns
    assert abs(before - OFFSET - 2 * MS) < 20 * US


def test_the_bound_grows_while_nothing_is_heard() -> None:
    time = core.TimeMap(OFFSET, 1000, 0)
    time.advance(10 * S)
    assert 1000 + 10 * 100 * US <= time.error_ns <= 1000 + 10 * 100 * US + 2  # 100 ppm


def test_the_skew_is_learnt_and_slows_the_growth() -> None:
    clocks = Clocks(skew_ppb=-42 * PPM, error_ns=50 * US)
    for cycle in range(1, 1300):
        now_ns = cycle * 50 * MS
        clocks.packet(now_ns, 30 * US)
        clocks.request(now_ns, now_ns - 60 * US, 30 * US)
        clocks.time.advance(now_ns)
        assert clocks.is_honest(now_ns)
    assert abs(clocks.time.skew_ppb - -42 * PPM) <= clocks.time.skew_error_ppb < 20 * PPM
    error_ns = clocks.time.error_ns
    clocks.time.advance(1300 * 50 * MS + 10 * S)
    assert clocks.is_honest(1300 * 50 * MS + 10 * S)
    assert clocks.time.error_ns - error_ns < 10 * 25 * US * 20


def test_a_skew_of_nothing_is_not_taken_for_one_that_was_not_measured() -> None:
    clocks = Clocks(error_ns=50 * US)
    measured = []
    for cycle in range(1, 1300):
        now_ns = cycle * 50 * MS
        clocks.packet(now_ns, 30 * US)
        clocks.request(now_ns, now_ns - 60 * US, 30 * US)
        clocks.time.advance(now_ns)
        measured.append((clocks.time.skew_ppb != 0, clocks.time.skew_error_ppb < 100 * PPM))
    assert {(False, False), (True, True)} == set(measured)


@given(
    st.integers(-90 * PPM, 90 * PPM),
    st.lists(
        st.tuples(st.integers(1, 200 * MS), st.integers(0, 60 * MS), st.integers(0, 60 * MS)),
        min_size=1,
        max_size=60,
    ),
)
def test_the_true_offset_is_always_within_the_bound(
    skew_ppb: int, events: list[tuple[int, int, int]]
) -> None:
    clocks = Clocks(skew_ppb=skew_ppb, error_ns=2 * US)
    now_ns = 0
    for passed_ns, there_ns, back_ns in events:
        now_ns += passed_ns + there_ns + back_ns
        clocks.request(now_ns, now_ns - there_ns - back_ns, there_ns)
        clocks.packet(now_ns, back_ns)
        clocks.time.advance(now_ns)
        assert clocks.is_honest(now_ns)


def test_a_clock_that_was_set_is_followed_noted_and_never_called_exact() -> None:
    clocks = Clocks(error_ns=100 * US)
    clocks._offset_ns += S
    for cycle in range(1, 100):
        now_ns = cycle * 50 * MS
        clocks.packet(now_ns, 30 * US)
        clocks.request(now_ns, now_ns - 60 * US, 30 * US)
        clocks.time.advance(now_ns)
        assert clocks.is_honest(now_ns)
    assert clocks.time.contradictions > 0


@given(st.integers(0, 1 << 40), st.integers(-(1 << 30), 1 << 30))
def test_a_32_bit_device_time_is_widened_to_the_nearest(now_us: int, ago_us: int) -> None:
    time = core.TimeMap(OFFSET, 0, 0)
    now_ns = now_us * 1000
    sampled_ns = now_ns - ago_us * 1000
    device_us = time.to_device_us(sampled_ns)
    assert time.to_host_ns(time.widened_us(device_us & 0xFFFFFFFF, now_ns)) == sampled_ns
