"""A running loop, followed through its ring: its misses one by one, its statistics in between."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.telemetry.live.limiter import Limiter
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.histogram import Histogram
from rtloop.telemetry.observe.inputs import InputWindows
from rtloop.telemetry.observe.records import InputRecords, Records
from rtloop.telemetry.observe.ring import LoopMetadata, Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary

#: What is read at once; a look goes on for this long at most.
_BATCH = 4096
_LOOK_LIMIT_S = 0.02
#: From the guard's judgement until a cycle is told of that has not come back: most come back soon, and then
#: their record says more.
_TOLD_AHEAD_NS = 20_000_000


@dataclass(frozen=True)
class Miss:
    """A missed deadline, and how many of the same loop were not told of right before it."""

    record: Records
    """Shape [1]."""
    number: int
    """Of the misses seen, from 1: one that arrives and those suppressed before it are all up to this one."""
    suppressed: int

    @property
    def deadline_ns(self) -> int:
        """When it happened."""
        return int(self.record["deadline_ns"][0])

    @property
    def tardiness_ns(self) -> int:
        return max(0, int(rec.lateness_ns(self.record)[0]))

    def values(self) -> dict[str, int | str]:
        """By the names of the recording's ``DeadlineMiss``, times in ns."""
        record = self.record
        plain = rec.record_as_dict(record[0])
        return {
            "cycle": plain["cycle"],
            "release_ns": plain["release_ns"],
            "deadline_ns": plain["deadline_ns"],
            "lateness_ns": int(rec.lateness_ns(record)[0]),
            "tardiness_ns": self.tardiness_ns,
            "response_ns": int(rec.response_ns(record)[0]),
            "release_latency_ns": int(rec.release_latency_ns(record)[0]),
            "read_duration_ns": int(rec.read_duration_ns(record)[0]),
            "infer_duration_ns": int(rec.infer_duration_ns(record)[0]),
            "write_duration_ns": int(rec.write_duration_ns(record)[0]),
            "skipped": plain["skipped"],
            "events": plain["events"],
            "consecutive_misses": plain["consecutive_misses"],
            "window_misses": plain["window_misses"],
            "loop_class": rec.name_of(rec.CLASS_NAMES, plain["loop_class"]),
            "outcome": rec.name_of(rec.OUTCOME_NAMES, plain["outcome"]),
            "longest_stage": rec.name_of(rec.STAGE_NAMES, plain["longest_stage"]),
            "event_names": " ".join(rec.event_names(plain["events"])),
        }


class Followed:
    """One loop, from the oldest cycle its ring still holds until its end.

    Misses are those of the recording: each is told once, or counted as suppressed.
    """

    def __init__(self, ring: Ring, misses_per_s: float) -> None:
        self.ring = ring
        self.statistics = LoopStatistics(ring.metadata)
        self.inputs = InputWindows(ring.metadata.sources)
        self._gaps = np.zeros(len(ring.metadata.sources), np.int64)
        self._interval = _Interval(len(ring.metadata.sources))
        self._limiter: Limiter[tuple[int, Records]] = Limiter(misses_per_s, time.monotonic())
        self._number = 0
        self._told_ahead = -1

    @property
    def metadata(self) -> LoopMetadata:
        return self.ring.metadata

    @property
    def records_lost(self) -> int:
        """Cycles that were overwritten while this followed: it came too late."""
        return self.statistics.lost - self.statistics.missed_the_beginning

    @property
    def misses(self) -> int:
        """Those seen: told, waiting, or suppressed."""
        return self._number

    @property
    def suppressed(self) -> int:
        return self._limiter.suppressed

    def look(self) -> list[Miss]:
        """Counts what is new; the misses to tell of now."""
        status = (
            self.ring.status()
        )  # before reading: the record of a cycle judged by then may be there
        found = self._read(_LOOK_LIMIT_S)
        found += self._judged_and_not_back(status)
        return self._limited(found)

    def finish(self) -> list[Miss]:
        """The last look: counts the rest, and of a loop that has ended a cycle that never returned."""
        found = self._read(float("inf"))
        status = self.ring.status()
        hung = self._never_returned(status)
        if hung is not None and (status["state"] != "active" or self.ring.finished()):
            self.statistics.update(hung)
            found += self._new(hung)
        self.statistics.devices.accounts = self.ring.accounts()
        return [*self._limited(found), *self._as_misses(self._limiter.flush())]

    def summary(self) -> LoopSummary:
        """What was counted by now, and what the loop says of itself."""
        return self.statistics.summary(status=self.ring.status())

    @property
    def statistics_names(self) -> tuple[str, ...]:
        """What :meth:`take_statistics` gives, in its order: the same for every loop, then its inputs."""
        of_inputs = [f"{name}.{what}" for name in self.metadata.sources for what in _OF_EACH_INPUT]
        return (*INTERVAL_NAMES, *COUNT_NAMES, *of_inputs)

    def take_statistics(self) -> list[float]:
        """What happened since the previous call, the counts since the loop's activation, and its inputs; NaN
        where nothing was measured."""
        summary = self.summary()
        interval, self._interval = self._interval, self._interval.next()
        of_inputs = np.stack([interval.oldest_ms, self._gaps], axis=1).ravel()
        counts = (
            *(summary.elapsed_periods, summary.executed, summary.skipped, summary.slipped_periods),
            *(summary.misses, summary.max_consecutive_misses, summary.stale_inputs),
            *(summary.outcomes.get("held", 0), summary.outcomes.get("dropped", 0)),
            *(summary.events.get("clamped", 0), summary.device_late_commands),
            *(self.suppressed, self.records_lost),
            core.STATES.get(summary.state or "", -1),
            core.FAULT_REASONS.get(summary.fault_reason, -1),
        )
        return [*interval.values(), *map(float, counts), *map(float, of_inputs)]

    # --- inside ---

    def _read(self, limit_s: float) -> list[tuple[int, Records]]:
        end_s = time.monotonic() + limit_s
        found: list[tuple[int, Records]] = []
        while True:
            batch = self.ring.read(_BATCH)
            self.statistics.update(batch.records, batch.lost, batch.inputs)
            self.statistics.devices.update(self.ring.read_events())
            if len(batch):
                self._interval.update(batch.records, batch.sources, batch.lost)
                self.inputs.update(batch)
                self._gaps += batch.sources["gap"].sum(axis=0, dtype=np.int64)
                found += self._new(batch.records[rec.missed(batch.records)])
            if len(batch) < _BATCH or time.monotonic() >= end_s:
                return found

    def _new(self, missed: Records) -> list[tuple[int, Records]]:
        """Numbers them; without the one that was told of before it came back."""
        missed = missed[missed["cycle"] != self._told_ahead]
        first = self._number + 1
        self._number += len(missed)
        return [(first + i, missed[i : i + 1]) for i in range(len(missed))]

    def _judged_and_not_back(self, status: dict[str, Any]) -> list[tuple[int, Records]]:
        """The cycle that the guard acted upon a while ago, and that still has no record."""
        if int(status["expired_cycle"]) <= max(self.statistics.last_cycle, self._told_ahead):
            return []
        if time.monotonic_ns() - int(status["expired_deadline_ns"]) < _TOLD_AHEAD_NS:
            return []
        judged = self._never_returned(status)
        if judged is None:
            return []
        # That nothing was sent in its stead may mean that it never began: then it will be no miss.
        if judged["outcome"][0] == core.OUTCOMES["none"] and not status["fault_reason"]:
            return []
        found = self._new(judged)
        self._told_ahead = int(judged["cycle"][0])
        return found

    def _never_returned(self, status: dict[str, Any]) -> Records | None:
        seen = self.statistics
        with suppress(ValueError):  # a damaged status
            made_up = unfinished_cycle(
                status, self.metadata, seen.last_cycle, seen.consecutive_misses
            )
            return None if made_up is None else made_up.records
        return None

    def _limited(self, found: Sequence[tuple[int, Records]]) -> list[Miss]:
        return self._as_misses(self._limiter.let_through(found, time.monotonic()))

    @staticmethod
    def _as_misses(gone: list[tuple[tuple[int, Records], int]]) -> list[Miss]:
        return [Miss(record, number, suppressed) for (number, record), suppressed in gone]


INTERVAL_NAMES = (
    "rate_hz",
    *("period_average_us", "period_standard_deviation_us", "period_min_us", "period_max_us"),
    *("release_latency_p50_us", "release_latency_p99_us", "release_latency_max_us"),
    *("response_p50_us", "response_p99_us", "response_max_us"),
)
"""Since the previous statistics; ``period`` is measured, from start to start."""
COUNT_NAMES = (
    *("elapsed_periods", "executed", "skipped", "slipped_periods"),
    *("misses", "max_consecutive_misses", "stale_inputs"),
    *("held", "dropped", "clamped", "device_late_commands"),
    *("misses_suppressed", "records_lost", "state", "fault_reason"),
)
"""Since the loop's activation; the last two are numbers of words.def."""
_OF_EACH_INPUT = ("age_max_ms", "gaps")


class _Interval:
    """What is measured from one message of statistics to the next."""

    def __init__(self, n_sources: int, last_start_ns: int | None = None) -> None:
        self._periods_us: list[NDArray[np.float64]] = []
        self._last_start_ns = last_start_ns
        self._release_latency = Histogram()
        self._response = Histogram()
        self._oldest_ns = np.full(n_sources, -1, np.int64)

    def next(self) -> "_Interval":
        return _Interval(len(self._oldest_ns), self._last_start_ns)

    def update(self, records: Records, sources: InputRecords, lost: int) -> None:
        starts = records["start_ns"].astype(np.int64)
        if self._last_start_ns is not None and not lost:
            starts = np.concatenate(([self._last_start_ns], starts))
        self._last_start_ns = int(starts[-1])
        self._periods_us.append(np.diff(starts) / 1e3)
        self._release_latency.add(rec.release_latency_ns(records))
        self._response.add(rec.response_ns(records))
        self._oldest_ns = np.maximum(self._oldest_ns, sources["age_ns"].max(axis=0, initial=-1))

    @property
    def oldest_ms(self) -> NDArray[np.float64]:
        """The largest age of each input; NaN where none has arrived."""
        return np.where(self._oldest_ns < 0, np.nan, self._oldest_ns / 1e6)

    def values(self) -> list[float]:
        periods = np.concatenate(self._periods_us) if self._periods_us else np.zeros(0)
        measured = [np.nan] * 4
        if len(periods):
            measured = [periods.mean(), periods.std(), periods.min(), periods.max()]
        latency, response = self._release_latency, self._response
        fractions = (0.5, 0.99)
        durations = (
            *(*latency.percentiles(fractions), latency.max),
            *(*response.percentiles(fractions), response.max),
        )
        rate_hz = 1e6 / measured[0] if measured[0] > 0 else np.nan
        return [
            *map(float, (rate_hz, *measured)),
            *(np.nan if ns is None else ns / 1e3 for ns in durations),
        ]
