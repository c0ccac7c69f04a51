"""`rtloop link info` and `ping` on the firmware program, and on devices that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Link, Reason
from tests.link.scripted_device import ScriptedDevice

Asked = Callable[..., tuple[int, dict[str, Any]]]


def test_a_device_says_what_it_is_and_is_left_as_it_was(
    device: FirmwareProcess, asked: Asked
) -> None:
    for _ in range(2):
        code, told = asked("link", "info", device.link)
        assert code == 0
        assert (told["name"], told["state"], told["reasons"]) == ("cartpole", "IDLE", [])
    names = [sensor["name"] for sensor in told["sensors"]]
    assert names == ["cart_position", "cart_velocity", "pole_angle", "pole_rate"]
    assert (told["sensors"][0]["unit"], told["sensors"][0]["rate_hz"]) == ("m", 1000)
    assert told["sensors"][2]["value"] == pytest.approx(0.1, abs=0.02), "the pole as it begins"
    assert [command["name"] for command in told["commands"]] == ["force"]
    assert told["counters"]["rx_packets"] > 0
    assert told["clock_error_us"] > 0
    assert told["low_latency"] is False  # a pty has no such mode
    assert told["account"]["period_us"] == 1000, "of its own loop"


def test_people_get_a_table_with_values_and_units(
    device: FirmwareProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", "info", str(device.link)]) == 0
    out = capsys.readouterr().out
    assert f"cartpole on {device.link} is IDLE" in out
    assert "SAFE after 500 ms without a command" in out
    (row,) = (line.split() for line in out.splitlines() if "pole_rate" in line)
    assert (row[0], row[1], row[3], row[4]) == ("pole_rate", "sensor", "rad/s", "1000")


def test_why_a_device_is_safe_is_told(device: FirmwareProcess, asked: Asked) -> None:
    link = Link.open("x", str(device.link), 1_000_000)
    link.stop(Reason.LIMIT)
    link.close()
    _, told = asked("link", "info", device.link)
    assert (told["state"], told["reasons"]) == ("SAFE", ["LIMIT"])


def test_a_value_that_is_no_number_is_null(asked: Asked) -> None:
    def script(request: Any) -> Any:
        if request.name != "status_request":
            return None
        values = {"sample_time_us": 0, "state": 1, "reasons": 0, "command_seq": 0}
        sample = {**values, "late_commands": 0, "values": [float("nan"), 2.0]}
        return [("device_status", device.status()), ("sensor", sample)]

    with ScriptedDevice(script) as device:
        _, told = asked("link", "info", device.path)
    assert [sensor["value"] for sensor in told["sensors"]] == [None, 2.0]


def test_a_device_that_is_not_there_is_an_error_with_what_there_is(asked: Asked) -> None:
    code, told = asked("link", "info", "/dev/nothere")
    assert code == 1
    assert told["error"].startswith("link '/dev/nothere': there is no /dev/nothere; ")


# --- ping ---


def test_ping_counts_and_times_each_exchange(device: FirmwareProcess, asked: Asked) -> None:
    code, told = asked("link", "ping", device.link, "-n", 30, "--every", 0)
    assert (code, told["n"], told["lost"], told["damaged"]) == (0, 30, 0, 0)
    times = told["round_trip_us"]
    assert 0 <= times["p50"] <= times["p90"] <= times["p99"] <= times["p99_9"] <= times["max"]
    assert told["clock_error_us"] > 0


def test_ping_tells_what_was_lost_and_fails(asked: Asked) -> None:
    answered = 0

    def script(request: Any) -> Any:
        nonlocal answered
        if request.name != "time_request":
            return None
        answered += 1
        return [] if answered > 16 and answered % 2 else None

    with ScriptedDevice(script) as device:
        code, told = asked("link", "ping", device.path, "-n", 4, "--every", 0)
    assert (code, told["n"], told["lost"]) == (1, 4, 2)


def test_ping_of_a_device_that_falls_silent_is_an_error(asked: Asked) -> None:
    n = 0

    def script(request: Any) -> Any:
        nonlocal n
        n += request.name == "time_request"
        return [] if n > 16 else None

    with ScriptedDevice(script) as device:
        code, told = asked("link", "ping", device.path, "-n", 2)
    assert code == 1
    assert "answered none of 2 time requests" in told["error"]


@pytest.mark.parametrize("n", ["0", "-1", "many"])
def test_a_number_of_exchanges_that_is_none_is_wrong_usage(n: str, asked: Asked) -> None:
    code, told = asked("link", "ping", "/dev/x", f"-n={n}")
    assert code == 2
    assert "no whole number above 0" in told["error"]
