"""Port events in a recording: written, read back, repaired."""

import random
import shutil
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap_ros2._dynamic import generate_dynamic

from rtloop import core
from rtloop.telemetry.mcap.messages import PortEventMessage
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.recorder.process import Recorder
from rtloop.telemetry.recorder.recover import recover
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
