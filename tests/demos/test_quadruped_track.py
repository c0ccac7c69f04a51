"""What a board writes down of its robot, and who reads it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtloop.demos.firmware import FirmwareProcess
from rtloop.demos.quadruped import track as track_module
from rtloop.demos.quadruped.demo import QuadrupedDemo, Robot
from rtloop.demos.quadruped.track import Track, TrackWriter, load_track
from rtloop.errors import RtloopError
from tests.demos import write_rows
from tests.running import ROOT


def test_what_is_written_is_read_the_oldest_first() -> None:
    track = Track.create()
    assert len(track) == 0
    assert len(track.newest()) == 0
    write_rows(track, 5)
    assert len(track) == 5
    rows = track.newest(3)
    assert rows["time_ns"].tolist() == [2, 3, 4]
    assert rows["qpos"][:, 0].tolist() == [2.0, 3.0, 4.0]
    assert rows["is_driven"].all()
    assert not rows["has_fallen"].any()


def test_the_newest_are_kept_once_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_module, "_CAPACITY", 4)
    track = Track.create()
    for count in range(1, 12):
        write_rows(track, 1, first=count - 1)
        kept = min(count, 4)
        assert track.newest(100)["time_ns"].tolist() == list(range(count - kept, count))
    assert len(track) == 11


def test_another_process_writes_into_the_memory_it_was_handed() -> None:
    track = Track.create()
    program = (
        "import sys; from rtloop.demos.quadruped.track import Track; from tests.demos import write_rows; "
        "write_rows(Track(int(sys.argv[1])), 3)"
    )
    descriptor = str(track.descriptor)
    subprocess.run(
        [sys.executable, "-c", program, descriptor],
        pass_fds=[track.descriptor],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=True,
    )
    assert track.newest()["time_ns"].tolist() == [0, 1, 2]


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    track = Track.create()
    write_rows(track, 7)
    track.save(tmp_path / "track.npz")
    np.testing.assert_array_equal(load_track(tmp_path / "track.npz"), track.newest())


def test_a_live_line_has_distance_and_speed_of_it() -> None:
    robot = Robot(Path("/nowhere"))
    level = {"robot.quat_x": 0.0, "robot.quat_y": 0.0, "robot.quat_z": 0.0}
    demo = QuadrupedDemo()
    assert demo.status(level, robot) == "tilt  0.0°"  # nothing was written yet
    writer = TrackWriter(robot.track)
    qpos = np.zeros(19)
    for i in range(200):
        qpos[0] = 0.01 * i
        writer.append(
            i, 0.02 * i, qpos, is_driven=i > 50, is_pushed=False, has_fallen=False
        )  # 50 Hz: 0.5 m/s
    assert demo.status(level, robot) == " 2.0 m  0.50 m/s  tilt  0.0°"
    qpos[0] = -0.04
    writer.append(200, 4.0, qpos, is_driven=True, is_pushed=False, has_fallen=False)
    assert demo.status(level, robot).startswith(" 0.0 m  ")  # and not -0.0
    writer.append(201, 4.02, qpos, is_driven=True, is_pushed=False, has_fallen=True)
    assert demo.status(level, robot) == "FALLEN  tilt  0.0°"


def test_a_track_that_finds_no_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.ftruncate", full)
    with pytest.raises(
        RtloopError, match=r"track of the robot, \d+ bytes .*: No space left on dev"
    ):
        Track.create()


def test_a_board_that_does_not_start_is_told_in_a_line(tmp_path: Path) -> None:
    """As where MuJoCo is there, and cannot be imported."""
    broken = "raise ImportError('libGL.so.1: cannot open')"
    board = FirmwareProcess(tmp_path / "tty", (), (sys.executable, "-c", broken))
    with pytest.raises(RtloopError) as told:
        board.start()
    said = "ImportError: libGL.so.1: cannot open"
    assert str(told.value) == f"the demo's firmware program did not start: {said!r}"
