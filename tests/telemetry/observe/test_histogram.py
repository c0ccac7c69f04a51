import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtloop.telemetry.observe.histogram import Histogram

FRACTIONS = (0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)


def exact(values: np.ndarray, fraction: float) -> int:
    return int(np.percentile(values, 100 * fraction, method="inverted_cdf"))


@given(arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 2**40 - 1)))
def test_a_percentile_is_never_understated_and_off_by_at_most_a_bucket(values: np.ndarray) -> None:
    histogram = Histogram()
    histogram.add(values)
    for fraction in FRACTIONS:
        got, true = histogram.percentile(fraction), exact(values, fraction)
        assert got is not None
        assert true <= got <= true + true / 1024


@given(arrays(np.int64, st.integers(1, 300), elements=st.integers(-(2**40) + 1, 2**40 - 1)))
def test_signed_percentiles_hold_on_both_sides_of_zero(values: np.ndarray) -> None:
    histogram = Histogram(signed=True)
    histogram.add(values)
    for fraction in FRACTIONS:
        got, true = histogram.percentile(fraction), exact(values, fraction)
        assert got is not None
        assert true <= got <= true + abs(true) / 1024


def test_values_below_two_microseconds_are_exact() -> None:
    values = np.arange(2048)
    histogram = Histogram()
    histogram.add(values)
    for fraction in FRACTIONS:
        assert histogram.percentile(fraction) == exact(values, fraction)


def test_batches_add_up_to_the_same_as_one() -> None:
    values = np.random.default_rng(3).integers(0, 10**7, 5000)
    whole, parts = Histogram(), Histogram()
    whole.add(values)
    for part in np.array_split(values, 13):
        parts.add(part)
    assert parts.percentiles(FRACTIONS) == whole.percentiles(FRACTIONS)
    assert (parts.n, parts.max) == (whole.n, whole.max)


def test_the_maximum_is_exact_however_large() -> None:
    histogram = Histogram()
    histogram.add(np.array([5, 2**50 + 3]))
    assert histogram.max == 2**50 + 3
    assert histogram.n == 2


def test_a_rank_is_not_pushed_up_by_floating_point() -> None:
    histogram = Histogram()
    histogram.add(np.arange(1, 1001))
    assert histogram.percentile(0.999) == 999


@pytest.mark.parametrize("signed", [False, True])
def test_an_empty_or_cleared_histogram_has_no_percentile(signed: bool) -> None:
    histogram = Histogram(signed=signed)
    histogram.add(np.array([], np.int64))
    assert histogram.percentile(0.5) is None
    histogram.add(np.array([1]))
    histogram.clear()
    assert histogram.percentile(0.5) is None
    assert histogram.max is None


def test_memory_does_not_grow_with_the_run() -> None:
    histogram = Histogram(signed=True)
    before = histogram._counts.nbytes
    for seed in range(20):
        histogram.add(np.random.default_rng(seed).integers(-(10**9), 10**9, 1000))
    assert histogram._counts.nbytes == before < 600_000
