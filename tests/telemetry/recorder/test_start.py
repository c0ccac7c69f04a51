"""How the recorder's process is started: with this package, and nothing from the working directory."""

import os
import resource
import sys
import time
from pathlib import Path

import pytest

from rtloop.errors import RecordingError
from rtloop.telemetry.recorder.start import RecorderProcess
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring

#: What users keep beside their configuration, or what a clone of rtloop has there.
NAMES = ("select", "numpy", "json", "linecache", "mcap", "rtloop", "sitecustomize")


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, full of modules that leave a mark when they are imported, and fail."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in NAMES:
        put_marking_module(folder, name, "raise SystemExit('imported from the working directory')")
    (folder / "rtloop.py").unlink()
    put_marking_module(folder / "rtloop", "__init__", "raise SystemExit('a clone, never built')")
    monkeypatch.chdir(folder)
    return folder


def put_marking_module(folder: Path, name: str, end: str = "") -> None:
    folder.mkdir(exist_ok=True)
    mark = folder / f"{name}.imported"
    (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n{end}\n")


def record_ten_cycles(rings: Path, out: Path) -> None:
    ring = new_ring(rings, metadata())
    recorder = RecorderProcess.start([rings / "balance.ring"], out)
    recorder.wait_ready()
    append(ring, batch_of(cycles(10), metadata()))
    ring.set_state("finalized")
    result = recorder.wait()
    assert (result.error, result.records) == (None, {"balance": 10})


@pytest.mark.parametrize(
    "python_path",
    [None, "", "{before}:", ":{before}", ".", "{before}:./"],
    ids=["unset", "empty", "trailing colon", "leading colon", "dot", "trailing dot"],
)
def test_the_recorder_imports_nothing_from_the_working_directory(
    python_path: str | None,
    working_directory: Path,
    ring_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if python_path is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        before = os.environ.get("PYTHONPATH", str(tmp_path / "elsewhere"))
        monkeypatch.setenv("PYTHONPATH", python_path.format(before=before))
    record_ten_cycles(ring_directory, tmp_path / "run.mcap")
    assert list(working_directory.rglob("*.imported")) == []


@pytest.mark.parametrize("entry", ["{folder}", "vendor"], ids=["absolute", "relative"])
def test_a_folder_that_the_python_path_names_is_searched(
    entry: str,
    working_directory: Path,
    ring_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = working_directory / "vendor"
    put_marking_module(folder, "sitecustomize")
    monkeypatch.setenv("PYTHONPATH", f"{entry.format(folder=folder)}:")
    record_ten_cycles(ring_directory, tmp_path / "run.mcap")
    assert [mark.name for mark in working_directory.rglob("*.imported")] == [
        "sitecustomize.imported"
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has the variable since 3.11")
def test_the_recorder_starts_with_a_safe_path_as_well(
    working_directory: Path,
    ring_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    record_ten_cycles(ring_directory, tmp_path / "run.mcap")
    assert list(working_directory.rglob("*.imported")) == []


def test_a_recorder_is_watched_in_a_program_of_many_descriptors(
    ring_directory: Path, tmp_path: Path
) -> None:
    """select() cannot watch descriptors from 1024 on."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        record_ten_cycles(ring_directory, tmp_path / "run.mcap")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_a_recorder_that_ends_at_once_is_not_waited_for(
    ring_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone.py"
    gone.write_text("import os; os.close(1); os.close(2); os._exit(2)\n")
    monkeypatch.setattr("rtloop.child.ENTRY", gone)
    new_ring(ring_directory, metadata())
    recorder = RecorderProcess.start([ring_directory / "balance.ring"], tmp_path / "run.mcap")
    began = time.monotonic()
    with pytest.raises(RecordingError, match="ended with code 2"):
        recorder.wait_ready(timeout_s=100)
    assert time.monotonic() - began < 50
