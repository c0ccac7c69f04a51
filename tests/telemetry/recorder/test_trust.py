"""Recovery and recorder among other users: only what is the caller's own is believed."""

import grp
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.errors import RecordingError
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe import ring as ring_module
from rtloop.telemetry.observe.ring import Ring, make_ring_directory
from rtloop.telemetry.private import make_private_directory, replace_file
from rtloop.telemetry.recorder import recover as recovery
from rtloop.telemetry.recorder.left_behind import DeadRun
from rtloop.telemetry.recorder.pointer import POINTER_NAME
from rtloop.telemetry.recorder.recover import recover
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.running import edited, firmware, write_config
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
NOBODY = 65534


def dead_ring(run: Path, *, run_id: str | None = None, n: int = 50) -> Path:
    """The ring of a loop whose process is gone; what it says about its run may be a lie."""
    loop = metadata(run_id=run.name if run_id is None else run_id)
    ring = new_ring(run, loop)
    append(ring, batch_of(cycles(n), loop))
    ring.set_state("finalized")
    path = run / "balance.ring"
    started = core.RingReader(str(path)).writer_start_time.to_bytes(8, "little")
    data = bytearray(path.read_bytes())
    at = data.index(started, 0, 4096)
    data[at : at + 8] = (1).to_bytes(8, "little")
    path.unlink()
    path.write_bytes(data)
    return path


def point(run: Path, recording: object) -> None:
    text = json.dumps({"recording": str(recording), "pid": 0, "start_time": 0})
    (run / POINTER_NAME).write_text(text)


def give_away(path: Path) -> None:
    for each in (path, *path.rglob("*")):
        os.chown(each, NOBODY, NOBODY, follow_symlinks=False)


def everything_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Where an attacker wants something written."""
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@needs_root
def test_another_users_run_is_left_to_that_user(
    ring_directory: Path, tmp_path: Path, outside: Path
) -> None:
    planted = ring_directory / "planted"
    dead_ring(planted)
    point(planted, outside / "authorized_keys")
    give_away(planted)
    mine = ring_directory / "mine"
    dead_ring(mine)
    before = everything_below(planted)
    restored, left = recover(None, ring_directory, tmp_path / "runs")
    assert (restored.run_id, restored.error) == ("mine", None)
    assert left.left_to is not None
    assert "left to" in str(left)
    assert left.as_dict()["recording"] is None
    assert everything_below(outside) == []
    assert everything_below(planted) == before


@pytest.mark.parametrize("run_id", ["../../outside/x", "/etc", "..", ".", "", "other"])
def test_what_a_ring_says_of_its_run_never_becomes_a_path(
    run_id: str, ring_directory: Path, tmp_path: Path, outside: Path
) -> None:
    dead_ring(ring_directory / "run", run_id=run_id)
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.error is not None
    assert any("not of this run" in note for note in found.notes)
    assert everything_below(tmp_path) == [outside]
    assert (ring_directory / "run" / "balance.ring").exists()


def test_a_link_in_the_place_of_a_run_is_not_followed(ring_directory: Path, tmp_path: Path) -> None:
    dead_ring(tmp_path / "elsewhere" / "run")
    (ring_directory / "run").symlink_to(tmp_path / "elsewhere" / "run")
    assert recover(None, ring_directory, tmp_path / "runs") == []


@pytest.mark.parametrize("name", ["balance.ring", POINTER_NAME])
def test_a_link_inside_a_run_is_not_followed(
    name: str, ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    point(run, tmp_path / "run.mcap")
    (run / name).rename(ring_directory / "target")
    (run / name).symlink_to(ring_directory / "target")
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.notes
    assert not (tmp_path / "run.mcap").exists() or name == "balance.ring"
    assert (ring_directory / "target").exists()


@needs_root
@pytest.mark.parametrize("name", ["balance.ring", POINTER_NAME])
def test_another_users_file_in_my_folder_is_not_believed(
    name: str, ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    point(run, tmp_path / "run.mcap")
    os.chown(run / name, NOBODY, NOBODY)
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.notes
    assert not (tmp_path / "run.mcap").exists()


def test_a_folder_that_anybody_may_write_to_is_an_error_with_a_cure(
    ring_directory: Path, tmp_path: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    run.chmod(0o777)
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.error is not None
    assert "chmod o-w" in found.error


def test_a_link_in_the_place_of_the_recording_is_an_error(
    ring_directory: Path, tmp_path: Path, outside: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    (outside / "precious.mcap").write_text("")
    (tmp_path / "run.mcap").symlink_to(outside / "precious.mcap")
    point(run, tmp_path / "run.mcap")
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.error is not None
    assert "is a link" in found.error
    assert "/proc/" not in found.error
    with pytest.raises(RecordingError, match="is a link"):
        recover(tmp_path / "run.mcap", ring_directory)
    assert (outside / "precious.mcap").read_text() == ""
    assert (run / "balance.ring").exists()


@needs_root
def test_a_recording_in_another_users_folder_is_an_error(
    ring_directory: Path, tmp_path: Path, outside: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    point(run, outside / "run.mcap")
    give_away(outside)
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.error is not None
    assert "belongs to" in found.error
    assert everything_below(outside) == []


@needs_root
def test_a_link_of_another_user_on_the_way_to_the_recording_is_not_followed(
    ring_directory: Path, tmp_path: Path, outside: Path
) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "run").symlink_to(outside)
    give_away(theirs)
    for place in (theirs / "run" / "run.mcap", theirs / "run" / "deeper" / "run.mcap"):
        (outside / "deeper").mkdir(exist_ok=True)
        point(run, place)
        (found,) = recover(None, ring_directory, tmp_path / "runs")
        assert found.error is not None
        assert "belongs to" in found.error
    assert everything_below(outside) == [outside / "deeper"]


def test_links_of_my_own_lead_to_the_recording(ring_directory: Path, tmp_path: Path) -> None:
    run = ring_directory / "run"
    dead_ring(run)
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to("disk")
    (found,) = recover(None, ring_directory, tmp_path / "runs")
    assert found.error is None
    assert (tmp_path / "disk" / "run" / "run.mcap").exists()


def test_one_bad_run_never_stops_the_others(
    ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}-run" for i in range(4)]
    for name in names:
        dead_ring(ring_directory / name)
    tried: list[str] = []

    def failing(action: Callable[..., object]) -> Callable[..., object]:
        def act(run: DeadRun, *rest: object) -> object:
            tried.append(run.run_id)
            if len(tried) == 1:
                raise ZeroDivisionError("a bug")
            if len(tried) == 2:
                raise PermissionError(13, "not here")
            if len(tried) == 3:
                raise RecordingError("bad")
            return action(run, *rest)

        return act

    monkeypatch.setattr(recovery, "_recover_run", failing(recovery._recover_run))
    found = recover(None, ring_directory, tmp_path / "runs")
    assert [result.run_id for result in found] == names
    assert [result.error is None for result in found] == [False, False, False, True]
    recording = found[-1].recording
    assert recording is not None
    assert len(read_recording(recording).loops["balance"].records) == 50


def test_rings_and_recordings_are_private(ring_directory: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run, out = ring_directory / "a" / "run", tmp_path / "runs" / "run"
        make_ring_directory(run)
        make_private_directory(out)
        ring = new_ring(run, metadata(run_id="run"))
        recorder = RecorderProcess.start([run / "balance.ring"], out / "run.mcap", keep_rings=True)
        recorder.wait_ready()
        ring.set_state("finalized")
        assert recorder.wait().error is None
        replace_file(out / "report.html", "")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (run, out)] == [0o700] * 2
    files = [path for folder in (run, out) for path in folder.iterdir()]
    assert {path.name for path in files} == {
        *("balance.ring", POINTER_NAME),
        *("run.mcap", "report.html"),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@needs_root
def test_a_foreign_folder_in_the_place_of_a_run_is_an_error_that_names_its_owner(
    ring_directory: Path,
) -> None:
    (ring_directory / "run").mkdir()
    give_away(ring_directory / "run")
    with pytest.raises(RecordingError, match="belongs to"):
        make_ring_directory(ring_directory / "run")


@needs_root
def test_a_umask_that_forbids_its_owner_leaves_no_folder(ring_directory: Path) -> None:
    ring_directory.chmod(0o1777)
    umask = os.umask(0o777)
    os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            make_private_directory(ring_directory / "run")
    finally:
        os.seteuid(0)
        os.umask(umask)
    assert everything_below(ring_directory) == []


def test_the_folder_of_all_users_is_like_tmp(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ring_directory / "rtloop"
    monkeypatch.setattr(ring_module, "RING_DIRECTORY", shared)
    make_ring_directory(shared / "run")
    make_ring_directory(shared / "run")  # the second loop of the run
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    shared.chmod(0o777)
    with pytest.raises(RecordingError, match="install -d -m 1777 -o root"):
        make_ring_directory(shared / "other")


@needs_root
def test_users_share_the_folder_of_root(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ring_directory / "rtloop"
    ring_directory.chmod(0o755)
    monkeypatch.setattr(ring_module, "RING_DIRECTORY", shared)
    make_ring_directory(shared / "roots")
    os.seteuid(NOBODY)
    try:
        make_ring_directory(shared / "theirs")
    finally:
        os.seteuid(0)
    assert {path.name: path.stat().st_uid for path in shared.iterdir()} == {
        "roots": 0,
        "theirs": NOBODY,
    }


@needs_root
def test_the_folder_of_another_user_is_refused_with_a_cure(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns it may move a run in it away, and put another in its place."""
    shared = ring_directory / "rtloop"
    monkeypatch.setattr(ring_module, "RING_DIRECTORY", shared)
    make_ring_directory(shared / "theirs")
    give_away(shared)
    with pytest.raises(RecordingError, match="who may take away") as refused:
        make_ring_directory(shared / "mine")
    assert [path.name for path in shared.iterdir()] == ["theirs"]
    cure = str(refused.value).split("`")[1].removeprefix("sudo ")
    subprocess.run(cure.split(), check=True)
    make_ring_directory(shared / "mine")


def test_a_link_in_the_place_of_the_shared_folder_is_refused(
    ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = ring_directory / "rtloop"
    shared.symlink_to(tmp_path)
    monkeypatch.setattr(ring_module, "RING_DIRECTORY", shared)
    with pytest.raises(RecordingError, match="not a folder"):
        make_ring_directory(shared / "run")


@needs_root
def test_another_users_ring_is_not_even_mapped(ring_directory: Path) -> None:
    path = dead_ring(ring_directory / "run")
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(RecordingError, match="not yours"):
        Ring(path)
    assert core.RingReader(str(path), of_anybody=True).capacity == 1024


def test_a_pipe_in_the_place_of_a_ring_is_an_error_and_no_wait(ring_directory: Path) -> None:
    os.mkfifo(ring_directory / "balance.ring")
    with pytest.raises(RecordingError, match="cannot map"):
        Ring(ring_directory / "balance.ring")


def test_a_link_is_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in ("run.mcap", f".report.html.{os.getpid()}", "report.html"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError):
        RecordingWriter(tmp_path / "run.mcap")
    replace_file(tmp_path / "report.html", "page")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "report.html").read_text() == "page"


@needs_root
def test_a_group_may_read_what_is_shared_with_it(ring_directory: Path, tmp_path: Path) -> None:
    make_private_directory(tmp_path / "run", group="root")
    RecordingWriter(tmp_path / "run" / "run.mcap").abandon()
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o2750
    assert stat.S_IMODE((tmp_path / "run" / "run.mcap").stat().st_mode) == 0o640
    with pytest.raises(RecordingError, match="no group"):
        make_private_directory(tmp_path / "other", group="no-such-group")


@needs_root
def test_a_run_is_private_or_shared_with_the_group_of_its_configuration(tmp_path: Path) -> None:
    modes = []
    for group in ("", ", group: daemon"):
        with firmware(tmp_path) as device:
            path = write_config(tmp_path, device.link)
            path = edited(path, {"/runs}": f"/runs{group}}}"})
            with Run(load(path), "test") as run:
                run.wait(0.2)
                ring = run.observed["balance"].ring.path
                found = (ring.parent, ring, run.directory, run.recording)
                modes.append([stat.S_IMODE(each.stat().st_mode) for each in found])
                groups = {each.stat().st_gid for each in found}
    assert modes == [[0o700, 0o600] * 2, [0o2750, 0o640] * 2]
    assert groups == {grp.getgrnam("daemon").gr_gid}
