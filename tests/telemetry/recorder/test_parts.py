"""A recording of several files: each whole by itself, together all of the run, the oldest not kept."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter

from rtloop.cli.main import main
from rtloop.config import RecordingConfig, load
from rtloop.errors import RecordingError
from rtloop.report.page import report_path, write_report
from rtloop.run import Run
from rtloop.telemetry.mcap.part_names import first_there, parts_there
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.recorder.pointer import POINTER_NAME
from rtloop.telemetry.recorder.process import Recorder
from rtloop.telemetry.recorder.recover import recover
from rtloop.telemetry.recorder.split import Split
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.running import edited, firmware, write_config
from tests.telemetry.loops import WriterProcess, append, batch_of, cycles, metadata, new_ring

N = 25_000


@pytest.fixture
def run(ring_directory: Path) -> Path:
    return ring_directory / metadata().run_id


def recorded(run: Path, out: Path, *, keep: int | None = None, n: int = N) -> Recorder:
    """A run of 25 s, split at 200 kB: about nine files."""
    out.parent.mkdir(exist_ok=True)
    ring = new_ring(run, metadata(), n + 1)
    append(ring, batch_of(cycles(n, miss_every=7), metadata()))
    ring.set_counts(n, n, 0)
    ring.set_state("finalized")
    recorder = Recorder([run / "balance.ring"], out, Split(size_bytes=200_000, keep=keep))
    recorder.run()
    assert recorder.error is None
    return recorder


def check(loop: LoopRecording, first: int = 0, n: int = N) -> None:
    """The recorded loop holds exactly the cycles from the first on, bit for bit."""
    source = batch_of(cycles(n, miss_every=7), metadata()).part(first, n)
    np.testing.assert_array_equal(loop.records["cycle"], np.arange(first, n))
    assert loop.records.tobytes() == source.records.tobytes()
    assert loop.inputs.tobytes() == source.inputs.tobytes()


def text_of(page: Path) -> str:
    text = re.sub(r"<style>.*?</style>|<[^>]+>", "", page.read_text(), flags=re.DOTALL)
    return text.replace("\u202f", " ").replace("\u00a0", " ")


def test_each_file_is_whole_by_itself_and_all_together_are_the_run(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorder = recorded(run, out)
    parts = parts_there(out)
    assert [part.name for part in parts[:3]] == ["run.mcap", "run_001.mcap", "run_002.mcap"]
    assert len(parts) > 4
    for part in parts:
        with part.open("rb") as file:
            summary = make_reader(file, validate_crcs=True).get_summary()
            assert summary is not None
            assert len(summary.channels) == len(summary.schemas) == 4
    for together in (out, out.parent):
        recording = read_recording(together, signals=True)
        check(recording.loops["balance"])
        assert recording.loops["balance"].summary.executed == N
        assert recording.loops["balance"].lost == 0
    begins = [int(read_recording(part).loops["balance"].records["cycle"][0]) for part in parts[1:]]
    assert begins == sorted(set(begins))
    assert recorder.result()["records"] == {"balance": N}
    assert recorder.result()["bytes"] == sum(part.stat().st_size for part in parts)


def test_only_the_newest_files_are_kept_and_no_other_runs(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    out.parent.mkdir()
    others = [tmp_path / "rec" / "walk.mcap", tmp_path / "rec" / "walk_001.mcap"]
    for other in others:
        other.write_bytes(b"another run's")
    recorder = recorded(run, out, keep=3)
    parts = parts_there(out)
    assert len(parts) == 3
    assert not out.exists()
    assert all(other.exists() for other in others)
    # The name of the first goes on to stand for the run.
    recording = read_recording(out, signals=True)
    first = int(recording.loops["balance"].records["cycle"][0])
    check(recording.loops["balance"], first)
    assert recording.path == parts[0] == first_there(out)
    assert recording.loops["balance"].summary.executed == N
    assert recorder.result()["records"] == {"balance": N}
    page = text_of(write_report(out.parent, report_path(out.parent)))
    assert f"The first {first:,}".replace(",", " ") + " cycles are in files that are gone" in page
    assert "25 000 executed" in page


def test_a_file_by_itself_has_a_report_of_its_own_that_says_so(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    whole = text_of(write_report(out, report_path(out)))
    assert "One file of a run" not in whole
    assert "25 000 executed" in whole
    parts = parts_there(out)
    records = read_recording(parts[2]).loops["balance"].records
    assert report_path(parts[2]).name == "run_002.html"
    part = text_of(write_report(parts[2], report_path(parts[2])))
    before = f"{int(records['cycle'][0]):,}".replace(",", " ")
    assert f"One file of a run: part 2. {before} cycles came before it" in part
    assert "The run went on" in part
    assert f"{len(records):,} executed".replace(",", " ") in part
    parts[3].unlink()
    assert "part 3" in text_of(write_report(out, report_path(out)))


def test_a_file_is_split_by_time_while_the_loop_runs(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.mcap"
    with WriterProcess(run, n=4000, wait=True) as writer:
        recorder = RecorderProcess.start([writer.ring], out, split=Split(seconds=0.2))
        recorder.wait_ready()
        writer.begin()
        writer.wait_written()
        writer.kill()
        assert recorder.wait().error is None
    assert len(parts_there(out)) > 2
    check(read_recording(out, signals=True).loops["balance"], n=4000)
    assert not run.exists()


@pytest.mark.parametrize("keep", [None, 2])
def test_a_run_killed_between_and_in_its_files_is_restored_whole(
    keep: int | None, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.mcap"
    with WriterProcess(run, n=4000, wait=True) as writer:
        split = Split(seconds=0.15, keep=keep)
        recorder = RecorderProcess.start([writer.ring], out, split=split)
        recorder.wait_ready()
        writer.begin()
        time.sleep(0.55)
        os.kill(recorder.pid, signal.SIGKILL)
        recorder.wait()
        writer.wait_written()
        writer.kill()
    (recovered,) = recover(None, run.parent)
    assert recovered.error is None
    assert recovered.changed
    assert recovered.recording == first_there(out)
    recording = read_recording(out, signals=True)
    loop = recording.loops["balance"]
    first = int(loop.records["cycle"][0])
    assert (first == 0) == (keep is None)
    check(loop, first, n=4000)
    assert (loop.summary.executed, loop.lost, recovered.loops["balance"].lost) == (4000, 0, 0)
    assert loop.summary.misses == 4000 // 7
    assert not run.exists()


def test_a_file_in_the_middle_that_was_cut_is_completed_by_the_ring(
    run: Path, tmp_path: Path
) -> None:
    """As a recorder leaves it that is killed while it finishes a file: the next one was begun."""
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    kept = [part.read_bytes() for part in parts_there(out)]
    parts_there(out)[1].write_bytes(kept[1][: len(kept[1]) // 2])
    with pytest.raises(RecordingError, match="run_001.mcap is cut"):
        read_recording(out)
    (run / POINTER_NAME).unlink()  # it says that this process records
    (recovered,) = recover(out, run.parent)
    assert recovered.cut_copy == out.with_name("run_001.cut.mcap")
    check(read_recording(out, signals=True).loops["balance"])
    balance = recovered.loops["balance"]
    assert balance.from_ring > 0
    assert (balance.from_file + balance.from_ring, balance.lost) == (N, 0)
    after = [part.read_bytes() for part in parts_there(out)]
    assert [a == b for a, b in zip(kept, after, strict=True)] == [True, False] + [True] * (
        len(kept) - 2
    )


def test_what_a_cut_file_in_the_middle_lacks_is_counted_without_a_ring(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    middle = parts_there(out)[1]
    middle.write_bytes(middle.read_bytes()[:30_000])
    (recovered,) = recover(out.parent, run.parent)
    balance = recovered.loops["balance"]
    assert balance.lost > 0
    assert balance.lost_is_known
    assert balance.from_file + balance.lost == N
    assert read_recording(out).loops["balance"].lost == balance.lost


def test_files_of_two_runs_in_one_folder_are_not_mixed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    other = metadata(run_id="20260102T000000-other")
    ring = new_ring(run.parent / other.run_id, other)
    append(ring, batch_of(cycles(10), other))
    ring.set_state("finalized")
    stray = out.with_name("run_900.mcap")
    Recorder([run.parent / other.run_id / "balance.ring"], stray).run()
    check(read_recording(out, signals=True).loops["balance"])
    assert len(read_recording(stray).loops["balance"].records) == 10
    page = text_of(write_report(stray, report_path(stray)))
    assert "One file of a run" not in page
    shutil.rmtree(run.parent / other.run_id)
    kept = out.read_bytes()
    stray.write_bytes(stray.read_bytes()[:-200])
    (recovered,) = recover(stray, run.parent)
    assert recovered.recording == stray
    assert len(read_recording(stray).loops["balance"].records) == 10
    assert out.read_bytes() == kept


@pytest.mark.parametrize("name", ["run.mcap", "run_003.mcap"])
def test_any_file_of_a_run_stands_for_it_when_it_is_recovered(
    name: str, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    (run / POINTER_NAME).unlink()
    for part in parts_there(out)[1:3]:
        part.write_bytes(part.read_bytes()[:-500])
    (recovered,) = recover(out.with_name(name), run.parent)
    assert recovered.recording == out
    check(read_recording(out, signals=True).loops["balance"])


def test_a_link_in_the_place_of_a_file_is_not_followed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    part, elsewhere = parts_there(out)[1], tmp_path / "elsewhere.mcap"
    part.rename(elsewhere)
    part.symlink_to(elsewhere)
    with pytest.raises(RecordingError, match="run_001.mcap is a link"):
        recover(out.parent, run.parent)


def test_the_command_reports_all_files_of_a_folder(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    assert main(["report", str(out.parent)]) == 0
    assert capsys.readouterr().out.strip() == str(out.parent / "report.html")
    assert "25 000 executed" in text_of(out.parent / "report.html")
    assert main(["report", str(parts_there(out)[1])]) == 0
    assert "One file of a run" in text_of(out.parent / "run_001.html")


def test_a_run_names_the_oldest_file_that_is_left_and_reports_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = RecorderProcess.start
    asked: list[Split | None] = []

    def start_soon(*arguments: Any, split: Split | None = None, **others: Any) -> RecorderProcess:
        asked.append(split)
        return start(*arguments, split=Split(seconds=0.2, keep=2), **others)

    monkeypatch.setattr(RecorderProcess, "start", start_soon)
    keys = {"recording: {": "recording: {split_mb: 2.5, split_minutes: 15, keep: 7, "}
    with firmware(tmp_path) as device:
        run = Run(load(edited(write_config(tmp_path, device.link), keys)), "test")
        with run:
            run.wait(1.5)
        summary = run.stop()
    assert asked == [Split(size_bytes=2_500_000, seconds=900, keep=7)]
    assert summary.problems == ()
    assert summary.recording is not None
    assert summary.recording == run.recording == parts_there(run.directory / "run.mcap")[0]
    assert summary.recording.name != "run.mcap"
    assert run.is_recorded
    page = text_of(run.write_report())
    assert "are in files that are gone" in page
    executed = f"{summary.loops['balance'].executed:,}".replace(",", " ")
    assert f"{executed} executed" in page


def test_a_recording_is_split_by_default() -> None:
    """What a recorder keeps in memory is the index of one file."""
    assert RecordingConfig().split_mb == 1000
    assert RecordingConfig().split_minutes == 60
    assert RecordingConfig().keep is None


@pytest.mark.parametrize("number", [0, 2])
def test_a_copy_of_a_file_in_its_folder_is_not_counted_twice(
    number: int, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    part = parts_there(out)[number]
    copy = out.with_name("run_20261121.mcap")
    for path in (copy, out.with_name("run_0003.mcap")):
        shutil.copy(part, path)
    check(read_recording(out, signals=True).loops["balance"])
    page = text_of(write_report(out.parent, report_path(out.parent)))
    assert "25 000 executed" in page
    assert f"run_20261121.mcap is no part of this run: it is a copy of part {number}" in page
    (recovered,) = recover(out.parent, run.parent)
    assert not recovered.changed
    assert recovered.loops["balance"].from_file == N
    assert recovered.notes == [
        f"run_20261121.mcap is no part of this run: it is a copy of part {number}"
    ]
    # Asked for by its name it stands for itself, as any later file does.
    assert read_recording(copy).path == copy


def test_what_only_has_the_name_of_a_file_of_the_run_is_left_out(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    junk = out.with_name("run_999.mcap")
    junk.write_text("junk")
    foreign = out.with_name("run_998.mcap")
    with foreign.open("wb") as file:
        writer = McapWriter(file)
        writer.start(library="another's")
        writer.finish()  # type: ignore[no-untyped-call]
    check(read_recording(out.parent, signals=True).loops["balance"])
    page = text_of(write_report(out.parent, report_path(out.parent)))
    parts_there(out)[1].write_bytes(parts_there(out)[1].read_bytes()[:-500])
    (recovered,) = recover(out.parent, run.parent)
    for note in (
        "run_998.mcap is no part of this run: it was not recorded by rtloop",
        "run_999.mcap is no part of this run: it is not an MCAP file",
    ):
        assert note in page
        assert note in recovered.notes
    assert recovered.changed
    assert junk.read_text() == "junk"
    with pytest.raises(RecordingError, match="run_999.mcap is not an MCAP file"):
        read_recording(junk)


@pytest.mark.parametrize("number", [0, 3, -1])
@pytest.mark.parametrize("size", [0, 4, 8, 20, 200, 2000, 5000])
def test_a_file_that_ends_before_it_says_anything_does_not_keep_the_others_from_being_restored(
    size: int, number: int, run: Path, tmp_path: Path
) -> None:
    """As a power cut leaves it right after a split."""
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    part = parts_there(out)[number]
    facts = read_recording(out).run
    cycles_of_it = sum(len(batch) for _, batch in RecordingReader(part))
    os.truncate(part, size)
    with pytest.raises(RecordingError, match=f"{part.name} .*`rtloop recover .*{part.name}`"):
        read_recording(out)
    (recovered,) = recover(part, run.parent)
    assert recovered.recording == out
    assert recovered.run_id == metadata().run_id
    assert recovered.cut_copy == part.with_name(f"{part.stem}.cut.mcap")
    assert recovered.cut_copy.stat().st_size == size
    balance = recovered.loops["balance"]
    is_last = number == -1
    assert balance.from_file == N - cycles_of_it
    assert (balance.lost, balance.lost_is_known) == (0 if is_last else cycles_of_it, not is_last)
    assert any(part.name in note for note in recovered.notes) == (size <= 200)
    recording = read_recording(out, signals=True)
    assert recording.run == facts
    loop = recording.loops["balance"]
    assert (len(loop.records), loop.lost) == (balance.from_file, balance.lost)
    assert loop.summary.executed == balance.from_file + balance.lost
    assert "executed" in text_of(write_report(out.parent, report_path(out.parent)))
    assert not recover(out.parent, run.parent)[0].changed


def test_a_file_without_a_word_is_filled_from_the_ring(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    (run / POINTER_NAME).unlink()
    for number in (0, 2, -1):
        os.truncate(parts_there(out)[number], 0)
    (recovered,) = recover(out, run.parent)
    assert recovered.loops["balance"].lost == 0
    check(read_recording(out, signals=True).loops["balance"])


def test_where_no_file_says_anything_the_first_is_named(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    out.unlink()
    for part in parts_there(out):
        os.truncate(part, 0)
    with pytest.raises(RecordingError, match=f"{tmp_path}/rec/run_001.mcap ends before it says"):
        recover(out.parent, run.parent)


def test_cycles_of_a_file_that_is_not_there_are_lost_and_the_totals_stay_true(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    recorded(run, out)
    shutil.rmtree(run)
    parts = parts_there(out)
    intact = read_recording(out).loops["balance"].summary
    gone = sum(len(batch) for _, batch in RecordingReader(parts[2]))
    parts[2].unlink()
    (recovered,) = recover(out.parent, run.parent)
    assert (recovered.changed, recovered.loops["balance"].lost) == (False, gone)
    os.truncate(parts[-1], parts[-1].stat().st_size - 500)
    (recovered,) = recover(out.parent, run.parent)
    balance = recovered.loops["balance"]
    assert (balance.from_file, balance.lost) == (N - gone, gone)
    note = f"{gone} cycles of balance before run_003.mcap were in a file that is not there: they are lost"
    assert recovered.notes == [note]
    summary = read_recording(out).loops["balance"].summary
    assert (summary.executed, summary.records_lost) == (N, gone)
    assert summary.skipped == intact.skipped
    assert intact.rate_hz is not None
    assert summary.rate_hz == pytest.approx(intact.rate_hz, rel=1e-3)
    # Counts are the run's, durations those of the cycles that are here.
    assert summary.misses == pytest.approx(summary.executed / 7, abs=1)
    assert summary.response_us.p50 == pytest.approx(intact.response_us.p50, rel=0.5)


def test_a_command_that_an_error_names_can_be_typed_as_it_stands(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "Max's runs" / "run.mcap"
    recorded(run, out)
    last = parts_there(out)[-1]
    os.truncate(last, last.stat().st_size - 500)
    with pytest.raises(RecordingError) as cut:
        read_recording(out)
    other = out.with_name("other.mcap")
    dead = RecorderProcess.start([tmp_path / "no.ring"], other)
    dead._process.kill()
    for said, path in ((str(cut.value), last), (str(dead.wait().error), other)):
        command = re.search("`(.*)`", said)
        assert command is not None
        assert shlex.split(command[1]) == ["rtloop", "recover", str(path)]
