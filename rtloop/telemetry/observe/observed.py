"""A loop as an observer in any process sees it."""

from __future__ import annotations

from pathlib import Path

from rtloop.telemetry.observe.ring import Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary


class Observed:
    """One loop's ring, and what was counted from it."""

    def __init__(self, ring_path: Path) -> None:
        """Raises RecordingError when there is no such ring."""
        self.ring = Ring(ring_path)
        self.statistics = LoopStatistics(self.ring.metadata)
        self.newest_inputs: dict[str, float] = {}

    def update(self) -> None:
        """Counts what is new. Call it before the ring is full again."""
        while len(batch := self.ring.read()):
            self.statistics.update(batch.records, batch.lost)
            names = [signal.name for signal in self.ring.metadata.inputs]
            self.newest_inputs = dict(zip(names, map(float, batch.inputs[-1]), strict=True))

    def finish(self) -> LoopSummary:
        """Counts what is left, a cycle that never returned included; what became of the loop."""
        self.update()
        status = self.ring.status()
        hung = unfinished_cycle(
            status,
            self.ring.metadata,
            self.statistics.last_cycle,
            self.statistics.consecutive_misses,
        )
        if hung is not None:
            self.statistics.update(hung.records)
        return self.statistics.summary(status=status)
