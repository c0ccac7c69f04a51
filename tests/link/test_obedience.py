"""A device that does not do as it is told, in a whole run: never exit code 0."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from rtloop import open_recording
from rtloop.config import load
from rtloop.run import Run, exit_code
from rtloop.telemetry.observe.summary import RunSummary
from tests.cable import Cable, LossyCable
from tests.running import UNDISTURBED, firmware, wait_for, write_config


def test_a_stop_that_is_not_confirmed_is_a_problem_and_exit_code_1(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        run.start()
        run.wait(0.2)
        os.kill(device.pid, signal.SIGSTOP)
        try:
            summary = run.stop()
        finally:
            os.kill(device.pid, signal.SIGCONT)
        assert any("did not confirm STOP" in problem for problem in summary.problems)
        assert exit_code(summary) == 1
        assert open_recording(run.recording).problems == summary.problems


def ran_over(cable: Cable, folder: Path) -> RunSummary:
    run = Run(load(write_config(folder, cable.path)), "test", record=False)
    with run:
        wait_for(lambda: run.loops["balance"].status()["executed"] >= 100, "a hundred cycles")
    return run.stop()


def test_a_cable_that_loses_most_commands_is_a_problem_and_exit_code_1(tmp_path: Path) -> None:
    """What arrives keeps the device ACTIVE, and confirms what was lost before it."""
    with (
        firmware(tmp_path, *UNDISTURBED) as device,
        LossyCable(tmp_path / "lossy", device.link, one_in=12) as cable,
    ):
        summary = ran_over(cable, tmp_path)
    assert summary.loops["balance"].state != "fault", summary.problems
    (problem,) = summary.problems
    assert "that were sent to the device of link 'cart'" in problem
    assert "did not arrive whole" in problem
    assert "check cable, shield and baud rate" in problem
    assert exit_code(summary) == 1


def test_a_cable_that_loses_nothing_is_none(tmp_path: Path) -> None:
    with (
        firmware(tmp_path, *UNDISTURBED) as device,
        Cable(tmp_path / "whole", device.link) as cable,
    ):
        summary = ran_over(cable, tmp_path)
    assert summary.problems == ()
