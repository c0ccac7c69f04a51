"""Signals at any moment of a command: an end in order, nothing said to a device but STOP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from rtloop.stopping import go_on
from tests.firmware import reference as ref
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
from tests.running import (
    background,
    wait_until_running,
    write_config,
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(
    tmp_path: Path, device: FirmwareProcess, number: signal.Signals
) -> None:
    with background(["run", write_config(tmp_path, device.link), "--json", "--no-report"]) as run:
        wait_until_running(run)
        run.send_signal(number)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert json.loads(out)["stopped_by"] == number.name
    assert "Traceback" not in err
    assert device.stop()["reasons"] == ["HOST_STOP"]


def test_ctrl_c_ends_a_report_that_hangs(
    tmp_path: Path,
    device: FirmwareProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def hanging(*_: object) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        for _i in range(100):
            go_on()
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    monkeypatch.setattr("rtloop.run.write_report_beside", hanging)
    path = write_config(tmp_path, device.link)
    assert main(["run", str(path), "--json", "--duration", "0.3"]) == 1
    summary = json.loads(capsys.readouterr().out)
    (problem,) = summary["problems"]
    folder = Path(summary["recording"]).parent
    assert problem == f"no report: it was stopped. `rtloop report {folder}` writes it"


#: Of what the command line asks a device before its first cycle, and which one: the signal comes before
#: the answer. Then the start is greeting it, has measured its clock, is arming it, greets it as an
#: armed one, or awaits a sample.
MOMENTS = [
    ("hello", 1), ("schema_request", 1), ("time_request", 1), ("time_request", 16), ("hello", 2),
    ("time_request", 20), ("hello", 3), ("arm", 1), ("hello", 4),
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS, ids="{0[0]} {0[1]}".format)
def test_after_a_signal_a_starting_run_says_nothing_to_a_device_but_stop(
    tmp_path: Path, moment: tuple[str, int], number: signal.Signals
) -> None:
    said_before: list[int] = []

    def interrupting(request: ref.Packet) -> None:
        names = device.names()
        if request.name == moment[0] and names.count(request.name) == moment[1]:
            said_before.append(len(names))
            run.send_signal(number)

    with ScriptedDevice(interrupting, CARTPOLE_SCHEMA) as device:
        command = ["run", write_config(tmp_path, Path(device.path)), "--json"]
        with background(command) as run:
            out, err = run.communicate(timeout=30)
        assert said_before, (device.names(), err)
        after = device.names()[said_before[0] :]
    assert run.returncode == 4, err
    summary = json.loads(out)
    assert (summary["started"], summary["stopped_by"]) == (False, number.name)
    assert set(after) <= {"stop"}
    armed = moment in (("hello", 3), ("arm", 1), ("hello", 4))
    assert ("stop" in after) is armed
    assert "Traceback" not in err


INTERRUPTED_IMPORT = """
import os, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Finder)
from rtloop.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["rtloop.config", "pydantic", "rtloop.run", "numpy"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_signal_while_the_program_is_still_loaded_ends_it_in_order(
    tmp_path: Path, command: str, module: str, number: signal.Signals
) -> None:
    what = ["run", write_config(tmp_path, tmp_path / "tty")] if command == "run" else ["demo"]
    told = [sys.executable, "-c", INTERRUPTED_IMPORT, module, str(int(number)), *what]
    done = subprocess.run(told, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 4, done.stderr
    assert f"stopped by {number.name} before it started" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("delay_s", [0.1, 0.5, 0.8, 1.1, 1.5])
def test_a_signal_at_any_moment_of_a_start_ends_in_order(
    tmp_path: Path, device: FirmwareProcess, delay_s: float
) -> None:
    with background(["run", write_config(tmp_path, device.link), "--no-report"]) as run:
        time.sleep(delay_s)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=30)
    told = device.stop()
    if run.returncode == -signal.SIGTERM:
        return  # before the program had begun
    assert "Traceback" not in err
    assert run.returncode in (0, 4), err
    if run.returncode == 4:
        assert "stopped by SIGTERM before it started" in out
        assert told["elapsed_s"] == 0, "it was never ACTIVE"
        assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT])
def test_a_run_under_nohup_or_in_the_background_outlives_its_terminal(
    tmp_path: Path, device: FirmwareProcess, ignored: signal.Signals
) -> None:
    with background(
        ["run", write_config(tmp_path, device.link), "--json", "--no-report"],
        preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN),
    ) as run:
        wait_until_running(run)
        run.send_signal(ignored)
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert json.loads(out)["stopped_by"] == "SIGTERM"
