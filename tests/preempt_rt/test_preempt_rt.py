"""Every class, every scheduler, on a kernel that is PREEMPT_RT. Emulated: it says nothing of speed."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rtloop import core
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from rtloop.telemetry.observe.records import EVENT_BITS
from tests.preempt_rt import guest
from tests.preempt_rt.inside import CASES, FIRST
from tests.running import ROOT

pytestmark = [
    pytest.mark.skipif(bool(guest.missing_kernel()), reason=guest.missing_kernel()),
    pytest.mark.timeout(400),
]
CASE_NAMES = [case.name for case in CASES]
#: By class: what is done with a job that is lost, and how its loop ends.
LOST = {
    "hard": ("safe", "deadline_miss"),
    "firm": ("held", "none"),
    "soft": ("written_late", "none"),
}
OUTCOMES = {number: name for name, number in core.OUTCOMES.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guest has left what it found; booted once."""
    shared, scratch = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("scratch")
    command = [sys.executable, "-m", "tests.preempt_rt.inside", "/mnt"]
    ended = guest.run(command, shared, scratch, cwd=ROOT, timeout_s=380)
    assert ended.code == 0, f"{ended.output}\n--- console\n{ended.console}"
    return shared


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return read


def recorded(folder: Path, found: dict[str, Any], case: str) -> LoopRecording:
    path = Path(found["cases"][case]["recording"]).relative_to("runs")
    return read_recording(folder / case.replace(" ", "-") / path).loops["balance"]


def test_the_kernel_is_preempt_rt(found: dict[str, Any]) -> None:
    assert found["preempt_rt"]
    assert "PREEMPT_RT" in found["kernel"]
    rights = {right["name"]: right for right in found["cases"]["fifo"]["rights"]}
    assert rights["kernel"]["granted"]


@pytest.mark.parametrize("case", CASE_NAMES)
def test_every_right_is_granted_and_read_back(found: dict[str, Any], case: str) -> None:
    rights = found["cases"][case]["rights"]
    assert [right for right in rights if not right["granted"]] == []
    actual = {right["name"]: right["actual"] for right in rights}
    scheduler = next(c.scheduler for c in CASES if c.name == case)
    assert actual["balance scheduler"].startswith(scheduler)
    if scheduler != "deadline":
        assert actual["balance cpu_affinity"] == "1"


@pytest.mark.parametrize("case", CASE_NAMES)
def test_every_period_is_accounted_for(folder: Path, found: dict[str, Any], case: str) -> None:
    loop = recorded(folder, found, case)
    summary = loop.summary
    assert len(loop.records) == summary.executed > FIRST
    assert summary.elapsed_periods == summary.executed + summary.skipped
    assert summary.records_lost == 0


@pytest.mark.parametrize("loop_class", LOST)
def test_a_lost_job_is_what_its_class_says(
    folder: Path, found: dict[str, Any], loop_class: str
) -> None:
    outcome, fault = LOST[loop_class]
    loop = recorded(folder, found, f"late {loop_class}")
    events = loop.records["events"]
    lost = loop.records[(events & EVENT_BITS["miss"]) != 0]
    slowed = loop.records[(events & EVENT_BITS["injected"]) != 0]
    assert set(slowed["cycle"]) <= set(lost["cycle"])
    assert {OUTCOMES[int(n)] for n in slowed["outcome"]} == {outcome}
    assert found["cases"][f"late {loop_class}"]["fault"] == fault
    assert len(slowed) == 1 if loop_class == "hard" else len(slowed) > 3


def test_a_hang_ends_in_the_safe_command(folder: Path, found: dict[str, Any]) -> None:
    case = found["cases"]["hang"]
    assert case["fault"] == "hang"
    assert case["device"] == ["SAFE", ["HOST_STOP"]]


def test_the_table_is_told(
    folder: Path, found: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """For whoever reads the log of CI."""
    rows = [f"kernel {found['kernel']}, emulated: nothing here says how fast rtloop is"]
    for case in CASE_NAMES:
        records = recorded(folder, found, case).records
        outcomes = Counter(OUTCOMES[int(n)] for n in records["outcome"])
        granted = sum(right["granted"] for right in found["cases"][case]["rights"])
        told = ", ".join(f"{n} {name}" for name, n in outcomes.items())
        fault = found["cases"][case]["fault"]
        rows.append(
            f"{case:10}  {granted} rights granted, {len(records)} cycles: {told}; fault: {fault}"
        )
    with capsys.disabled():
        print("", *rows, sep="\n")
    assert len(rows) == 1 + len(CASES)
