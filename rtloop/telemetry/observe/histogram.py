"""Counts of durations in log-linear buckets: fixed memory, any range, known error."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

# 1024 buckets an octave: a percentile is off by at most 1/1024 of its value. Below 2048 ns, exact.
_BITS: Final = 10
_LINEAR: Final = 1 << (_BITS + 1)
# 2^40 ns is 18 minutes. Longer durations share the last bucket; `max` stays exact.
_LARGEST: Final = (1 << 40) - 1
_OCTAVES: Final = 40 - (_BITS + 1)
_BUCKETS: Final = _LINEAR + (_OCTAVES << _BITS)


class Histogram:
    """Streaming percentiles of int64 nanoseconds; ``signed`` also takes values below zero."""

    def __init__(self, *, signed: bool = False) -> None:
        self._zero = _BUCKETS - 1 if signed else 0
        self._counts = np.zeros(_BUCKETS + self._zero, np.int64)
        self.n = 0
        self._max: int | None = None

    @property
    def max(self) -> int | None:
        """The largest value observed, exactly; None when there is none."""
        return self._max

    def add(self, values: NDArray[np.int64]) -> None:
        """Count a batch, int64 [n] in ns. Unsigned histograms count negative values as zero."""
        if len(values) == 0:
            return
        largest = int(values.max())
        self._max = largest if self._max is None else max(self._max, largest)
        self.n += len(values)
        if self._zero:
            buckets = np.where(values < 0, -_bucket(np.abs(values)), _bucket(values)) + self._zero
        else:
            buckets = _bucket(values)
        # Only the span the batch touches: a bincount over all buckets would cost more than the
        # rest.
        low = int(buckets.min())
        touched = np.bincount(buckets - low)
        self._counts[low : low + len(touched)] += touched

    def percentile(self, fraction: float) -> int | None:
        """The smallest value that at least ``fraction`` of all values do not exceed, in ns.

        Rounded up to the edge of its bucket, so never understated; exact for the maximum.
        """
        return self.percentiles((fraction,))[0]

    def percentiles(self, fractions: tuple[float, ...]) -> list[int | None]:
        """``percentile`` of several fractions in one pass."""
        if self.n == 0 or self._max is None:
            return [None] * len(fractions)
        cumulative = np.cumsum(self._counts)
        # The small term undoes the rounding of products such as 0.999 * 1000.
        ranks = [max(1, math.ceil(f * self.n - 1e-9)) for f in fractions]
        indices = np.searchsorted(cumulative, ranks)
        return [min(_upper_edge(int(i) - self._zero), self._max) for i in indices]

    def clear(self) -> None:
        """Forget everything."""
        self._counts[:] = 0
        self.n = 0
        self._max = None


def _bucket(values: NDArray[np.int64]) -> NDArray[np.int64]:
    clipped = np.clip(values, 0, _LARGEST)
    # Exact: every value is below 2^53.
    exponent = np.frexp(clipped.astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(exponent - (_BITS + 1), 0)
    result: NDArray[np.int64] = (shift << _BITS) + (clipped >> shift)
    return result


def _upper_edge(bucket: int) -> int:
    """The largest value in a bucket; of a negative bucket, the one nearest to zero."""
    if bucket < 0:
        return -_lower_edge(-bucket)
    return _lower_edge(bucket + 1) - 1


def _lower_edge(bucket: int) -> int:
    if bucket < _LINEAR:
        return bucket
    shift = (bucket >> _BITS) - 1
    return ((bucket & ((1 << _BITS) - 1)) + (1 << _BITS)) << shift
