"""A run from start to end: real loops, the real firmware program, a real recorder."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.errors import LinkError, RtloopError
from rtloop.run import Run, exit_code
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    wait_until_running,
    write_config,
)


def test_a_run_balances_records_and_ends_with_the_device_safe(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(1.0)
        summary = run.stop()
        told = device.stop()
    loop = summary.loops["balance"]
    assert loop.executed > 20
    assert loop.elapsed_periods == loop.executed + loop.skipped
    assert loop.records_lost == 0
    assert loop.state == "inactive"
    assert summary.stopped_by == "duration"
    assert summary.problems == ()
    assert exit_code(summary) == 0
    assert run.is_recorded
    assert run.recording.stat().st_size > 0
    assert told["state"] == "SAFE"
    assert told["reasons"] == ["HOST_STOP"]
    assert not run.loops["balance"].ring_path.exists(), "the recording takes its place"


def test_an_exception_in_the_users_code_ends_with_the_device_safe(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)

        def misbehave() -> None:
            with run:
                run.wait(0.3)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            misbehave()
        assert run.stop().stopped_by == "ZeroDivisionError"
        assert device.stop()["reasons"] == ["HOST_STOP"]


def test_an_unplugged_device_ends_safe_on_both_sides(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        with run:
            run.wait(0.3)
            os.kill(device.pid, signal.SIGUSR1)
            run.wait(10)
        summary = run.stop()
        time.sleep(0.8)  # longer than the device's command timeout
        told = device.stop()
    assert summary.stopped_by == "fault"
    assert summary.loops["balance"].state == "fault"
    assert summary.loops["balance"].fault_reason == "port_error"
    (problem,) = summary.problems
    assert "the link 'cart'" in problem
    assert "was lost" in problem
    assert "Check cable and device" in problem
    assert exit_code(summary) == 1
    assert told["state"] == "SAFE"
    assert told["reasons"] == ["COMMAND_TIMEOUT"]


def test_a_device_latched_safe_is_armed_only_with_clear(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = write_config(tmp_path, device.link)
        with background(["run", path, "--no-record"]) as process:
            ring = wait_until_running(process)
            process.kill()
            process.wait()
        shutil.rmtree(ring.parent)
        time.sleep(0.8)  # the host fell silent without a stop: the device sees to itself
        with pytest.raises(LinkError, match=r"latched SAFE: COMMAND_TIMEOUT.*pass --clear"):
            Run(load(path), "test", record=False).start()
        with Run(load(path), "test", record=False, clear=True) as again:
            again.wait(0.5)
        assert again.stop().loops["balance"].state == "inactive"


def test_after_an_ordinary_stop_the_next_run_arms_by_itself(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = load(write_config(tmp_path, device.link))
        for _ in range(2):
            with Run(config, "test", record=False) as run:
                run.wait(0.3)
            assert run.stop().problems == ()


def test_a_run_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_config(tmp_path, tmp_path / "nothere")
    run = Run(load(path), "test")
    with pytest.raises(LinkError, match="nothere"):
        run.start()
    assert not run.loops["balance"].ring_path.exists()
    assert not run.directory.exists()


def test_a_hang_of_the_policy_is_told_and_ended(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = load(edited(write_config(tmp_path, device.link), {"class: soft": "class: hard"}))
        stall = core.Stall(core.Stage.infer, 30, 0, 800_000_000)
        run = Run(config, "test", record=False, stalls={"balance": [stall]})
        with run:
            run.wait(10)
        summary = run.stop()
        told = device.stop()
    assert summary.stopped_by == "fault"
    assert summary.loops["balance"].fault_reason == "deadline_miss"
    assert summary.loops["balance"].misses == 1
    assert "HOST_STOP" in told["reasons"]


def test_a_run_is_started_once(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        with run, pytest.raises(RtloopError, match="started already"):
            run.start()
