from dataclasses import replace
from typing import Any

import pytest

from rtloop import core
from rtloop.report.verdict import Level, judge
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary, Percentiles
from tests.telemetry.loops import cycles, metadata


def summary(loop_class: str = "firm", *, miss_every: int = 0, **changes: Any) -> LoopSummary:
    statistics = LoopStatistics(metadata(loop_class=loop_class))
    statistics.update(cycles(1000, loop_class=loop_class, miss_every=miss_every))
    return replace(statistics.summary(), **changes)


@pytest.mark.parametrize(
    ("what", "level"),
    [
        (summary("hard"), Level.MET),
        (summary("firm"), Level.MET),
        (summary("soft"), Level.MET),
        (summary("hard", miss_every=500), Level.FAILED),
        (summary("firm", miss_every=500), Level.TOLERATED),
        (summary("soft", miss_every=500), Level.TOLERATED),
        (summary("firm", miss_every=500, limit_broken=1), Level.FAILED),
        (summary("soft", fault_reason="port_error"), Level.FAILED),
        (summary("hard", executed=0), Level.NOTHING),
        (summary("soft", miss_every=1), Level.FAILED),
        (summary("firm", miss_every=10), Level.FAILED),
        (summary("firm", miss_every=10, max_share={"missed": 0.1, "held": 0.1}), Level.TOLERATED),
        (summary("firm", stale_inputs=51), Level.FAILED),
        (summary("firm", stale_inputs=50), Level.MET),
        (summary("firm", stale_inputs=980, max_share={"stale": 1.0}), Level.MET),
        (summary("hard", device_late_commands=11), Level.FAILED),
        (summary("soft", skipped=100, elapsed_periods=1100), Level.FAILED),
    ],
)
def test_a_miss_means_what_the_class_says(what: LoopSummary, level: Level) -> None:
    assert judge(what).level is level


def sentences(what: LoopSummary) -> str:
    return " ".join(judge(what).sentences)


def test_the_sentences_say_what_was_done_with_late_results() -> None:
    assert "may miss none" in sentences(summary("hard", miss_every=500))
    assert "safe command went out" in sentences(summary("hard", miss_every=500))
    assert "were discarded: the previous command was held 2" in sentences(
        summary("firm", miss_every=500)
    ).replace("\u00a0", " ")
    assert "written late" in sentences(summary("soft", miss_every=500))
    assert "to spare" in sentences(summary("hard"))


def test_nothing_that_went_wrong_is_left_out() -> None:
    text = sentences(summary(skipped=3, records_lost=2, unfinished=1, device_late_commands=4))
    for expected in (
        "3 releases were skipped",
        "2 records",
        "1 cycle never returned",
        "4 commands",
    ):
        assert expected in text.replace("\u00a0", " ")
    assert "while the loop was active" in sentences(summary(state="active"))


def test_of_a_loop_that_is_paced_samples_were_missing() -> None:
    what = summary(skipped=3)
    assert "skipped because the cycle before had not ended" in sentences(what)
    said = " ".join(judge(what, is_paced=True).sentences)
    assert "skipped because no sample came" in said
    assert "the cycle before had not ended" not in said


@pytest.mark.parametrize("reason", sorted(set(core.FAULT_REASONS) - {"none"}))
def test_every_fault_is_explained_with_what_to_do(reason: str) -> None:
    word = core.WORDS["fault_reasons"][reason]
    text = sentences(summary(fault_reason=reason))
    assert f"FAULT, until an explicit reset: {word.sentence}. " in text
    assert word.remedy[1:] in text


def test_a_fault_of_a_newer_version_is_told_by_its_name() -> None:
    assert "FAULT, until an explicit reset: unknown_99." in sentences(
        summary(fault_reason="unknown_99")
    )


def test_every_share_over_its_limit_is_named_with_what_to_do() -> None:
    text = sentences(summary("soft", stale_inputs=980, events={"clamped": 1000}))
    assert "stale 98 % of the cycles, limit 5 %" in text
    assert "Look at the age of each input" in text
    assert "clamped 100 % of the cycles, limit 50 %" in text
    assert "Compare min and max" in text


def test_holds_for_a_stale_input_are_told_apart_from_those_for_a_late_result() -> None:
    statistics = LoopStatistics(metadata())
    records = cycles(1000, miss_every=500)
    stale = slice(10, 13)
    records["outcome"][stale] = core.OUTCOMES["held"]
    records["events"][stale] = core.EVENTS["stale_input"]
    records["infer_ns"][stale] = records["read_ns"][stale]
    statistics.update(records)
    found = statistics.summary()
    assert (found.outcomes["held"], found.held_late, found.held_stale) == (5, 2, 3)
    text = sentences(found).replace("\u00a0", " ")
    assert "were discarded: the previous command was held 2 times" in text
    assert "The previous command stood in 3 cycles because an input was stale." in text


def test_how_late_an_answer_was_that_had_not_come_is_not_claimed() -> None:
    """A record of one is 1 ns past its deadline: later than that is all that is known."""
    judged = replace(
        summary(miss_every=10), lateness_us=Percentiles(-50.0, 0.001, 0.001, 0.001, 100)
    )
    assert "past its deadline" not in sentences(judged)
    measured = replace(judged, lateness_us=Percentiles(-50.0, 2.0, 2.0, 2.0, 100))
    assert "past its deadline" in sentences(measured)
