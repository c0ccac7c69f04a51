"""`rtloop link monitor`: on a terminal of any width, and as lines of JSON."""

from __future__ import annotations

import json
import signal
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from rtloop.cli.link.monitor import monitor
from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Reason
from tests.cli.screen import Screen
from tests.firmware.program import HARDWARE
from tests.running import background


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_lines_of_json_have_values_rate_age_and_counters(
    device: FirmwareProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--duration", "0.6", "--every", "0.2", "--json"]
    assert main(["link", "monitor", str(device.link), *arguments]) == 0
    told = lines(capsys.readouterr().out)
    assert len(told) >= 3
    last = told[-1]
    assert (last["state"], last["damaged"]) == ("IDLE", 0)
    assert list(last["values"]) == ["cart_position", "cart_velocity", "pole_angle", "pole_rate"]
    assert last["samples"] > told[0]["samples"] > 0
    assert last["rate_hz"] > 0
    assert last["age_us"] > -last["clock_error_us"]
    assert last["counters"]["tx_packets"] > 0


def test_what_happens_to_the_device_is_told_when_it_happens(device: FirmwareProcess) -> None:
    arguments = ["link", "monitor", device.link, "--json", "--every", 0.05]
    with background(arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()
        subprocess.run(["kill", "-USR2", str(device.pid)], check=True)  # its emergency stop
        event = next(
            told for line in process.stdout if (told := json.loads(line)).get("event") is not None
        )
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0, "Ctrl-C is how it ends"
    assert (event["event"], event["state"]) == ("state_change", "SAFE")
    assert event["reasons"] == [Reason(HARDWARE).name]
    assert lines(out)[-1]["state"] == "SAFE"


@pytest.mark.parametrize("json_too", [True, False])
def test_it_ends_when_its_reader_has_left(device: FirmwareProcess, json_too: bool) -> None:
    arguments = ["link", "monitor", device.link, *(["--json"] if json_too else [])]
    with background(arguments) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 1


@pytest.mark.parametrize("columns", [30, 50, 80, 120])
def test_it_fits_the_terminal_and_is_drawn_in_place(
    device: FirmwareProcess, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Namespace(
        device=str(device.link), baud=1_000_000, json=False, duration=0.5, every=0.1
    )
    with Screen(columns) as screen:
        monkeypatch.setattr("sys.stdout", screen.stream)
        assert monitor(options) == 0
        rows = screen.rows()
    assert len(rows) == 6, "the head, and a table of four values"
    assert rows[0].startswith("cartpole  IDLE  ")
    assert all(len(row) < columns for row in rows)
    assert "\x1b[6F" in screen.received


def test_a_line_that_is_lost_ends_it_with_the_reason(tmp_path: Path) -> None:
    with FirmwareProcess(tmp_path / "tty") as device:
        arguments = ["link", "monitor", device.link, "--json", "--every", 0.05]
        with background(arguments) as process:
            assert process.stdout is not None
            process.stdout.readline()
            subprocess.run(["kill", "-9", str(device.pid)], check=True)
            _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "was lost" in err
