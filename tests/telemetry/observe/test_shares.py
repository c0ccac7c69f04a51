"""How much may come to nothing: limits by class, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.telemetry.observe.ring import LoopMetadata
from rtloop.telemetry.observe.shares import NAMES, Share, default_limits
from rtloop.telemetry.observe.statistics import LoopStatistics
from tests.telemetry.loops import cycles, metadata


def over(shares: tuple[Share, ...]) -> list[str]:
    return [share.name for share in shares if share.is_over]


@pytest.mark.parametrize("loop_class", list(core.CLASSES))
def test_every_class_has_a_limit_for_every_share(loop_class: str) -> None:
    limits = default_limits(loop_class)
    assert tuple(limits) == NAMES
    assert all(0 <= limit < 1 for limit in limits.values()), "everything lost is never fine"


def test_a_share_at_its_limit_is_kept() -> None:
    assert not Share("stale", 5, 100, 0.05).is_over
    assert Share("stale", 6, 100, 0.05).is_over
    assert str(Share("stale", 983, 1000, 0.05)) == "stale 98.3 % of the cycles, limit 5 %"
    assert str(Share("skipped", 1, 8, 0.1)) == "skipped 12.5 % of the releases, limit 10 %"


def test_one_judges_nothing() -> None:
    assert not Share("refused", 100, 100, 1.0).is_over
    assert not Share("refused", 200, 100, 1.0).is_over, "two devices that refuse everything"


def test_nothing_of_nothing_is_nothing() -> None:
    assert not Share("stale", 0, 0, 0.0).is_over


def test_the_limits_travel_with_the_ring_and_the_recording() -> None:
    loop = metadata()
    assert loop.max_share == {}, "a recording of an older version: the defaults"
    said = loop.to_json().replace(
        '"max_share": {}', '"max_share": {"stale": 1, "of_the_future": 3}'
    )
    read = LoopMetadata.from_json(said)
    assert read.max_share == {"stale": 1.0}
    assert LoopMetadata.from_json(read.to_json(with_run=False)).max_share == read.max_share
    statistics = LoopStatistics(read)
    assert statistics.summary().max_share == {**default_limits("firm"), "stale": 1.0}
    with pytest.raises(RecordingError, match="max_share"):
        LoopMetadata.from_json(
            loop.to_json().replace('"max_share": {}', '"max_share": {"stale": 2}')
        )


def test_what_was_not_seen_is_in_no_share_but_those_that_the_loop_counts_itself() -> None:
    records = cycles(1000)
    records["events"] = core.EVENTS["stale_input"]
    statistics = LoopStatistics(metadata())
    statistics.update(records[:100])
    statistics.update(records[900:], lost=800)
    stale = next(share for share in statistics.summary().shares if share.name == "stale")
    assert (stale.count, stale.of) == (200, 200)


@pytest.mark.parametrize("parts", [1, 7, 100])
def test_refused_commands_are_counted_from_a_counter_that_began_before_and_comes_round(
    parts: int,
) -> None:
    records = cycles(1000)
    records["device_late_commands"] = (65_000 + 3 * np.arange(1000)) & 0xFFFF
    statistics = LoopStatistics(metadata())
    for part in np.array_split(records, parts):
        statistics.update(part)
    assert statistics.summary().device_late_commands == 3 * 999


def test_a_device_that_begins_to_count_anew_has_refused_nothing_by_that() -> None:
    records = cycles(100)
    records["device_late_commands"] = [500] * 50 + [0] * 50
    statistics = LoopStatistics(metadata())
    statistics.update(records)
    assert statistics.summary().device_late_commands == 0


def test_a_stale_input_that_may_be_used_holds_nothing_a_late_result_does() -> None:
    records = cycles(100, miss_every=2)
    records["events"] |= core.EVENTS["stale_input"]  # and something was inferred all the same
    statistics = LoopStatistics(metadata())
    statistics.update(records)
    assert (statistics.held_late, statistics.held_stale) == (50, 0)


def test_a_hold_for_a_stale_input_is_that_however_late_the_cycle_was() -> None:
    records = cycles(100, miss_every=2)
    records["events"] |= core.EVENTS["stale_input"]
    records["infer_ns"] = records["read_ns"]
    statistics = LoopStatistics(metadata())
    statistics.update(records)
    assert (statistics.held_late, statistics.held_stale) == (0, 50)


def test_who_watches_sees_what_is_wrong_now_and_not_the_good_hours_before() -> None:
    statistics = LoopStatistics(metadata())
    records = cycles(100_000)
    records["events"][99_000:] = core.EVENTS["stale_input"]
    for part in np.array_split(records, 1000):
        statistics.update(part)
    assert over(statistics.summary().shares) == []
    assert over(statistics.recent_shares()) == ["stale"]
    for part in np.array_split(cycles(12_000, first=100_000), 100):
        statistics.update(part)
    assert over(statistics.recent_shares()) == [], "and it is over again"


def test_before_the_first_cycle_nothing_is_wrong() -> None:
    statistics = LoopStatistics(metadata())
    assert over(statistics.recent_shares()) == []
    assert statistics.summary().failures == ("no cycle was executed",)
