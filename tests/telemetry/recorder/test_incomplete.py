"""A recording that is not all of the run is told, and is no success."""

from dataclasses import replace
from pathlib import Path

import pytest

from rtloop import child
from rtloop.config import load
from rtloop.run import Run, exit_code
from rtloop.telemetry.recorder import process
from rtloop.telemetry.recorder.start import RecorderProcess, RecordingResult
from tests.running import firmware, write_config
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
