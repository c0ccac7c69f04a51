"""Port events in a recording: written, read back, repaired."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2._dynamic import generate_dynamic

from rtloop import core
from rtloop.report.page import write_report
from rtloop.telemetry.mcap.messages import PortEventMessage
from rtloop.telemetry.mcap.part_names import parts_there
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.devices import DeviceStatistics
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.recorder.parts import SplitRecording
from rtloop.telemetry.recorder.process import Recorder
from rtloop.telemetry.recorder.recover import recover
from rtloop.telemetry.recorder.split import Split
from tests.telemetry.loops import (
    REALTIME_NS_OFFSET,
    append,
    append_events,
    batch_of,
    cycles,
    metadata,
    new_ring,
    port_events,
)
from tests.telemetry.test_damage import RUN, dead

EVENTS = port_events(60)


def written(path: Path, n: int = 60, *, finished: bool = True) -> None:
    """A recording of 600 cycles, flushed every 100 with its share of the events."""
    loop = metadata(run_id=RUN)
    batch = batch_of(cycles(600, miss_every=9), loop)
    writer = RecordingWriter(path)
    writer.describe_run(RUN, loop.run)
    writer.add_loop(loop)
    for part in range(6):
        writer.write("balance", batch.part(100 * part, 100 * part + 100))
        writer.write_events("balance", EVENTS[part * n // 6 : (part + 1) * n // 6])
        writer.flush()
    if finished:
        writer.finish({"complete": "true"})
    else:
        writer.abandon()


def test_events_come_back_bit_for_bit_and_are_summed_up(tmp_path: Path) -> None:
    written(tmp_path / "run.mcap")
    loop = read_recording(tmp_path / "run.mcap").loops["balance"]
    assert loop.events.tobytes() == EVENTS.tobytes()
    assert loop.metadata.ports == ("cart", "imu")
    assert loop.summary.devices["cart"].events == {"late_command": 23}
    assert loop.summary.port_events_lost == 0


def test_other_tools_read_them_at_the_time_they_happened(tmp_path: Path) -> None:
    written(tmp_path / "run.mcap")
    message = PortEventMessage()
    decoder = generate_dynamic(message.type_name, message.schema)[message.type_name]
    with (tmp_path / "run.mcap").open("rb") as file:
        found = [
            (schema, one, decoder(one.data))
            for schema, _, one in make_reader(file).iter_messages("/rtloop/balance/event")
        ]
    assert len(found) == len(EVENTS)
    for event, (schema, one, decoded) in zip(EVENTS, found, strict=True):
        assert schema is not None
        assert (schema.name, schema.data.decode()) == (message.type_name, message.schema)
        assert one.log_time == event["time_ns"] + REALTIME_NS_OFFSET
        assert one.sequence == event["number"]
        for name in rec.PORT_EVENT_DTYPE.names or ():
            assert getattr(decoded, name) == event[name], name
    for word, number in core.PORT_EVENTS.items():
        assert f"uint8 KIND_{word.upper()}={number}\n" in message.schema


def test_the_recorder_drains_them_with_the_cycles(ring_directory: Path, tmp_path: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    append(ring, batch_of(cycles(50), loop))
    append_events(ring, EVENTS)
    ring.set_state("finalized")
    recorder = Recorder([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    recorder.run()
    assert recorder.error is None
    recorded = read_recording(tmp_path / "run.mcap").loops["balance"]
    assert recorded.events.tobytes() == EVENTS.tobytes()
    assert recorded.summary.devices["cart"].refused_lateness_max_us == 159


def split(out: Path) -> None:
    """600 cycles and the events in six files."""
    loop = metadata(run_id=RUN)
    batch = batch_of(cycles(600, miss_every=9), loop)
    seen = LoopStatistics(loop)

    def describe(writer: RecordingWriter) -> None:
        writer.describe_run(RUN, loop.run)
        writer.add_loop(loop)

    recording = SplitRecording(out, Split(), describe)
    for part in range(6):
        if part:
            summaries = {"balance": seen.summary().as_dict()}
            recording.go_on(json.loads(json.dumps({"balance": seen.so_far()})), summaries)
        cycles_here = batch.part(100 * part, 100 * part + 100)
        recording.write("balance", cycles_here)
        seen.update(cycles_here.records)
        recording.write_events("balance", EVENTS[10 * part : 10 * part + 10])
        seen.devices.update(EVENTS[10 * part : 10 * part + 10])
    recording.finish({"balance": seen.summary().as_dict()})


def test_of_several_files_all_are_read_and_each_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "rec" / "run.mcap"
    out.parent.mkdir()
    split(out)
    parts = parts_there(out)
    assert len(parts) == 6
    assert read_recording(out).loops["balance"].events.tobytes() == EVENTS.tobytes()
    assert read_recording(parts[2]).loops["balance"].events.tobytes() == EVENTS[20:30].tobytes()
    page = write_report(parts[2], tmp_path / "part.html").read_text()
    assert "Error bound of the clock of cart" in page
    assert "events were lost" not in page, "those of the files before are not"


def test_statistics_that_go_on_after_a_file_count_as_one_observer_does() -> None:
    whole, first = DeviceStatistics(("cart",)), DeviceStatistics(("cart",))
    whole.update(EVENTS)
    first.update(EVENTS[:33])
    second = DeviceStatistics.resumed(("cart",), json.loads(json.dumps(first.so_far())))
    second.update(EVENTS[33:])
    assert second.summary() == whole.summary()
    assert second.lost() == whole.lost() == 0
    assert second.highest == 59


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_cut_file_among_several_gets_its_own_events_back_from_the_ring(
    cut: int, ring_directory: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rec" / "run.mcap"
    out.parent.mkdir()
    split(out)
    left_behind(ring_directory / RUN, first=0)
    part = parts_there(out)[cut]
    part.write_bytes(part.read_bytes()[:4000])  # its head; all of its cycles are gone
    recover(out, ring_directory)
    assert read_recording(out).loops["balance"].events.tobytes() == EVENTS.tobytes()
    here = read_recording(part).loops["balance"].events
    assert here.tobytes() == EVENTS[10 * cut : 10 * cut + 10].tobytes()
    assert read_recording(out).loops["balance"].summary.port_events_lost == 0


def left_behind(run: Path, first: int) -> None:
    """A dead ring with all cycles and the events from ``first`` on."""
    loop = metadata(run_id=RUN)
    ring = new_ring(run, loop, 1001)
    append(ring, batch_of(cycles(600, miss_every=9), loop))
    append_events(ring, EVENTS[first:])
    ring.set_counts(600, 600, 0)
    ring.set_state("finalized")
    data = dead(run / "balance.ring")
    del ring
    (run / "balance.ring").unlink()
    (run / "balance.ring").write_bytes(data)


def test_recovery_takes_from_the_ring_what_the_cut_file_lacks(
    ring_directory: Path, tmp_path: Path
) -> None:
    left_behind(ring_directory / RUN, first=20)
    path = tmp_path / "run.mcap"
    written(path, n=36, finished=False)
    recover(path, ring_directory)
    loop = read_recording(path).loops["balance"]
    assert loop.events.tobytes() == EVENTS.tobytes(), "none twice, none missing"
    assert loop.summary.port_events_lost == 0


def test_recovery_says_what_nobody_has(ring_directory: Path, tmp_path: Path) -> None:
    left_behind(ring_directory / RUN, first=40)
    path = tmp_path / "run.mcap"
    written(path, n=36, finished=False)
    recover(path, ring_directory)
    loop = read_recording(path).loops["balance"]
    np.testing.assert_array_equal(loop.events["number"], [*range(36), *range(40, 60)])
    assert loop.summary.port_events_lost == 4


def test_one_damaged_byte_among_the_events_of_a_ring_costs_one_event(
    ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / RUN
    left_behind(run, first=0)
    intact = (run / "balance.ring").read_bytes()
    begin = intact.index(EVENTS[0].tobytes()) - 8
    recovered = tmp_path / "runs" / RUN / "run.mcap"
    chance = random.Random(7)
    for _ in range(40):
        at = begin + chance.randrange(72 * len(EVENTS))
        damaged = bytearray(intact)
        damaged[at] ^= chance.randrange(1, 256)
        run.mkdir(exist_ok=True)
        (run / "balance.ring").write_bytes(damaged)
        (result,) = recover(None, ring_directory, tmp_path / "runs")
        assert result.error is None
        loop = read_recording(recovered).loops["balance"]
        kept = EVENTS[np.isin(EVENTS["number"], loop.events["number"])]
        assert loop.events.tobytes() == kept.tobytes()
        assert len(kept) >= 59
        # Of the last one nobody knows that there was one.
        assert loop.summary.port_events_lost == kept["number"][-1] + 1 - len(kept)
        assert len(loop.records) == 600
        shutil.rmtree(tmp_path / "runs")
