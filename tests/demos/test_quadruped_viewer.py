"""The window on the walking robot: what it shows, what it lacks, and that nothing waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from rtloop.demos.quadruped import viewer
from rtloop.demos.quadruped.track import Track
from rtloop.demos.quadruped.viewer import ViewerProcess, follow
from rtloop.errors import RtloopError
from tests.demos import is_alive, needs_mujoco, write_rows
from tests.running import ROOT, rtloop, summary_of


class StandIn:
    """A window of so many frames, each of which the robot uses to go on."""

    def __init__(self, track: Track, frames: int, rows_a_frame: int) -> None:
        self.track, self.left, self.rows_a_frame = track, frames, rows_a_frame
        self.shown: list[tuple[float, float]] = []

    def is_running(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def show(self, qpos: npt.NDArray[np.float32], time_s: float) -> None:
        self.shown.append((float(qpos[0]), time_s))
        write_rows(self.track, self.rows_a_frame, first=len(self.track))


def test_it_shows_the_newest_pose_and_makes_up_for_none() -> None:
    track = Track.create()
    write_rows(track, 1)
    window = StandIn(track, frames=4, rows_a_frame=10)
    follow(track, window, period_s=0.0)
    assert window.shown == [(0.0, 0.0), (10.0, 10.0), (20.0, 20.0), (30.0, 30.0)]


def test_a_pose_is_shown_once_and_none_before_the_first() -> None:
    window = StandIn(Track.create(), frames=5, rows_a_frame=0)
    follow(window.track, window, period_s=0.0)
    assert window.shown == []
    write_rows(window.track, 1)
    window.left = 5
    follow(window.track, window, period_s=0.0)
    assert len(window.shown) == 1


@pytest.fixture
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@needs_mujoco
def test_without_a_display_it_says_so_before_anything_starts(
    no_display: None, tmp_path: Path
) -> None:
    done = rtloop("demo", "quadruped", "--viewer", "--duration", "1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in done.stderr
    assert "xvfb-run" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_demo_without_a_viewer_says_so(tmp_path: Path) -> None:
    done = rtloop("demo", "--viewer", "--duration", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "the demo 'cartpole' has no viewer" in done.stderr
    assert not any(tmp_path.iterdir())


@needs_mujoco
def test_a_display_that_nobody_serves_is_told_with_its_reason(
    no_display: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(RtloopError, match=r"opened no window on the display :4711: \w"):
        ViewerProcess(Track.create(), "robot").__enter__()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ViewerProcess]:
    """Its process is a program of the test."""

    def of(body: str) -> ViewerProcess:
        monkeypatch.setattr(ViewerProcess, "program", ("-c", body))
        return ViewerProcess(Track.create(), "robot")

    monkeypatch.setenv("DISPLAY", ":0")
    return of


StandInProcess = Callable[[str], ViewerProcess]


def test_one_that_opens_nothing_is_ended(
    stand_in: StandInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "_START_S", 0.2)
    opening = stand_in("import time; time.sleep(60)")
    with pytest.raises(RtloopError, match=r"it said nothing for 0\.2 s"):
        opening.__enter__()
    assert opening.process is None


HANGS = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('READY', flush=True)\n"
    "time.sleep(60)\n"
)


def test_one_that_hangs_is_killed_at_the_end(
    stand_in: StandInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "_END_S", 0.2)
    with stand_in(HANGS) as window:
        assert window.process is not None
        pid = window.process.pid
        assert is_alive(pid)
    assert not is_alive(pid)


#: `rtloop demo quadruped --viewer` with a stand-in for the viewer's process.
WATCHED = """
import sys
from rtloop.cli.main import main
from rtloop.demos.quadruped.viewer import ViewerProcess
ViewerProcess.program = ("-c", sys.argv[1])
sys.exit(main(["demo", "quadruped", "--viewer", "--duration", "5", "--json", "--no-report"]))
"""


@needs_mujoco
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGSTOP)", "pass"])
def test_a_robot_walks_on_whatever_becomes_of_its_window(
    end: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = (
        "import os, signal, sys, time\n"
        "from rtloop.demos.quadruped.track import Track\n"
        "track = Track(int(sys.argv[sys.argv.index('--track-fd') + 1]))\n"
        "print('READY', flush=True)\n"
        "while len(track) < 20: time.sleep(0.01)\n"
        "open('seen', 'w').close()\n"
        f"{end}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, body],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DISPLAY": ":0"},
    )
    (told,) = summary_of(done)["devices"].values()
    assert (tmp_path / "seen").exists()
    assert told["fell_at_s"] is None
    assert told["driven_s"] > 1.5
