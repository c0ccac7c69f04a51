from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtloop.config import host_problems

from .example import EXAMPLE, changed, loaded


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """A host of four CPUs, of which this process may use 0 and 1, with a writable folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("rtloop.config.host._numbers", lambda path: {0, 1, 2, 3})
    return folder


def found(text: str, folder: Path) -> list[str]:
    return [
        str(line).replace(str(folder / "loops.yaml"), "loops.yaml").replace(str(folder), "FOLDER")
        for line in host_problems(loaded(text, folder))
    ]


def example(*replacements: tuple[str, str]) -> str:
    """The example on a character device that every host has."""
    return changed(("/dev/ttyACM0", "/dev/null"), *replacements)


def test_a_fitting_host_has_no_problems(host: Path) -> None:
    assert found(example(), host) == []


def test_a_cpu_that_the_host_lacks_is_named(host: Path) -> None:
    assert found(example(("cpu_affinity: [1]", "cpu_affinity: [1, 9]")), host) == [
        "loops.yaml:39:25: loops.balance.realtime.cpu_affinity[1]: found CPU 9; expected a CPU of "
        "this host: 0, 1, 2, 3"
    ]


def test_a_cpu_outside_the_cpuset_is_named(host: Path) -> None:
    assert found(example(("cpu_affinity: [1]", "cpu_affinity: [3]")), host) == [
        "loops.yaml:39:22: loops.balance.realtime.cpu_affinity[0]: found CPU 3, which this process "
        "may not use; expected one of 0, 1, or a wider cpuset (container, systemd AllowedCPUs, "
        "taskset)"
    ]


def test_a_missing_device_is_shown_with_those_there_are(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.listdir
    names = ["null", "ttyUSB1", "ttyACM3", "tty0"]
    monkeypatch.setattr("os.listdir", lambda path: names if path == "/dev" else listed(path))
    text = EXAMPLE.replace("/dev/ttyACM0", "/dev/ttyACM77")
    assert found(text, host) == [
        "loops.yaml:5:13: links.cart.device: found '/dev/ttyACM77': No such file or directory; "
        "expected a serial device, such as /dev/ttyACM3, /dev/ttyUSB1"
    ]


def test_a_plain_file_is_no_device(host: Path) -> None:
    text = EXAMPLE.replace("/dev/ttyACM0", str(host / "policy.onnx"))
    assert found(text, host) == [
        "loops.yaml:5:13: links.cart.device: found 'FOLDER/policy.onnx', no character device; "
        "expected a serial device"
    ]


def test_a_device_without_permission_names_the_group(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loaded(example(), host)
    monkeypatch.setattr("os.access", lambda path, mode: path != "/dev/null")
    assert [str(line).partition("loops.yaml:")[2] for line in host_problems(config)] == [
        "5:13: links.cart.device: found '/dev/null' without permission to read and write; expected "
        "both: add the user to the device's group (often dialout) and log in again"
    ]


def test_the_real_host_is_read_without_an_error(folder: Path) -> None:
    problems = host_problems(loaded(example(("cpu_affinity: [1]", "cpu_affinity: [8191]")), folder))
    assert any("found CPU 8191; expected a CPU of this host: " in str(line) for line in problems)
