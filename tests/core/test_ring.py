"""The ring: nothing is read that was not written, and what was overwritten is counted."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtloop import core
from rtloop.telemetry.observe.records import PORT_EVENT_DTYPE, RECORD_DTYPE


def payload(cycle: int, n_inputs: int = 2, n_outputs: int = 1) -> bytes:
    record = np.zeros(1, RECORD_DTYPE)
    record["cycle"] = cycle
    record["release_ns"] = cycle * 1000
    values = np.full(n_inputs + n_outputs, cycle % 1024, np.float32)
    return record.tobytes() + values.tobytes()


def cycles(raw: NDArray[np.uint8]) -> list[int]:
    return [int(c) for c in np.ascontiguousarray(raw[:, :8]).view("<i8")[:, 0]]


def test_what_was_appended_is_read_bit_for_bit(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 16, 0, 2, 1, b'{"a": 1}')
    reader = core.RingReader(ring.path)
    assert reader.metadata == b'{"a": 1}'
    assert (reader.n_inputs, reader.n_outputs, reader.capacity) == (2, 1, 16)
    for cycle in range(10):
        ring.append(payload(cycle))
    raw, lost = reader.read(100)
    assert lost == 0
    assert [bytes(row) for row in raw] == [payload(cycle) for cycle in range(10)]
    assert reader.read(100)[0].shape[0] == 0
    assert reader.position == 10


@settings(max_examples=50, deadline=None)
@given(
    capacity=st.integers(2, 20), bursts=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)))
)
def test_read_and_lost_add_up_to_written(
    tmp_path_factory: pytest.TempPathFactory, capacity: int, bursts: list[tuple[int, int]]
) -> None:
    path = str(tmp_path_factory.mktemp("ring") / "r")
    ring = core.RingWriter(path, capacity, 0, 2, 1, b"{}")
    reader = core.RingReader(path)
    written = seen = total_lost = 0
    newest = -1
    for count, ask in [*bursts, (0, 1 << 20)]:
        for _ in range(count):
            ring.append(payload(written))
            written += 1
        raw, lost = reader.read(ask)
        got = cycles(raw)
        total_lost += lost
        seen += len(got)
        assert got == sorted(got)
        assert all(cycle > newest for cycle in got)
        newest = got[-1] if got else newest
    assert seen + total_lost == written == reader.position
    assert newest == written - 1


def port_event(number: int) -> bytes:
    event = np.zeros(1, PORT_EVENT_DTYPE)
    event["number"], event["time_ns"], event["lateness_us"] = number, number * 7, -number
    event["kind"] = number % 5
    return event.tobytes()


def test_events_are_read_beside_the_cycles_and_neither_moves_the_other(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 16, 0, 2, 1, b"{}", 8)
    reader = core.RingReader(ring.path)
    assert reader.events.read(100)[0].shape == (0, core.PORT_EVENT_SIZE)
    for number in range(5):
        ring.append_event(port_event(number))
        ring.append(payload(number))
    raw, lost = reader.events.read(3)
    assert [bytes(row) for row in raw] == [port_event(number) for number in range(3)]
    assert (lost, reader.events.position, reader.position) == (0, 3, 0)
    assert cycles(reader.read(100)[0]) == [0, 1, 2, 3, 4]
    for number in range(5, 20):
        ring.append_event(port_event(number))
    raw, lost = reader.events.read(100)
    assert [bytes(row) for row in raw] == [port_event(number) for number in range(13, 20)]
    assert lost == 10, "the ring holds seven"
    status = reader.status()
    assert (status["event_head"], status["port_events"], status["head"]) == (20, 20, 5)


def test_a_damaged_event_counts_as_lost_and_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "r"
    ring = core.RingWriter(str(path), 4, 0, 2, 1, b"{}", 8)
    for number in range(6):
        ring.append_event(port_event(number))
    data = bytearray(path.read_bytes())
    data[data.index(port_event(2)) + 20] ^= 4
    (tmp_path / "damaged").write_bytes(data)
    raw, lost = core.RingReader(str(tmp_path / "damaged")).events.read(100)
    assert [bytes(row) for row in raw] == [port_event(number) for number in (0, 1, 3, 4, 5)]
    assert lost == 1


def test_a_reader_that_races_the_writer_sees_whole_records_only(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"{}")
    reader = core.RingReader(ring.path)
    total = 20_000

    def write() -> None:
        for cycle in range(total):
            ring.append(payload(cycle))

    writer = threading.Thread(target=write)
    writer.start()
    seen = lost_total = 0
    while seen + lost_total < total:
        raw, lost = reader.read(64)
        lost_total += lost
        for row, cycle in zip(raw, cycles(raw), strict=True):
            assert bytes(row) == payload(cycle)
        seen += len(raw)
    writer.join()
    assert seen + lost_total == total


def test_a_dropped_writer_leaves_a_finalized_ring_that_still_reads(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"{}")
    ring.append(payload(0))
    reader = core.RingReader(ring.path)
    assert reader.status()["state"] == "inactive"
    del ring
    assert reader.status()["state"] == "finalized"
    assert cycles(reader.read(8)[0]) == [0]


def test_metadata_can_be_completed_later(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"{}")
    ring.set_metadata(b"x" * 60_000)
    assert core.RingReader(ring.path).metadata == b"x" * 60_000
    with pytest.raises(ValueError, match="may grow by"):
        ring.set_metadata(b"x" * 100_000)


def test_who_is_killed_as_it_writes_metadata_leaves_those_of_before(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"first")
    page = 4096
    for text in (b"second", b"third, and longer", b"fourth"):
        before = Path(ring.path).read_bytes()
        said = core.RingReader(ring.path).metadata
        ring.set_metadata(text)
        assert core.RingReader(ring.path).metadata == text
        # All of the new ones are there, but for the header that would say so.
        cut = tmp_path / "cut"
        cut.write_bytes(before[:page] + Path(ring.path).read_bytes()[page:])
        assert core.RingReader(str(cut)).metadata == said


def test_a_ring_is_never_overwritten(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"{}")
    with pytest.raises(OSError, match="cannot create ring"):
        core.RingWriter(ring.path, 8, 0, 2, 1, b"{}")


def test_no_room_is_an_error_at_creation_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with pytest.raises(OSError, match="cannot reserve"):
        core.RingWriter(str(path), 1 << 45, 0, 2, 1, b"{}")
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 7, 4096, 70_000])
def test_what_is_no_ring_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "r"
    path.write_bytes(b"\x5a" * size)
    with pytest.raises((ValueError, OSError), match="r"):
        core.RingReader(str(path))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_header_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ring") / "r"
    ring = core.RingWriter(str(path), 8, 0, 2, 1, b"{}")
    for cycle in range(12):
        ring.append(payload(cycle))
    del ring
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 111))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    path.write_bytes(bytes(damaged[:cut] if data.draw(st.booleans()) else damaged))
    try:
        reader = core.RingReader(str(path))
    except (ValueError, OSError):
        return
    reader.read(100)
    reader.events.read(100)


def test_a_payload_of_another_size_is_refused(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "r"), 8, 0, 2, 1, b"{}")
    with pytest.raises(ValueError, match="108 bytes"):
        ring.append(b"short")
