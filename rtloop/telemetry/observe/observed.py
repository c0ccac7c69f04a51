"""A loop as an observer in any process sees it."""

from __future__ import annotations

import math
import time
from pathlib import Path

from rtloop.telemetry.observe.inputs import InputWindows
from rtloop.telemetry.observe.ring import Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary

#: A share of the 0.1 s in which a run looks at signals, clock and faults.
UPDATE_LIMIT_S = 0.02
#: What is read at once, and cannot be interrupted.
BATCH = 1024


class Observed:
    """One loop's ring, and what was counted from it."""

    def __init__(self, ring_path: Path) -> None:
        """Raises RecordingError when there is no such ring."""
        self.ring = Ring(ring_path)
        self.statistics = LoopStatistics(self.ring.metadata)
        self.newest_inputs: dict[str, float] = {}
        self.inputs = InputWindows(self.ring.metadata.sources)

    def update(self, limit_s: float = UPDATE_LIMIT_S) -> None:
        """Counts what is new, for little longer than ``limit_s``; the rest is counted by the next call.

        Whoever calls it too seldom for a fast loop finds records lost, and is never held up.
        """
        end_s = time.monotonic() + limit_s
        self.statistics.devices.update(self.ring.read_events())
        while len(batch := self.ring.read(BATCH)):
            self.statistics.update(batch.records, batch.lost, batch.inputs)
            self.inputs.update(batch)
            names = [signal.name for signal in self.ring.metadata.inputs]
            self.newest_inputs = dict(zip(names, map(float, batch.inputs[-1]), strict=True))
            if time.monotonic() >= end_s:
                return

    def so_far(self) -> LoopSummary:
        """What was counted by now, and what the loop says of itself."""
        return self.statistics.summary(status=self.ring.status())

    def finish(self) -> LoopSummary:
        """Counts what is left, a cycle that never returned included; what became of the loop."""
        self.update(math.inf)  # at most a ring: the loop has ended
        status = self.ring.status()
        hung = unfinished_cycle(
            status,
            self.ring.metadata,
            self.statistics.last_cycle,
            self.statistics.consecutive_misses,
        )
        if hung is not None:
            self.statistics.update(hung.records)
        self.statistics.devices.accounts = self.ring.accounts()
        return self.statistics.summary(status=status)
