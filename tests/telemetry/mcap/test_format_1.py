"""A recording of rtloop 0.1 reads as it did: no age per input, `cause` for the longest stage."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import read_recording

CYCLE = """\
# One executed cycle of a control loop. Times in nanoseconds of CLOCK_MONOTONIC.
uint8 CAUSE_NONE=0
uint8 CAUSE_INFER=3
uint32 EVENT_MISS=1
int64 cycle  # k, index on the release grid; a gap is a skipped release
int64 release_ns
int64 start_ns
int64 read_ns
int64 infer_ns
int64 finish_ns
int64 deadline_ns
int64 input_age_ns
int64 cpu_ns
uint32 skipped
uint32 events
uint32 consecutive_misses
uint32 window_misses
uint8 loop_class
uint8 outcome
uint8 cause  # CAUSE_*: the stage that took longest, when missed
uint8 device_state
uint16 device_reasons
uint16 device_late_commands
int64 lateness_ns
int64 response_ns
int64 release_latency_ns
"""
SIGNALS = """\
int64 cycle
float32 input_cart_pole_angle_rad
float32 input_cart_pole_rate_rad_per_s
float32 output_cart_force_n
"""
LOOP = {
    "schema": 1, "run_id": "20261121T104900_328-cartpole", "loop": "balance", "class": "firm",
    "period_ns": 1_000_000, "deadline_ns": 1_000_000,
    "inputs": [
        {"name": "cart.pole_angle", "unit": "rad"}, {"name": "cart.pole_rate", "unit": "rad/s"}
    ],
    "outputs": [{"name": "cart.force", "unit": "N"}],
    "realtime_ns_offset": 0, "run": {"policy_sha256": "abc"},
}  # fmt: skip
HEADER = b"\0\1\0\0"


def write_format_1(path: Path, n: int, signals: str = SIGNALS) -> None:
    """Byte for byte what rtloop 0.1 wrote; every second cycle missed by its inference."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="rtloop; python mcap 1.6.0")
        facts = {"format": "1", "run_id": str(LOOP["run_id"]), "json": json.dumps({"kernel": "x"})}
        writer.add_metadata("rtloop", facts)
        writer.add_metadata("rtloop.loop", {"loop": "balance", "json": json.dumps(LOOP)})
        channels = []
        for kind, text in (("cycle", CYCLE), ("signals", signals)):
            schema = writer.register_schema(f"rtloop_msgs/msg/{kind}", "ros2msg", text.encode())
            channels.append(writer.register_channel(f"/rtloop/balance/{kind}", "cdr", schema))
        for k in range(n):
            missed = k % 2
            times = [k, k * 1000, k * 1000 + 1, k * 1000 + 2, k * 1000 + 3, k * 1000 + 4]
            record = struct.pack("<9q", *times, k * 1000 + 900, 77, 0)
            record += struct.pack("<4I4B2H", 0, missed, missed, missed, 1, 1, 3 * missed, 3, 0, 5)
            record += struct.pack("<3q", 4 - 900, 4, 1)
            writer.add_message(channels[0], k, HEADER + record, k, k)
            values = struct.pack("<q3f", k, 0.5 * k, -0.5 * k, 2.0 * k)
            writer.add_message(channels[1], k, HEADER + values, k, k)
        writer.add_metadata("rtloop.summary", {"complete": "true", "loops": "{}"})
        writer.finish()  # type: ignore[no-untyped-call]


def test_an_old_recording_reads_as_before(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    write_format_1(path, 10)
    loop = read_recording(path, signals=True).loops["balance"]
    records = loop.records
    assert records["cycle"].tolist() == list(range(10))
    assert records["input_age_ns"].tolist() == [77] * 10
    stages = [core.STAGES["none"], core.STAGES["infer"]]
    assert records["longest_stage"].tolist() == stages * 5
    assert records["device_late_commands"].tolist() == [5] * 10
    np.testing.assert_array_equal(loop.inputs[3], np.array([1.5, -1.5], np.float32))
    np.testing.assert_array_equal(loop.outputs[:, 0], np.arange(10, dtype=np.float32) * 2)
    assert loop.sources.shape == (10, 0)
    assert loop.metadata.sources == ()
    assert loop.metadata.run["policy_sha256"] == "abc"


def test_a_field_of_nobody_is_refused_with_its_topic(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    write_format_1(path, 1, SIGNALS.replace("output_cart_force_n", "torque"))
    with pytest.raises(RecordingError, match="/rtloop/balance/signals is not rtloop's"):
        read_recording(path, signals=True)
