"""The typed summaries, and the documented interface that they become."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rtloop.errors import RecordingError
from rtloop.realtime.rights import RightReport
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import (
    FunctionTimes,
    LoopSummary,
    Percentiles,
    RunSummary,
)
from tests.telemetry.loops import cycles, metadata

DOCUMENT = Path(__file__).parents[3] / "docs" / "recording.md"
GRANTED = RightReport("scheduler", "fifo 80", "fifo 80", granted=True)
DENIED = RightReport("lock_memory", "all", "none", granted=False, fix="raise RLIMIT_MEMLOCK")


def loop_summary() -> LoopSummary:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(100, miss_every=10))
    return statistics.summary()


def documented(heading: str) -> list[str]:
    """The keys of the first table after a line of docs/recording.md, in its order."""
    after = DOCUMENT.read_text().split(f"\n{heading}\n")[1]
    rows = after.split("|---|---|\n")[1].split("\n\n")[0].splitlines()
    return [key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_a_loop_has_exactly_the_documented_keys_in_their_order() -> None:
    assert list(loop_summary().as_dict()) == documented("Each loop:")


def test_a_run_has_exactly_the_documented_keys_in_their_order() -> None:
    device = {"state": "SAFE"}
    run = RunSummary(
        loops={"balance": loop_summary()},
        rights=(),
        functions={"balance": FunctionTimes("control:act", Percentiles(), Percentiles())},
        devices={"cart": device},
    )
    assert list(run.as_dict()) == documented("## The `--json` summary")
    assert run.as_dict()["devices"] == {"cart": device}


def test_only_a_demo_has_devices() -> None:
    assert "devices" not in RunSummary(loops={}, rights=()).as_dict()


def test_a_run_tells_paths_as_text_and_rights_by_what_became_of_them() -> None:
    run = RunSummary(loops={}, rights=(GRANTED, DENIED), recording=Path("runs/run.mcap"))
    said = json.loads(json.dumps(run.as_dict()))
    assert (said["recording"], said["report"]) == ("runs/run.mcap", None)
    assert said["realtime"]["granted"] == [GRANTED.as_dict()]
    assert said["realtime"]["denied"] == [DENIED.as_dict()]


def test_nobody_changes_a_summary() -> None:
    loop = loop_summary()
    run = RunSummary(loops={"balance": loop}, rights=())
    with pytest.raises(dataclasses.FrozenInstanceError):
        loop.misses = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        loop.outcomes["written"] = 0  # type: ignore[index]
    with pytest.raises(TypeError):
        run.loops["balance"] = loop  # type: ignore[index]
    changed = dataclasses.replace(run, report=Path("report.html"))
    assert (run.report, changed.report) == (None, Path("report.html"))


def test_what_a_loop_says_as_json_is_read_back_the_same() -> None:
    loop = loop_summary()
    assert LoopSummary.from_dict(json.loads(json.dumps(loop.as_dict()))) == loop


def test_an_older_recording_lacks_the_newer_keys_and_one_of_the_future_has_more() -> None:
    said = loop_summary().as_dict()
    for key in ("limit_broken", "unfinished", "device_late_commands", "fault_reason", "events"):
        del said[key]
    read = LoopSummary.from_dict({**said, "of_the_future": 1})
    assert (read.limit_broken, read.unfinished, read.device_late_commands) == (0, 0, 0)
    assert (read.fault_reason, dict(read.events)) == ("none", {})
    assert read.executed == 100
    assert read.response_us == loop_summary().response_us


@pytest.mark.parametrize(
    "said", [{}, {"class": "hard"}, {**loop_summary().as_dict(), "response_us": 3}]
)
def test_what_is_no_summary_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(RecordingError, match="not readable"):
        LoopSummary.from_dict(said)


def test_percentiles_of_nothing_are_none() -> None:
    assert Percentiles() == Percentiles(None, None, None, None, 0)
