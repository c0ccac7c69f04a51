"""Builds the firmware's C side once a session: library, program, C tests; with sanitizers."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "firmware" / "tests"


@functools.cache
def built_firmware(directory: Path) -> Path:
    """The build directory. Skips when there is nothing to build with."""
    for tool in ("cmake", "ctest", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} to build the firmware with")
    sanitize = "address,undefined" if _can_sanitize(directory) else ""
    _run(
        ["cmake", "-S", str(SOURCES), "-B", str(directory), f"-DRTLOOP_SANITIZE={sanitize}"],
        ["cmake", "--build", str(directory), "--parallel", "2"],
    )
    return directory


def _can_sanitize(directory: Path) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    program = directory / "probe"
    command = ["cc", "-fsanitize=address,undefined", str(source), "-o", str(program)]
    return (
        subprocess.run(command, capture_output=True, check=False).returncode == 0
        and subprocess.run([str(program)], capture_output=True, check=False).returncode == 0
    )


def _run(*commands: list[str]) -> None:
    for command in commands:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        if done.returncode != 0:
            pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
