from __future__ import annotations

import errno
import os
import pty
import signal
import time
import tty
from pathlib import Path
from typing import Any

import pytest
import serial
import serial.tools.list_ports

from rtloop.errors import LinkError
from rtloop.link.transports.serial import open_serial


class Line:
    """A pty; the far end is ``master``."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave

    def close(self) -> None:
        os.close(self._slave)
        os.close(self.master)


def pretend_ports(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    def comports(*_: Any) -> list[Any]:
        ports = [serial.tools.list_ports_common.ListPortInfo(d) for d in devices]
        for port in ports:
            port.description = "board"
        return ports

    monkeypatch.setattr(serial.tools.list_ports, "comports", comports)


def test_bytes_go_both_ways_and_none_come_is_no_error() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    line.write(b"\x00\x11\x13\xff\r\n")  # none is special on a raw line
    assert os.read(far.master, 100) == b"\x00\x11\x13\xff\r\n"
    os.write(far.master, b"\x00\x03\x04\x1a\r\n")
    assert line.read(1) == b"\x00\x03\x04\x1a\r\n"
    start = time.monotonic()
    assert line.read(0.05) == b""
    assert time.monotonic() - start >= 0.04
    line.close()
    line.close()
    far.close()


@pytest.mark.parametrize("refusal", [None, NotImplementedError(), OSError(errno.ENOTTY, "no")])
def test_its_driver_is_asked_for_low_latency_which_it_need_not_have(
    refusal: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def set_low_latency_mode(_: serial.Serial, on: bool) -> None:
        asked.append(on)
        if refusal is not None:
            raise refusal

    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", set_low_latency_mode)
    far = Line()
    line = open_serial(far.path, 1_000_000)
    assert asked == [True]
    assert line.low_latency == (refusal is None)
    line.close()
    far.close()


def test_a_missing_device_names_those_that_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend_ports(monkeypatch, "/dev/ttyACM7", "/dev/ttyUSB1")
    with pytest.raises(LinkError) as refused:
        open_serial(str(tmp_path / "ttyACM0"), 1_000_000)
    assert "there is no " in str(refused.value)
    assert "/dev/ttyACM7 (board), /dev/ttyUSB1 (board)" in str(refused.value)


def test_no_device_at_all_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_ports(monkeypatch)
    with pytest.raises(LinkError, match="no serial device is plugged in"):
        open_serial(str(tmp_path / "ttyACM0"), 1_000_000)


def test_a_busy_device_says_how_to_find_who_has_it() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    with pytest.raises(LinkError, match=r"in use by another program.*fuser -v"):
        open_serial(far.path, 1_000_000)
    line.close()
    open_serial(far.path, 1_000_000).close()  # free again
    far.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_that_lives_on_does_not_keep_the_device() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    try:
        line.close()
        open_serial(far.path, 1_000_000).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        far.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_free_the_device_of_its_parent() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    if (child := os.fork()) == 0:
        line.close()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(LinkError, match="in use by another program"):
        open_serial(far.path, 1_000_000)
    line.close()
    far.close()


def test_a_denied_device_says_which_group_to_join(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def denied(*_: Any, **__: Any) -> None:  # root is never denied
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "Serial", denied)
    path = tmp_path / "ttyACM0"
    path.touch()
    with pytest.raises(LinkError, match=r"no permission.*dialout.*log out"):
        open_serial(str(path), 1_000_000)


def test_a_file_is_no_serial_device(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    with pytest.raises(LinkError, match="is no serial device"):
        open_serial(str(path), 1_000_000)
    assert path.read_text() == "text"


def test_a_line_that_is_gone_is_an_error_on_reading_and_writing() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    far.close()
    with pytest.raises(LinkError, match="was lost"):
        line.read(1)
    with pytest.raises(LinkError, match="was lost"):
        line.write(b"x")
    line.close()


def test_a_line_that_nobody_reads_does_not_hold_a_writer_forever() -> None:
    far = Line()
    line = open_serial(far.path, 1_000_000)
    with pytest.raises(LinkError, match=r"takes no bytes since 0\.1 s"):
        line.write(bytes(10_000_000), timeout_s=0.1)
    line.close()
    far.close()
