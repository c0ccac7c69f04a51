"""What is plugged in, on a made-up /sys, /dev/serial and /proc; nothing is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import serial.tools.list_ports
from serial.tools.list_ports_common import ListPortInfo

from rtloop.link import devices
from rtloop.link.devices import serial_devices
from rtloop.link.transports import latency_problem, serial_latency
from tests.cli.made_up_host import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_usb_adapter_has_ids_a_name_that_stays_and_its_driver(host: Host) -> None:
    path = host.plug("ttyUSB0", "ftdi_sio", latency_timer="16\n")
    (found,) = serial_devices()
    assert (found.path, found.usb_id) == (str(path), "0403:6001")
    assert (found.manufacturer, found.product, found.serial_number) == (
        "FTDI",
        "FT232R",
        "A50285BI",
    )
    assert found.by_id == str(host.by_id / "usb-FTDI_FT232R_A50285BI-if00-port0")
    assert found.latency.driver == "ftdi_sio"
    assert found.latency.timer_ms == 16
    assert found.problem == "", "it can be opened"


def test_a_port_that_is_not_on_usb_has_no_ids(host: Host) -> None:
    host.plug("ttyS0", "port", usb=False, flags="0x10002000\n")
    (found,) = serial_devices()
    assert (found.usb_id, found.by_id) == ("", "")
    assert found.latency.timer_ms is None
    assert found.latency.low_latency is True


def test_who_has_a_device_open_is_told(host: Host) -> None:
    path = host.plug("ttyACM0", "cdc_acm")
    fd = os.open(path, os.O_RDWR)
    try:
        (found,) = serial_devices()
    finally:
        os.close(fd)
    assert [holder.pid for holder in found.holders] == [os.getpid()]
    name = Path("/proc/self/comm").read_text().strip()
    assert str(found.holders[0]) == f"{name} ({os.getpid()})"
    assert serial_devices()[0].holders == ()


def test_a_process_that_ends_while_it_is_looked_at_is_passed_over(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.plug("ttyACM0", "cdc_acm")
    monkeypatch.setattr(devices, "PROC", tmp_path / "proc")
    (tmp_path / "proc/41").mkdir(parents=True)
    (tmp_path / "proc/42/fd").mkdir(parents=True)
    (tmp_path / "proc/42/comm").write_text("ModemManager\n")
    (tmp_path / "proc/42/fd/3").symlink_to(path)
    (found,) = serial_devices()
    assert [str(holder) for holder in found.holders] == ["ModemManager (42)"]


def test_words_of_a_device_cannot_control_a_terminal(host: Host) -> None:
    host.plug("ttyACM0", "cdc_acm", product="a\x1b[2J")
    assert serial_devices()[0].product == "a?[2J"


def test_a_device_that_this_user_may_not_open_says_what_to_do(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("ttyACM0", "cdc_acm")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "add the user to the device's group" in serial_devices()[0].problem


# --- latency ---


def test_an_adapter_that_collects_bytes_is_a_problem_with_its_fix(host: Host) -> None:
    path = host.plug("ttyUSB0", "ftdi_sio", latency_timer="16\n")
    told = latency_problem(str(path))
    assert "ftdi_sio collects received bytes for up to 16 ms" in told
    assert f"echo 1 | sudo tee {serial_latency.SYS}/class/tty/ttyUSB0/device/latency_timer" in told
    assert 'ATTR{latency_timer}="1"' in told
    by_id = next(host.by_id.iterdir())
    assert latency_problem(str(by_id)) == told, "by either of its names"


@pytest.mark.parametrize("timer", ["1\n", "", "nonsense"])
def test_one_that_passes_them_on_or_does_not_tell_is_none(host: Host, timer: str) -> None:
    assert latency_problem(str(host.plug("ttyUSB0", "ftdi_sio", latency_timer=timer))) == ""


def test_what_is_no_serial_adapter_has_no_latency_of_a_driver(host: Host) -> None:
    assert latency_problem("/dev/pts/0") == ""
    assert latency_problem("nosuch://x") == ""


def test_pyserial_tells_what_is_used_here(monkeypatch: pytest.MonkeyPatch) -> None:
    told: Any = ListPortInfo("/dev/null")
    assert all(hasattr(told, name) for name in ("vid", "pid", "manufacturer", "product"))
    monkeypatch.setattr(serial.tools.list_ports, "comports", list)
    assert serial_devices() == []
