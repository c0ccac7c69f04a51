"""A recording that is not all of the run is told, and is no success."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from rtloop import child, core
from rtloop.config import load
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.recorder import process
from rtloop.telemetry.recorder.pointer import POINTER_NAME
from rtloop.telemetry.recorder.start import RecorderProcess, RecordingResult
from tests.running import (
    UNDISTURBED,
    background,
    firmware,
    wait_for,
    wait_until_running,
    write_config,
)
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring


def test_cycles_that_were_not_recorded_are_a_problem_and_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = RecorderProcess.wait

    def wait_and_lose(self: RecorderProcess, timeout_s: float = 15.0) -> RecordingResult:
        return replace(wait(self, timeout_s), lost={"balance": 16_418})

    monkeypatch.setattr(RecorderProcess, "wait", wait_and_lose)
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(0.5)
        summary = run.stop()
    assert any("lacks 16418 cycles of loop 'balance'" in text for text in summary.problems)
    assert exit_code(summary) == 1
    assert run.is_recorded  # what there is can be looked at


@pytest.mark.parametrize("both", [False, True], ids=["recorder", "recorder and loop"])
def test_sigterm_to_the_recorder_costs_no_cycle(both: bool, tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        path = write_config(tmp_path, device.link)
        with background(["run", path, "--duration", 60 if both else 2, "--json"]) as process:
            ring = wait_until_running(process)
            pointer = ring.with_name(POINTER_NAME)
            os.kill(json.loads(pointer.read_text())["pid"], signal.SIGTERM)
            if both:
                process.terminate()
            said, _ = process.communicate(timeout=60)
    summary = json.loads(said)
    assert (process.returncode, summary["problems"]) == (0, [])
    found = read_recording(Path(summary["recording"])).loops["balance"]
    assert len(found.records) == summary["loops"]["balance"]["executed"]
    assert not ring.exists()


def test_a_recorder_that_ends_before_its_loops_is_a_problem_however_well_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"ready": True}, {"recording": "run.mcap", "error": None}
    early = tmp_path / "early.py"
    early.write_text("\n".join(f"print({json.dumps(line)!r}, flush=True)" for line in content))
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        monkeypatch.setattr(child, "ENTRY", early)
        with run:
            ring = run.observed["balance"].ring.path
            run.wait(1.5)
        summary = run.stop()
    assert any("ended before the loops" in text for text in summary.problems)
    assert exit_code(summary) == 1
    assert ring.exists()
    shutil.rmtree(ring.parent)


def test_what_was_executed_is_compared_with_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = RecorderProcess.wait

    def wait_and_miss(self: RecorderProcess, timeout_s: float = 15.0) -> RecordingResult:
        return replace(wait(self, timeout_s), records={"balance": 3}, lost={"balance": 2})

    monkeypatch.setattr(RecorderProcess, "wait", wait_and_miss)
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(0.5)
        summary = run.stop()
    missing = summary.loops["balance"].executed - 5
    assert any(
        f"lacks {missing} cycles of loop 'balance' at its end" in p for p in summary.problems
    )
    assert exit_code(summary) == 1


def test_the_recorder_does_not_wait_for_a_cycle_that_hangs(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        stall = core.Stall(core.Stage.infer, 30, 0, 4_000_000_000)
        config = load(write_config(tmp_path, device.link))
        run = Run(config, "test", stalls={"balance": [stall]})
        run.start()
        ring = run.observed["balance"].ring
        run.wait(10)
        summary = run.stop()
        assert ring.status()["state"] != "finalized"  # the cycle still hangs
        assert not ring.path.exists()
        assert any("hangs and did not end" in problem for problem in summary.problems)
        assert not any("record" in problem for problem in summary.problems)
        loop = summary.loops["balance"]
        found = read_recording(run.recording).loops["balance"]
        assert len(found.records) == loop.executed
        wait_for(lambda: ring.status()["state"] == "finalized", "the return of the cycle")


@pytest.mark.parametrize(("n", "code"), [(50, 0), (500, 1)])
def test_the_recorders_exit_code_tells_whether_every_cycle_is_in_the_file(
    n: int, code: int, ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "become_ordinary", lambda *_, **__: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=101)
    append(ring, batch_of(cycles(n), loop))
    ring.set_state("finalized")
    arguments = ["--out", str(tmp_path / "run.mcap"), str(ring_directory / "balance.ring")]
    assert process.main(arguments) == code


def test_a_ring_is_kept_whose_loop_executed_more_than_came_into_the_file(
    ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "become_ordinary", lambda *_, **__: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    append(ring, batch_of(cycles(50), loop))
    ring.set_counts(60, 60, 0)
    ring.set_state("finalized")
    arguments = ["--out", str(tmp_path / "run.mcap"), str(ring_directory / "balance.ring")]
    assert process.main(arguments) == 1
    assert (ring_directory / "balance.ring").exists()
