"""`rtloop link arm`, `clear` and `safe`: nothing moves that nobody has said may move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Link, Reason
from tests.firmware.program import ACTIVE, ARMED, Host
from tests.link.scripted_device import ScriptedDevice
from tests.running import firmware

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
