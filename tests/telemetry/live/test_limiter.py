"""What gets through, and what is only counted."""

from __future__ import annotations

import random

from rtloop.telemetry.live.limiter import Limiter


def test_a_burst_gets_through_and_the_newest_of_the_rest_waits_for_its_turn() -> None:
    limiter: Limiter[int] = Limiter(3, now_s=0.0)
    assert limiter.let_through(range(10), 0.0) == [(0, 0), (1, 0), (2, 0)]
    assert limiter.let_through((), 0.3) == []
    assert limiter.let_through((), 0.4) == [(9, 6)]
    assert limiter.suppressed == 6


def test_one_that_waits_goes_before_what_is_new() -> None:
    limiter: Limiter[str] = Limiter(1, now_s=0.0)
    assert limiter.let_through("abc", 0.0) == [("a", 0)]
    assert limiter.let_through("d", 1.0) == [("c", 1)]
    assert limiter.flush() == [("d", 0)]
    assert limiter.flush() == []


def test_whatever_comes_when_what_is_told_and_what_is_suppressed_are_all() -> None:
    chance = random.Random(1)
    for per_s in (0.1, 2.0, 50.0):
        limiter: Limiter[int] = Limiter(per_s, now_s=0.0)
        now_s, offered, told = 0.0, 0, []
        for _ in range(500):
            now_s += chance.expovariate(20)
            new = range(offered, offered + chance.choice((0, 0, 1, 3)))
            offered += len(new)
            told += limiter.let_through(new, now_s)
        assert len(told) <= max(1, per_s) + per_s * now_s
        told += limiter.flush()
        assert sum(1 + suppressed for _, suppressed in told) == offered
        assert limiter.suppressed == offered - len(told)
        assert told[-1][0] == offered - 1, "the newest is always told in the end"
        at = -1
        for number, suppressed in told:
            assert number - at == 1 + suppressed
            at = number
