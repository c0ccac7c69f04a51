"""The order of ros2_control.launch.py, with launch itself and stand-ins for the executables of ros2_control."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.launch.launching import launched
from tests.launch.places import installed

FILE = "ros2_control.launch.py"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that run until they are interrupted; each writes its arguments to NAME.arguments."""
    prefix = tmp_path / "prefix"
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    for package, names in {
        "controller_manager": ("ros2_control_node", "spawner"),
        "robot_state_publisher": ("robot_state_publisher",),
    }.items():
        (index / package).touch()
        folder = prefix / "lib" / package
        folder.mkdir(parents=True)
        for name in names:
            program = folder / name
            program.write_text(f'#!/bin/sh\necho "$@" > {prefix}/{name}.arguments\nexec sleep 60\n')
            program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{installed()}:{prefix}")
    return prefix


def spawner_ends(prefix: Path, exit_code: int) -> None:
    program = prefix / "lib/controller_manager/spawner"
    program.write_text(program.read_text().replace("exec sleep 60", f"exit {exit_code}"))


def test_the_loop_starts_once_the_controllers_are_there(tmp_path: Path, prefix: Path) -> None:
    spawner_ends(prefix, 0)
    with launched(tmp_path, FILE) as launch:
        launch.says("[spawner-3]: process has finished cleanly")
        launch.says("[loop_node-4]: process started")
        # Whoever hears them has said nothing: it was configured, and waits for a sample.
        launch.says("forward_position_controller/commands has no time-out")
        os.killpg(launch.process.pid, signal.SIGINT)
        launch.ends()
    files = installed() / "share/rtloop/examples/ros2_control"
    spawned = (prefix / "spawner.arguments").read_text()
    assert spawned.startswith(
        f"joint_state_broadcaster forward_position_controller --param-file {files}/controllers.yaml"
    )
    assert f"{files}/controllers.yaml" in (prefix / "ros2_control_node.arguments").read_text()


def test_controllers_that_do_not_start_are_an_error(tmp_path: Path, prefix: Path) -> None:
    spawner_ends(prefix, 1)
    with launched(tmp_path, FILE) as launch:
        assert launch.ends() == 1
        assert "the controllers could not be started" in launch.log
        assert "loop_node" not in launch.log
