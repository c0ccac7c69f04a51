"""The launch files for robots, both alike, with launch itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rtloop.telemetry.mcap.reader import read_recording
from tests.launch import mailbox_loop
from tests.launch.launching import launched

ACTIVE = "balance: active"
FILES = ("loop.launch.py", "loop.launch.yaml")


@pytest.mark.parametrize("file", FILES)
def test_every_argument_reaches_the_node(file: str, tmp_path: Path) -> None:
    config = mailbox_loop.write(tmp_path)
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {recording_directory: mine}}\n")
    arguments = (f"config:={config}", "namespace:=left", "name:=arm", "params_file:=mine.yaml")
    more = ("autostart:=true", "log_level:=debug", "cpus:=0", "nice:=3")
    with launched(tmp_path, file, *arguments, *more) as launch:
        launch.says(ACTIVE)
        pid = launch.pid("loop_node")
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert {"__node:=arm", "__ns:=/left"} <= set(command)
        assert os.sched_getaffinity(pid) == {0}
        assert os.getpriority(os.PRIO_PROCESS, pid) == 3
        assert "[DEBUG]" in launch.log
        os.killpg(launch.process.pid, signal.SIGINT)
        assert launch.ends() == 0
        (recording,) = tmp_path.glob("mine/*/run.mcap")
        summary = read_recording(recording).loops["balance"].summary
        assert summary is not None
        assert summary.state == "finalized"


@pytest.mark.parametrize("file", FILES)
def test_a_node_that_is_killed_is_started_again_and_active_by_itself(
    file: str, tmp_path: Path
) -> None:
    config = mailbox_loop.write(tmp_path)
    arguments = (f"config:={config}", "autostart:=true", "respawn:=true")
    with launched(tmp_path, file, *arguments) as launch:
        launch.says(ACTIVE)
        os.kill(launch.pid("loop_node"), signal.SIGKILL)
        launch.says(ACTIVE, times=2)
        os.killpg(launch.process.pid, signal.SIGINT)
        assert launch.ends() == 0
    assert len(list(tmp_path.glob("rtloop-runs/*/run.mcap"))) == 2


def test_nothing_moves_without_being_asked(tmp_path: Path) -> None:
    config = mailbox_loop.write(tmp_path)
    with launched(tmp_path, FILES[0], f"config:={config}", "log_level:=debug") as launch:
        launch.says("[loop_node-1]: process started")
        launch.says("[loop_node-1]", times=5)
        launch.process.send_signal(signal.SIGINT)
        os.kill(launch.pid("loop_node"), signal.SIGINT)
        assert launch.ends() == 0
        assert ACTIVE not in launch.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_launch_ends_the_loop_in_order(number: int, tmp_path: Path) -> None:
    config = mailbox_loop.write(tmp_path)
    with launched(tmp_path, FILES[0], f"config:={config}", "autostart:=true") as launch:
        launch.says(ACTIVE)
        os.kill(launch.process.pid, number)
        assert launch.ends() != 0
        (recording,) = tmp_path.glob("rtloop-runs/*/run.mcap")
        summary = read_recording(recording).loops["balance"].summary
        assert summary is not None
        assert summary.state == "finalized"


@pytest.mark.parametrize("file", FILES)
def test_a_shutdown_of_launch_itself_ends_the_loop_in_order(file: str, tmp_path: Path) -> None:
    config = mailbox_loop.write(tmp_path)
    arguments = (f"config:={config}", "autostart:=true", "respawn:=true")
    with launched(tmp_path, file, *arguments, shutdown_when=ACTIVE) as launch:
        assert launch.ends() == 0
        assert launch.log.count(ACTIVE) == 1, (
            "an end that was asked for is no reason to start again"
        )
    (recording,) = tmp_path.glob("rtloop-runs/*/run.mcap")
    summary = read_recording(recording).loops["balance"].summary
    assert summary.state == "finalized"


def test_a_loop_in_fault_comes_back_by_itself(tmp_path: Path) -> None:
    """With `on_fault: exit`, as docs/ros2.md says."""
    config = mailbox_loop.write(tmp_path)
    text = config.read_text().replace("class: soft", "class: hard")
    config.write_text(text.replace("rate_hz: 100", "rate_hz: 100\n    deadline_ms: 0.02"))
    (tmp_path / "mine.yaml").write_text("/**: {ros__parameters: {on_fault: exit}}\n")
    arguments = (f"config:={config}", "params_file:=mine.yaml", "autostart:=true")
    with launched(tmp_path, FILES[0], *arguments, "respawn:=true") as launch:
        launch.says("exit code 5", times=2)
        os.killpg(launch.process.pid, signal.SIGINT)
        launch.ends()
    assert len(list(tmp_path.glob("rtloop-runs/*/run.mcap"))) >= 2


def test_without_a_file_it_says_which_argument_is_missing(tmp_path: Path) -> None:
    with launched(tmp_path, FILES[0]) as launch:
        assert launch.ends() == 1
        assert "'config'" in launch.log
