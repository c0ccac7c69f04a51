"""A recorder that is too slow for whoever ends its run: it is left behind, and finishes by itself."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rtloop.config import load
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from tests.running import firmware, wait_for, write_config


def test_a_slow_recorder_is_left_behind_and_its_recording_is_whole(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "slow", leave_recorder_after_s=0.2)
        with run:
            wait_for(lambda: run.loops["balance"].status()["executed"] > 50, "some cycles")
            rings = run.observed["balance"].ring.path.parent
            assert run._activation is not None
            assert run._activation.recorder is not None
            recorder = run._activation.recorder.pid
            os.kill(recorder, signal.SIGSTOP)
            began_s = time.monotonic()
            try:
                summary = run.deactivate()
            finally:
                os.kill(recorder, signal.SIGCONT)
            assert time.monotonic() - began_s < 5
            assert run.still_writing == recorder
            assert not run.is_recorded, "not yet"
            assert summary.problems == ()
            assert run.activate() is None, "the next recording does not wait for this one"
            assert run.still_writing is None
            first = summary.recording
    assert first is not None
    wait_for(lambda: not rings.exists(), "its end")
    recorded = read_recording(first).loops["balance"].records
    assert len(recorded) == summary.loops["balance"].executed
