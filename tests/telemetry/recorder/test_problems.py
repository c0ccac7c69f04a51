"""What went wrong in a run reaches its recording through the recorder's stdin."""

import os
from pathlib import Path

import pytest

from rtloop import open_recording
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring


@pytest.mark.parametrize("lost_to", ["a full pipe", "nothing"])
def test_a_recorder_is_told_before_its_rings_are_finalized_and_says_it(
    ring_directory: Path, tmp_path: Path, lost_to: str
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    recorder = RecorderProcess.start([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    recorder.wait_ready()
    append(ring, batch_of(cycles(10), loop))
    unreadable = os.fsdecode(b"the device of /dev/\xff did not confirm STOP\nat all")
    told = [unreadable, *["x" * 1000] * (100 if lost_to == "a full pipe" else 3)]
    recorder.tell(told)
    ring.set_state("finalized")
    assert recorder.wait().error is None
    problems = open_recording(tmp_path / "run.mcap").problems
    assert problems == (unreadable.replace("\udcff", "\\udcff"), "x" * 1000)  # each once


def test_a_problem_that_is_longer_than_the_pipe_is_cut_and_not_kept_silent(
    ring_directory: Path, tmp_path: Path
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    recorder = RecorderProcess.start([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    recorder.wait_ready()
    append(ring, batch_of(cycles(10), loop))
    recorder.tell(["it fell \U0001f916" * 20_000, "and it broke"])
    ring.set_state("finalized")
    assert recorder.wait().error is None
    first, *_ = open_recording(tmp_path / "run.mcap").problems or ("",)
    assert first.startswith("it fell \U0001f916it fell")
