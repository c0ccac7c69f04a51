"""The shares of a loop in every window of it, for those who watch and for those who judge afterwards."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtloop.telemetry.observe.shares import Share, Whole, shares_of, window_releases

STEPS: Final = 10
"""A window moves by such a part of itself."""


class Windows:
    """The shares in every window of a loop, which moves in ``STEPS``: the newest, and the worst.

    A run of days would hide a bad hour. Windows lie on the release grid, so that whoever sees the same
    records judges them alike.
    """

    def __init__(self, period_ns: int, limits: Mapping[str, float]) -> None:
        self.worst: dict[str, float] = {}
        """The largest share of any whole window, by name; empty before there was one."""
        self._limits = limits
        self._step = max(1, window_releases(period_ns) // STEPS)
        self._marks: deque[tuple[int, Mapping[str, int]]] = deque()

    def parts(self, cycles: NDArray[np.int64]) -> Iterator[slice]:
        """Consecutive cycles (their indices, [n]), cut where a window may end."""
        cuts = np.flatnonzero(np.diff(cycles // self._step)) + 1
        edges = [0, *cuts.tolist(), len(cycles)]
        yield from map(slice, edges[:-1], edges[1:])

    def begin(self, cycle: int, counts: Mapping[str, int]) -> None:
        """Before a part that starts with ``cycle`` is counted."""
        step = cycle // self._step
        if self._marks and step <= self._marks[-1][0]:
            return
        self._marks.append((step, counts))
        while len(self._marks) > 1 and self._marks[1][0] <= step - STEPS:
            self._marks.popleft()
        if self._marks[0][0] <= step - STEPS:
            for share in self.newest(counts):
                self.worst[share.name] = max(self.worst.get(share.name, 0.0), share.value)

    def newest(self, counts: Mapping[str, int]) -> tuple[Share, ...]:
        """The shares over the newest window, or what there is of it, by what is counted now."""
        before = self._marks[0][1] if self._marks else counts
        since = {name: counts[name] - before[name] for name in counts}
        executed = since["executed"]
        whole = Whole(executed + since["skipped"], executed, executed)
        return tuple(shares_of(since, whole, self._limits))
