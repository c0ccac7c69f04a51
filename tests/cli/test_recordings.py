"""What a run of the command line leaves when the loop, its recorder or the disk fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from rtloop.demos.firmware import FirmwareProcess
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from tests.running import (
    background,
    edited,
    rtloop,
    summary_of,
    wait_for,
    wait_until_running,
    write_config,
)


def test_a_killed_loop_loses_no_record(tmp_path: Path, device: FirmwareProcess) -> None:
    from rtloop import core

    with background(["run", write_config(tmp_path, device.link)]) as run:
        ring = wait_until_running(run, cycles=100)
        reader = core.RingReader(str(ring))
        run.kill()
        run.wait()
        head = reader.status()["head"]
    wait_for(lambda: not ring.exists(), "the recorder's end")
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    assert cycles_in(recording) == list(range(head)) or len(cycles_in(recording)) == head


def cycles_in(recording: Path) -> list[int]:
    from mcap_ros2.reader import read_ros2_messages

    messages = read_ros2_messages(str(recording), topics=["/rtloop/balance/cycle"])
    return [int(message.ros_msg.cycle) for message in messages]


def test_recover_restores_a_run_whose_loop_and_recorder_were_killed(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    from rtloop import core

    with background(["run", write_config(tmp_path, device.link)]) as run:
        ring = wait_until_running(run, cycles=150)
        reader = core.RingReader(str(ring))
        for recorder in recorders_of(ring):
            os.kill(recorder, signal.SIGKILL)
        run.kill()
        run.wait()
        head = reader.status()["head"]
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    done = rtloop("recover", recording)
    assert done.returncode == 0, done.stderr
    assert len(cycles_in(recording)) == head
    assert rtloop("report", recording).returncode == 0
    assert not ring.exists()


def recorders_of(ring: Path) -> list[int]:
    """The processes that have a ring open, by their command line."""
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(ring) in (process.info["cmdline"] or [])
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small file system: run as root")
def test_a_full_disk_is_told_and_the_loop_goes_on(tmp_path: Path, device: FirmwareProcess) -> None:
    small = tmp_path / "runs"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mount is not permitted here: run with CAP_SYS_ADMIN")
    try:
        config = edited(write_config(tmp_path, device.link), {"rate_hz: 200": "rate_hz: 1000"})
        done = rtloop("run", config, "--duration", 4, "--json")
    finally:
        subprocess.run(["umount", small], check=True)
    assert done.returncode == 1
    summary = summary_of(done)
    assert summary["loops"]["balance"]["state"] == "inactive", "the loop itself did its work"
    assert summary["loops"]["balance"]["executed"] > 1000
    assert any("no space left on device" in problem for problem in summary["problems"])
    assert "Traceback" not in done.stderr
    shutil.rmtree(RING_DIRECTORY / Path(summary["recording"]).parent.name)
