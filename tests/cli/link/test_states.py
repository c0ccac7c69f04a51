"""`rtloop link arm`, `clear` and `safe`: nothing moves that nobody has said may move."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Link, Reason
from tests.firmware.program import ACTIVE, ARMED, Host
from tests.firmware.reference import Packet
from tests.link.scripted_device import ScriptedDevice
from tests.running import background, firmware, wait_for

Asked = Callable[..., tuple[int, dict[str, Any]]]


def stop(device: FirmwareProcess, reasons: Reason) -> None:
    link = Link.open("x", str(device.link), 1_000_000)
    link.stop(reasons)
    link.close()


def state(asked: Asked, device: FirmwareProcess) -> str:
    return str(asked("link", "info", device.link)[1]["state"])


def test_arm_sends_nothing_unless_it_is_said_that_the_machine_may_move(asked: Asked) -> None:
    with ScriptedDevice() as device:
        code, told = asked("link", "arm", device.path)
        assert asked("link", "clear", device.path)[0] == 0  # it listens
    assert code == 2
    assert "nothing was sent" in told["error"]
    assert "--yes" in told["error"]
    assert "arm" not in device.names()
    assert device.names().count("hello") == 1


def test_arm_arms_and_says_what_ends_it(device: FirmwareProcess, asked: Asked) -> None:
    code, told = asked("link", "arm", device.link, "--yes", "--command-timeout-ms", 50)
    assert (code, told["state"]) == (0, "ARMED")
    assert "50 ms without another" in told["told"]
    assert f"rtloop link safe {device.link}" in told["told"]
    assert state(asked, device) == "ARMED"
    with Host(str(device.link)) as host:
        assert host.open()["command_timeout_us"] == 50_000


@pytest.mark.parametrize("clear", [False, True])
def test_arm_clears_what_it_is_told_to_clear_and_no_more(
    device: FirmwareProcess, asked: Asked, clear: bool
) -> None:
    stop(device, Reason.LIMIT)
    code, told = asked("link", "arm", device.link, "--yes", *(["--clear"] if clear else []))
    if clear:
        assert (code, told["state"]) == (0, "ARMED")
    else:
        assert code == 1
        assert "latched SAFE: LIMIT" in told["error"]
        assert state(asked, device) == "SAFE"


def test_a_timeout_beyond_the_devices_own_limit_is_refused_and_leaves_it_safe(
    device: FirmwareProcess, asked: Asked
) -> None:
    code, told = asked("link", "arm", device.link, "--yes", "--command-timeout-ms", 59_000)
    assert code == 1
    assert "a command timeout of 59000 ms is more than it allows" in told["error"]
    assert state(asked, device) == "SAFE", "it may have been armed: it was stopped"


def test_clear_goes_back_to_idle_and_tells_what_was_latched(
    device: FirmwareProcess, asked: Asked
) -> None:
    stop(device, Reason.LIMIT)
    code, told = asked("link", "clear", device.link)
    assert (code, told["state"], told["reasons"]) == (0, "IDLE", [])
    assert "was SAFE: LIMIT" in told["told"]
    code, told = asked("link", "clear", device.link)
    assert (code, told["state"]) == (0, "IDLE")
    assert "nothing to clear" in told["told"]


def test_safe_stops_a_device_that_moves(tmp_path: Path, asked: Asked) -> None:
    with firmware(tmp_path, "--command-timeout-ms", "5000") as device:
        with Host(str(device.link)) as host:
            host.activate()
            assert host.newest("sensor").fields["state"] == ACTIVE
        code, told = asked("link", "safe", device.link)
        assert (code, told["state"], told["reasons"]) == (0, "SAFE", ["HOST_STOP"])


def test_safe_says_stop_before_anything_else(asked: Asked) -> None:
    with ScriptedDevice() as device:
        device.state = ARMED
        code, told = asked("link", "safe", device.path)
    assert (code, told["state"]) == (0, "SAFE")
    assert device.names() == ["stop"]


def test_a_stop_that_is_not_confirmed_is_told(asked: Asked) -> None:
    with ScriptedDevice(lambda request: []) as device:
        code, told = asked("link", "safe", device.path)
    assert code == 1
    assert "did not confirm STOP: whether it is SAFE is not known" in told["error"]


@pytest.mark.parametrize("timeout_ms", ["0.00001", "0.05", "60001", "1e9", "nan"])
def test_arm_refuses_a_timeout_that_no_configuration_could_have(
    asked: Asked, timeout_ms: str
) -> None:
    with ScriptedDevice() as device:
        code, told = asked("link", "arm", device.path, "--yes", "--command-timeout-ms", timeout_ms)
    assert code == 2
    assert f"{timeout_ms} is no command timeout: 0.1 to 60000 ms" in told["error"]
    assert not device.names()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_device_is_not_left_armed_by_who_was_stopped_while_it_armed(
    number: signal.Signals,
) -> None:
    is_stopped = threading.Event()

    def answer_late(request: Packet) -> None:
        if request.name == "arm":
            is_stopped.wait(20)

    with (
        ScriptedDevice(answer_late) as device,
        background(["link", "arm", device.path, "--yes"]) as process,
    ):
        wait_for(lambda: "arm" in device.names(), "ARM")
        process.send_signal(number)
        is_stopped.set()
        _, told = process.communicate(timeout=20)
    assert process.returncode == 4, told
    assert f"stopped by {number.name}" in told
    assert device.names()[-1] == "stop"


def test_a_device_is_not_left_armed_where_nobody_could_be_told() -> None:
    with ScriptedDevice() as device, open("/dev/full", "w") as full:
        arm = [sys.executable, "-m", "rtloop.cli", "link", "arm", device.path, "--yes"]
        ran = subprocess.run(arm, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ran.returncode == 1
    assert "cannot print" in ran.stderr
    assert device.names()[-1] == "stop"


def test_a_device_is_not_left_armed_behind_a_terminal_that_stands_still() -> None:
    master, slave = pty.openpty()
    arm = [sys.executable, "-m", "rtloop.cli", "link", "arm"]
    try:
        with ScriptedDevice() as device:
            termios.tcflow(slave, termios.TCOOFF)  # as Ctrl-S does
            process = subprocess.Popen(
                [*arm, device.path, "--yes"], stdout=slave, stderr=subprocess.DEVNULL
            )
            wait_for(lambda: device.names()[-2:] == ["arm", "hello"], "ARM")
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)
        assert device.names()[-1] == "stop"
        assert process.returncode in (1, 4)  # 4: it came before there was anything to tell
    finally:
        termios.tcflow(slave, termios.TCOON)
        os.close(master)
        os.close(slave)
