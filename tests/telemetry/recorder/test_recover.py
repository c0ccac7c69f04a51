"""What `kill -9` leaves behind, and what recovery makes of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.ring import NO_METADATA
from rtloop.telemetry.recorder import recover as recovery
from rtloop.telemetry.recorder.pointer import POINTER_NAME, write_pointer
from rtloop.telemetry.recorder.recover import recover
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.telemetry.loops import (
    WriterProcess,
    append,
    batch_of,
    cycles,
    metadata,
    new_ring,
)


def whole(path: Path, expected: int, of: int | None = None) -> LoopRecording:
    """The recorded loop, which must hold the first cycles of ``of``, each once, bit for bit."""
    loop = read_recording(path, signals=True).loops["balance"]
    n = of or expected
    source = batch_of(cycles(n, miss_every=7), metadata()).select(np.arange(n) < expected)
    np.testing.assert_array_equal(loop.records["cycle"], np.arange(expected))
    assert loop.records.tobytes() == source.records.tobytes()
    assert loop.inputs.tobytes() == source.inputs.tobytes()
    assert loop.outputs.tobytes() == source.outputs.tobytes()
    return loop


def dead_run(run: Path, out: Path, *, n: int = 3000, capacity: int = 4096) -> None:
    """A run whose loop and recorder were both killed in the middle of it."""
    with WriterProcess(run, n=n, capacity=capacity, wait=True) as writer:
        recorder = RecorderProcess.start([writer.ring], out)
        recorder.wait_ready()
        writer.begin()
        time.sleep(0.45)  # one flush, and something behind it
        os.kill(recorder.pid, signal.SIGKILL)
        recorder.wait()
        writer.wait_written()
        writer.kill()


@pytest.fixture
def run(ring_directory: Path) -> Path:
    return ring_directory / metadata().run_id


def test_a_run_whose_loop_and_recorder_were_killed_is_restored_whole(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    with pytest.raises(RecordingError, match="rtloop recover"):
        read_recording(out)
    (recovered,) = recover(None, run.parent)
    assert recovered.error is None
    assert recovered.recording == out
    whole(out, 3000)
    balance = recovered.loops["balance"]
    assert balance.from_file > 0
    assert balance.from_ring > 0
    assert (balance.from_file + balance.from_ring, balance.lost) == (3000, 0)
    assert read_recording(out).loops["balance"].summary.executed == 3000
    assert recovered.cut_copy == tmp_path / "run.cut.mcap"
    assert recovered.cut_copy.exists()
    assert not run.exists()
    assert recover(None, run.parent) == []


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.77, 0.999])
def test_wherever_the_file_is_cut_the_ring_completes_it(
    share: float, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out, n=2000)
    intact = out.read_bytes()
    out.write_bytes(intact[: int(share * len(intact))])
    (recovered,) = recover(out, run.parent)
    whole(out, 2000)
    assert recovered.loops["balance"].lost == 0


def test_what_is_in_neither_is_counted_and_reported(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out, n=9000, capacity=1001)
    (recovered,) = recover(out, run.parent)
    balance = recovered.loops["balance"]
    assert balance.from_ring == 1000
    assert balance.lost > 0
    assert balance.from_file + balance.from_ring + balance.lost == 9000
    assert "lost" in str(recovered)
    loop = read_recording(out).loops["balance"]
    assert loop.lost == balance.lost
    assert loop.summary.executed == 9000
    assert len(np.unique(loop.records["cycle"])) == len(loop.records)
    assert loop.records["cycle"].tolist() == sorted(loop.records["cycle"].tolist())


def test_a_run_that_was_never_recorded_is_restored_from_its_ring(run: Path, tmp_path: Path) -> None:
    with WriterProcess(run, n=500) as writer:
        writer.wait_written()
    (recovered,) = recover(None, run.parent, tmp_path / "runs")
    assert recovered.recording == tmp_path / "runs" / run.name / "run.mcap"
    whole(recovered.recording, 500)
    assert recovered.cut_copy is None


def test_a_cut_file_alone_is_restored_as_far_as_it_goes(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    shutil.rmtree(run)
    (recovered,) = recover(tmp_path, run.parent)
    loop = read_recording(out, signals=True).loops["balance"]
    n = recovered.loops["balance"].from_file
    assert 0 < n == len(loop.records)
    whole(out, n, of=3000)


def test_the_run_of_a_file_that_was_moved_is_found_by_its_id(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    moved = tmp_path / "moved.mcap"
    out.rename(moved)
    (recovered,) = recover(moved, run.parent)
    whole(moved, 3000)
    assert recovered.cut_copy == tmp_path / "moved.cut.mcap"


def test_a_file_beside_the_recording_is_restored_and_the_rings_stay_for_the_recording(
    run: Path, tmp_path: Path
) -> None:
    out, aside = tmp_path / "run.mcap", tmp_path / "recording-20260101T000000_123.mcap"
    with WriterProcess(run, n=3000, wait=True) as writer:
        recorders = [
            RecorderProcess.start([writer.ring], out),
            RecorderProcess.start([writer.ring], aside, aside=True),
        ]
        for recorder in recorders:
            recorder.wait_ready()
        writer.begin()
        time.sleep(0.45)
        for recorder in recorders:
            os.kill(recorder.pid, signal.SIGKILL)
            recorder.wait()
        writer.wait_written()
        with pytest.raises(RecordingError, match="is still running"):
            recover(aside, run.parent)
        writer.kill()
    (beside,) = recover(aside, run.parent)
    assert (beside.recording, beside.loops["balance"].from_ring) == (aside, 0)
    whole(aside, beside.loops["balance"].from_file, 3000)
    (recovered,) = recover(out, run.parent)
    assert recovered.loops["balance"].from_ring > 0
    whole(out, 3000)
    assert not run.exists()


def test_a_living_loop_is_never_touched(run: Path, tmp_path: Path) -> None:
    with WriterProcess(run, n=100) as writer:
        writer.wait_written()
        assert recover(None, run.parent, tmp_path) == []
        out = tmp_path / "run.mcap"
        writing = RecordingWriter(out)
        writing.describe_run(run.name, {})
        writing.flush()
        before = out.read_bytes()
        with pytest.raises(RecordingError, match="still running"):
            recover(out, run.parent)
        assert out.read_bytes() == before
        assert writer.ring.exists()


def test_a_living_recorder_is_never_disturbed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    with WriterProcess(run, n=100) as writer:
        recorder = RecorderProcess.start([writer.ring], out)
        recorder.wait_ready()
        os.kill(recorder.pid, signal.SIGSTOP)
        writer.kill()
        try:
            assert recover(None, run.parent) == []
            with pytest.raises(RecordingError, match="still writing"):
                recover(out, run.parent)
        finally:
            os.kill(recorder.pid, signal.SIGCONT)
        assert recorder.wait().error is None
    whole(out, 100)


@pytest.mark.parametrize("interrupted_at", ["write_restored", "_keep_copy", "sync_directory"])
def test_an_interrupted_recovery_is_simply_run_again(
    interrupted_at: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    real = getattr(recovery, interrupted_at)

    def interrupt(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recovery, interrupted_at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            recover(out, run.parent)
    assert (run / "balance.ring").exists()
    (recovered,) = recover(out, run.parent)
    assert recovered.error is None
    whole(out, 3000)
    assert not run.exists()
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"run.mcap", "run.cut.mcap"}


def test_a_disk_that_fills_up_during_recovery_costs_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    before = out.read_bytes()

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(RecordingWriter, "finish", fail)
        with pytest.raises(RecordingError, match="no space left") as refused:
            recover(out, run.parent)
        assert "free some space there" in str(refused.value)
        assert f"run `rtloop recover {out}`" in str(refused.value)
        assert "The loop goes on" not in str(refused.value)
        (failed,) = recover(None, run.parent)
        assert failed.error is not None
        assert "not recovered" in str(failed)
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"run.mcap"}
    recover(out, run.parent)
    whole(out, 3000)


def test_a_disk_without_room_for_a_run_that_was_never_recorded_leaves_its_rings(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WriterProcess(run, n=100) as writer:
        writer.wait_written()

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(RecordingWriter, "finish", fail)
        (failed,) = recover(None, run.parent, tmp_path / "runs")
    assert "free some space there and run `rtloop recover`" in (failed.error or "")
    assert "/proc/" not in (failed.error or "")
    (recovered,) = recover(None, run.parent, tmp_path / "runs")
    assert recovered.recording is not None
    whole(recovered.recording, 100)


def test_a_whole_file_is_left_as_it_is_and_its_rings_go(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    with WriterProcess(run, n=300) as writer:
        recorder = RecorderProcess.start([writer.ring], out, keep_rings=True)
        writer.wait_written()
        writer.kill()
        assert recorder.wait().error is None
    before = out.read_bytes()
    (recovered,) = recover(None, run.parent)
    assert not recovered.changed
    assert recovered.as_dict()["loops"]["balance"] == {
        "from_file": 300,
        "from_ring": 0,
        "lost": 0,
        "lost_is_known": True,
    }
    assert out.read_bytes() == before
    assert not run.exists()


def test_a_ring_without_a_cycle_leaves_no_recording(run: Path, tmp_path: Path) -> None:
    with WriterProcess(run, n=0):
        pass
    (recovered,) = recover(None, run.parent, tmp_path / "runs")
    assert recovered.recording is None
    assert not (tmp_path / "runs").exists()
    assert not run.exists()


def test_a_hung_cycle_is_in_the_restored_file(run: Path, tmp_path: Path) -> None:
    loop = metadata()
    ring = new_ring(run, loop)
    records = cycles(10)
    append(ring, batch_of(records, loop))
    ring.set_expired(10, int(records["deadline_ns"][-1]) + loop.period_ns)
    ring.set_state("active")
    # This process wrote the ring: make it look like another's.
    _forge_dead_writer(run / "balance.ring")
    (recovered,) = recover(None, run.parent, tmp_path)
    assert recovered.recording is not None
    found = read_recording(recovered.recording).loops["balance"]
    assert found.summary.unfinished == 1
    assert found.records["cycle"].tolist() == list(range(11))


def test_a_damaged_chunk_is_left_out_and_counted(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    with WriterProcess(run, n=3000) as writer:
        recorder = RecorderProcess.start([writer.ring], out)
        writer.wait_written()
        writer.kill()
        assert recorder.wait().error is None
    with out.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    inside = summary.chunk_indexes[2].chunk_start_offset + 1000
    data = bytearray(out.read_bytes())
    data[inside : inside + 16] = bytes(16)
    out.write_bytes(data)
    with pytest.raises(RecordingError, match="damaged"):
        read_recording(out)
    (recovered,) = recover(out, run.parent)
    loop = read_recording(out).loops["balance"]
    balance = recovered.loops["balance"]
    assert 0 < balance.lost < 2000
    assert len(loop.records) + balance.lost == 3000
    assert any("damaged" in note for note in recovered.notes)


def test_what_is_no_recording_is_refused_and_kept(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "holiday.mcap"
    other.write_text("not an mcap file")
    with pytest.raises(RecordingError, match="not an MCAP file"):
        recover(other, run.parent)
    assert other.read_text() == "not an mcap file"
    with pytest.raises(RecordingError, match="no recording"):
        recover(tmp_path / "nothing.mcap", run.parent)
    assert recover(None, tmp_path / "no such directory") == []


def test_an_unreadable_ring_is_reported_and_kept(run: Path, tmp_path: Path) -> None:
    run.mkdir()
    (run / "torn.ring").write_bytes(b"RTL")
    (run / POINTER_NAME).write_text("{")
    (recovered,) = recover(None, run.parent, tmp_path)
    assert any("torn.ring" in note for note in recovered.notes)
    assert (run / "torn.ring").exists()


def _forge_dead_writer(ring: Path) -> None:
    start_time = core.RingReader(str(ring)).writer_start_time.to_bytes(8, "little")
    data = bytearray(ring.read_bytes())
    at = data.index(start_time, 0, 4096)
    data[at : at + 8] = (1).to_bytes(8, "little")
    ring.unlink()
    ring.write_bytes(data)


# --- several at once ---


@pytest.mark.parametrize("rings", [True, False], ids=["rings and file", "file alone"])
def test_one_recovery_at_a_time(
    rings: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    if not rings:
        shutil.rmtree(run)
    second: list[str] = []
    replace = os.replace

    def recover_meanwhile(*names: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(RecordingError, match="another `rtloop recover` is at work on it"):
            recover(out, run.parent)
        second.extend(str(found.error) for found in recover(None, run.parent))
        replace(*names)

    monkeypatch.setattr(os, "replace", recover_meanwhile)
    (first,) = recover(out, run.parent)
    assert len(second) == (1 if rings else 0)
    assert all("another `rtloop recover` is at work on it" in text for text in second)
    n = first.loops["balance"].from_file + first.loops["balance"].from_ring
    whole(out, n, of=3000)
    assert {path.name for path in tmp_path.iterdir()} == {"run.mcap", "run.cut.mcap"}
    (again,) = recover(out, run.parent)
    assert not again.changed


def test_recoveries_of_many_processes_leave_one_whole_file(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    dead_run(run, out)
    code = (
        "import sys; from pathlib import Path; from rtloop.telemetry.recorder.recover import recover\n"
        "found = recover(None, Path(sys.argv[1]))\n"
        "print(*(result.error for result in found if result.error))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(run.parent)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert all(text == "" or text.startswith("another `rtloop recover`") for text in said)
    whole(out, 3000)
    assert not run.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run.mcap", "run.cut.mcap"}


# --- runs that were being set up ---


def claimed(run: Path, out: Path) -> core.RingWriter:
    """What a run has made before it publishes what its loop is."""
    out.parent.mkdir(parents=True)
    writer = core.RingWriter(str(make(run) / "balance.ring"), 64, 2, 3, 2, NO_METADATA)
    write_pointer(run, out)
    return writer


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_a_run_that_is_just_starting_is_left_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / run.name / "run.mcap"
    ring = claimed(run, out)
    assert recover(None, run.parent, tmp_path) == []
    (run / POINTER_NAME).unlink()  # as of a run that is not recorded: its ring says who lives
    assert recover(None, run.parent, tmp_path) == []
    (run / "balance.ring").unlink()
    write_pointer(run, None)  # and before it has a ring
    assert recover(None, run.parent, tmp_path) == []
    assert run.exists()
    del ring


def test_a_run_that_was_killed_while_it_started_leaves_nothing(run: Path, tmp_path: Path) -> None:
    out = tmp_path / run.name / "run.mcap"
    ring = claimed(run, out)
    del ring
    _forge_dead_writer(run / "balance.ring")
    _forge_dead_pointer(run)
    (recovered,) = recover(None, run.parent, tmp_path / "runs")
    assert (recovered.error, recovered.recording) == (None, None)
    assert any("executed no cycle" in note for note in recovered.notes)
    assert not run.exists()
    assert not out.parent.exists()
    assert recover(None, run.parent, tmp_path / "runs") == []


def test_a_run_that_was_killed_before_it_had_a_ring_leaves_nothing(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / run.name / "run.mcap"
    claimed(run, out)
    (run / "balance.ring").unlink()
    _forge_dead_pointer(run)
    (recovered,) = recover(None, run.parent, tmp_path / "runs")
    assert recovered.error is None
    assert not run.exists()
    assert not out.parent.exists()


def test_an_old_folder_without_anything_in_it_is_removed(run: Path, tmp_path: Path) -> None:
    make(run)
    assert recover(None, run.parent, tmp_path) == []
    assert run.exists()
    os.utime(run, (1, 1))
    assert recover(None, run.parent, tmp_path) == []
    assert not run.exists()


def _forge_dead_pointer(run: Path) -> None:
    said = json.loads((run / POINTER_NAME).read_text())
    (run / POINTER_NAME).write_text(json.dumps({**said, "start_time": 1}))
