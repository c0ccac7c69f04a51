"""The folder of a demo, and what one that was killed has left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rtloop.demos.folder import private_folder
from tests.running import ROOT


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /tmp."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_the_callers_alone_and_goes(place: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "robot").symlink_to("/dev/pts/0")
    assert not any(place.iterdir())


def test_two_at_a_time_leave_each_other_alone(place: Path) -> None:
    with private_folder() as one, private_folder() as other:
        assert one != other
        assert one.exists()
    assert not any(place.iterdir())


def test_what_one_that_was_killed_left_goes_with_the_next(place: Path) -> None:
    program = (
        "import sys, time; from rtloop.demos.folder import private_folder\n"
        "with private_folder() as folder:\n"
        "    (folder / 'robot').symlink_to('/dev/pts/0')\n"
        "    print(folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)},
    )
    assert killed.stdout is not None
    left = Path(killed.stdout.readline().strip())
    with private_folder():
        assert left.exists()  # it lives
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.exists()
    with private_folder() as mine:
        assert [*place.iterdir()] == [mine]


def test_what_is_not_the_demos_stays(place: Path) -> None:
    prefix = f"rtloop-demo-{os.geteuid()}-"
    elsewhere = place / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "precious").touch()
    (place / f"{prefix}link").symlink_to(elsewhere)
    (place / f"{prefix}file").touch()
    open_to_all = place / f"{prefix}open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (place / "rtloop-demo-abcd1234").mkdir(mode=0o700)  # of an rtloop that locked nothing
    before = sorted(place.iterdir())
    with private_folder():
        pass
    assert sorted(place.iterdir()) == before
    assert (elsewhere / "precious").exists()


def test_what_belongs_to_somebody_else_stays(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make something of somebody else's")
    foreign = place / f"rtloop-demo-{os.geteuid()}-foreign"
    foreign.mkdir(mode=0o700)
    os.chown(foreign, 4711, -1)
    with private_folder():
        pass
    assert foreign.exists()
