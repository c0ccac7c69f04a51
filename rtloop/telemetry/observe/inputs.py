"""What the cycles of a loop found of its inputs since somebody last asked, for those who watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.ring import Batch

_STALE = rec.EVENT_BITS["stale_input"]


@dataclass
class InputWindow:
    """One input, since the previous look at it."""

    name: str
    seconds: float = 0.0
    cycles: int = 0
    fresh: int = 0
    """Cycles that found a newer sample than the cycle before."""
    stale: int = 0
    """Cycles whose sample was too old."""
    gaps: int = 0
    """Samples that were sent and never arrived."""
    age_ns: int = -1
    """Of the newest sample, when the newest cycle read it; -1: there was none yet."""
    age_max_ns: int = -1

    @property
    def rate_hz(self) -> float | None:
        """New samples a second, as the cycles saw them: no more than there were cycles."""
        return self.fresh / self.seconds if self.seconds > 0 else None


class InputWindows:
    """Counts whole batches of cycles, until somebody looks."""

    def __init__(self, names: Sequence[str]) -> None:
        """``names`` of the inputs, in the order of ``Batch.sources``."""
        self._names = tuple(names)
        self._newest_ns = np.zeros(len(names), np.int64)  # when each sample was taken
        self._began_ns = 0
        self._ended_ns = 0
        self._windows = [InputWindow(name) for name in names]

    def update(self, batch: Batch) -> None:
        """Consecutive cycles; nothing to do for none."""
        if len(batch) == 0:
            return
        starts = batch.records["start_ns"]
        self._ended_ns = int(starts[-1])
        self._began_ns = self._began_ns or int(starts[0])
        for index, window in enumerate(self._windows):
            source = batch.sources[:, index]
            ages = source["age_ns"]
            there = ages >= 0
            taken = (starts - ages)[there]
            window.cycles += len(batch)
            window.fresh += int((np.diff(taken, prepend=self._newest_ns[index]) > 0).sum())
            window.stale += int(((source["events"] & _STALE) != 0).sum())
            window.gaps += int(source["gap"].sum(dtype=np.int64))
            window.age_ns = int(ages[-1])
            window.age_max_ns = max(window.age_max_ns, int(ages.max()))
            if len(taken):
                self._newest_ns[index] = taken[-1]

    def take(self) -> list[InputWindow]:
        """What was counted since the previous call, an input each; counting begins anew."""
        taken = self._windows
        for window in taken:
            window.seconds = (self._ended_ns - self._began_ns) / 1e9
        self._windows = [InputWindow(w.name, age_ns=w.age_ns) for w in taken]
        self._began_ns = self._ended_ns
        return taken
