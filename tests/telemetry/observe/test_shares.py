"""How much may come to nothing: limits by class, and what is counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.ring import LoopMetadata
from rtloop.telemetry.observe.shares import (
    NAMES,
    Share,
    Whole,
    default_limits,
    shares_of,
    window_s,
)
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from tests.telemetry.loops import cycles, metadata


def over(shares: tuple[Share, ...]) -> list[str]:
    return [share.name for share in shares if share.is_over]


@pytest.mark.parametrize("loop_class", list(core.CLASSES))
def test_every_class_has_a_limit_for_every_share(loop_class: str) -> None:
    limits = default_limits(loop_class)
    assert tuple(limits) == NAMES
    assert all(0 <= limit < 1 for limit in limits.values()), "everything lost is never fine"


def test_a_share_at_its_limit_is_kept() -> None:
    assert not Share("stale", 0.05, 0.05).is_over
    assert Share("stale", 0.06, 0.05).is_over
    assert str(Share("stale", 0.983, 0.05)) == "stale 98.3 % of the cycles, limit 5 %"
    assert str(Share("skipped", 0.125, 0.1)) == "skipped 12.5 % of the releases, limit 10 %"
    worst = Share("stale", 0.3, 0.05, 10.0)
    assert str(worst) == "stale 30 % of the cycles in its worst 10 s, limit 5 %"


def test_one_judges_nothing() -> None:
    counts = dict.fromkeys(NAMES, 200)
    counts["skipped"] = 0
    all_of_it = tuple(shares_of(counts, Whole(100, 100, 100), dict.fromkeys(NAMES, 1.0)))
    assert over(all_of_it) == [], "and two devices that refuse everything are not more than all"


def test_nothing_of_nothing_is_nothing() -> None:
    nothing = shares_of(dict.fromkeys(NAMES, 0), Whole(0, 0, 0), dict.fromkeys(NAMES, 0.0))
    assert over(tuple(nothing)) == []


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
    assert stale.value == 1.0


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


def test_a_cycle_that_never_returned_says_nothing_of_what_was_refused() -> None:
    records = cycles(100)
    records["device_late_commands"] = [60_000] * 99 + [0]
    records["events"][99] = core.EVENTS["unfinished"]
    statistics = LoopStatistics(metadata())
    statistics.update(records[:99])
    statistics.update(records[99:])
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
    assert over(statistics.recent_shares()) == ["stale"]
    for part in np.array_split(cycles(12_000, first=100_000), 100):
        statistics.update(part)
    assert over(statistics.recent_shares()) == [], "and it is over again"


def one_bad_second() -> rec.Records:
    """A hundred seconds at 1 kHz, in one of which nothing fresh arrives."""
    records = cycles(100_000)
    records["events"][50_500:51_500] = core.EVENTS["stale_input"]
    return records


def test_a_bad_second_is_not_hidden_by_a_good_day() -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(one_bad_second())
    summary = statistics.summary()
    assert over(summary.shares) == ["stale"]
    assert summary.failures == ("stale 10 % of the cycles in its worst 10 s, limit 5 %",)
    told = summary.as_dict()["shares"]["stale"]
    assert told == {"share": 0.01, "worst": 0.1, "limit": 0.05, "is_over": True}
    assert LoopSummary.from_dict(summary.as_dict()) == summary


@pytest.mark.parametrize("parts", [7, 1000])
def test_whoever_sees_the_same_cycles_judges_them_alike(parts: int) -> None:
    whole, in_parts = LoopStatistics(metadata()), LoopStatistics(metadata())
    whole.update(one_bad_second())
    for part in np.array_split(one_bad_second(), parts):
        in_parts.update(part)
    assert in_parts.summary().worst_shares == whole.summary().worst_shares
    assert in_parts.summary() == whole.summary()


def test_what_is_counted_goes_on_in_another_file() -> None:
    records = one_bad_second()
    records["device_late_commands"] = 2 * np.arange(len(records)) & 0xFFFF
    records["outcome"][50_500:51_500] = core.OUTCOMES["held"]
    records["infer_ns"][50_500:51_500] = records["read_ns"][50_500:51_500]
    whole, first = LoopStatistics(metadata()), LoopStatistics(metadata())
    whole.update(records)
    first.update(records[:51_000])
    second = LoopStatistics.resumed(metadata(), json.loads(json.dumps(first.so_far())))
    second.update(records[51_000:])
    measured = ("release_latency_us", "response_us", "infer_us", "lateness_us")
    expected, found = whole.summary().as_dict(), second.summary().as_dict()
    for name in measured:
        del expected[name], found[name]
    assert found == expected
    assert found["held_stale"] == 1000


def test_a_run_shorter_than_a_window_is_judged_as_a_whole() -> None:
    statistics = LoopStatistics(metadata())
    records = cycles(5_000)
    records["events"][:200] = core.EVENTS["stale_input"]
    statistics.update(records)
    summary = statistics.summary()
    assert summary.worst_shares == {}
    assert over(summary.shares) == []
    assert summary.as_dict()["shares"]["stale"]["worst"] is None


def stale_at_its_end(n: int) -> rec.Records:
    records = cycles(n)
    records["events"][-900:] = core.EVENTS["stale_input"]
    return records


@pytest.mark.parametrize("n", [30_000, 30_950, 10_000])
def test_what_comes_last_is_in_a_window_too(n: int) -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(stale_at_its_end(n))
    assert 0.08 < statistics.summary().worst_shares["stale"] <= 0.09
    assert over(statistics.summary().shares) == ["stale"]


def test_where_the_records_are_looked_at_changes_no_judgement() -> None:
    records = cycles(40_000)
    for bad in (slice(20_000, 21_000), slice(30_000, 30_500)):
        records["events"][bad] = core.EVENTS["stale_input"]
    looked_at, left_alone = LoopStatistics(metadata()), LoopStatistics(metadata())
    looked_at.update(records[:30_500])
    assert looked_at.summary().worst_shares["stale"] == 1_500 / 10_500, "were this its end"
    goes_on = LoopStatistics.resumed(metadata(), json.loads(json.dumps(looked_at.so_far())))
    left_alone.update(records[:30_500])
    for statistics in (looked_at, left_alone, goes_on):
        statistics.update(records[30_500:])
        assert statistics.summary().worst_shares["stale"] == 0.1


def test_releases_that_were_skipped_together_are_in_one_window() -> None:
    records = cycles(40_000)
    for name in ("release_ns", "start_ns", "read_ns", "infer_ns", "finish_ns", "deadline_ns"):
        records[name][20_000:] += 30_000 * 1_000_000
    records["cycle"][20_000:] += 30_000
    records["skipped"][20_000] = 30_000
    statistics = LoopStatistics(metadata())
    for part in np.array_split(records, 40):
        statistics.update(part)
    assert statistics.summary().worst_shares["skipped"] > 0.7


def slipped(n: int, by_ns: int) -> rec.Records:
    """Each release comes so much after the period of the one before."""
    records = cycles(n)
    for name in ("release_ns", "start_ns", "read_ns", "infer_ns", "finish_ns", "deadline_ns"):
        records[name] += by_ns * np.arange(n)
    return records


def test_releases_that_slipped_away_are_lost_like_skipped_ones() -> None:
    # Two thirds of a period at a time: no single one of them is a release.
    statistics = LoopStatistics(metadata())
    statistics.update(slipped(30_001, 666_667))
    summary = statistics.summary()
    assert summary.slipped_periods == 20_000
    assert summary.elapsed_periods == summary.executed == 30_001
    assert over(summary.shares) == ["skipped"]
    why = (
        "skipped 40 % of the releases, limit 5 %: 0 skipped, 20000 slipped away (on_overrun: slip)"
    )
    assert summary.failures == (why,)
    assert summary.worst_shares["skipped"] == pytest.approx(0.4, abs=0.001)
    assert [share.brief for share in statistics.recent_shares() if share.is_over] == [
        "skipped 40 %"
    ]
    assert LoopSummary.from_dict(summary.as_dict()) == summary


def test_what_slipped_away_is_known_across_parts_and_lost_records() -> None:
    records = slipped(30_001, 666_667)
    first = LoopStatistics(metadata())
    first.update(records[:10_000])
    second = LoopStatistics.resumed(metadata(), json.loads(json.dumps(first.so_far())))
    second.update(records[20_000:], lost=10_000)
    assert second.summary().slipped_periods == 20_000


def test_a_grid_that_skips_does_not_slip() -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(1000, miss_every=10, skip_after_miss=True))
    assert (statistics.summary().skipped, statistics.summary().slipped_periods) == (99, 0)


def test_the_samples_that_pace_a_loop_are_no_grid_that_slips() -> None:
    plain = metadata()
    paced = replace(plain, run={**plain.run, "paced_by": "paced by input 'cart'"})
    statistics = LoopStatistics(paced)
    statistics.update(slipped(30_001, 30_928))  # 97 % of the rate
    summary = statistics.summary()
    assert (summary.slipped_periods, over(summary.shares)) == (0, [])


def test_the_loop_says_what_slipped_after_the_last_record() -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(100))
    status = {"state": "finalized", "executed": 100, "skipped": 0, "misses": 0}
    status |= {"elapsed_periods": 100, "slipped_ns": 50_000_000}
    assert statistics.summary(status=status).slipped_periods == 50


def test_a_window_of_a_slow_loop_has_a_hundred_cycles() -> None:
    assert window_s(1_000_000) == 10.0
    assert window_s(1_000_000_000) == 100.0


def test_before_the_first_cycle_nothing_is_wrong() -> None:
    statistics = LoopStatistics(metadata())
    assert over(statistics.recent_shares()) == []
    assert statistics.summary().failures == ("no cycle was executed",)
