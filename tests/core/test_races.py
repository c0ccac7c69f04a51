"""The ring, the mailbox and the deadline gate under ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: apt-get install g++")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_ring_mailbox_and_gate_are_free_of_races(tmp_path: Path, sanitizer: str) -> None:
    program = tmp_path / "races"
    core = ROOT / "rtloop" / "core"
    sources = [Path(__file__).parent / "cpp" / "races.cpp", core / "ring" / "ring.cpp"]
    # A fence that ThreadSanitizer cannot follow would be an error here (-Wtsan): there is none.
    subprocess.run(
        ["g++", *FLAGS, f"-fsanitize={sanitizer}", f"-I{ROOT}", *sources, "-o", program],
        check=True,
    )
    # ThreadSanitizer and a randomised address space do not always agree.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        ["setarch", "-R", program, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no race" in done.stdout
