"""A run from start to end: real loops, the real firmware program, a real recorder."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop import core
from rtloop.config import Config, load, loads
from rtloop.errors import LinkError, RtloopError
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.summary import RunSummary
from tests.policy.models import save
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    rings_of,
    wait_until_running,
    write_config,
)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """A loop on a simulated device."""
    with firmware(tmp_path) as device:
        yield load(write_config(tmp_path, device.link))


def test_a_run_balances_records_and_ends_with_the_device_safe(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            ring = run.observed["balance"].ring.path
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
    assert not ring.exists(), "the recording takes its place"


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
            wait_until_running(process)
            process.kill()
            process.wait()
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
    assert rings_of(os.getpid()) == []
    assert not (tmp_path / "runs").exists()
    assert run.state == "unconfigured"


def test_a_loop_that_slips_away_from_its_rate_is_not_green(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        changes = {"rate_hz: 200": "rate_hz: 200\n    on_overrun: slip", "skipped: 1, ": ""}
        config = load(edited(write_config(tmp_path, device.link), changes))
        stall = core.Stall(core.Stage.infer, 5, 1, 10_000_000)
        run = Run(config, "test", stalls={"balance": [stall]})
        with run:
            run.wait(0.5)
        summary = run.stop()
    loop = summary.loops["balance"]
    assert (loop.skipped, loop.elapsed_periods) == (0, loop.executed)
    assert loop.slipped_periods > 10
    (failure,) = loop.failures
    assert failure.endswith("slipped away (on_overrun: slip)")
    assert exit_code(summary) == 1
    (recorded,) = read_recording(run.recording).loops.values()
    assert recorded.summary.slipped_periods == loop.slipped_periods


def test_a_hang_of_the_policy_is_told_and_ended(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = load(
            edited(
                write_config(tmp_path, device.link),
                {"class: soft": "class: hard", "missed: 1, skipped: 1, ": ""},
            )
        )
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


def test_a_run_says_what_must_come_first(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        with pytest.raises(RtloopError, match="unconfigured: only an inactive one"):
            run.activate()
        with pytest.raises(RtloopError, match="not activated yet"):
            _ = run.recording
        assert run.stop().loops == {}, "nothing ran"
        run.configure()
        with pytest.raises(RtloopError, match="configured already"):
            run.configure()
        run.cleanup()


def test_a_port_whose_words_fail_keeps_no_loop_from_its_end(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise KeyError("words")

    run = Run(config, "words", record=False)
    with run:
        (loop,) = run.loops.values()
        (port,) = loop.ports
        monkeypatch.setattr(port, "loss", fail)
        monkeypatch.setattr(port, "stop", fail)
        status = {**loop.status(), "fault_reason": core.FAULT_REASONS["port_error"]}
        monkeypatch.setattr(loop, "status", lambda: status)
    assert run.state == "unconfigured"
    assert run.summary is not None
    assert any("its port could not say more" in problem for problem in run.summary.problems)
    assert any("was not stopped in order" in problem for problem in run.summary.problems)


def test_an_exception_after_the_end_is_not_what_ended_the_next_activation(config: Config) -> None:
    run = Run(config, "late", record=False)
    run.start()
    run.stop()
    run.__exit__(ValueError, ValueError("too late"), None)
    run.start()
    assert run.stop().stopped_by == "stop"


def test_a_wait_ends_with_a_run_that_another_thread_stops(config: Config) -> None:
    run = Run(config, "test")
    run.start()
    other = threading.Timer(0.2, run.stop)
    other.start()
    run.wait(30)
    other.join()
    assert run.state == "unconfigured"
    with pytest.raises(RtloopError, match="is not active"):
        run.wait(0.1)


def test_two_threads_that_stop_a_run_get_one_summary(config: Config) -> None:
    run = Run(config, "twice")
    run.start()
    found: list[RunSummary] = []
    threads = [threading.Thread(target=lambda: found.append(run.stop())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0].loops
    assert found[1] == found[2] == found[0]


def test_what_onnx_runtime_says_while_a_loop_runs_is_in_the_problems(tmp_path: Path) -> None:
    """A table that is read by its input: an index beyond it is an error in the cycle."""
    nodes = [
        helper.make_node("Cast", ["obs"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["rows", "index"], ["action"]),
    ]
    tensor = ("obs", TensorProto.FLOAT, [1, 1]), ("action", TensorProto.FLOAT, [1, 1])
    rows = {"rows": np.array([5.0, 6.0], np.float32)}
    (tmp_path / "table.onnx").write_bytes(save(nodes, tensor[:1], tensor[1:], rows))
    text = """\
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {x: {mailbox: [1.0]}}
    policy: {model: table.onnx, observation: [{input: x}]}
    outputs: {y: {mailbox: true, size: 1, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""
    run = Run(loads(text, str(tmp_path / "a.yaml")), "test", record=False)
    with run:
        run.loops["a"].write_input("x", [7.0])
        run.wait(10.0)
    (problem,) = run.stop().problems
    assert problem.startswith("loop 'a' is in FAULT: ONNX Runtime reported an error")
    assert "idx=7 must be within the inclusive range" in problem
