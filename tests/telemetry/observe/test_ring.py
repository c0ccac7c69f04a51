import os
from pathlib import Path

import numpy as np
import pytest

from rtloop.errors import RecordingError
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.ring import LoopMetadata, Ring
from tests.telemetry.loops import WriterProcess, append, batch_of, cycles, metadata, new_ring


def test_a_ring_gives_back_records_and_vectors_bit_for_bit(ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    written = batch_of(cycles(100, miss_every=9), loop)
    append(ring, written)
    reader = Ring(ring_directory / "balance.ring")
    read = reader.read()
    assert read.records.tobytes() == written.records.tobytes()
    assert read.inputs.tobytes() == written.inputs.tobytes()
    assert read.outputs.tobytes() == written.outputs.tobytes()
    assert read.lost == 0
    assert reader.position == 100
    assert len(reader.read()) == 0


def test_vectors_may_be_empty(ring_directory: Path) -> None:
    loop = metadata(n_inputs=0, n_outputs=0)
    ring = new_ring(ring_directory, loop)
    append(ring, batch_of(cycles(5), loop))
    read = Ring(ring_directory / "balance.ring").read()
    assert read.inputs.shape == read.outputs.shape == (5, 0)


def test_a_slow_reader_is_told_what_it_lost(ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=65)
    reader = Ring(ring_directory / "balance.ring")
    append(ring, batch_of(cycles(10), loop))
    assert len(reader.read()) == 10
    append(ring, batch_of(cycles(200, first=10), loop))
    batch = reader.read()
    assert batch.lost > 0
    assert len(batch) + batch.lost == 200
    np.testing.assert_array_equal(np.diff(batch.records["cycle"]), 1)
    assert int(batch.records["cycle"][-1]) == 209


def test_many_readers_do_not_disturb_each_other(ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    first, second = (Ring(ring_directory / "balance.ring") for _ in range(2))
    append(ring, batch_of(cycles(8), loop))
    assert len(first.read(max_records=3)) == 3
    assert second.backlog() == 8
    assert len(second.read()) == 8
    assert first.backlog() == 5


def test_a_ring_is_finished_when_finalized_or_when_its_writer_is_dead(ring_directory: Path) -> None:
    ring = new_ring(ring_directory / "a", metadata())
    reader = Ring(ring_directory / "a" / "balance.ring")
    assert reader.writer.pid == os.getpid()
    assert not reader.finished()
    ring.set_state("finalized")
    assert reader.finished()
    with WriterProcess(ring_directory / "b", n=1) as writer:
        other = Ring(writer.ring)
        assert other.writer.alive()
        assert not other.finished()
        pidfd = other.writer.open_pidfd()
        assert pidfd is not None
        os.close(pidfd)
        writer.kill()
        assert not other.writer.alive()
        assert other.writer.open_pidfd() is None
        assert other.finished()


def test_a_reused_process_id_is_not_the_writer() -> None:
    me = ProcessIdentity.of_this_process()
    assert me.alive()
    assert not ProcessIdentity(me.pid, me.start_time - 1).alive()
    assert ProcessIdentity(me.pid, me.start_time - 1).open_pidfd() is None
    assert not ProcessIdentity(0, 0).alive()


def test_metadata_survives_its_json() -> None:
    loop = metadata()
    assert LoopMetadata.from_json(loop.to_json()) == loop
    alone = LoopMetadata.from_json(loop.to_json(with_run=False))
    assert alone.run == {
        "policy_sha256": "balance-sha",
        "models_sha256": {"encoder": "e-sha", "policy": "balance-sha"},
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"run_id": 1}', "\x00"])
def test_metadata_that_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(RecordingError, match="metadata"):
        LoopMetadata.from_json(text)


def test_a_file_that_is_no_ring_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cut.ring").write_bytes(b"RTLRING1" + bytes(10_000))
    for name in ("cut.ring", "missing.ring"):
        with pytest.raises(RecordingError, match=name):
            Ring(tmp_path / name)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 100])
def test_a_dead_ring_counts_its_records_by_its_slots(n: int, ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=8)
    append(ring, batch_of(cycles(n), loop))
    reader = Ring(ring_directory / "balance.ring")
    assert reader.settle()
    assert reader.status()["head"] == n
    batch = reader.read()
    assert len(batch) + batch.lost == n
    assert len(batch) == min(n, 7)


@pytest.mark.parametrize("head", [0, 3, 1 << 40])
@pytest.mark.parametrize("slot", [None, 5])
def test_a_damaged_count_neither_hides_records_nor_invents_them(
    head: int, slot: int | None, ring_directory: Path
) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=64)
    append(ring, batch_of(cycles(100), loop))
    path = ring_directory / "balance.ring"
    data = bytearray(path.read_bytes())
    layout = np.frombuffer(data, "<u8", 12)
    status_offset, slots_offset = int(layout[7]), int(layout[8])
    assert data[status_offset : status_offset + 8] == (100).to_bytes(8, "little")
    data[status_offset : status_offset + 8] = head.to_bytes(8, "little")
    if slot is not None:  # its number now is that of a record a lap later
        at = slots_offset + slot * ((len(data) - slots_offset) // 64)
        number = int.from_bytes(data[at : at + 8], "little") + 2 * 64
        data[at : at + 8] = number.to_bytes(8, "little")
    path.unlink()
    path.write_bytes(data)
    reader = Ring(path)
    assert not reader.settle()
    batch = reader.read()
    assert len(batch) == 63 - (slot is not None)
    assert batch.lost == 100 - len(batch)
    assert int(batch.records["cycle"][-1]) == 99


def test_a_damaged_slot_counts_as_lost_and_is_not_read(ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=64)
    append(ring, batch_of(cycles(20), loop))
    path = ring_directory / "balance.ring"
    data = bytearray(path.read_bytes())
    slots_offset = int(np.frombuffer(data, "<u8", 12)[8])
    data[slots_offset + 7 * ((len(data) - slots_offset) // 64) + 50] ^= 1
    path.write_bytes(data)
    batch = Ring(path).read()
    assert batch.lost == 1
    assert batch.records["cycle"].tolist() == [*range(7), *range(8, 20)]


def older_ring(data: bytes, version: int) -> bytes:
    """The ring as an older version would have written it."""
    layout = np.frombuffer(data, "<u8", 14)
    status_offset, slots_offset, capacity = int(layout[7]), int(layout[8]), int(layout[4])
    slots = np.frombuffer(data, "<u8", offset=slots_offset).reshape(capacity, -1)
    head = bytearray(data[: status_offset + 4096])
    head[:8] = f"RTLRING{version}".encode()
    head[64:72] = (status_offset + 4096).to_bytes(8, "little")
    head[104:112] = bytes(8)  # no events
    if version < 3:
        head[96:104] = bytes(8)  # no checksums
        slots = slots[:, :-1]
    return bytes(head) + slots.tobytes()


@pytest.mark.parametrize("version", [2, 3])
def test_a_ring_of_an_older_version_is_read(version: int, ring_directory: Path) -> None:
    """2 has no checksums, and neither has port events."""
    loop = metadata()
    ring = new_ring(ring_directory, loop, capacity=64)
    written = batch_of(cycles(20), loop)
    append(ring, written)
    data = (ring_directory / "balance.ring").read_bytes()
    (ring_directory / "old.ring").write_bytes(older_ring(data, version))
    reader = Ring(ring_directory / "old.ring")
    read = reader.read()
    assert read.records.tobytes() == written.records.tobytes()
    assert read.outputs.tobytes() == written.outputs.tobytes()
    assert len(reader.read_events()) == 0
    assert reader.settle()
