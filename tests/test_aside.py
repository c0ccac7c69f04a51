"""Recordings that are started and stopped while a run goes on, beside its own."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rtloop import child
from rtloop.config import LoopConfig, load
from rtloop.errors import RecordingError, RtloopError
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from rtloop.telemetry.recorder.pointer import read_pointer
from rtloop.telemetry.recorder.recover import recover
from tests.running import UNDISTURBED, firmware, wait_for, write_config

RING_CYCLES = 600


@pytest.fixture
def small_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds: a configuration has at least a minute."""
    monkeypatch.setattr(LoopConfig, "ring_cycles", property(lambda _: RING_CYCLES))


def executed(run: Run) -> int:
    return int(run.loops["balance"].status()["executed"])


def wait_for_cycles(run: Run, n: int) -> None:
    wait_for(lambda: executed(run) > n, f"{n} cycles")


def asides() -> list[psutil.Process]:
    """Of this process; those that it has left behind before may have ended meanwhile."""
    found = []
    for each in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "--aside" in each.cmdline():
                found.append(each)
    return found


@pytest.mark.usefixtures("small_ring")
@pytest.mark.parametrize("record", [True, False])
def test_every_cycle_between_start_and_stop_is_in_the_file(tmp_path: Path, record: bool) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "aside", record=record)
        for act in (run.start_recording, run.stop_recording):
            with pytest.raises(RtloopError, match="unconfigured: only an active one"):
                act()
        with run:
            wait_for_cycles(run, RING_CYCLES + 100)
            with pytest.raises(RecordingError, match="no recording was started"):
                run.stop_recording()
            rings = run.observed["balance"].ring.path.parent
            pointer = read_pointer(rings)
            first = run.start_recording()
            since = executed(run)
            with pytest.raises(RecordingError, match=f"{first.name} is being recorded already"):
                run.start_recording()
            assert read_pointer(rings) == pointer, "it is not what the run is recovered into"
            wait_for_cycles(run, since + 100)
            until = executed(run)
            assert run.stop_recording() == first
            with pytest.raises(RecordingError, match="or it was stopped already"):
                run.stop_recording()
            assert asides() == []
            assert (rings / "balance.ring").exists()
            found = read_recording(first, signals=True).loops["balance"]
            wait_for_cycles(run, until + 50)
            second = run.start_recording()
            wait_for_cycles(run, executed(run) + 50)
        summary = run.stop()
    total = summary.loops["balance"].executed
    assert summary.problems == ()
    assert not rings.exists()
    assert {path.name for path in run.directory.glob("*.mcap")} == {
        *(first.name, second.name),
        *(["run.mcap"] if record else []),
    }
    n = len(found.records)
    assert 0 < found.lost < since, "the ring was lapped before, and held what was before the start"
    assert until <= found.lost + n == found.summary.executed < total
    assert found.summary.elapsed_periods == int(found.records["cycle"][-1]) + 1
    last = read_recording(second).loops["balance"]
    assert len(last.records) + last.lost == last.summary.executed == total
    assert (last.summary.state, found.summary.state) == ("finalized", "active")
    if record:
        own = read_recording(run.recording, signals=True).loops["balance"]
        assert len(own.records) == total
        part = slice(found.lost, found.lost + n)
        assert own.records[part].tobytes() == found.records.tobytes()
        assert own.inputs[part].tobytes() == found.inputs.tobytes()
        assert own.outputs[part].tobytes() == found.outputs.tobytes()


def test_the_end_of_the_loops_ends_it_and_it_says_what_went_wrong(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = load(write_config(tmp_path, device.link))
        run = Run(config, "aside", plant=lambda: ["the robot fell"])
        with run:
            out = run.start_recording()
            wait_for_cycles(run, 50)
        summary = run.stop()
    assert asides() == []
    assert summary.problems == ("the robot fell",)
    for path in (out, run.recording):
        recording = read_recording(path)
        assert recording.problems == ("the robot fell",)
        assert len(recording.loops["balance"].records) == summary.loops["balance"].executed
    with pytest.raises(RtloopError, match="unconfigured: only an active one"):
        run.stop_recording()


def _kill(process: psutil.Process, _: Path) -> None:
    process.kill()


def _fill_disk(process: psutil.Process, out: Path) -> None:
    size = out.stat().st_size + 1000
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("strike", "told"), [(_kill, "signal 9"), (_fill_disk, "file too large")], ids=["kill", "disk"]
)
def test_one_that_dies_is_told_of_and_ends_nothing_else(
    tmp_path: Path, strike: Callable[[psutil.Process, Path], None], told: str
) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "aside")
        with run:
            wait_for_cycles(run, 50)
            out = run.start_recording()
            (process,) = asides()
            size = out.stat().st_size
            wait_for(lambda: out.stat().st_size > size, "the first cycles in it")
            strike(process, out)

            def noticed() -> bool:
                run.observe()
                return bool(run.recording_error)

            wait_for(noticed, "it is noticed")
            assert told in run.recording_error
            assert f"rtloop recover {out}" in run.recording_error
            wait_for_cycles(run, executed(run) + 50)
            with pytest.raises(RecordingError, match=told):
                run.stop_recording()
            assert run.recording_error == "", "somebody knows it"
            with pytest.raises(RecordingError, match="no recording was started"):
                run.stop_recording()
            another = run.start_recording()
            assert run.stop_recording() == another
        summary = run.stop()
    (problem,) = summary.problems
    assert told in problem
    assert exit_code(summary) == 1
    assert run.is_recorded
    total = summary.loops["balance"].executed
    assert len(read_recording(run.recording).loops["balance"].records) == total
    assert len(read_recording(another).loops["balance"].records) > 50
    with pytest.raises(RecordingError, match="is cut"):
        read_recording(out)
    (recovered,) = recover(out)
    assert recovered.error is None
    assert 0 < len(read_recording(out).loops["balance"].records) < total


@pytest.mark.usefixtures("small_ring")
def test_what_it_came_too_late_for_is_a_problem(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "aside", record=False)
        with run:
            wait_for_cycles(run, RING_CYCLES + 50)
            out = run.start_recording()
            time.sleep(0.3)  # it has what was there
            (process,) = asides()
            process.suspend()
            wait_for_cycles(run, executed(run) + RING_CYCLES + 200)
            process.resume()
            assert run.stop_recording() == out
        summary = run.stop()
    (problem,) = summary.problems
    found = read_recording(out).loops["balance"]
    lost = int(problem.partition(f"{out.name} lacks ")[2].partition(" cycles of loop 'balance'")[0])
    assert 100 < lost < found.lost
    assert found.lost + len(found.records) == found.summary.executed


def test_a_slow_one_is_left_behind_like_the_recorder_of_the_run(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = load(write_config(tmp_path, device.link))
        with Run(config, "slow", leave_recorder_after_s=1.5) as run:
            wait_for_cycles(run, 50)
            out = run.start_recording()
            (process,) = asides()
            process.suspend()
            try:
                began_s = time.monotonic()
                summary = run.deactivate()
                assert time.monotonic() - began_s < 5
                assert run.left_behind == {process.pid: out}
            finally:
                process.resume()
            assert summary.problems == ()
            assert run.is_recorded, "its own"
            wait_for(lambda: not run.left_behind, "its end")
    found = read_recording(out).loops["balance"]
    assert len(found.records) == summary.loops["balance"].executed


def test_the_end_of_the_loops_waits_for_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_ready = tmp_path / "never_ready.py"
    never_ready.write_text("import time; time.sleep(8)")
    refused: list[RecordingError] = []
    with firmware(tmp_path) as device:
        config = load(write_config(tmp_path, device.link))
        run = Run(config, "slow", record=False, leave_recorder_after_s=0.3)
        with run:
            monkeypatch.setattr(child, "ENTRY", never_ready)

            def start() -> None:
                with pytest.raises(RecordingError) as caught:
                    run.start_recording()
                refused.append(caught.value)

            thread = threading.Thread(target=start)
            thread.start()
            wait_for(lambda: bool(asides()), "the start")
            with pytest.raises(RecordingError, match="is just being started"):
                run.stop_recording()
            began_s = time.monotonic()
            summary = run.deactivate()
            assert time.monotonic() - began_s < 5
            thread.join()
    assert "the loops ended before" in str(refused[0])
    assert summary.problems == (), "who started it knows"


KILLED = """
import sys
from pathlib import Path
from rtloop.config import load
from rtloop.run import Run

run = Run(load(Path(sys.argv[1])), "killed", record=False)
run.start()
run.wait(0.3)
out = run.start_recording()
print(run.run_id, out, flush=True)
run.wait(60)
"""


def test_it_outlives_a_killed_process_and_its_file_is_whole(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = write_config(tmp_path, device.link)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(config)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            run_id, path = process.stdout.readline().split()
            (recorder,) = psutil.Process(process.pid).children()
            time.sleep(0.5)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        recorder.wait(20)
    rings = RING_DIRECTORY / run_id
    assert (rings / "balance.ring").exists(), "they are left to `rtloop recover`"
    shutil.rmtree(rings)
    found = read_recording(Path(path)).loops["balance"]
    assert len(found.records) == found.summary.executed > 100
