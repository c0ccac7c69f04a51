"""How a run starts: what it waits for, and a stop that is asked for meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import rtloop.loop
from rtloop import core
from rtloop.config import load
from rtloop.errors import RtloopError, StoppedError
from rtloop.link.handshake import HELLO_ATTEMPTS
from rtloop.link.port import LinkPort
from rtloop.run import Run, exit_code
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.firmware import reference as ref
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
from tests.running import (
    UNDISTURBED,
    edited,
    firmware,
    rings_of,
    write_config,
)


def driven_by(device: ScriptedDevice) -> list[str]:
    """All that was asked but the time, which drives nothing."""
    return [name for name in device.names() if name != "time_request"]


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


def of_two_devices(folder: Path, first: Path, second: Path) -> Path:
    """A loop that reads two of them."""
    sway = f"  sway: {{device: {second}, command_timeout_ms: 500}}\nrecording:"
    changes = {"recording:": sway, "    policy:": "      sway: {link: sway}\n    policy:"}
    return edited(write_config(folder, first), changes)


def test_devices_are_asked_at_once(tmp_path: Path) -> None:
    second_is_asked = threading.Event()

    def answer_last(request: ref.Packet) -> list[Any] | None:
        return None if second_is_asked.is_set() else []

    def tell(request: ref.Packet) -> None:
        second_is_asked.set()

    with (
        ScriptedDevice(answer_last, CARTPOLE_SCHEMA) as first,
        ScriptedDevice(tell, CARTPOLE_SCHEMA) as second,
    ):
        run = Run(load(of_two_devices(tmp_path, Path(first.path), Path(second.path))), "two")
        run.configure()
        ports = [port.name for port in run.loops["balance"].ports]
        run.cleanup()
    assert ports == ["cart", "sway"]


def test_each_device_that_is_missing_is_told_and_none_stays_open(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(RtloopError) as failed:
        Run(load(of_two_devices(tmp_path, tmp_path / "gone", missing)), "two").configure()
    assert [finding.place.key for finding in failed.value.findings] == [
        "links.cart.device",
        "links.sway.device",
    ]
    with ScriptedDevice(schema=CARTPOLE_SCHEMA) as device:
        run = Run(load(of_two_devices(tmp_path, Path(device.path), missing)), "two")
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(RtloopError, match=r"links\.sway\.device"):
            run.configure()
        assert sorted(os.listdir("/proc/self/fd")) == before
