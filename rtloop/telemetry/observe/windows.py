"""The shares of a loop in every window of it, for those who watch and for those who judge afterwards."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

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
        self._period_ns = period_ns
        self._step = max(1, window_releases(period_ns) // STEPS)
        self._marks: deque[tuple[int, Mapping[str, int]]] = deque()

    def resume(self, worst: Mapping[str, float], marks: Any) -> None:
        """Goes on from another's ``worst`` and :meth:`marks`. Raises ValueError, TypeError, AttributeError."""
        self.worst.update(worst)
        for step, counts in marks:
            self._marks.append((int(step), {str(name): int(n) for name, n in counts.items()}))

    def marks(self) -> list[tuple[int, dict[str, int]]]:
        """What is remembered of the newest window, for JSON."""
        return [(step, dict(counts)) for step, counts in self._marks]

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
        self.worst = self._worst_until(step, counts)

    def worst_until(self, last_cycle: int, counts: Mapping[str, int]) -> dict[str, float]:
        """``worst``, were ``last_cycle`` the last: the window that ends there is judged, too.

        It is longer than others by the part of a step that the loop had begun.
        """
        return self._worst_until((last_cycle + 1) // self._step, counts)

    def _worst_until(self, step: int, counts: Mapping[str, int]) -> dict[str, float]:
        before = [mark for begun, mark in self._marks if begun <= step - STEPS]
        if not before:
            return dict(self.worst)
        shares = self._shares(before[-1], counts)
        return {share.name: max(self.worst.get(share.name, 0.0), share.value) for share in shares}

    def newest(self, counts: Mapping[str, int]) -> tuple[Share, ...]:
        """The shares over the newest window, or what there is of it, by what is counted now."""
        return self._shares(self._marks[0][1] if self._marks else counts, counts)

    def _shares(self, before: Mapping[str, int], now: Mapping[str, int]) -> tuple[Share, ...]:
        since = {name: now[name] - before.get(name, 0) for name in now}
        executed = since["executed"]
        lost = since["skipped"] + since["slipped_ns"] // self._period_ns
        whole = Whole(executed + lost, executed, executed)
        return tuple(shares_of({**since, "skipped": lost}, whole, self._limits))
