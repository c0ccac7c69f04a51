"""Percentiles of durations, and how far the same thing is from itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRACTIONS = (0.5, 0.99, 0.999)


@dataclass(frozen=True)
class Distribution:
    """Percentiles of durations, ns. None where nothing was measured."""

    p50: float | None
    p99: float | None
    p99_9: float | None
    n: int
    high_water: float | None = None
    """The largest value observed."""

    @classmethod
    def of(cls, values: NDArray[Any]) -> Distribution:
        """Of values [n]: each percentile is the smallest value that so many do not exceed."""
        if len(values) == 0:
            return cls(None, None, None, 0)
        p50, p99, p99_9 = np.quantile(values, FRACTIONS, method="inverted_cdf")
        return cls(float(p50), float(p99), float(p99_9), len(values), float(np.max(values)))

    def over(self, other: Distribution) -> tuple[float | None, float | None, float | None]:
        """Ratios of p50, p99 and p99.9 to ``other``'s."""
        return (
            ratio(self.p50, other.p50),
            ratio(self.p99, other.p99),
            ratio(self.p99_9, other.p99_9),
        )

    def us(self) -> tuple[float | None, float | None, float | None, int]:
        """p50, p99, p99.9 in µs, and n."""
        p50, p99, p99_9 = (None if p is None else p / 1e3 for p in (self.p50, self.p99, self.p99_9))
        return p50, p99, p99_9, self.n

    def as_dict(self) -> dict[str, float | int | None]:
        """In µs; a percentile that fewer values are beyond than one is null."""
        p50, p99, p99_9, n = self.us()
        return {
            "p50_us": p50,
            "p99_us": p99 if n >= 100 else None,
            "p99_9_us": p99_9 if n >= 1000 else None,
            "high_water_us": None if self.high_water is None else self.high_water / 1e3,
            "n": n,
        }


def ratio(a: float | None, b: float | None) -> float | None:
    """a / b; None where one is not known, or b is zero."""
    return a / b if a is not None and b else None


def noise_floor(
    segments: Sequence[NDArray[Any]],
) -> tuple[float | None, float | None, float | None]:
    """The same thing against itself: percentiles of every second segment over the others'."""
    if len(segments) < 2:
        return None, None, None
    odd, even = np.concatenate(segments[1::2]), np.concatenate(segments[::2])
    return Distribution.of(odd).over(Distribution.of(even))
