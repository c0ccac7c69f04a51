"""A run from start to end: real loops, the real firmware program, a real recorder."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import rtloop.loop
from rtloop import core
from rtloop.config import Config, load, loads
from rtloop.demos.firmware import FirmwareProcess
from rtloop.errors import LinkError, RtloopError, StoppedError
from rtloop.link import Link
from rtloop.link.handshake import HELLO_ATTEMPTS
from rtloop.ports.link import LinkPort
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from rtloop.telemetry.observe.summary import RunSummary
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
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


# --- again and again ---


def two_loops(folder: Path, left: Path, right: Path, realtime: tuple[str, str]) -> Path:
    """Two loops, each on a device of its own."""
    path = write_config(folder, left)
    head, loops = path.read_text().split("loops:\n")
    head = head.replace(
        "links:\n", f"links:\n  other: {{device: {right}, command_timeout_ms: 500}}\n"
    )
    second = loops.replace("  balance:", "  other:").replace("link: cart", "link: other")
    alone = "realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}"
    assert alone in loops
    first, second = (
        text.replace(alone, f"realtime: {{scheduler: other, {asked}}}")
        for text, asked in zip((loops, second), realtime, strict=True)
    )
    path.write_text(f"{head}loops:\n{first}{second}")
    return path


@contextmanager
def two_devices(folder: Path) -> Iterator[tuple[FirmwareProcess, FirmwareProcess]]:
    (folder / "other").mkdir()
    with firmware(folder) as left, firmware(folder / "other") as right:
        yield left, right


NO_RIGHTS = "lock_memory: false, cpu_dma_latency_us: null"


def test_a_run_is_activated_as_often_as_one_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_link = Link.open

    def counted(name: str, device: str, baud: int) -> Link:
        opened.append(name)
        return open_link(name, device, baud)

    monkeypatch.setattr(Link, "open", counted)
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        summaries, run_ids = [], []
        for n_activations in (3, 1):
            run.configure()
            assert run.state == "inactive"
            for _ in range(n_activations):
                run.activate()
                assert run.state == "active"
                run_ids.append(run.run_id)
                run.wait(0.3)
                summaries.append(run.deactivate())
                assert run.is_recorded
                assert run.state == "inactive"
                assert device_state(run) == "SAFE"
            run.cleanup()
            assert run.state == "unconfigured"
        told = device.stop()
    assert opened == ["cart", "cart"], "devices stay open from configure to cleanup"
    assert len(set(run_ids)) == 4
    recordings = [summary.recording for summary in summaries]
    assert len(set(recordings)) == 4
    for summary, recording, run_id in zip(summaries, recordings, run_ids, strict=True):
        assert recording is not None
        found = read_recording(recording)
        loop = summary.loops["balance"]
        assert found.run_id == run_id
        assert summary.problems == ()
        assert len(found.loops["balance"].records) == loop.executed > 10
        assert found.loops["balance"].records["cycle"][0] == 0
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert rings_of(os.getpid()) == []


def driven_by(device: ScriptedDevice) -> list[str]:
    """All that was asked but the time, which drives nothing."""
    return [name for name in device.names() if name != "time_request"]


def device_state(run: Run) -> str:
    (port,) = run.loops["balance"].ports
    assert isinstance(port, LinkPort)
    assert port._link is not None
    return port._link.status().state.name


def test_all_loops_of_a_run_start_on_one_first_release(tmp_path: Path) -> None:
    with two_devices(tmp_path) as (left, right):
        path = two_loops(tmp_path, left.link, right.link, (NO_RIGHTS, NO_RIGHTS))
        with Run(load(path), "test", record=False) as run:
            run.wait(0.3)
            first = {loop.status()["first_release_ns"] for loop in run.loops.values()}
    assert len(first) == 1
    assert all(loop.executed > 10 for loop in run.stop().loops.values())


def test_a_loop_that_takes_no_stale_sample_starts_with_a_fresh_one(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED, "--rate-hz", "20") as device:
        fresh = {"max_age_ms: 400, on_stale: hold": "max_age_ms: 400, on_stale: fault"}
        run = Run(load(edited(write_config(tmp_path, device.link), fresh)), "test")
        for _ in range(3):
            with run:
                run.wait(0.3)
            summary = run.stop()
            assert (summary.stopped_by, summary.problems) == ("duration", ())
            batch = read_recording(run.recording).loops["balance"]
            assert batch.records["cycle"][0] == 0
            assert batch.records["input_age_ns"][0] >= 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "sample within"),
        ({"on_stale: hold": "on_stale: fault"}, "sample younger than 400 ms within"),
        (
            {"safe: 0.0": "safe: {force: {hold: cart, named: cart_position}}"},
            "finite sample within",
        ),
    ],
)
def test_a_device_that_sends_no_sample_is_not_driven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], told: str
) -> None:
    monkeypatch.setattr(rtloop.loop, "FIRST_SAMPLE_TIMEOUT_S", 0.3)
    in_metres = CARTPOLE_SCHEMA.replace("force N", "force m")  # what is held has the same unit
    with ScriptedDevice(schema=in_metres) as device:
        run = Run(load(edited(write_config(tmp_path, Path(device.path)), changes)), "test")
        with pytest.raises(RtloopError, match=rf"input 'cart' \(cart\) had no {told} 0.3 s"):
            run.start()
        assert driven_by(device)[-3:] == ["arm", "hello", "stop"]
    assert list((tmp_path / "runs").glob("*")) == []


def test_a_stop_ends_the_wait_for_a_first_sample(tmp_path: Path) -> None:
    with ScriptedDevice(schema=CARTPOLE_SCHEMA) as device:
        run = Run(load(write_config(tmp_path, Path(device.path))), "test", record=False)
        run.configure()
        timer = threading.Timer(1.0, run.request_stop, ["SIGINT"])
        timer.start()
        with pytest.raises(StoppedError):
            run.activate()
        timer.join()
        assert driven_by(device)[-3:] == ["arm", "hello", "stop"]


def test_what_the_whole_process_asks_for_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[core.Right] = []
    held: list[int] = []
    lock_memory, hold = core.lock_memory, core.CpuLatencyHold

    def counted_lock() -> core.Right:
        locked.append(lock_memory())
        return locked[-1]

    def counted_hold(max_latency_us: int) -> core.CpuLatencyHold:
        held.append(max_latency_us)
        return hold(max_latency_us)

    monkeypatch.setattr(core, "lock_memory", counted_lock)
    monkeypatch.setattr(core, "CpuLatencyHold", counted_hold)
    asked = ("lock_memory: true, cpu_dma_latency_us: 20", "cpu_dma_latency_us: 10")
    with two_devices(tmp_path) as (left, right):
        path = two_loops(tmp_path, left.link, right.link, asked)
        with Run(load(path), "test", record=False) as run:
            names = [r.name for r in run.rights]
            of_each = [[r.name for r in loop.rights] for loop in run.loops.values()]
    assert (len(locked), held) == (1, [10]), "the smallest is what the kernel obeys"
    assert names.count("lock_memory") == names.count("cpu_dma_latency") == 1
    assert all({"lock_memory", "cpu_dma_latency"} <= set(each) for each in of_each)
    assert [right.name for right in run.stop().rights] == names


def test_an_activation_that_fails_leaves_nothing_behind_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = write_config(tmp_path, device.link)
        with background(["run", path, "--no-record"]) as process:
            ring = wait_until_running(process)
            process.kill()
            process.wait()
        shutil.rmtree(ring.parent)
        time.sleep(0.8)  # the host fell silent without a stop: the device sees to itself
        run = Run(load(path), "test")
        run.configure()
        for _ in range(2):
            with pytest.raises(LinkError, match="latched SAFE: COMMAND_TIMEOUT"):
                run.activate()
            assert run.state == "inactive"
            assert rings_of(os.getpid()) == []
            assert list((tmp_path / "runs").glob("*")) == []
        run.clear = True
        run.activate()
        run.wait(0.3)
        summary = run.stop()
    assert summary.loops["balance"].executed > 10
    assert run.is_recorded


def test_the_recorder_is_ready_before_a_device_is_armed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    wait_ready, arm = RecorderProcess.wait_ready, LinkPort.arm

    def ready(self: RecorderProcess, timeout_s: float = 10.0) -> None:
        wait_ready(self, timeout_s)
        order.append("ready")

    def armed(self: LinkPort, clear: bool) -> None:
        order.append("armed")
        arm(self, clear)

    monkeypatch.setattr(RecorderProcess, "wait_ready", ready)
    monkeypatch.setattr(LinkPort, "arm", armed)
    with firmware(tmp_path) as device, Run(load(write_config(tmp_path, device.link)), "t"):
        pass
    assert order == ["ready", "armed"]


def test_a_recorder_that_talks_nonsense_ends_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        with Run(load(write_config(tmp_path, device.link)), "test") as run:
            assert run._activation is not None
            recorder = run._activation.recorder
            assert recorder is not None
            os.kill(recorder.pid, signal.SIGKILL)
            recorder._process.wait()
            recorder._stdout += b'{"recording": "x", "loops": {"balance": {}}}'
            run.wait(0.5)
            assert "the recorder was ended by signal 9" in run.recording_error
        summary = run.stop()
    shutil.rmtree(RING_DIRECTORY / run.run_id)
    assert summary.stopped_by == "duration"
    assert exit_code(summary) == 1


def test_a_recorder_that_cannot_start_arms_nothing(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        path = edited(write_config(tmp_path, device.link), {"/runs}": "/loop.yaml/runs}"})
        run = Run(load(path), "test")
        with pytest.raises(RtloopError, match=r"cannot create .* for the recording"):
            run.start()
        assert run.state == "unconfigured"
        assert rings_of(os.getpid()) == []
        told = device.stop()
    assert told["state"] == "IDLE"


def test_a_loop_that_hangs_is_not_activated_before_it_is_configured_anew(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        stall = core.Stall(core.Stage.infer, 30, 0, 2_500_000_000)
        config = load(write_config(tmp_path, device.link))
        run = Run(config, "test", record=False, stalls={"balance": [stall]}, clear=True)
        run.configure()
        run.activate()
        run.wait(10)
        summary = run.deactivate()
        assert summary.loops["balance"].fault_reason == "hang"
        assert any("hangs and did not end" in problem for problem in summary.problems)
        loop = summary.loops["balance"]
        assert loop.elapsed_periods == loop.executed + loop.skipped == 31, "cycle 30 was started"
        assert (loop.unfinished, sum(loop.outcomes.values())) == (1, loop.executed)
        with pytest.raises(RtloopError, match=r"hung.*configure\(\) first"):
            run.activate()
        assert run.state == "inactive"
        run.cleanup()
        run.configure()
        run.activate()
        assert run.stop().loops["balance"].fault_reason == "none"


def test_a_device_that_was_lost_is_opened_anew_by_the_next_activation(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        run.configure()
        run.activate()
        os.kill(device.pid, signal.SIGUSR1)
        run.wait(10)
        assert run.deactivate().loops["balance"].fault_reason == "port_error"
        with pytest.raises(LinkError, match="cart"):
            run.activate()
        device.stop()
        device.start()
        run.activate()
        run.wait(0.3)
        summary = run.deactivate()
        assert (summary.problems, summary.stopped_by) == ((), "duration")
        device.stop()
        device.start()
        run.activate()  # reset while nothing ran
        assert run.stop().problems == ()


def test_a_stop_ends_a_long_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtloop.loop, "WARM_UP_RUNS", 20_000_000)  # minutes
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        threading.Timer(0.3, lambda: run.request_stop("test")).start()
        with pytest.raises(StoppedError, match="stopped by test"):
            run.start()
        assert device.stop()["elapsed_s"] == 0


def test_a_stop_that_is_requested_while_a_run_starts_ends_the_start(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        run.request_stop("SIGHUP")
        with pytest.raises(StoppedError, match="stopped by SIGHUP before it started"):
            run.configure()
        assert run.state == "unconfigured"
        run.configure()
        run.request_stop("SIGINT")
        with pytest.raises(StoppedError, match="stopped by SIGINT before it started"):
            run.activate()
        assert run.state == "inactive"
        summary = run.deactivate()
        assert (summary.started, summary.stopped_by, summary.loops) == (False, "SIGINT", {})
        assert exit_code(summary) == 4
        run.activate()
        run.wait(0.2)
        summary = run.stop()
        assert (summary.started, summary.stopped_by) == (True, "duration"), "it counts once"


#: What a start does, in its order; a stop is requested while it does this.
STEPS = {
    "ring": (core, "RingWriter"),
    "recorder": (RecorderProcess, "wait_ready"),
    "arming": (LinkPort, "arm"),
    "armed": (LinkPort, "arm"),
    "release": (core, "activate"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_device_is_never_driven_after_a_stop_was_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    where, name = STEPS[step]
    original = getattr(where, name)
    with firmware(tmp_path) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")

        def stopped(*arguments: Any, **named: Any) -> Any:
            if step == "armed":
                result = original(*arguments, **named)
                run.request_stop("SIGTERM")
                return result
            run.request_stop("SIGTERM")
            return original(*arguments, **named)

        monkeypatch.setattr(where, name, stopped)
        with pytest.raises(StoppedError):
            run.start()
        assert rings_of(os.getpid()) == []
        assert list((tmp_path / "runs").glob("*")) == []
        told = device.stop()
    assert told["elapsed_s"] == 0, "it was never ACTIVE"
    assert told["state"] == ("IDLE" if step in ("ring", "recorder") else "SAFE")
    assert run.stop().stopped_by == "SIGTERM"


def test_a_stop_ends_a_hand_shake_that_waits_for_a_device(tmp_path: Path) -> None:
    with ScriptedDevice(lambda request: []) as device:
        run = Run(load(write_config(tmp_path, Path(device.path))), "test")
        timer = threading.Timer(0.3, run.request_stop, ["SIGINT"])
        timer.start()
        with pytest.raises(StoppedError):
            run.start()
        timer.join()
        assert 1 <= len(device.names()) < HELLO_ATTEMPTS


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
