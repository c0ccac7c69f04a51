"""What a device refused is found wherever one looks: summary, recording, and after a recovery."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.recorder.recover import recover
from tests.running import UNDISTURBED, edited, firmware, write_config

pytestmark = pytest.mark.timeout(60)

LATE = core.PORT_EVENTS["late_command"]


def test_commands_that_a_device_refused_are_recorded_with_lateness_and_class(
    tmp_path: Path,
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = edited(write_config(tmp_path, device.link), {"class: soft": "class: firm"})
        run = Run(load(path), "test")
        with run:
            run.wait(0.5)
            os.kill(device.pid, signal.SIGSTOP)  # commands wait on the line, and are late then
            time.sleep(0.15)
            os.kill(device.pid, signal.SIGCONT)
            run.wait(0.7)
        device.stop()
    summary = run.summary
    assert summary is not None
    cart = summary.loops["balance"].devices["cart"]
    assert cart.events["late_command"] > 0
    assert cart.refused_lateness_max_us is not None
    assert cart.refused_lateness_max_us > 0
    assert cart.clock_error_ns is not None
    assert cart.clock_error_max_ns is not None
    assert 0 < cart.clock_error_ns <= cart.clock_error_max_ns
    assert summary.loops["balance"].port_events_lost == 0
    assert summary.as_dict()["loops"]["balance"]["devices"]["cart"] == cart.as_dict()

    recorded = read_recording(run.recording).loops["balance"]
    assert recorded.metadata.ports == ("cart",)
    assert recorded.summary.devices["cart"] == cart
    late = recorded.events[recorded.events["kind"] == LATE]
    assert int(late["lateness_us"].max()) == cart.refused_lateness_max_us
    assert set(late["loop_class"].tolist()) == {core.CLASSES["firm"]}
    first, last = recorded.records["release_ns"][[0, -1]].tolist()
    assert all(first < time_ns < last + 10**9 for time_ns in late["time_ns"].tolist())
    assert recorded.events["number"].tolist() == list(range(len(recorded.events)))

    whole = run.recording.read_bytes()
    run.recording.write_bytes(whole[:-40])  # its end is gone, and the rings are, too
    recover(run.recording, tmp_path)
    restored = read_recording(run.recording).loops["balance"]
    assert restored.events.tobytes() == recorded.events.tobytes()
    assert restored.summary.devices["cart"] == cart
