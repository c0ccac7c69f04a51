"""Between activate and deactivate: no allocation of our own, no system call but sleep, clock and I/O."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.core.active_loop"]

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler: apt-get install gcc"
)
not_sanitized = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="the sanitizer allocates and maps memory of its own: run without it",
)
needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="no strace: apt-get install strace"
)


def run_program(
    before: list[str], environment: Mapping[str, str], seconds: float, kind: str
) -> tuple[list[int], dict[str, Any]]:
    done = subprocess.run(
        [*before, *PROGRAM, str(seconds), kind],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.strip().splitlines()
    return json.loads(first), json.loads(last)


@needs_compiler
@not_sanitized
@pytest.mark.parametrize("kind", ["switch", "function", "zmq", "paced", "boxed"])
def test_an_active_loop_allocates_nothing_outside_onnxruntime(tmp_path: Path, kind: str) -> None:
    library = tmp_path / "probe.so"
    source = Path(__file__).with_name("alloc_probe.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    _, result = run_program([], {"LD_PRELOAD": str(library)}, 1.0, kind)
    assert result["self_test"] == 1, "the probe counts"
    assert result["threads"] == 2
    assert result["executed"] > 50
    assert result["runs"] > 50, "inference is among what was counted around"
    assert (result["switched"] > 2) == (kind != "function"), "policies took over from each other"
    assert result["counters"]["rx_packets"] > 50
    assert result["allocations"] == 0


@needs_compiler
@needs_strace
@not_sanitized
@pytest.mark.parametrize("kind", ["switch", "function", "zmq", "paced"])
def test_an_active_loop_makes_no_system_call_but_sleep_clock_and_io(
    tmp_path: Path, kind: str
) -> None:
    trace = tmp_path / "trace"
    (loop, guard), result = run_program(["strace", "-ff", "-o", str(trace)], {}, 1.5, kind)
    assert result["executed"] > 50
    assert (result["switched"] > 2) == (kind != "function")

    def active_calls(thread: int, sleep: str = "clock_nanosleep") -> list[str]:
        lines = Path(f"{trace}.{thread}").read_text().splitlines()
        lines = [line for line in lines if ", FIONREAD, " not in line]
        # The first sleep is the wait for the first release; the last one ends the active part.
        sleeps = [i for i, line in enumerate(lines) if re.match(sleep, line)]
        assert len(sleeps) > 10
        return [re.sub(r"[(].*", "", line) for line in lines[sleeps[0] : sleeps[-1]]]

    # One packet a call, on a line that keeps them apart.
    io = {"recvfrom", "sendto"} if kind == "zmq" else {"read", "write"}
    if kind == "paced":  # and its guard is woken where a release is earlier than it might have been
        assert set(active_calls(guard, "futex.*tv_sec")) == {"futex"}
        assert set(active_calls(loop, "ppoll")) <= {"ppoll", "futex", "clock_gettime", *io}
        assert io <= set(active_calls(loop, "ppoll"))
    else:
        assert set(active_calls(guard)) == {"clock_nanosleep"}
        assert set(active_calls(loop)) <= {"clock_nanosleep", "clock_gettime", *io}
        assert io <= set(active_calls(loop))
