"""Things that are timed in turn."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from rtloop.errors import StoppedError
from rtloop.policy.bench.bursts import LEAST_BURSTS, LEAST_RUNS, WARM_UP_RUNS, Times, alternate
from rtloop.policy.bench.distribution import Distribution
from rtloop.stopping import stopped_when


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only bursts and sleeping move."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr("rtloop.policy.bench.bursts.time", clock)
    return now


def recording(
    name: str, log: list[tuple[str, int]], now_s: list[float], run_s: float
) -> Callable[[int], Times]:
    def burst(n: int) -> Times:
        log.append((name, n))
        now_s[0] += n * run_s
        return np.full(n, 5, np.int64)

    return burst


def test_bursts_alternate_after_all_are_warm(now_s: list[float]) -> None:
    log: list[tuple[str, int]] = []
    bursts = [recording("a", log, now_s, 1e-5), recording("b", log, now_s, 1e-4)]
    found = alternate(bursts, 0.0)
    assert [len(times) for times in found] == [LEAST_BURSTS, LEAST_BURSTS]
    assert log[:4] == [(name, n) for name in "ab" for n in (LEAST_RUNS, WARM_UP_RUNS)]
    assert log[4:] == [("a", 1000), ("b", 100)] * LEAST_BURSTS, "10 ms of each"


def test_it_lasts_as_long_as_it_may(now_s: list[float]) -> None:
    found = alternate([recording("a", [], now_s, 1e-5)], 1.0)
    assert len(found[0]) == 50, "bursts of 10 ms, and rests as long"


def test_what_is_slow_runs_seldom(now_s: list[float]) -> None:
    log: list[tuple[str, int]] = []
    alternate([recording("slow", log, now_s, 0.1)], 0.0)
    assert {n for _, n in log} == {LEAST_RUNS}


def test_a_stop_ends_it() -> None:
    now_s = [0.0]
    with stopped_when(lambda: "Ctrl-C"), pytest.raises(StoppedError):
        alternate([recording("a", [], now_s, 1e-5)], 3600.0)


def test_few_values_tell_no_tail() -> None:
    told = Distribution.of(np.arange(1, 100) * 1000).as_dict()
    assert (told["p50_us"], told["p99_us"], told["p99_9_us"]) == (50, None, None)
    assert (told["high_water_us"], told["n"]) == (99, 99)
    told = Distribution.of(np.arange(1, 1001) * 1000).as_dict()
    assert (told["p99_us"], told["p99_9_us"]) == (990, 999)
