"""What a loop did, counted as it runs, in memory that does not grow with the run."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.devices import DeviceStatistics
from rtloop.telemetry.observe.histogram import Histogram
from rtloop.telemetry.observe.records import Records
from rtloop.telemetry.observe.ring import LoopMetadata
from rtloop.telemetry.observe.shares import Share, default_limits
from rtloop.telemetry.observe.summary import LoopSummary, Percentiles
from rtloop.telemetry.observe.switches import Switches
from rtloop.telemetry.observe.windows import Windows

_FRACTIONS = (0.5, 0.99, 0.999)
#: A larger step of a 16-bit counter is a device that was switched on anew.
_LARGEST_STEP = 1 << 15
#: That have one name here and in the summary.
_PLAIN_COUNTS = (
    *("skipped", "misses", "unfinished", "max_consecutive_misses"),
    *("device_late_commands", "held_late", "held_stale"),
)


@dataclass(frozen=True)
class Window:
    """A loop since the previous look at it, for a live line. None where nothing ran."""

    seconds: float
    executed: int
    skipped: int
    misses: int
    rate_hz: float
    response_p50_us: float | None
    response_p99_us: float | None
    response_max_us: float | None


class LoopStatistics:
    """Counts and percentiles of one loop, updated with whole batches."""

    def __init__(self, metadata: LoopMetadata) -> None:
        self.metadata = metadata
        self.executed = 0
        """Cycles seen, the unfinished one included; lost ones are not."""
        self.skipped = 0
        self.slipped_ns = 0
        """How far ``on_overrun: slip`` has moved the grid."""
        self.misses = 0
        self.unfinished = 0
        self.lost = 0
        self.missed_the_beginning = 0
        """Of the lost: those that were overwritten before the first that was seen."""
        self.max_consecutive_misses = 0
        self.last_cycle = -1
        self.consecutive_misses = 0
        self.device_late_commands = 0
        self.held_late = 0
        self.held_stale = 0
        self.devices = DeviceStatistics(metadata.ports)
        self.switches = Switches(metadata)
        self.release_latency = Histogram()
        self.response = Histogram()
        self.infer = Histogram()
        self.lateness = Histogram(signed=True)
        self._outcomes = np.zeros(256, np.int64)
        self._causes = np.zeros(256, np.int64)
        self._events = dict.fromkeys(rec.EVENT_BITS, 0)
        self._first_start_ns = 0
        self._last_start_ns = 0
        self._origin_ns: int | None = None
        self._window_response = Histogram()
        self._window_began_ns = 0
        self._window_before = (0, 0, 0)
        self._late_commands_said = -1
        limits = {**default_limits(metadata.loop_class), **metadata.max_share}
        self._windows = Windows(metadata.period_ns, limits)

    @classmethod
    def resumed(cls, metadata: LoopMetadata, so_far: Mapping[str, Any]) -> "LoopStatistics":
        """Goes on where another observer's ``so_far`` ended; its durations are not known.

        Raises RecordingError, and ValueError, KeyError, TypeError for what is not that.
        """
        result = cls(metadata)
        said = LoopSummary.from_dict(so_far["summary"])
        result.executed, result.lost = said.executed - said.records_lost, said.records_lost
        result.missed_the_beginning = int(so_far.get("missed_the_beginning", 0))
        for name in _PLAIN_COUNTS:
            setattr(result, name, int(getattr(said, name)))
        worst = so_far.get("worst_shares", said.worst_shares)
        result._windows.resume(
            {name: float(value) for name, value in worst.items()}, so_far.get("windows", ())
        )
        result._late_commands_said = int(so_far.get("late_commands_said", -1))
        for value, name in enumerate(rec.OUTCOME_NAMES):
            result._outcomes[value] = said.outcomes.get(name, 0)
        for value, name in enumerate(rec.STAGE_NAMES):
            result._causes[value] = said.causes.get(name, 0)
        result._events.update(
            {name: n for name, n in said.events.items() if name in result._events}
        )
        result.last_cycle = int(so_far["last_cycle"])
        result.consecutive_misses = int(so_far["consecutive_misses"])
        result.devices = DeviceStatistics.resumed(metadata.ports, so_far.get("devices"))
        result.switches.resume(said.switches)
        result.slipped_ns = int(so_far.get("slipped_ns", 0))
        origin_ns = so_far.get("origin_ns")
        result._origin_ns = None if origin_ns is None else int(origin_ns)
        result._first_start_ns = int(so_far["first_start_ns"])
        result._last_start_ns = int(so_far["last_start_ns"])
        return result

    def after(self, so_far: Mapping[str, Any]) -> "LoopStatistics":
        """Goes on where another observer's ``so_far`` ended, which had seen cycles that are not here: these
        are lost. Durations are those of the cycles that were here. Raises as ``resumed`` does."""
        result = LoopStatistics.resumed(self.metadata, so_far)
        cycles = result.executed + result.lost
        result.executed, result.lost = self.executed, cycles - self.executed
        if self.executed:
            result._first_start_ns = self._first_start_ns
        for name in ("release_latency", "response", "infer", "lateness", "_window_response"):
            setattr(result, name, deepcopy(getattr(self, name)))
        return result

    def so_far(self) -> dict[str, Any]:
        """What ``resumed`` goes on from, for JSON."""
        return {
            "last_cycle": self.last_cycle,
            "missed_the_beginning": self.missed_the_beginning,
            "consecutive_misses": self.consecutive_misses,
            "slipped_ns": self.slipped_ns,
            "origin_ns": self._origin_ns,
            "first_start_ns": self._first_start_ns,
            "last_start_ns": self._last_start_ns,
            "devices": self.devices.so_far(),
            "late_commands_said": self._late_commands_said,
            "windows": self._windows.marks(),
            # That of the summary has the window that has not ended yet.
            "worst_shares": self._windows.worst,
            "summary": self.summary().as_dict(),
        }

    def update(
        self, records: Records, lost: int = 0, inputs: NDArray[np.float32] | None = None
    ) -> None:
        """Count a batch of consecutive cycles (structured [n]) and what was lost before it.

        ``inputs``, [n, elements of all inputs], tell which policy took over, in a loop of several.
        """
        self.switches.update(records, inputs, lost)
        if len(records) == 0:
            self.lost += lost
            return
        if lost and self.last_cycle < 0:
            self._begin_late(records[0], lost)
            lost = 0
        for part in self._windows.parts(records["cycle"]):
            self._windows.begin(int(records["cycle"][part.start]), self._counts())
            self._count(records[part], lost)
            lost = 0

    def _begin_late(self, first: np.void, lost: int) -> None:
        """What came before the first cycle that was seen is in the counts, and in no window and no rate."""
        self.lost += lost
        self.missed_the_beginning = lost
        self.last_cycle = int(first["cycle"]) - 1 - int(first["skipped"])
        self.skipped += max(0, self.last_cycle + 1 - lost)

    def _count(self, records: Records, lost: int) -> None:
        n = len(records)
        self.lost += lost
        self._count_skipped(records, lost)
        self._count_slipped(records)
        if self.executed == 0:
            self._first_start_ns = int(records["start_ns"][0])
        self._last_start_ns = int(records["start_ns"][-1])
        self.executed += n
        self.last_cycle = int(records["cycle"][-1])
        self._outcomes += np.bincount(records["outcome"], minlength=256)

        lateness = rec.lateness_ns(records)
        missed = lateness > 0
        n_missed = int(np.count_nonzero(missed))
        self.misses += n_missed
        if n_missed:
            self._causes += np.bincount(records["longest_stage"][missed], minlength=256)
        self._count_lost_in_a_row(records, lost)
        self._count_held(records, missed)
        self._count_refused(records)

        seen = int(np.bitwise_or.reduce(records["events"]))
        if seen:
            for name, bit in rec.EVENT_BITS.items():
                if seen & bit:
                    self._events[name] += int(np.count_nonzero(records["events"] & bit))
        if seen & rec.UNFINISHED:
            # Their times are made up: they count as misses, and measure nothing.
            returned = ~rec.unfinished(records)
            self.unfinished += n - int(np.count_nonzero(returned))
            records, lateness = records[returned], lateness[returned]
        self._measure(records, lateness)

    def _count_skipped(self, records: Records, lost: int) -> None:
        if lost:
            # The lost records held skip counts of their own; the cycle index tells their sum.
            span = int(records["cycle"][-1]) - self.last_cycle
            self.skipped += max(0, span - len(records) - lost)
        else:
            self.skipped += int(records["skipped"].sum(dtype=np.int64))

    def _count_slipped(self, records: Records) -> None:
        """A release tells by its cycle where the grid began, had it never moved. What samples pace has none."""
        if self.metadata.run.get("paced_by"):
            return
        first, last = (
            int(record["release_ns"]) - int(record["cycle"]) * self.metadata.period_ns
            for record in (records[0], records[-1])
        )
        before = first if self._origin_ns is None else self._origin_ns
        self.slipped_ns += max(0, last - before)
        self._origin_ns = last

    def _count_lost_in_a_row(self, records: Records, lost: int) -> None:
        """Skipped releases are lost jobs: those before a cycle that was met are in no record's count."""
        ended = records["consecutive_misses"].astype(np.int64)
        before = np.concatenate(([0 if lost else self.consecutive_misses], ended[:-1]))
        longest = max(int(ended.max()), int((before + records["skipped"]).max()))
        self.max_consecutive_misses = max(self.max_consecutive_misses, longest)
        self.consecutive_misses = int(ended[-1])

    def _count_held(self, records: Records, missed: NDArray[np.bool_]) -> None:
        held = records["outcome"] == core.OUTCOMES["held"]
        # A stale input that may be used is inferred from, and its result can be late like any other.
        stale = held & ((records["events"] & rec.EVENT_BITS["stale_input"]) != 0)
        stale &= records["infer_ns"] == records["read_ns"]
        self.held_stale += int(np.count_nonzero(stale))
        self.held_late += int(np.count_nonzero(held & missed & ~stale))

    def _count_refused(self, records: Records) -> None:
        """From a counter of the devices, which had counted before and comes round at 65536."""
        said = records["device_late_commands"][~rec.unfinished(records)].astype(np.int64)
        if len(said) == 0:
            return
        before = said[0] if self._late_commands_said < 0 else self._late_commands_said
        steps = np.diff(said, prepend=before) & 0xFFFF
        self.device_late_commands += int(steps[steps < _LARGEST_STEP].sum())
        self._late_commands_said = int(said[-1])

    def _measure(self, records: Records, lateness: NDArray[np.int64]) -> None:
        response = rec.response_ns(records)
        self.release_latency.add(rec.release_latency_ns(records))
        self.response.add(response)
        self.infer.add(rec.infer_duration_ns(records))
        self.lateness.add(lateness)
        self._window_response.add(response)

    def window(self) -> Window:
        """What happened since the previous call (or the beginning)."""
        # By the cycles' own clock: when somebody looks says nothing about the loop.
        began_ns = self._window_began_ns or self._first_start_ns
        seconds = (self._last_start_ns - began_ns) / 1e9
        # Periods between cycles: nothing came before the very first one.
        is_first = not self._window_began_ns
        now = (self.executed, self.skipped, self.misses)
        executed, skipped, misses = (a - b for a, b in zip(now, self._window_before, strict=True))
        p50, p99 = self._window_response.percentiles((0.5, 0.99))
        result = Window(
            seconds=seconds,
            executed=executed,
            skipped=skipped,
            misses=misses,
            rate_hz=(executed - is_first) / seconds if seconds > 0 else 0.0,
            response_p50_us=_us(p50),
            response_p99_us=_us(p99),
            response_max_us=_us(self._window_response.max),
        )
        self._window_response.clear()
        self._window_began_ns = self._last_start_ns
        self._window_before = now
        return result

    def _counts(self) -> dict[str, int]:
        """By the names of the shares, and what they are shares of."""
        return {
            "missed": self.misses,
            "skipped": self.skipped,
            "slipped_ns": self.slipped_ns,
            "stale": self._events["stale_input"],
            "held": int(self._outcomes[core.OUTCOMES["held"]]),
            "clamped": self._events["clamped"],
            "dropped": int(self._outcomes[core.OUTCOMES["dropped"]]),
            "refused": self.device_late_commands,
            "executed": self.executed,
        }

    def recent_shares(self) -> tuple[Share, ...]:
        """The shares over the newest window of the loop, for those who watch it run."""
        return self._windows.newest(self._counts())

    @property
    def last_start_ns(self) -> int:
        """Of the newest cycle, on its loop's clock; 0 before there was one."""
        return self._last_start_ns

    def rate_hz(self) -> float | None:
        """Measured rate: cycles started per second between the first and the last start."""
        span_ns = self._last_start_ns - self._first_start_ns
        cycles = self.executed + self.lost - self.missed_the_beginning - 1
        return cycles * 1e9 / span_ns if cycles > 0 and span_ns > 0 else None

    def summary(self, status: dict[str, Any] | None = None) -> LoopSummary:
        """The loop so far.

        ``status`` is the ring's; what it counts (executed, skipped, slipped, misses) is the loop's own
        word and wins over what this observer saw, so that lost records leave no hole in the counts.
        A cycle that never returned it does not count.
        """
        executed = self.executed + self.lost
        skipped, slipped_ns, misses = self.skipped, self.slipped_ns, self.misses
        state, reason, counted, reported = None, 0, False, 0
        if status is not None:
            state = str(status["state"])
            reason = int(status.get("fault_reason", 0))
            counted = int(status.get("executed", 0)) > 0
            reported = int(status.get("port_events", 0))
        if status is not None and counted:
            executed = max(executed, int(status["executed"]))
            skipped = int(status["skipped"])
            slipped_ns = max(slipped_ns, int(status.get("slipped_ns", 0)))
            misses = max(misses, int(status["misses"]))
        rate_hz = self.rate_hz()
        return LoopSummary(
            loop_class=self.metadata.loop_class,
            period_ms=self.metadata.period_ns / 1e6,
            deadline_ms=self.metadata.deadline_ns / 1e6,
            elapsed_periods=executed + skipped,
            executed=executed,
            skipped=skipped,
            misses=misses,
            outcomes={
                name: int(self._outcomes[value]) for value, name in enumerate(rec.OUTCOME_NAMES)
            },
            rate_hz=None if rate_hz is None else round(rate_hz, 4),
            records_lost=self.lost,
            release_latency_us=percentiles(self.release_latency),
            response_us=percentiles(self.response),
            infer_us=percentiles(self.infer),
            lateness_us=percentiles(self.lateness),
            causes={
                name: int(self._causes[value])
                for value, name in enumerate(rec.STAGE_NAMES)
                if name != "none"
            },
            stale_inputs=self._events["stale_input"],
            budget_overruns=self._events["budget_overrun"],
            limit_broken=self._events["limit_broken"],
            unfinished=self.unfinished,
            max_consecutive_misses=self.max_consecutive_misses,
            events=self._events,
            device_late_commands=self.device_late_commands,
            state=state,
            fault_reason=rec.name_of(rec.FAULT_REASON_NAMES, reason),
            held_late=self.held_late,
            held_stale=self.held_stale,
            slipped_periods=slipped_ns // self.metadata.period_ns,
            max_share=self.metadata.max_share,
            devices=self.devices.summary(),
            port_events_lost=self.devices.lost(reported),
            worst_shares=self._windows.worst_until(self.last_cycle, self._counts()),
            switches=self.switches.newest(),
        )


def _us(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e3


def percentiles(histogram: Histogram) -> Percentiles:
    """In µs, of durations in ns."""
    p50, p99, p99_9 = histogram.percentiles(_FRACTIONS)
    return Percentiles(_us(p50), _us(p99), _us(p99_9), _us(histogram.max), histogram.n)
