"""Devices whose clock, or what they say about it, is not to be trusted."""

from __future__ import annotations

import struct
import time

from tests.hostile.device import Clean, Device, Faulted
from tests.hostile.wire import TIME_REPLY, Packet


class SamplesInTheFuture(Device):
    """Taken in ten seconds, it says after a while."""

    expected = Faulted("stale_input")

    def sample_time_us(self) -> int:
        return self.now_us() + (10_000_000 if self.has_turned else 0)


class SamplesInThePast(Device):
    """Taken ten seconds ago, it says after a while."""

    expected = Faulted("stale_input")

    def sample_time_us(self) -> int:
        return self.now_us() - (10_000_000 if self.has_turned else 0)


class RepeatsItsOldestSample(Device):
    """The sample stays the one of then; its packets are new."""

    expected = Faulted("stale_input")
    stands_at_us = 0

    def sample_time_us(self) -> int:
        if not self.has_turned:
            self.stands_at_us = self.now_us()
        return self.stands_at_us


class SamplesAtAnyTime(Device):
    """Some time within an hour of now."""

    expected = Faulted("stale_input")

    def sample_time_us(self) -> int:
        jump_us = self.random.randrange(-1_800_000_000, 1_800_000_000)
        return self.now_us() + (jump_us if self.has_turned else 0)


class SamplesHalfTheRangeAway(Device):
    """Where a signed difference of 32 bits turns over."""

    expected = Faulted("stale_input")

    def sample_time_us(self) -> int:
        return self.now_us() + ((1 << 31) if self.has_turned else 0)


class WrapsItsClock(Device):
    """32 bits of µs are over amid the run."""

    expected = Clean()

    def __init__(self) -> None:
        super().__init__()
        now_us = time.monotonic_ns() // 1000
        self.clock_offset_us = (1 << 32) - now_us - 1_200_000  # in the first second or two


class HasAFastClock(Device):
    """+100 ppm."""

    expected = Clean()
    ppm = 100

    def now_us(self) -> int:
        now_us = time.monotonic_ns() // 1000
        return now_us + now_us * self.ppm // 1_000_000 + self.clock_offset_us


class HasASlowClock(HasAFastClock):
    """-100 ppm."""

    expected = Clean()
    ppm = -100


class SetsItsClock(Device):
    """Five seconds ahead, amid the run: what it samples is in the future, what we send is late."""

    expected = Faulted("stale_input|device_safe")  # or its command timeout is over first

    def now_us(self) -> int:
        return super().now_us() + (5_000_000 if self.has_turned else 0)


class SetsItsClockBack(Device):
    """By five seconds, amid the run."""

    expected = Faulted("stale_input")

    def now_us(self) -> int:
        return super().now_us() - (5_000_000 if self.has_turned else 0)


class StopsItsClock(Device):
    """It stands still, in all that it says; the values go on."""

    expected = Faulted("stale_input")
    stands_at_us = 0

    def now_us(self) -> int:
        if not self.has_turned:
            self.stands_at_us = super().now_us()
        return self.stands_at_us


class LiesAboutWhenItWasAsked(Device):
    """t2 and t3 anywhere within 50 ms of the truth, once it runs."""

    expected = Clean()

    def on_time_request(self, request: Packet) -> None:
        lie_us = self.random.randrange(-50_000, 50_000) if self.has_turned else 0
        now_us = self.now_us() + lie_us
        self.send(TIME_REPLY, request.payload + struct.pack("<QQ", now_us, now_us))


class LiesAbsurdlyAboutWhenItWasAsked(Device):
    """t2 and t3 are all ones, or in the wrong order, once it runs."""

    expected = Clean()

    def on_time_request(self, request: Packet) -> None:
        if self.has_turned:
            absurd = struct.pack("<QQ", self.now_us() + 10_000_000, self.now_us())
            self.send(TIME_REPLY, request.payload + self.random.choice([b"\xff" * 16, absurd]))
        else:
            super().on_time_request(request)


class StopsTellingTheTime(Device):
    """TIME_REQUEST is not answered once it runs: the samples' own times bound the clock on one side."""

    expected = Clean()

    def on_time_request(self, request: Packet) -> None:
        if not self.has_turned:
            super().on_time_request(request)
