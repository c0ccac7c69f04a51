"""The C++ program of examples/, linked with the core that the build of this tree left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rtloop.policy.library import onnxruntime_library

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "rtloop" / "demos" / "cartpole" / "policy.onnx"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One with sanitizers, of another step of CI, needs their runtime to link.
    found = [p for p in ROOT.glob("build/*/librtloop_core.a") if p.parent.name != "asan"]
    built = sorted(found, key=lambda path: path.stat().st_mtime)
    if not built or shutil.which("g++") is None:
        pytest.skip("no static core of this tree, or no C++ compiler: pip install -e .")
    libraries = [built[-1], *built[-1].parent.glob("firmware/lib/librtloop_firmware_lib.a")]
    path = tmp_path_factory.mktemp("example") / "mailbox_loop"
    source = ROOT / "examples" / "cpp_mailbox_loop" / "mailbox_loop.cpp"
    flags = ["-std=c++20", "-Wall", "-Werror", f"-I{ROOT}"]
    link = [*map(str, libraries), "-ldl", "-lpthread", "-o", str(path)]
    done = subprocess.run(["g++", *flags, str(source), *link], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_starts_again_after_it_was_killed(program: Path, tmp_path: Path) -> None:
    ring = tmp_path / "mailbox_loop.ring"
    command = [str(program), onnxruntime_library(), str(POLICY), str(ring)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not ring.exists() and process.poll() is None:
            os.sched_yield()
        process.kill()
    assert ring.exists()
    done = run(program, onnxruntime_library(), POLICY, ring)
    assert done.returncode == 0, done.stderr
    assert " cycles, " in done.stdout
    assert not ring.exists()


@pytest.mark.parametrize(
    ("library", "policy"), [("/nowhere.so", POLICY), (None, "/nowhere.onnx"), (None, __file__)]
)
def test_it_says_what_is_wrong(program: Path, library: str | None, policy: str | Path) -> None:
    done = run(program, library or onnxruntime_library(), policy)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) >= 1
    assert "terminate" not in done.stderr
    assert "/nowhere" in done.stderr or "mailbox_loop: " in done.stderr
