"""What the verdicts rest on, with numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import rendering
from benchmarks.result import Result, Table, Target, chance_of_so_many
from rtloop.policy.bench.distribution import Distribution, noise_floor


def result_with(*targets: Target) -> Result:
    table = Table(["", "ratio p50", "N"], title="a table")
    table.add("rtloop", 1.04, 12_000)
    table.add("not measured", None, None)
    return Result("name", "A title", tables=[table], targets=list(targets))


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    found = Distribution.of(np.arange(1, 1001)[::-1])
    assert (found.p50, found.p99, found.p99_9, found.n) == (500, 990, 999, 1000)


def test_nothing_measured_is_no_number() -> None:
    nothing = Distribution.of(np.zeros(0, np.int64))
    assert nothing.over(Distribution.of(np.ones(10))) == (None, None, None)
    assert not Target("p50", nothing.p50, "≤", 1.1).passed


def test_the_noise_floor_compares_every_second_segment_with_the_others() -> None:
    ones, twos = np.ones(10), np.full(10, 2.0)
    assert noise_floor([ones, twos, ones, twos]) == (2, 2, 2)
    assert noise_floor([ones]) == (None, None, None)


@pytest.mark.parametrize(
    ("events", "reference", "share", "chance"),
    [(0, 5, 1 / 3, 1.0), (1, 0, 1 / 3, 1 / 3), (2, 0, 1 / 2, 1 / 4), (1, 1, 1 / 2, 3 / 4)],
)
def test_more_events_than_chance_gives_are_unlikely(
    events: int, reference: int, share: float, chance: float
) -> None:
    assert chance_of_so_many(events, reference, share) == pytest.approx(chance)


def test_a_result_fails_by_one_missed_target_and_by_a_denied_right() -> None:
    met, missed = Target("met", 1.0, "<", 2.0), Target("missed", 2.0, "<", 2.0)
    assert result_with(met).passed
    assert not result_with(met, missed).passed
    denied = result_with(met)
    denied.denied = ["scheduler: asked for fifo 90, got other"]
    assert not denied.passed
    assert "NOT JUDGED  met" in rendering.text(denied)


def test_a_result_survives_json() -> None:
    result = result_with(Target("p50", 1.04, "≤", 1.1), Target("lost", None, "=", 0))
    assert Result.from_json(result.to_json()) == result


def test_terminal_and_markdown_show_the_same_verdicts() -> None:
    result = result_with(Target("p50", 1.04, "≤", 1.1), Target("p99", 1.5, "≤", 1.3))
    for text in (rendering.text(result), rendering.markdown(result)):
        assert "PASS  p50: 1.04 (target ≤ 1.1)" in text
        assert "FAIL  p99: 1.50 (target ≤ 1.3)" in text
    assert "| rtloop | 1.04 | 12 000 |" in rendering.markdown(result)
    assert "| not measured | – | – |" in rendering.markdown(result)
