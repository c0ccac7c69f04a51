"""A driver that holds received bytes back is told: by a run among its rights, by check as a warning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtloop.cli.check import check
from rtloop.cli.main import main
from tests.running import edited, firmware, write_config

TOLD = "ftdi_sio collects received bytes for up to 16 ms"


@pytest.fixture
def slow_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtloop.link.transports.serial.latency_problem", lambda device: TOLD)


def test_a_driver_that_does_not_tell_is_no_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with firmware(tmp_path) as device:
        main(["run", str(write_config(tmp_path, device.link)), "--duration", "0.2", "--json"])
    rights = json.loads(capsys.readouterr().out)["realtime"]
    assert "low_latency" not in str(rights)


@pytest.mark.usefixtures("slow_driver")
def test_a_run_lists_it_among_what_was_denied_with_its_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with firmware(tmp_path) as device:
        main(["run", str(write_config(tmp_path, device.link)), "--duration", "0.2", "--json"])
    denied = json.loads(capsys.readouterr().out)["realtime"]["denied"]
    (right,) = [right for right in denied if right["name"] == "balance link cart low_latency"]
    assert (right["granted"], right["fix"]) == (False, TOLD)


@pytest.mark.usefixtures("slow_driver")
def test_where_rights_are_demanded_it_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with firmware(tmp_path) as device:
        path = write_config(tmp_path, device.link)
        edited(path, {"scheduler: other,": "scheduler: other, on_denied: fail,"})
        assert main(["run", str(path), "--duration", "0.2"]) == 3
    assert TOLD in capsys.readouterr().err


@pytest.mark.usefixtures("slow_driver")
def test_check_of_the_device_warns_of_it(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        path = write_config(tmp_path, device.link)
        found = check(path, device=True)
        assert found.error is None
        assert [str(w.message) for w in found.warnings if "ftdi" in w.message] == [TOLD]
        assert found.devices["cart"]["latency_problem"] == TOLD
        assert not any("ftdi" in w.message for w in check(path).warnings), "not asked"
