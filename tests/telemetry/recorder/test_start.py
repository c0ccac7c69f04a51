"""How the recorder's process is started: with this package, and nothing from the working directory."""

import os
import sys
from pathlib import Path

import pytest

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
