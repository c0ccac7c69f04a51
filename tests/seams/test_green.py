"""Green means controlled: loops that keep their deadlines and move nothing, from all that tells of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from rtloop import core
from rtloop.cli.console import Console
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.report.outline import outline
from rtloop.report.page import render
from rtloop.report.verdict import Level, judge
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.summary import RunSummary
from tests.seams.seam import write_loop

pytestmark = pytest.mark.usefixtures("echo")

ECHO = "canyon: {echo: wall, max_age_ms: 500, fails_after: 0}"
SHARES = "max_share: {missed: 1, skipped: 1, clamped: 1}"
JUDGED = (SHARES, "max_share: {missed: 1, skipped: 1}")
DEAF = ("fails_after: 0", "deaf: true")
NO_SAMPLES = ("    " + ECHO, "    canyon: {mailbox: [0.5], max_age_ms: 20}")
OF_A_MAILBOX = ("{input: canyon, select: [level]}", "{input: canyon}")
SATURATED = ("min: -100, max: 100", "min: 0, max: 1")


def ran(path: Path, *, late: bool = False, cycles: int = 100) -> tuple[Run, RunSummary]:
    every_cycle = [core.Stall(core.Stage.infer, 0, 1, 6_000_000)]
    run = Run(load(path), "green", stalls={"relay": every_cycle} if late else None)
    with run:
        run.wait(20, lambda: enough(run, cycles))
    return run, run.stop()


def enough(run: Run, cycles: int) -> None:
    if run.loops["relay"].status()["executed"] >= cycles:
        run.request_stop("enough")


@pytest.mark.parametrize(
    ("changes", "late", "over"),
    [
        ((DEAF,), False, ["dropped"]),
        ((NO_SAMPLES, OF_A_MAILBOX), False, ["stale", "held"]),
        ((SATURATED, JUDGED), False, ["clamped"]),
        (((SHARES, "max_share: {skipped: 1, clamped: 1}"),), True, ["missed"]),
    ],
    ids=["a port that takes nothing", "no sample ever", "saturated", "late, as its class allows"],
)
def test_a_loop_that_moves_nothing_has_failed(
    tmp_path: Path, changes: tuple[tuple[str, str], ...], late: bool, over: list[str]
) -> None:
    run, summary = ran(write_loop(tmp_path, *changes), late=late)
    assert exit_code(summary) == 1
    told = summary.as_dict()["loops"]["relay"]
    assert [name for name, share in told["shares"].items() if share["is_over"]] == over
    assert [failure.split()[0] for failure in told["failures"]] == over

    printed = io.StringIO()
    Console(printed).summarise(summary)
    assert "soft relay: FAILED" in printed.getvalue()
    for failure in told["failures"]:
        assert failure in printed.getvalue()

    recording = read_recording(run.recording)
    verdict = judge(recording.loops["relay"].summary)
    assert (verdict.level, verdict.headline) == (Level.FAILED, "Failed")
    page = render(outline(run.recording))
    for name in over:
        assert f"Too much of it: {name} " in page
    accounts = page.partition("<dt>Came to nothing</dt>")[2].partition("</dd>")[0]
    assert all(f"{name} " in accounts for name in over)


def test_the_same_loop_is_fine_where_its_configuration_says_so(tmp_path: Path) -> None:
    run, summary = ran(write_loop(tmp_path, SATURATED))
    assert exit_code(summary) == 0
    assert summary.loops["relay"].failures == ()
    recording = read_recording(run.recording).loops["relay"]
    assert recording.metadata.max_share["clamped"] == 1.0, (
        "a report judges by the limits of the run"
    )
    assert judge(recording.summary).level is not Level.FAILED


def test_the_exit_code_of_the_command_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_loop(tmp_path, DEAF)
    assert main(["run", str(path), "--duration", "0.3", "--json", "--no-report"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == []
    assert told["loops"]["relay"]["failures"] == ["dropped 100 % of the cycles, limit 1 %"]


def test_a_loop_that_did_not_run_is_not_green(tmp_path: Path) -> None:
    _, summary = ran(write_loop(tmp_path), cycles=1)
    idle = json.loads(json.dumps(summary.loops["relay"].as_dict())) | {"executed": 0}
    loop = type(summary.loops["relay"]).from_dict(idle)
    assert exit_code(RunSummary(loops={"relay": loop}, rights=())) == 1
