"""What the figures of a loop show, counted batch by batch in memory that does not grow with the run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.histogram import Histogram
from rtloop.telemetry.observe.records import Records

Microseconds = NDArray[np.float64]

_BINS = 88
_SLICES = 500


@dataclass(frozen=True)
class Range:
    """What part of the values an axis shows, µs."""

    low: float
    high: float
    clipped: bool


def usual_range(
    smallest: float, usual: float, largest: float, deadline_us: float | None = None
) -> Range:
    """The range that shows all values, or, where a few stray far from the ``usual``, the others."""
    high = largest
    clipped = largest > 6 * usual
    if clipped:
        high = 1.6 * usual
    # The deadline is on the axis when it is near, and whenever anything is past it.
    if deadline_us is not None and (deadline_us <= 3 * high or largest > deadline_us):
        high = max(high, deadline_us * 1.04)
        clipped = largest > high
    low = 0.0 if smallest < 0.5 * high else smallest - 0.05 * (high - smallest)
    return Range(max(low, 0.0), high if high > low else low + 1.0, clipped)


class Distribution:
    """Counts of durations in equal bins over a part of them, and of those beyond it.

    A second look at the values: the first has to find ``smallest``, ``largest`` (µs) and the
    histogram that tells the usual ones.
    """

    def __init__(
        self, seen: Histogram, smallest: float, largest: float, deadline_us: float | None
    ) -> None:
        # A few stray cycles must not squeeze all others into a single bar.
        strays = min(max(3, seen.n // 1000), seen.n // 20)
        usual = (seen.percentile((seen.n - strays) / seen.n) or 0) / 1e3
        self.deadline_us = deadline_us
        self.largest = largest
        self.shown = usual_range(smallest, usual, largest, deadline_us)
        self.edges = _bin_edges(self.shown, deadline_us)
        self.counts = np.zeros(len(self.edges) - 1, np.int64)
        self.above = 0

    def add(self, values: Microseconds) -> None:
        """Count durations in µs, float64 [n]."""
        fits = values <= self.shown.high
        self.counts += np.histogram(values[fits], self.edges)[0]
        self.above += len(values) - int(np.count_nonzero(fits))


def _bin_edges(shown: Range, deadline_us: float | None) -> Microseconds:
    """Equal bins; when the deadline is on the axis, it is the edge of one."""
    if deadline_us is None or not shown.low < deadline_us < shown.high:
        return np.linspace(shown.low, shown.high, _BINS + 1)
    before = max(1, round(_BINS * (deadline_us - shown.low) / (shown.high - shown.low)))
    step = (deadline_us - shown.low) / before
    after = max(1, int(np.ceil((shown.high - deadline_us) / step - 1e-9)))
    edges = np.concatenate(
        [
            np.linspace(shown.low, deadline_us, before + 1),
            deadline_us + step * np.arange(1, after + 1),
        ]
    )
    # A response equal to the deadline is in time, and numpy's bins are closed on the left.
    edges[before] = np.nextafter(deadline_us, np.inf)
    return edges


class Slices:
    """Equal slices of a run: of each its largest and median lateness, its misses and skips.

    Every array is [n_slices]; times in µs, NaN where nothing ran.
    """

    def __init__(self, first_release_ns: int, last_release_ns: int, n_cycles: int) -> None:
        self._first_ns = first_release_ns
        self.length_s = max((last_release_ns - first_release_ns) / 1e9, 1e-6)
        self.n = min(_SLICES, n_cycles)
        self.largest = np.full(self.n, np.nan)
        self.median = np.full(self.n, np.nan)
        self.missed = np.zeros(self.n, np.int64)
        self.skipped = np.zeros(self.n, np.int64)
        self._current = -1
        self._of_current = Histogram(signed=True)

    def add(self, records: Records) -> None:
        """Take in cycles that returned, structured [n], later than those before."""
        if len(records) == 0:
            return
        seconds = (records["release_ns"] - self._first_ns) / 1e9
        slots = np.clip((seconds / self.length_s * self.n).astype(np.int64), 0, self.n - 1)
        starts = np.flatnonzero(np.r_[True, slots[1:] != slots[:-1]])
        lateness_ns = rec.lateness_ns(records)
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(slots)], strict=True):
            here, slot = slice(begin, end), int(slots[begin])
            if slot != self._current:
                self.finish()
                self._current = slot
            self._of_current.add(lateness_ns[here])
            self.missed[slot] += np.count_nonzero(lateness_ns[here] > 0)
            self.skipped[slot] += records["skipped"][here].sum(dtype=np.int64)

    def finish(self) -> None:
        """Close the slice in progress."""
        if self._of_current.n:
            median, largest = self._of_current.percentile(0.5), self._of_current.max
            self.median[self._current] = (median or 0) / 1e3
            self.largest[self._current] = (largest or 0) / 1e3
            self._of_current.clear()
