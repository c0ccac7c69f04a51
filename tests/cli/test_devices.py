"""`rtloop devices`: a table for people, JSON for machines; asked only where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from tests.cli.made_up_host import Host
from tests.cli.screen import Screen
from tests.link.scripted_device import ScriptedDevice
from tests.running import firmware


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_nothing_plugged_in_says_so_and_what_to_check(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no serial device is plugged in. Check that the board has power")
    assert main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"devices": [], "answers": [], "exit_code": 0}


def test_each_device_is_a_row_with_its_name_that_stays(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    path = host.plug("ttyUSB0", "ftdi_sio", latency_timer="16\n")
    host.plug("ttyS0", "port", usb=False)
    assert main(["devices"]) == 0
    header, usb, other, stable, hint = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["device", "usb"]
    assert usb.split() == [
        str(path),
        "0403:6001",
        "FTDI",
        "FT232R",
        "A50285BI",
        "ftdi_sio",
        "16",
        "ms",
    ]
    assert other.split() == [str(path.with_name("ttyS0")), "port"]
    assert stable == f"  {path} stays {next(host.by_id.iterdir())}"
    assert "--ask" in hint


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_a_narrow_terminal_gets_rows_that_fit(
    host: Host, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("ttyUSB0", "ftdi_sio", latency_timer="16\n")
    with Screen(columns) as screen:
        monkeypatch.setattr("sys.stdout", screen.stream)
        assert main(["devices"]) == 0
        header, row = screen.rows()[:2]
    assert len(header) < columns
    assert len(row) < columns
    assert "FT" in row, "the product is what tells one from the other"


def test_they_are_not_opened_unless_asked(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("ttyUSB0", "ftdi_sio")
    monkeypatch.setattr("rtloop.link.transports.serial.open_serial", None)
    assert main(["devices", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["devices"][0]["driver"] == "ftdi_sio"
    assert told["devices"][0]["usb_id"] == "0403:6001"
    assert told["answers"] == []


def test_those_that_are_found_are_asked_and_one_that_is_silent_is_no_failure(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    path = host.plug("ttyACM0", "cdc_acm")  # a file, and no terminal: HELLO finds nobody
    assert main(["devices", "--ask", "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert (answer["device"], answer["name"]) == (str(path), None)
    assert answer["error"]


def test_named_devices_are_asked_all_of_them_and_a_silent_one_is_a_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with firmware(tmp_path) as device, ScriptedDevice() as scripted:
        named = [str(device.link), scripted.path]
        assert main(["devices", *named]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first.startswith(f"cartpole on {device.link} is IDLE: 4 sensor values every 1 ms")
        assert second.startswith(
            f"scripted on {scripted.path} is IDLE: 2 sensor values every 10 ms"
        )
        assert main(["devices", *named, str(tmp_path / "nothere"), "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
    assert [answer["name"] for answer in told["answers"]] == ["cartpole", "scripted", None]
    assert "there is no" in told["answers"][2]["error"]
    assert told["exit_code"] == 1


def test_each_baud_rate_is_tried_until_one_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FirmwareProcess(tmp_path / "tty") as device:
        rates = ["--baud", "115200", "--baud", "1000000"]
        assert main(["devices", str(device.link), *rates, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["baud"] == 115200, "a pty has no rate: the first one"


@pytest.mark.parametrize("baud", ["0", "299", "fast"])
def test_a_baud_rate_that_is_none_is_wrong_usage(
    baud: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", "--ask", "--baud", baud]) == 2
    assert baud in capsys.readouterr().err


def test_a_baud_rate_to_ask_nobody_with_is_refused(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", "--baud", "115200"]) == 2
    assert "--baud: nobody is asked; expected --ask beside it" in capsys.readouterr().err
    assert main(["devices", "--ask", "--baud", "115200"]) == 0
