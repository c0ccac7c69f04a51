"""Things that are timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from rtloop.errors import StoppedError
from rtloop.policy.bench.bursts import LEAST_BURSTS, LEAST_RUNS, WARM_UP_RUNS, Times, alternate
from rtloop.policy.bench.distribution import Distribution
from rtloop.stopping import stopped_when


def recording(name: str, log: list[tuple[str, int]], run_s: float = 0.0) -> Callable[[int], Times]:
    def burst(n: int) -> Times:
        log.append((name, n))
        time.sleep(n * run_s)
        return np.full(n, 5, np.int64)

    return burst


def test_bursts_alternate_after_all_are_warm() -> None:
    log: list[tuple[str, int]] = []
    found = alternate([recording("a", log, 1e-6), recording("b", log, 1e-6)], 0.0)
    assert [len(times) for times in found] == [LEAST_BURSTS, LEAST_BURSTS]
    assert [name for name, _ in log[-2 * LEAST_BURSTS :]] == ["a", "b"] * LEAST_BURSTS
    warming = log[: -2 * LEAST_BURSTS]
    assert [name for name, _ in warming] == ["a", "a", "b", "b"]
    assert sum(n for name, n in warming if name == "a") >= WARM_UP_RUNS


def test_what_is_slow_runs_seldom() -> None:
    log: list[tuple[str, int]] = []
    alternate([recording("slow", log, 0.003)], 0.0)
    assert {n for _, n in log[-LEAST_BURSTS:]} == {LEAST_RUNS}
    assert max(n for _, n in log) < WARM_UP_RUNS


def test_a_stop_ends_it() -> None:
    with stopped_when(lambda: "Ctrl-C"), pytest.raises(StoppedError):
        alternate([recording("a", [])], 3600.0)


def test_few_values_tell_no_tail() -> None:
    told = Distribution.of(np.arange(1, 100) * 1000).as_dict()
    assert (told["p50_us"], told["p99_us"], told["p99_9_us"]) == (50, None, None)
    assert (told["high_water_us"], told["n"]) == (99, 99)
    told = Distribution.of(np.arange(1, 1001) * 1000).as_dict()
    assert (told["p99_us"], told["p99_9_us"]) == (990, 999)
