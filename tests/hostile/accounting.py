"""Devices that account for themselves, or say so."""

from __future__ import annotations

import struct
from typing import ClassVar

from tests.hostile.device import Clean, Device, Expectation, Problem
from tests.hostile.wire import HISTOGRAM, STATS, U32, Packet


class Accounts(Device):
    """As the protocol has it."""

    expected: ClassVar[Expectation] = Clean()
    accounts = True


class MissedItsOwnDeadlines(Accounts):
    """Its loop is hard, missed two, and it did not go SAFE for it."""

    expected = Problem("its own loop missed 2 of 3 deadlines")

    def stats(self, **changes: int) -> bytes:
        return super().stats(loop_class=0, misses=2, lateness_max_us=7)


class BrokeItsOwnLimit(Accounts):
    """Its loop is soft, and lost more jobs than its limit allows."""

    expected = Problem("the limit of lost jobs of its own loop was broken 4 times")

    def stats(self, **changes: int) -> bytes:
        return super().stats(max_misses=1, window=5, misses=2, limit_broken=4)


class SaysItAccountsAndDoesNot(Accounts):
    """Silent when it is asked."""

    expected = Clean()

    def on_stats_request(self, request: Packet) -> None:
        pass


class AccountsWithNoise(Accounts):
    """STATS that lack a byte."""

    expected = Clean()

    def stats(self, **changes: int) -> bytes:
        return super().stats()[:-1]


class ToldOfMissesAndAccountsForNone(Accounts):
    """Events of missed deadlines of a hard loop; in the end there were none."""

    expected = Problem("it told of [1-9][0-9]* missed deadlines of its own loop")

    def on_tick(self) -> None:
        super().on_tick()
        if self.has_turned:
            self.send_event(5)

    def event(self, kind: int = 3) -> bytes:
        now_us = self.now_us() & U32
        head = struct.pack("<BBHII", kind, 0, 0, now_us, (now_us - 50) & U32)
        return head + struct.pack("<iIB3x", 50, self.samples, self.state)

    def stats(self, **changes: int) -> bytes:
        return super().stats(loop_class=0)


class ToldOfMissesAndIsSilent(ToldOfMissesAndAccountsForNone):
    """The same, of one that does not answer for its account."""

    def on_stats_request(self, request: Packet) -> None:
        pass


class WasLateAndMissedNothing(Accounts):
    """A job that ended after its deadline is a miss."""

    expected = Problem("contradicts itself: no deadline missed, and a job late by 500 µs")

    def stats(self, **changes: int) -> bytes:
        return super().stats(loop_class=0, lateness_max_us=500)


class MissedWithoutBeingLate(Accounts):
    """Of a soft loop, without a limit."""

    expected = Problem("contradicts itself: 2 deadlines missed, and no job late")

    def stats(self, **changes: int) -> bytes:
        return super().stats(misses=2)


class MissedAndTellsNoHistograms(MissedItsOwnDeadlines):
    """Its counts, and nothing when it is asked for more."""

    def on_histogram_request(self, request: Packet) -> None:
        pass


class AccountsForAnotherStart(Accounts):
    """Its numbers are those of another boot."""

    expected = Clean()

    def stats(self, **changes: int) -> bytes:
        return super().stats(boot_id=8, loop_class=0, misses=2)


class AccountsForNoClass(Accounts):
    """A loop of a class that there is not."""

    expected = Clean()

    def stats(self, **changes: int) -> bytes:
        return super().stats(loop_class=7)


class AccountsForNoLoop(Accounts):
    """Of its commands alone."""

    expected = Clean()

    def stats(self, **changes: int) -> bytes:
        return super().stats(loop_class=255, period_us=0, deadline_us=0, jobs=0)


class AccountsForMoreThanThereIs(Accounts):
    """Every number as large as it can be."""

    expected = Clean()

    def stats(self, **changes: int) -> bytes:
        largest = dict.fromkeys(("jobs", "skipped", "misses", "worst_job", "first_miss_job"), U32)
        times = dict.fromkeys(("began_us", "worst_us", "first_miss_us"), (1 << 64) - 1)
        most = {**largest, **times, "lateness_max_us": (1 << 31) - 1}
        return super().stats(**most, period_us=U32, deadline_us=U32, window=0xFFFF)

    def on_histogram_request(self, request: Packet) -> None:
        self.send(HISTOGRAM, struct.pack("<BBxx80I", request.payload[0], 80, *[U32] * 80))


class AnswersWithAnotherHistogram(Accounts):
    """Than the one that it was asked for."""

    expected = Clean()

    def on_histogram_request(self, request: Packet) -> None:
        self.send(HISTOGRAM, struct.pack("<BBxx", 200, 0))


class AnswersWithMoreBuckets(Accounts):
    """More than a histogram has."""

    expected = Clean()

    def on_histogram_request(self, request: Packet) -> None:
        self.send(HISTOGRAM, struct.pack("<BBxx100I", request.payload[0], 100, *[1] * 100))


class TellsItsAccountUnasked(Accounts):
    """Before and after it is asked, and of a hard loop that missed."""

    expected = Clean()

    def on_tick(self) -> None:
        super().on_tick()
        self.ack = 0
        self.send(STATS, self.stats(loop_class=0, misses=2))
