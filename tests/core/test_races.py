"""Ring, ports, relay, safe command, stand-in and deadline gate under ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]


@pytest.mark.timeout(320)  # ThreadSanitizer is slow where cores are shared
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: apt-get install g++")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_ring_ports_relay_stand_in_and_gate_are_free_of_races(
    tmp_path: Path, sanitizer: str
) -> None:
    program = tmp_path / "races"
    core = ROOT / "rtloop" / "core"
    library = ROOT / "firmware" / "lib"
    sources = [Path(__file__).parent / "cpp" / "races.cpp", core / "ring" / "ring.cpp"]
    link = ("line", "link", "link_receive", "link_send", "packet_wire", "stream_wire", "wire")
    ports = (*link, "mailbox", "relay")
    sources += [core / "ports" / f"{name}.cpp" for name in ports]
    sources += [core / "graph" / "external.cpp"]
    objects = []
    for name in ("frame", "messages", "packet"):
        objects.append(tmp_path / f"{name}.o")
        compiled = ["gcc", "-O1", "-g", f"-fsanitize={sanitizer}", f"-I{library / 'include'}", "-c"]
        subprocess.run([*compiled, library / "src" / f"{name}.c", "-o", objects[-1]], check=True)
    # A fence that ThreadSanitizer cannot follow would be an error here (-Wtsan): there is none.
    includes = [f"-I{ROOT}", f"-I{library / 'include'}"]
    subprocess.run(
        ["g++", *FLAGS, f"-fsanitize={sanitizer}", *includes, *sources, *objects, "-o", program],
        check=True,
    )
    # ThreadSanitizer and a randomised address space do not always agree.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        ["setarch", "-R", program, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no race" in done.stdout
