"""The demo's launch file from start to each of its ends."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from rtloop.telemetry.mcap.reader import read_recording
from tests.launch.launching import Launched, launched

ACTIVE = "balance: active"


def assert_the_loop_went_first(launch: Launched) -> None:
    """And its last word reached the device, which did not have to miss it."""
    text = launch.log
    loop_ended = text.index("[loop_node-2]: process has finished cleanly")
    assert loop_ended < text.index("[firmware-1]: process has finished cleanly"), text
    assert launch.device_summary()["reasons"] == ["HOST_STOP"], text


def assert_nothing_is_left(launch: Launched) -> None:
    (recording,) = launch.folder.glob("rtloop-runs/*/run.mcap")
    summary = read_recording(recording).loops["balance"].summary
    assert summary is not None
    assert summary.state == "finalized"
    assert not list(Path(tempfile.gettempdir()).glob(f"rtloop-demo-{launch.process.pid}*"))


def test_ctrl_c(tmp_path: Path) -> None:
    with launched(tmp_path, "demo.launch.py") as launch:
        launch.says(ACTIVE)
        os.killpg(launch.process.pid, signal.SIGINT)
        assert launch.ends() == 0
        assert_the_loop_went_first(launch)
        assert_nothing_is_left(launch)
        assert (
            "\n[ERROR]" not in launch.log
        )  # of launch; a loop on a busy machine may have had some


def test_a_shutdown_of_launch_itself(tmp_path: Path) -> None:
    with launched(tmp_path, "demo.launch.py", shutdown_when=ACTIVE) as launch:
        assert launch.ends() == 0
        assert_the_loop_went_first(launch)
        assert_nothing_is_left(launch)
        assert (
            "\n[ERROR]" not in launch.log
        )  # of launch; a loop on a busy machine may have had some


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_launch(number: int, tmp_path: Path) -> None:
    with launched(tmp_path, "demo.launch.py") as launch:
        launch.says(ACTIVE)
        os.kill(launch.process.pid, number)
        assert launch.ends() != 0
        assert_nothing_is_left(launch)


def test_the_death_of_the_loop_is_an_error_and_ends_the_device(tmp_path: Path) -> None:
    with launched(tmp_path, "demo.launch.py") as launch:
        launch.says(ACTIVE)
        os.kill(launch.pid("loop_node"), signal.SIGKILL)
        assert launch.ends() == 1
        assert "loop_node ended with exit code -9" in launch.log
        assert launch.device_summary()["reasons"] == ["COMMAND_TIMEOUT"]


def test_a_configuration_that_is_refused_is_an_error_and_ends_all(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("loops: {}\n")
    with launched(tmp_path, "demo.launch.py", f"config:={tmp_path}/wrong.yaml") as launch:
        assert launch.ends() == 1
        assert "the loop could not be configured" in launch.log
        assert "wrong.yaml:1" in launch.log


def test_a_device_that_cannot_be_armed_is_an_error_and_ends_all(tmp_path: Path) -> None:
    """It was latched SAFE, and nobody has cleared it."""
    with launched(tmp_path, "demo.launch.py") as launch:
        launch.says("[firmware-1] READY")
        os.kill(launch.pid("firmware"), signal.SIGUSR2)  # the emergency stop is pressed
        assert launch.ends() == 1
        assert "the loop could not be activated" in launch.log
