"""The names and folders of an activation: nobody else's, and gone when it fails."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import rtloop.activation
from rtloop.activation import Activation
from rtloop.config import load
from rtloop.errors import ConfigError, RtloopError, StoppedError
from rtloop.link.port import LinkPort
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from tests.running import firmware, write_config


class Midnight(datetime):
    """Of a day on which the clock stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> Midnight:
        return cls(2026, 1, 1, tzinfo=tz)


@pytest.fixture
def midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtloop.activation, "datetime", Midnight)


CLAIM = """
import sys
from pathlib import Path
import rtloop.activation
from tests.test_activation import Midnight
rtloop.activation.datetime = Midnight
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    claimed = rtloop.activation.Activation.claim(sys.argv[1], Path(sys.argv[2]), record=i % 2 == 0)
    if i >= 10:
        claimed.undo()
    else:
        print(claimed.run_id, flush=True)
"""


def test_processes_that_start_in_the_same_millisecond_get_run_ids_of_their_own(
    tmp_path: Path,
) -> None:
    name = tmp_path.name
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, name, str(tmp_path / "runs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    run_ids = [run_id for process in processes for run_id in process.communicate()[0].split()]
    activations = [Activation(i, tmp_path / i, RING_DIRECTORY / i) for i in run_ids]
    try:
        assert [process.returncode for process in processes] == [0] * 4
        assert len(set(run_ids)) == len(run_ids) == 40
        assert all(activation.ring_directory.is_dir() for activation in activations)
        assert {path.name for path in (tmp_path / "runs").iterdir()} <= set(run_ids)
        assert len(list((tmp_path / "runs").iterdir())) == 20
    finally:
        for activation in activations:
            activation.undo()


@pytest.mark.usefixtures("midnight")
def test_a_start_that_fails_removes_nothing_of_a_run_of_the_same_millisecond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    with firmware(tmp_path) as device, firmware(tmp_path / "other") as other:
        with Run(load(write_config(tmp_path, device.link)), "test") as run:
            loser = Run(load(write_config(tmp_path, other.link)), "test")
            monkeypatch.setattr(LinkPort, "arm", lambda port, clear: loser.request_stop("SIGINT"))
            with pytest.raises(StoppedError):
                loser.start()
            run.wait(0.3)
            ring = run.observed["balance"].ring.path
            assert ring.exists()
        summary = run.stop()
    assert summary.problems == ()
    assert list((tmp_path / "runs").iterdir()) == [run.directory]
    found = read_recording(run.recording)
    assert len(found.loops["balance"].records) == summary.loops["balance"].executed
    assert not ring.parent.exists()


@pytest.mark.parametrize("name", ["a/b", "../x", "", "a\nb", "\udcff", "x" * 201])
def test_a_name_that_is_no_part_of_a_folders_name_is_refused(tmp_path: Path, name: str) -> None:
    config = load(write_config(tmp_path, tmp_path / "tty"))
    with pytest.raises(ConfigError, match="as the name of a run; expected part of a file's name"):
        Run(config, name)
    for good in ("robot", "My robot-2.v1", "Rückstoß"):
        assert Run(config, good).name == good


@pytest.mark.usefixtures("midnight")
def test_what_was_there_before_stays(tmp_path: Path) -> None:
    taken = tmp_path / "runs" / "20260101T000000_000-x"
    taken.mkdir(parents=True)
    activation = Activation.claim("x", tmp_path / "runs", record=True)
    assert activation.run_id == "20260101T000000_000-x-2"
    activation.undo()
    assert list((tmp_path / "runs").iterdir()) == [taken]
    assert not activation.ring_directory.exists()
    assert not (activation.ring_directory.parent / taken.name).exists()


def test_a_folder_that_cannot_be_made_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RtloopError, match="cannot create .* for the recording: Not a directory"):
        Activation.claim(tmp_path.name, tmp_path / "file" / "runs", record=True)
    assert not list(RING_DIRECTORY.glob(f"*{tmp_path.name}*"))


@pytest.mark.parametrize("kind", ["a file", "a device", "a link to nothing"])
def test_what_is_no_folder_in_the_place_of_all_recordings_is_an_error_and_no_taken_run_id(
    kind: str, tmp_path: Path
) -> None:
    place = {"a device": Path("/dev/null")}.get(kind, tmp_path / "rtloop-runs")
    if kind == "a file":
        place.touch()
    elif kind == "a link to nothing":
        place.symlink_to(tmp_path / "nothing")
    code = (
        "import sys; from pathlib import Path; from rtloop.activation import Activation\n"
        "Activation.claim(sys.argv[1], Path(sys.argv[2]), record=True)"
    )
    # In a process of its own, which can be ended where it counts run ids for ever.
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path.name, str(place)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert f"cannot create a folder in {place} for the recording: Not a directory" in done.stderr
    assert not list(RING_DIRECTORY.glob(f"*{tmp_path.name}*"))


def test_a_group_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RtloopError, match="no group"):
        Activation.claim(tmp_path.name, tmp_path / "runs", record=True, group="no-such-group")
    assert not list(RING_DIRECTORY.glob(f"*{tmp_path.name}*"))
    assert not (tmp_path / "runs").exists()


def test_a_pointer_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtloop.activation.write_pointer", full)
    with pytest.raises(RtloopError, match="cannot create .* for the rings: No space left"):
        Activation.claim(tmp_path.name, tmp_path / "runs", record=True)
    assert not list(RING_DIRECTORY.glob(f"*{tmp_path.name}*"))
