"""The recorder as its parent sees it: a process of its own, real rings, real files."""

import errno
import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from rtloop import core
from rtloop.child import command
from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.ring import Batch
from rtloop.telemetry.recorder import process
from rtloop.telemetry.recorder.pointer import POINTER_NAME
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.running import wait_for
from tests.telemetry.loops import (
    PERIOD_NS,
    REALTIME_NS_OFFSET,
    WriterProcess,
    append,
    batch_of,
    cycles,
    metadata,
    new_ring,
)


def record(rings: list[Path], out: Path, *, keep_rings: bool = False) -> RecorderProcess:
    recorder = RecorderProcess.start(rings, out, keep_rings=keep_rings)
    recorder.wait_ready()
    return recorder


def recorded_batch(directory: Path, out: Path, n: int = 2000) -> Batch:
    """A finished recording of one loop, and what was appended to its ring."""
    loop = metadata()
    batch = batch_of(cycles(n, miss_every=50, skip_after_miss=True), loop)
    batch.inputs[0, 0] = np.uint32(0x7FC12345).view(np.float32)  # a NaN with a payload
    ring = new_ring(directory, loop, capacity=4096)
    recorder = record([directory / "balance.ring"], out)
    append(ring, batch)
    ring.set_state("finalized")
    result = recorder.wait()
    assert result.error is None
    assert result.records == {"balance": n}
    assert result.size_bytes == out.stat().st_size
    return batch


def test_a_ros_reader_sees_every_record_exactly_as_it_was_appended(
    ring_directory: Path, tmp_path: Path
) -> None:
    batch = recorded_batch(ring_directory, tmp_path / "run.mcap")
    seen = []
    topics: dict[str, int] = {}
    with (tmp_path / "run.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages(log_time_order=True):
            topics[channel.topic] = topics.get(channel.topic, 0) + 1
            if channel.topic.endswith("/cycle"):
                seen.append(tuple(getattr(decoded, name) for name in rec.RECORD_DTYPE.names or ()))
                assert message.log_time == decoded.release_ns + REALTIME_NS_OFFSET
                assert message.publish_time == message.log_time
                assert message.sequence == decoded.cycle
    assert seen == [tuple(rec.record_as_dict(record).values()) for record in batch.records]
    n_missed = int(rec.missed(batch.records).sum())
    assert n_missed == 40
    assert topics == {
        "/rtloop/balance/cycle": 2000,
        "/rtloop/balance/signals": 2000,
        "/rtloop/balance/miss": n_missed,
    }


def test_the_vectors_come_back_bit_for_bit(ring_directory: Path, tmp_path: Path) -> None:
    batch = recorded_batch(ring_directory, tmp_path / "run.mcap")
    loop = read_recording(tmp_path / "run.mcap", signals=True).loops["balance"]
    assert loop.records.tobytes() == np.ascontiguousarray(batch.records).tobytes()
    assert loop.inputs.tobytes() == batch.inputs.tobytes()
    assert loop.outputs.tobytes() == batch.outputs.tobytes()


def test_the_file_is_chunked_and_indexed_for_other_tools(
    ring_directory: Path, tmp_path: Path
) -> None:
    recorded_batch(ring_directory, tmp_path / "run.mcap")
    with (tmp_path / "run.mcap").open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary is not None
        assert all(chunk.compression == "zstd" for chunk in summary.chunk_indexes)
        assert all(chunk.uncompressed_size < 70_000 for chunk in summary.chunk_indexes)
        assert {schema.encoding for schema in summary.schemas.values()} == {"ros2msg"}
        assert {schema.name for schema in summary.schemas.values()} == {
            "rtloop_msgs/msg/CycleRecord",
            "rtloop_msgs/msg/DeadlineMiss",
            "rtloop_msgs/msg/PortEvent",
            "rtloop_msgs/msg/BalanceSignals",
        }
        assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}


def test_run_facts_and_the_summary_are_in_the_file(ring_directory: Path, tmp_path: Path) -> None:
    recorded_batch(ring_directory, tmp_path / "run.mcap")
    recording = read_recording(tmp_path / "run.mcap")
    assert recording.run_id == metadata().run_id
    assert recording.run["config_text"] == "loops: {balance: {}}"
    assert recording.loops["balance"].metadata.run == {
        "policy_sha256": "balance-sha",
        "models_sha256": {"encoder": "e-sha", "policy": "balance-sha"},
    }
    summary = recording.loops["balance"].summary
    assert (summary.executed, summary.misses, summary.skipped) == (2000, 40, 39)


def test_many_loops_go_into_one_file(ring_directory: Path, tmp_path: Path) -> None:
    loops = [metadata(name, run_id="r") for name in ("left_arm", "right_arm", "head")]
    rings = [new_ring(ring_directory, loop) for loop in loops]
    paths = [ring_directory / f"{loop.loop}.ring" for loop in loops]
    recorder = record(paths, tmp_path / "run.mcap")
    for i, (ring, loop) in enumerate(zip(rings, loops, strict=True)):
        append(ring, batch_of(cycles(100 + i), loop))
        ring.set_state("finalized")
    assert recorder.wait().records == {"left_arm": 100, "right_arm": 101, "head": 102}
    recording = read_recording(tmp_path / "run.mcap", signals=True)
    assert {name: len(loop.records) for name, loop in recording.loops.items()} == {
        "left_arm": 100,
        "right_arm": 101,
        "head": 102,
    }
    assert not ring_directory.exists()


def test_what_the_ring_overwrote_is_counted_as_lost(ring_directory: Path, tmp_path: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=101)
    append(ring, batch_of(cycles(1000), loop))
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    append(ring, batch_of(cycles(50, first=1000), loop))
    ring.set_state("finalized")
    result = recorder.wait()
    assert result.lost["balance"] > 0
    assert result.records["balance"] + result.lost["balance"] == 1050
    recording = read_recording(tmp_path / "run.mcap").loops["balance"]
    assert recording.lost == result.lost["balance"]
    assert recording.summary.executed == 1050
    assert int(recording.records["cycle"][-1]) == 1049


def test_beside_a_loop_that_goes_on_the_counts_fit_the_file(
    ring_directory: Path, tmp_path: Path
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=201)
    records = cycles(1000, miss_every=10, skip_after_miss=True)
    append(ring, batch_of(records[:900], loop))
    out = tmp_path / "some.mcap"
    recorder = RecorderProcess.start([ring_directory / "balance.ring"], out, aside=True)
    recorder.wait_ready()
    size = out.stat().st_size
    wait_for(lambda: out.stat().st_size > size, "what the ring held is in it")
    append(ring, batch_of(records[900:], loop))
    # As it is while a late cycle, which the guard has judged, has not come back.
    ring.set_counts(1001, 1001, 100)
    ring.set_expired(int(records["cycle"][-1]) + 1, int(records["deadline_ns"][-1]) + PERIOD_NS)
    recorder.end()
    result = recorder.wait()
    assert (result.error, result.lost) == (None, {"balance": 0}), "what was before is nobody's loss"
    assert (ring_directory / "balance.ring").exists()
    assert not (ring_directory / POINTER_NAME).exists()
    recording = read_recording(out).loops["balance"]
    n, summary = len(recording.records), recording.summary
    assert recording.records.tobytes() == records[1000 - n :].tobytes()
    assert n == 300
    assert n + recording.lost == summary.executed == 1000
    assert summary.skipped == 99, "all of them, as of a loop that was seen from its first cycle"
    assert (summary.unfinished, summary.state) == (0, "active")
    assert summary.rate_hz == pytest.approx(1000 * 10 / 11, rel=0.02)
    ring.set_state("finalized")


def test_rings_go_after_success_unless_they_are_to_be_kept(
    ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / "run"
    ring = new_ring(run, metadata())
    recorder = record([run / "balance.ring"], tmp_path / "kept.mcap", keep_rings=True)
    ring.set_state("finalized")
    assert recorder.wait().error is None
    assert (run / "balance.ring").exists()
    assert record([run / "balance.ring"], tmp_path / "gone.mcap").wait().error is None
    assert not run.exists()


def test_a_killed_loop_loses_no_record_and_its_file_is_whole(
    ring_directory: Path, tmp_path: Path
) -> None:
    with WriterProcess(ring_directory, n=3000, wait=True) as writer:
        recorder = record([writer.ring], tmp_path / "run.mcap")
        writer.begin()
        time.sleep(0.3)
        writer.kill()
        result = recorder.wait()
        assert result.error is None
    loop = read_recording(tmp_path / "run.mcap").loops["balance"]
    assert 0 < len(loop.records) == result.records["balance"]
    np.testing.assert_array_equal(loop.records["cycle"], np.arange(len(loop.records)))


def test_a_cycle_that_never_returned_is_in_the_file_as_a_miss(
    ring_directory: Path, tmp_path: Path
) -> None:
    loop = metadata(loop_class="hard")
    ring = new_ring(ring_directory, loop)
    records = cycles(10, loop_class="hard")
    append(ring, batch_of(records, loop))
    ring.set_expired(10, int(records["deadline_ns"][-1]) + loop.period_ns)
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    ring.set_state("finalized")
    result = recorder.wait()
    assert result.loops["balance"].unfinished == 1
    recorded = read_recording(tmp_path / "run.mcap").loops["balance"].records
    assert int(recorded["cycle"][-1]) == 10
    assert rec.event_names(int(recorded["events"][-1])) == ["miss", "guard", "unfinished"]


def test_the_recorder_ignores_ctrl_c_and_sheds_what_a_real_time_parent_hands_down(
    ring_directory: Path, tmp_path: Path
) -> None:
    ring = new_ring(ring_directory, metadata())
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    finally:
        os.sched_setaffinity(0, every)
    os.kill(recorder.pid, signal.SIGINT)
    assert os.sched_getscheduler(recorder.pid) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, recorder.pid) == 5
    assert os.sched_getaffinity(recorder.pid) == every
    assert os.getsid(recorder.pid) == recorder.pid
    append(ring, batch_of(cycles(10), metadata()))
    ring.set_state("finalized")
    assert recorder.wait().records == {"balance": 10}


def test_told_that_the_loop_has_ended_it_writes_what_is_there_although_the_ring_is_not_finalized(
    ring_directory: Path, tmp_path: Path
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    append(ring, batch_of(cycles(25), loop))
    recorder.end()
    result = recorder.wait()
    assert (result.error, result.records) == (None, {"balance": 25})


def test_no_signal_ends_a_recorder_before_its_loops(ring_directory: Path, tmp_path: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    append(ring, batch_of(cycles(25), loop))
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(recorder.pid, number)
    time.sleep(0.5)
    assert recorder.poll() is None
    append(ring, batch_of(cycles(25, first=25), loop))
    ring.set_state("finalized")
    result = recorder.wait()
    assert (result.error, result.records) == (None, {"balance": 50})
    assert not (ring_directory / "balance.ring").exists()


def test_a_recorder_that_does_not_end_is_ended_and_says_so(
    ring_directory: Path, tmp_path: Path
) -> None:
    ring = new_ring(ring_directory, metadata())
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    os.kill(recorder.pid, signal.SIGSTOP)
    began = time.monotonic()
    result = recorder.wait(timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert result.error is not None
    assert "rtloop recover" in result.error
    ring.set_state("finalized")


def test_a_killed_recorder_is_noticed_and_named(ring_directory: Path, tmp_path: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    recorder = record([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    assert recorder.poll() is None
    os.kill(recorder.pid, signal.SIGKILL)
    assert "signal 9" in (recorder.wait().error or "")
    assert "signal 9" in (recorder.poll() or "")
    assert (ring_directory / "balance.ring").exists()
    ring.set_state("finalized")


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("missing/run.mcap", os.strerror(errno.ENOENT)),
        ("taken.mcap", os.strerror(errno.EEXIST)),
    ],
)
def test_a_file_that_cannot_be_made_is_one_clear_error(
    out: str, expected: str, ring_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken.mcap").write_text("something of yours")
    ring = new_ring(ring_directory, metadata())
    recorder = RecorderProcess.start([ring_directory / "balance.ring"], tmp_path / out)
    with pytest.raises(RecordingError, match=expected.lower()):
        recorder.wait_ready()
    assert (tmp_path / "taken.mcap").read_text() == "something of yours"
    assert "cannot record" in (recorder.wait().error or "")
    ring.set_state("finalized")


def test_a_ring_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    recorder = RecorderProcess.start([tmp_path / "no.ring"], tmp_path / "run.mcap")
    with pytest.raises(RecordingError, match=r"no\.ring"):
        recorder.wait_ready()
    assert recorder.wait().error is not None


def test_a_full_disk_is_one_clear_error_and_keeps_file_and_rings(
    ring_directory: Path, tmp_path: Path
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=8192)
    out = tmp_path / "run.mcap"

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    recorder = subprocess.Popen(
        [
            *command("recorder"),
            *("--out", str(out), str(ring_directory / "balance.ring")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit_file_size,
    )
    append(ring, batch_of(cycles(8000), loop))
    said, complained = recorder.communicate(timeout=20)
    result = json.loads(said.splitlines()[-1])
    assert recorder.returncode == 1
    assert "file too large" in result["error"]
    assert complained.decode().count("\n") == 1
    assert "Traceback" not in complained.decode()
    assert (ring_directory / "balance.ring").exists()
    assert out.stat().st_size <= 100_000
    with pytest.raises(RecordingError, match="rtloop recover"):
        read_recording(out)
    ring.set_state("finalized")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny disk needs root")
def test_a_really_full_file_system_ends_the_recorder_and_not_the_loop(
    ring_directory: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this container may not mount")
    try:
        loop = metadata()
        ring = new_ring(ring_directory, loop, capacity=8192)
        recorder = record([ring_directory / "balance.ring"], disk / "run.mcap")
        append(ring, batch_of(cycles(8000), loop))
        deadline = time.monotonic() + 10
        while recorder.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert "no space left" in (recorder.poll() or "")
        assert "free some space" in (recorder.wait().error or "")
        append(ring, batch_of(cycles(10, first=8000), loop))  # nobody minds
        ring.set_state("finalized")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_loops_of_one_name_are_refused(ring_directory: Path, tmp_path: Path) -> None:
    rings = [new_ring(ring_directory / name, metadata()) for name in "ab"]
    paths = [ring_directory / name / "balance.ring" for name in "ab"]
    recorder = RecorderProcess.start(paths, tmp_path / "run.mcap")
    with pytest.raises(RecordingError, match="same name"):
        recorder.wait_ready()
    recorder.wait()
    for ring in rings:
        ring.set_state("finalized")


def test_the_record_layout_needs_no_padding_in_cdr() -> None:
    """What keeps encoding a copy: the fields of the C++ struct fill it without a hole."""
    ends = {offset + np.dtype(code).itemsize for _, code, offset in core.RECORD_FIELDS}
    starts = {offset for _, _, offset in core.RECORD_FIELDS}
    assert ends - starts == {core.RECORD_SIZE}


def test_a_ring_full_of_cycles_goes_to_the_file_piece_by_piece(
    ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a disk that stalled: what is written is not collected in memory until the ring is empty."""
    monkeypatch.setattr(process, "_FLUSH_INTERVAL_S", 0.0)
    collected: list[int] = []
    flush = RecordingWriter.flush

    def noted(self: RecordingWriter) -> None:
        on_disk = self.path.stat().st_size
        collected.append(self.size_bytes - on_disk)
        flush(self)

    monkeypatch.setattr(RecordingWriter, "flush", noted)
    n = 6 * 4096
    ring = new_ring(ring_directory, metadata(), n + 1)
    append(ring, batch_of(cycles(n), metadata()))
    ring.set_state("finalized")
    process.Recorder([ring_directory / "balance.ring"], tmp_path / "run.mcap").run()
    assert len(collected) >= 6
    assert max(collected) < (tmp_path / "run.mcap").stat().st_size / 4
