"""`rtloop link sniff`: a file of bytes, or what a device sends unasked, as a table of packets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from tests.cli.screen import Screen
from tests.firmware import reference as ref
from tests.link.scripted_device import ScriptedDevice


def event(seq: int, kind: int = 2) -> bytes:
    fields = {"event": kind, "loop_class": 0, "reasons": 1, "time_us": 5, "valid_until_us": 0}
    fields |= {"lateness_us": 0, "total": 3, "state": 4}
    payload = ref.encode_message("event", fields)
    return ref.encode_frame(ref.encode_packet(ref.MESSAGES["event"][0], seq, 0, 1, 5, payload))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "line.bin"
    path.write_bytes(event(1) + b"\x09\x01\0" + event(3))
    return path


def test_packets_and_damage_are_told_in_words(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["link", "sniff", str(file)]) == 0
    header, first, damage, second, total = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "offset"
    assert "EVENT event state_change" in first
    assert "reasons COMMAND_TIMEOUT" in first
    assert "state SAFE" in first
    assert "!! 3 bytes: no frame" in damage
    assert "(1 missing before)" in second
    assert total == "2 packets, 1 damaged frames, 1 missing by their numbers"


def test_events_have_the_names_of_the_wire(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "line.bin"
    path.write_bytes(event(1, 5) + event(2, 99))
    assert main(["link", "sniff", str(path)]) == 0
    _, miss, unknown, _ = capsys.readouterr().out.splitlines()
    assert "EVENT event deadline_miss" in miss
    assert "EVENT event 99" in unknown


def test_lines_fit_the_terminal(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Screen(60) as screen:
        monkeypatch.setattr("sys.stdout", screen.stream)
        assert main(["link", "sniff", str(file)]) == 0
        rows = screen.rows()
    assert len(rows) == 5
    assert all(len(row) < 60 for row in rows)


def test_machines_get_an_object_a_frame(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "sniff", str(file), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in told] == ["EVENT", None, "EVENT"]
    assert told[2]["fields"]["total"] == 3
    assert told[2]["offset"] == file.read_bytes().rindex(b"\0", 0, -1) + 1


def test_a_text_of_the_device_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ref.MESSAGES["hello_reply"][2]
    payload = ref.encode_message("hello_reply", {**dict.fromkeys(names, 0), "name": b"a\x1b[2Jb"})
    path = tmp_path / "line.bin"
    path.write_bytes(ref.encode_frame(ref.encode_packet(2, 0, 0, 0, 0, payload)))
    assert main(["link", "sniff", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "name a?[2Jb" in out


def test_a_file_without_a_packet_is_an_error_that_says_what_to_look_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "line.bin"
    path.write_bytes(b"login: \0")
    assert main(["link", "sniff", str(path)]) == 1
    assert "holds no packet" in capsys.readouterr().err
    assert main(["link", "sniff", str(tmp_path / "nothere")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_what_a_device_sends_is_recorded_and_decoded(
    device: FirmwareProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "line.bin"
    record = ["link", "sniff", str(path), "--record", str(device.link), "--duration", "0.3"]
    assert main([*record, "--json"]) == 1, "it says nothing before HELLO"
    assert "says nothing before HELLO" in capsys.readouterr().err
    assert main(["link", "info", str(device.link)]) == 0
    capsys.readouterr()
    assert main([*record, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["type"] for line in told if line["type"]} == {"SENSOR"}
    assert path.stat().st_size >= sum(line["size"] for line in told)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_device_in_place_of_the_file_is_refused_and_sent_nothing(
    asked: Callable[..., tuple[int, Any]], is_recorded: bool
) -> None:
    with ScriptedDevice() as device:
        record = ["--record", device.path, "--duration", 0.1] if is_recorded else []
        code, told = asked("link", "sniff", device.path, *record)
    assert code == 2
    assert f"{device.path} is a device" in told["error"]
    assert f"rtloop link sniff line.bin --record {device.path}" in told["error"]
    assert not device.names()


@pytest.mark.parametrize("option", [("--duration", "1"), ("--baud", "9600")])
def test_what_counts_for_a_recording_alone_is_refused_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    path = tmp_path / "line.bin"
    path.write_bytes(b"")
    assert main(["link", "sniff", str(path), *option]) == 2
    expected = f"{option[0]}: nothing is recorded; expected --record DEVICE beside it"
    assert expected in capsys.readouterr().err
