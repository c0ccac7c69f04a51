"""What a run's rings hold as a file of its own, while the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.config import load
from rtloop.errors import RtloopError
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.recorder.pointer import read_pointer
from tests.running import firmware, wait_for, write_config


@pytest.mark.parametrize("record", [True, False])
def test_a_dump_has_the_newest_cycles_and_leaves_the_recording_alone(
    tmp_path: Path, record: bool
) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "dumped", record=record)
        with pytest.raises(RtloopError, match="unconfigured: only an active one"):
            run.dump()
        with run:
            wait_for(lambda: run.loops["balance"].status()["executed"] > 50, "some cycles")
            before = run.loops["balance"].status()["executed"]
            rings = run.observed["balance"].ring.path.parent
            pointer = read_pointer(rings)
            first, second = run.dump(), run.dump()
            assert read_pointer(rings) == pointer, "a dump is not what the run is recovered into"
            wait_for(lambda: run.loops["balance"].status()["executed"] > before + 50, "it goes on")
        summary = run.stop()
    assert summary.problems == ()
    for dump in (first, second):
        assert dump.parent == run.directory
        cycles = read_recording(dump).loops["balance"].records["cycle"]
        assert len(cycles) >= before
        assert int(cycles[0]) == 0, "the ring held all of it"
    assert len(list(run.directory.glob("*.mcap"))) == (3 if record else 2)
    if record:
        recorded = read_recording(run.recording).loops["balance"].records
        assert len(recorded) == summary.loops["balance"].executed
