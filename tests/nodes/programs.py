"""The programs of this folder, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.nodes.ros import TIMEOUT_S


def path_of(name: str) -> str:
    """By which it is started: `-m` would find the rtloop beside tests/ before one that is installed."""
    return str(Path(__file__).with_name(f"{name}.py"))


@contextmanager
def started(name: str) -> Iterator[subprocess.Popen[str]]:
    """It does not outlive the test."""
    command = [sys.executable, path_of(name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def hears(process: subprocess.Popen[str], command: Sequence[float] | None = None) -> None:
    """Waits until it prints that it has heard this command, or any."""
    assert process.stdout is not None
    late = threading.Timer(TIMEOUT_S, process.kill)
    late.start()
    try:
        while line := process.stdout.readline():
            if command is None or line == f"{list(command)}\n":
                return
        raise AssertionError("it never heard it")
    finally:
        late.cancel()
