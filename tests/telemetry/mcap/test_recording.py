from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.ring import Batch
from tests.telemetry.loops import batch_of, cycles, metadata


def written(path: Path, *batches: Batch, loop: str = "balance") -> Path:
    writer = RecordingWriter(path)
    writer.describe_run("run", {"kernel": "6.18", "preempt_rt": True})
    writer.add_loop(metadata(loop))
    for batch in batches:
        writer.write(loop, batch)
    writer.finish({"loops": {}})
    return path


def test_values_of_the_run_keep_their_type(tmp_path: Path) -> None:
    recording = read_recording(written(tmp_path / "run.mcap"))
    assert recording.run == {"kernel": "6.18", "preempt_rt": True}


def test_a_recording_without_a_cycle_is_a_recording(tmp_path: Path) -> None:
    recording = read_recording(written(tmp_path / "run.mcap"), signals=True)
    assert len(recording.loops["balance"].records) == 0


def test_losses_are_where_they_happened(tmp_path: Path) -> None:
    loop = metadata()
    path = written(
        tmp_path / "run.mcap",
        batch_of(cycles(100), loop),
        batch_of(cycles(100, first=130), loop, lost=30),
        batch_of(cycles(0), loop, lost=4),
    )
    reader = RecordingReader(path)
    batches = [batch for _, batch in reader]
    with_loss = [batch for batch in batches if batch.lost]
    assert [int(batch.records["cycle"][0]) for batch in with_loss] == [130]
    assert reader.lost["balance"] == 34
    assert sum(len(batch) for batch in batches) == 200


def test_a_message_pair_split_by_a_chunk_stays_a_pair(tmp_path: Path) -> None:
    loop = metadata()
    source = batch_of(cycles(5000, miss_every=3), loop)
    loop_recording = read_recording(written(tmp_path / "run.mcap", source), signals=True).loops[
        "balance"
    ]
    assert loop_recording.records.tobytes() == source.records.tobytes()
    assert loop_recording.inputs.tobytes() == source.inputs.tobytes()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.999])
def test_a_cut_file_reads_as_far_as_it_is_intact(share: float, tmp_path: Path) -> None:
    loop = metadata()
    source = batch_of(cycles(5000), loop)
    path = written(tmp_path / "run.mcap", source)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    reader = RecordingReader(path)
    batches = [batch for _, batch in reader]
    assert not reader.complete
    n = sum(len(batch) for batch in batches)
    records = np.concatenate([batch.records for batch in batches]) if n else source.records[:0]
    assert records.tobytes() == source.records[:n].tobytes()
    assert n > 0 or share < 0.1


@pytest.mark.parametrize("keep", range(0, 60, 7))
def test_a_file_cut_in_its_first_bytes_says_what_to_do(keep: int, tmp_path: Path) -> None:
    path = written(tmp_path / "run.mcap")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RecordingError, match="rtloop recover"):
        read_recording(path)


def test_a_tail_of_zeros_is_a_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "run.mcap", batch_of(cycles(3000), metadata()))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(4096))
    with pytest.raises(RecordingError, match="its end is missing"):
        read_recording(path)


def test_somebody_elses_recording_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "other.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/Int8", "ros2msg", b"int8 data")
        channel = writer.register_channel("/number", "cdr", schema)
        writer.add_message(channel, 1, b"\0\1\0\0\1", 1)
        writer.finish()  # type: ignore[no-untyped-call]
    with pytest.raises(RecordingError, match="not recorded by rtloop"):
        read_recording(path)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        RecordingWriter(path)
    assert path.read_text() == "mine"
