"""`rtloop devices` and `rtloop link` over each transport: a device is written as in a configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from tests.running import firmware

Asked = Callable[..., tuple[int, dict[str, Any]]]
SERVED = {
    "serial": [],
    "zmq": ["--zmq", "tcp://127.0.0.1:0"],
    "udp": ["--udp", "udp://127.0.0.1:0"],
}


@pytest.fixture(params=list(SERVED))
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path, *SERVED[request.param]) as device:
        yield device


def test_a_device_is_asked_measured_armed_and_stopped(
    served: FirmwareProcess, asked: Asked
) -> None:
    code, told = asked("devices", served.device)
    assert (code, told["answers"][0]["name"]) == (0, "cartpole")
    code, told = asked("link", "info", served.device)
    assert (code, told["state"]) == (0, "IDLE")
    assert told["sensors"][0]["value"] is not None
    code, told = asked("link", "ping", served.device, "-n", 10, "--every", 0)
    assert (code, told["lost"]) == (0, 0)
    assert asked("link", "arm", served.device, "--yes")[1]["state"] == "ARMED"
    assert asked("link", "safe", served.device)[1]["reasons"] == ["HOST_STOP"]
    assert asked("link", "clear", served.device)[1]["state"] == "IDLE"


def test_what_it_sends_is_monitored_and_recorded(
    served: FirmwareProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", "monitor", served.device, "--duration", "0.3", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["samples"] > 0
    file = tmp_path / "line.bin"
    code = main(["link", "sniff", str(file), "--record", served.device, "--duration", "0.2"])
    if served.device.startswith("udp"):  # it goes to the address that said HELLO, another one
        assert code == 1
    else:
        assert code == 0
        assert "SENSOR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("udp://127.0.0.1:1", "udp://127.0.0.1:1"),
        ("zmq+tcp://127.0.0.1:1", "the connection was refused"),
        ("carrier+pigeon://loft", "cannot be opened; a device is"),
    ],
)
def test_what_cannot_be_reached_is_an_error_with_the_reason(
    device: str, why: str, asked: Asked
) -> None:
    code, told = asked("link", "info", device)
    assert code == 1
    assert why in told["error"]
