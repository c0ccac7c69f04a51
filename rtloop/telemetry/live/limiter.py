"""So many a second and no more, without a gap in the count."""

from collections.abc import Iterable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Limiter(Generic[_T]):
    """Lets through ``per_s`` a second, in bursts of a second's worth.

    What comes beyond that waits for its turn, the newest in the place of the one before it, which is counted:
    one that has got through and those suppressed before it are all there were.
    """

    def __init__(self, per_s: float, now_s: float) -> None:
        self.suppressed = 0
        """In all."""
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left = self._most
        self._looked_s = now_s
        self._waiting: list[_T] = []  # one, or none
        self._suppressed_since = 0

    def let_through(self, items: Iterable[_T], now_s: float) -> list[tuple[_T, int]]:
        """Of what is new, and of what waits: those that may go now, each with how many were suppressed
        before it."""
        self._left = min(self._most, self._left + (now_s - self._looked_s) * self._per_s)
        self._looked_s = now_s
        gone: list[tuple[_T, int]] = []
        if self._left >= 1:
            gone += self.flush()
        for item in items:
            self._suppressed_since += len(self._waiting)
            self.suppressed += len(self._waiting)
            self._waiting = [item]
            if self._left >= 1:
                gone += self.flush()
        return gone

    def flush(self) -> list[tuple[_T, int]]:
        """What waits, its turn or not: nothing comes after it."""
        if not self._waiting:
            return []
        gone = [(self._waiting.pop(), self._suppressed_since)]
        self._left -= 1
        self._suppressed_since = 0
        return gone
