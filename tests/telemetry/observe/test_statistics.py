import json
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.ring import unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import Percentiles
from tests.telemetry.loops import cycles, metadata


def statistics_of(records: rec.Records, *, lost: int = 0, parts: int = 1) -> LoopStatistics:
    statistics = LoopStatistics(metadata())
    for part in np.array_split(records, parts):
        statistics.update(part, lost)
        lost = 0
    return statistics


def test_the_summary_has_every_key_of_the_interface() -> None:
    summary = statistics_of(cycles(100, miss_every=10)).summary().as_dict()
    percentiles = {"p50", "p99", "p99_9", "max", "n"}
    for name in ("release_latency_us", "response_us", "infer_us", "lateness_us"):
        assert set(summary[name]) == percentiles
    assert set(summary) >= {
        "class", "period_ms", "deadline_ms", "elapsed_periods", "executed", "skipped", "misses",
        "outcomes", "rate_hz", "records_lost", "causes", "stale_inputs", "budget_overruns",
        "max_consecutive_misses", "state", "fault_reason",
    }  # fmt: skip
    assert set(summary["outcomes"]) == set(core.OUTCOMES)
    assert json.loads(json.dumps(summary)) == summary


def test_counts_are_those_of_the_records() -> None:
    records = cycles(1000, miss_every=10, skip_after_miss=True)
    records["events"][5] |= rec.EVENT_BITS["stale_input"] | rec.EVENT_BITS["budget_overrun"]
    records["consecutive_misses"][19] = 4
    summary = statistics_of(records, parts=7).summary()
    assert summary.executed == 1000
    assert summary.misses == 100
    assert summary.skipped == 99
    assert summary.elapsed_periods == summary.executed + summary.skipped
    assert summary.outcomes["held"] == 100
    assert summary.outcomes["written"] == 900
    assert summary.causes == {"release": 0, "read": 0, "infer": 100, "write": 0}
    assert (summary.stale_inputs, summary.budget_overruns) == (1, 1)
    assert summary.max_consecutive_misses == 5, "the release skipped after it is lost, too"
    assert summary.rate_hz == pytest.approx(1000 * 1000 / 1099, rel=1e-3)


def test_percentiles_are_those_of_the_whole_data() -> None:
    records = cycles(20_000, miss_every=100)
    summary = statistics_of(records, parts=40).summary()
    for found, values in (
        (summary.response_us, rec.response_ns(records)),
        (summary.release_latency_us, rec.release_latency_ns(records)),
        (summary.infer_us, rec.infer_duration_ns(records)),
        (summary.lateness_us, rec.lateness_ns(records)),
    ):
        for percentile, rank in (
            (found.p50, 10_000),
            (found.p99, 19_800),
            (found.p99_9, 19_980),
        ):
            true = np.sort(values)[rank - 1] / 1e3
            assert percentile is not None
            assert true <= percentile <= true + abs(true) / 1024
        assert found.max == values.max() / 1e3
        assert found.n == 20_000


def test_a_miss_is_lateness_above_zero_and_not_at_zero() -> None:
    records = cycles(2)
    records["finish_ns"] = records["deadline_ns"] + [0, 1]
    assert statistics_of(records).misses == 1


def test_lost_records_leave_no_hole_in_the_identity() -> None:
    records = cycles(1000, miss_every=10, skip_after_miss=True)
    statistics = LoopStatistics(metadata())
    statistics.update(records[:400])
    statistics.update(records[600:], lost=200)
    summary = statistics.summary()
    assert summary.records_lost == 200
    assert summary.executed == 1000
    assert summary.skipped == 99
    assert summary.response_us.n == 800


def test_who_comes_late_counts_what_was_before_and_judges_and_measures_what_he_saw() -> None:
    # 10 minutes with skipped releases, of which the ring holds the last 20 s, without any.
    before = cycles(600_000, miss_every=10, skip_after_miss=True)
    first = int(before["cycle"][-1]) + 1
    records = cycles(20_000, first=first)
    statistics = LoopStatistics(metadata())
    statistics.update(records, lost=len(before))
    summary = statistics.summary()
    assert summary.executed == 620_000
    assert summary.skipped == first - 600_000 > 59_000
    assert summary.elapsed_periods == int(records["cycle"][-1]) + 1
    assert summary.rate_hz == pytest.approx(1000, rel=1e-3)
    assert summary.worst_shares["skipped"] == 0
    assert statistics.missed_the_beginning == summary.records_lost == 600_000
    statistics.update(cycles(10, first=first + 20_050), lost=50)
    assert (statistics.lost, statistics.missed_the_beginning) == (600_050, 600_000)
    again = LoopStatistics.resumed(metadata(), json.loads(json.dumps(statistics.so_far())))
    assert again.rate_hz() == statistics.rate_hz()


def test_a_hung_cycle_is_a_miss_without_a_duration() -> None:
    loop = metadata(loop_class="hard")
    statistics = LoopStatistics(loop)
    records = cycles(10)
    statistics.update(records)
    deadline = int(records["deadline_ns"][-1]) + loop.period_ns
    status = {"expired_cycle": 10, "expired_deadline_ns": deadline}
    hung = unfinished_cycle(status, loop, statistics.last_cycle)
    assert hung is not None
    statistics.update(hung.records)
    summary = statistics.summary()
    assert (summary.misses, summary.unfinished, summary.executed) == (1, 1, 11)
    assert summary.response_us.n == 10
    assert summary.outcomes["safe"] == 1
    assert unfinished_cycle(status, loop, statistics.last_cycle) is None


@pytest.mark.parametrize("before", [0, 10])
def test_a_hung_cycle_was_started_whatever_the_loop_could_count(before: int) -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(before))
    status = {
        "state": "fault", "fault_reason": core.FAULT_REASONS["hang"],
        "elapsed_periods": before + 2, "executed": before, "skipped": 2, "misses": 0,
        "expired_cycle": before + 2, "expired_deadline_ns": 6_000_000_000,
    }  # fmt: skip
    hung = unfinished_cycle(status, metadata(), statistics.last_cycle)
    assert hung is not None
    statistics.update(hung.records)
    summary = statistics.summary(status=status)
    assert (summary.executed, summary.misses, summary.unfinished) == (before + 1, 1, 1)
    # The loop that had executed nothing counts nothing: its records are what is known.
    assert summary.elapsed_periods == summary.executed + summary.skipped == before + 3
    assert not any("no cycle" in failure for failure in summary.failures)


@pytest.mark.parametrize("sent", ["safe", "default", "dropped", "none"])
def test_a_hung_cycle_is_recorded_with_what_was_sent_in_its_stead(sent: str) -> None:
    loop = metadata(loop_class="firm")
    status = {
        "expired_cycle": 10,
        "expired_deadline_ns": 1_000_000_000,
        "expired_outcome": core.OUTCOMES[sent],
    }
    hung = unfinished_cycle(status, loop, 9)
    assert hung is not None
    assert hung.records["outcome"][0] == core.OUTCOMES[sent]


def test_a_hung_hard_cycle_of_an_older_ring_was_replaced_by_the_safe_command() -> None:
    status = {"expired_cycle": 10, "expired_deadline_ns": 1_000_000_000, "expired_outcome": 0}
    hung = unfinished_cycle(status, metadata(loop_class="hard"), 9)
    assert hung is not None
    assert hung.records["outcome"][0] == core.OUTCOMES["safe"]


def test_an_outcome_that_there_is_not_is_none() -> None:
    status = {"expired_cycle": 1, "expired_deadline_ns": 1_000_000_000, "expired_outcome": 200}
    hung = unfinished_cycle(status, metadata(), 0)
    assert hung is not None
    assert hung.records["outcome"][0] == core.OUTCOMES["none"]


@pytest.mark.parametrize("state", ["inactive", "finalized"])
def test_a_cycle_that_still_waited_when_its_loop_was_stopped_did_not_hang(state: str) -> None:
    status = {
        "state": state, "fault_reason": 0,
        "expired_cycle": 10, "expired_deadline_ns": 1_000_000_000, "expired_outcome": 0,
    }  # fmt: skip
    assert unfinished_cycle(status, metadata(loop_class="soft"), 9) is None
    for changed in ({"state": "active"}, {"fault_reason": core.FAULT_REASONS["hang"]}):
        assert unfinished_cycle({**status, **changed}, metadata(), 9) is not None
    sent = {"expired_outcome": core.OUTCOMES["default"]}
    assert unfinished_cycle({**status, **sent}, metadata(), 9) is not None


def test_a_judged_cycle_that_returned_is_not_counted_twice() -> None:
    loop = metadata()
    assert unfinished_cycle({"expired_cycle": 7, "expired_deadline_ns": 0}, loop, 7) is None
    assert unfinished_cycle({"expired_cycle": -1, "expired_deadline_ns": 0}, loop, -1) is None


def test_the_counts_of_the_loop_itself_win_over_the_observers() -> None:
    status = {
        "state": "fault", "fault_reason": core.FAULT_REASONS["hang"],
        "elapsed_periods": 120, "executed": 110, "skipped": 10, "misses": 3,
    }  # fmt: skip
    summary = statistics_of(cycles(100)).summary(status=status)
    assert (summary.elapsed_periods, summary.executed, summary.skipped) == (120, 110, 10)
    assert (summary.state, summary.fault_reason, summary.misses) == ("fault", "hang", 3)


def test_a_loop_that_never_ran_has_a_summary_too() -> None:
    summary = LoopStatistics(metadata()).summary()
    assert summary.executed == summary.elapsed_periods == 0
    assert summary.rate_hz is None
    assert summary.response_us == Percentiles(None, None, None, None, 0)


def test_a_window_holds_what_happened_since_the_last_look() -> None:
    records = cycles(300, miss_every=100)
    statistics = LoopStatistics(metadata())
    statistics.update(records[:100])
    first = statistics.window()
    statistics.update(records[100:])
    second = statistics.window()
    assert (first.executed, second.executed) == (100, 200)
    assert (first.misses, second.misses) == (1, 2)
    assert second.response_max_us == rec.response_ns(records[100:]).max() / 1e3
    empty = statistics.window()
    assert (empty.executed, empty.response_p50_us) == (0, None)


def test_the_rate_of_each_window_is_that_of_the_loop() -> None:
    records = cycles(200)
    records["start_ns"] = records["release_ns"]
    statistics = LoopStatistics(metadata())
    for part in (records[:10], records[10:]):
        statistics.update(part)
        assert statistics.window().rate_hz == pytest.approx(1000, rel=1e-9)


def test_every_key_of_the_summary_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "recording.md").read_text()
    for key in LoopStatistics(metadata()).summary().as_dict():
        assert f"`{key}`" in text, key


def test_statistics_that_go_on_after_a_file_judge_the_run_as_one_observer_does() -> None:
    records = cycles(30_000, miss_every=9)
    records["device_late_commands"] = np.arange(30_000) // 100 % 65536
    stale = slice(20_000, 23_000)
    records["events"][stale] |= rec.EVENT_BITS["stale_input"]
    records["outcome"][stale] = core.OUTCOMES["held"]
    records["infer_ns"][stale] = records["read_ns"][stale]
    whole, first = LoopStatistics(metadata()), LoopStatistics(metadata())
    whole.update(records)
    first.update(records[:25_050])
    second = LoopStatistics.resumed(metadata(), json.loads(json.dumps(first.so_far())))
    second.update(records[25_050:])
    of_whole, of_second = whole.summary(), second.summary()
    for name in ("held_late", "held_stale", "device_late_commands", "outcomes", "events", "misses"):
        assert getattr(of_second, name) == getattr(of_whole, name), name
    assert of_second.worst_shares["stale"] == of_whole.worst_shares["stale"] > 0.2
