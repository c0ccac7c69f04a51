"""One damaged byte, anywhere in a recording or a ring: no traceback, and no silent difference.

``RTLOOP_FUZZ_SECONDS`` makes it longer than the few tries of every test run.
"""

import os
import random
import resource
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import Chunk

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.report.page import write_report
from rtloop.telemetry.mcap.part_names import parts_there
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.ring import Ring
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.recorder.process import Recorder
from rtloop.telemetry.recorder.recover import recover
from rtloop.telemetry.recorder.recovered import Recovered
from rtloop.telemetry.recorder.split import Split
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring, port_events

SECONDS = float(os.environ.get("RTLOOP_FUZZ_SECONDS", 0))
RUN = "20260101T000000-test"
N = 700
ZSTD = b"\x28\xb5\x2f\xfd"  # how a chunk begins


def tries(at_least: int) -> Iterator[random.Random]:
    """Seeded sources of chance: so many, and more until the time is up."""
    end = time.monotonic() + SECONDS
    number = 0
    while number < at_least or time.monotonic() < end:
        yield random.Random(number)
        number += 1


def recorded(path: Path, n: int = N) -> bytes:
    loop = metadata(run_id=RUN)
    batch = batch_of(cycles(n, miss_every=9), loop)
    writer = RecordingWriter(path)
    writer.describe_run(RUN, loop.run)
    writer.add_loop(loop)
    statistics = LoopStatistics(loop)
    for begin in range(0, n, 100):
        keep = (np.arange(n) >= begin) & (np.arange(n) < begin + 100)
        writer.write("balance", batch.select(keep))
        writer.write_events("balance", port_events(10, first=begin // 10))
        statistics.update(batch.records[keep])
        writer.flush()
    writer.finish({"complete": "true", "loops": {"balance": statistics.summary().as_dict()}})
    return path.read_bytes()


def damage(data: bytes, at: int, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[at] ^= chance.randrange(1, 256)
    return bytes(changed)


def told(path: Path) -> tuple[object, ...]:
    """Everything that is read from a recording."""
    recording = read_recording(path, signals=True)
    loop = recording.loops["balance"]
    arrays = (loop.records, loop.sources, loop.inputs, loop.outputs, loop.events)
    return (
        *(recording.run_id, recording.run, loop.metadata, loop.lost, loop.summary),
        *(array.tobytes() for array in arrays),
    )


def places(size: int, chance: random.Random) -> int:
    """Anywhere; every second time in the head, where the file says what it is."""
    return chance.randrange(min(size, 3000)) if chance.random() < 0.5 else chance.randrange(size)


def check_restored(path: Path, recovered: Recovered, n: int = N) -> None:
    """What recovery kept is what was recorded; what it did not keep it says."""
    source = batch_of(cycles(n, miss_every=9), metadata())
    loop = read_recording(path, signals=True).loops["balance"]
    kept = np.isin(source.records["cycle"], loop.records["cycle"])
    assert loop.records.tobytes() == source.select(kept).records.tobytes()
    assert loop.inputs.tobytes() == source.select(kept).inputs.tobytes()
    assert loop.outputs.tobytes() == source.select(kept).outputs.tobytes()
    events = port_events(n // 10)
    events = events[np.isin(events["number"], loop.events["number"])]
    assert loop.events.tobytes() == events.tobytes()
    said = recovered.loops["balance"]
    assert said.from_file + said.from_ring == len(loop.records)
    assert loop.lost == said.lost
    if said.lost_is_known:
        assert len(loop.records) + said.lost == n
    if len(loop.records) < n:
        assert "lost" in str(recovered)
        assert "none lost\n" not in str(recovered) + "\n"


def test_a_recording_with_one_damaged_byte(ring_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    intact = recorded(path)
    whole = told(path)
    for chance in tries(60):
        at = places(len(intact), chance)
        path.unlink(missing_ok=True)
        path.write_bytes(damage(intact, at, chance))
        said = ""
        try:
            assert told(path) == whole, at
            write_report(path, tmp_path / "report.html")
        except RecordingError as error:
            said = str(error)
        assert said == "" or str(path) in said, at  # one sentence, about this file
        try:
            (recovered,) = recover(path, ring_directory)
        except RecordingError:
            continue
        if recovered.recording is not None:
            check_restored(path, recovered)
        for copy in tmp_path.glob("*.cut*"):
            copy.unlink()


def test_files_of_one_recording_with_one_damaged_byte(ring_directory: Path, tmp_path: Path) -> None:
    loop = metadata(run_id=RUN)
    ring = new_ring(ring_directory / RUN, loop, N + 1)
    append(ring, batch_of(cycles(N, miss_every=9), loop))
    ring.set_counts(N, N, 0)
    ring.set_state("finalized")
    intact = tmp_path / "intact" / "run.mcap"
    intact.parent.mkdir()
    recorder = Recorder([ring_directory / RUN / "balance.ring"], intact, Split(size_bytes=1))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rtloop.telemetry.recorder.process._BATCH", 200)
        recorder.run()
    shutil.rmtree(ring_directory / RUN)
    assert len(parts_there(intact)) > 3
    whole = told(intact)
    folder = tmp_path / "damaged"
    for chance in tries(40):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(intact.parent, folder)
        part = chance.choice(parts_there(folder / "run.mcap"))
        data = part.read_bytes()
        part.write_bytes(damage(data, places(len(data), chance), chance))
        said = ""
        try:
            assert told(folder) == whole
            write_report(folder, tmp_path / "report.html")
        except RecordingError as error:
            said = str(error)
        assert said == "" or str(folder) in said
        try:
            (recovered,) = recover(folder, ring_directory)
        except RecordingError:
            continue
        check_restored(folder, recovered)


def dead(ring: Path) -> bytes:
    """The bytes of a ring, as if its process were gone."""
    data = bytearray(ring.read_bytes())
    started = core.RingReader(str(ring)).writer_start_time.to_bytes(8, "little")
    at = data.index(started, 0, 4096)
    data[at : at + 8] = (1).to_bytes(8, "little")
    return bytes(data)


def rung(run: Path, n: int = 150, capacity: int = 101) -> bytes:
    loop = metadata(run_id=RUN)
    ring = new_ring(run, loop, capacity)
    append(ring, batch_of(cycles(n, miss_every=9), loop))
    ring.set_counts(n, n, 0)
    ring.set_state("finalized")
    return dead(run / "balance.ring")


def test_a_ring_with_one_damaged_byte(ring_directory: Path, tmp_path: Path) -> None:
    run = ring_directory / RUN
    intact = rung(run)
    recovered_whole = tmp_path / "runs" / RUN / "run.mcap"
    (run / "balance.ring").unlink()
    (run / "balance.ring").write_bytes(intact)
    recover(None, ring_directory, tmp_path / "runs")
    whole = told(recovered_whole)
    for chance in tries(100):
        # The room that metadata may grow into holds nothing: not there.
        at = chance.choice(
            [
                chance.randrange(96),
                4096 + chance.randrange(900),
                intact.index(b"\x96" + bytes(7), 4096) + chance.randrange(112),
                len(intact) - 1 - chance.randrange(100 * 200),
            ]
        )
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        (run / "balance.ring").write_bytes(damage(intact, at, chance))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = recover(None, ring_directory, tmp_path / "runs")
        for result in found:
            assert "an error in rtloop" not in (result.error or ""), (at, result.error)
        if recovered_whole.exists():
            (result,) = found
            assert result.error is None
            check_restored(recovered_whole, result, n=150)
            assert told(recovered_whole)[:3] == whole[:3]
            write_report(recovered_whole, tmp_path / "report.html")
        else:
            assert (run / "balance.ring").exists(), (at, found)


def test_a_damaged_first_chunk_costs_its_own_cycles_only(
    ring_directory: Path, tmp_path: Path
) -> None:
    """It holds the schemas of all that follow; the end of the file repeats them."""
    path = tmp_path / "run.mcap"
    data = recorded(path)
    at = data.index(b"zstd") + 200
    path.write_bytes(damage(data, at, random.Random(1)))
    (recovered,) = recover(path, ring_directory)
    assert recovered.loops["balance"].from_file == N - 100
    check_restored(path, recovered)


@pytest.mark.parametrize("length", [3, 12_345_678, 1 << 40, (1 << 64) - 1])
def test_a_chunk_of_a_wrong_length_costs_its_own_cycles_only(
    length: int, ring_directory: Path, tmp_path: Path
) -> None:
    """Nobody knows then where the next record begins: it is looked for."""
    path = tmp_path / "run.mcap"
    data = recorded(path)
    at = data.index(b"zstd", data.index(b"zstd", data.index(b"zstd") + 1) + 1) - 41
    assert data[at] == Opcode.CHUNK
    path.write_bytes(data[: at + 1] + length.to_bytes(8, "little") + data[at + 9 :])
    (recovered,) = recover(path, ring_directory)
    balance = recovered.loops["balance"]
    assert (balance.from_file, balance.lost, balance.lost_is_known) == (N - 100, 100, True)
    check_restored(path, recovered)


@pytest.mark.parametrize("name", [b"rtloop.loop", b"rtloop.summary", b"config_text"])
def test_damaged_metadata_is_told_and_the_cycles_are_kept(
    name: bytes, ring_directory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.mcap"
    data = recorded(path)
    whole = told(path)
    path.write_bytes(damage(data, data.index(name) + 40, random.Random(2)))
    with pytest.raises(RecordingError, match="damaged"):
        read_recording(path)
    (recovered,) = recover(path, ring_directory)
    assert recovered.loops["balance"].from_file == N
    assert any("damaged" in note for note in recovered.notes)
    assert told(path)[:4] == whole[:4]


def test_cycles_that_a_damaged_chunk_had_are_taken_from_the_ring(
    ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / RUN
    ring = rung(run, n=N, capacity=1001)
    (run / "balance.ring").unlink()
    (run / "balance.ring").write_bytes(ring)
    path = tmp_path / "run.mcap"
    data = recorded(path)
    in_a_chunk = data.index(ZSTD, len(data) // 3) + 100
    path.write_bytes(damage(data, in_a_chunk, random.Random(3)))
    (recovered,) = recover(path, ring_directory)
    balance = recovered.loops["balance"]
    assert (balance.from_ring, balance.lost) == (100, 0)
    check_restored(path, recovered)


def test_a_cut_file_without_a_ring_does_not_say_that_nothing_is_lost(
    ring_directory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run.mcap"
    data = recorded(path)
    path.write_bytes(data[: len(data) // 2])
    (recovered,) = recover(path, ring_directory)
    assert not recovered.loops["balance"].lost_is_known
    assert "not known" in str(recovered)
    check_restored(path, recovered)


def test_a_chunk_that_swells_is_damage_and_fills_no_memory(tmp_path: Path) -> None:
    bomb = zstandard.compress(bytes(1 << 28))
    for claimed in (1000, 1 << 28, 1 << 60):
        path = tmp_path / f"{claimed}.mcap"
        data = recorded(path)
        builder = RecordBuilder()
        Chunk("zstd", bomb, 0, 0, 0, claimed).write(builder)
        record = builder.end()  # type: ignore[no-untyped-call]
        assert record[0] == Opcode.CHUNK
        at = data.index(b"rtloop.loop") - 13  # its opcode and its length come before its name
        path.write_bytes(data[:at] + record + data[at:])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reader = RecordingReader(path)
        assert sum(len(batch) for _, batch in reader) == N
        assert reader.damaged_chunks == 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_ring_whose_slots_are_not_what_it_describes_is_refused(ring_directory: Path) -> None:
    loop = metadata()
    ring = core.RingWriter(
        str(ring_directory / "balance.ring"), 16, 2, 4, 2, loop.to_json().encode()
    )
    with pytest.raises(RecordingError, match="not what its metadata describes"):
        Ring(ring_directory / "balance.ring")
    ring.set_state("finalized")
