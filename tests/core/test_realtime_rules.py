"""Between activate and deactivate: no allocation of our own, no system call but sleep, clock and I/O."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.core.test_topic_ports import build_fake_rcl

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.core.active_loop"]
TOPICS = [sys.executable, "-m", "tests.core.active_topics"]

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
    before: list[str],
    environment: Mapping[str, str],
    seconds: float,
    kind: str,
    program: Sequence[str] = PROGRAM,
) -> tuple[list[int], dict[str, Any]]:
    done = subprocess.run(
        [*before, *program, str(seconds), kind],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.strip().splitlines()
    return json.loads(first), json.loads(last)


def active_calls(trace: Path, thread: int, sleep: str = "clock_nanosleep") -> list[str]:
    """A thread's system calls while it was active, which is between two of them that match ``sleep``."""
    return [re.sub(r"[(].*", "", line) for line in active_lines(trace, thread, sleep)]


def active_lines(trace: Path, thread: int, sleep: str = "clock_nanosleep") -> list[str]:
    """The same with their arguments."""
    lines = Path(f"{trace}.{thread}").read_text().splitlines()
    lines = [line for line in lines if ", FIONREAD, " not in line]
    # The first sleep is the wait for the first release; the last one ends the active part.
    sleeps = [i for i, line in enumerate(lines) if re.match(sleep, line)]
    assert len(sleeps) > 10
    return lines[sleeps[0] : sleeps[-1]]


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

    # One packet a call, on a line that keeps them apart.
    io = {"recvfrom", "sendto"} if kind == "zmq" else {"read", "write"}
    if kind == "paced":  # and its guard is woken where a release is earlier than it might have been
        assert set(active_calls(trace, guard, "futex.*tv_sec")) == {"futex"}
        assert set(active_calls(trace, loop, "ppoll")) <= {"ppoll", "futex", "clock_gettime", *io}
        assert io <= set(active_calls(trace, loop, "ppoll"))
    else:
        assert set(active_calls(trace, guard)) == {"clock_nanosleep"}
        assert set(active_calls(trace, loop)) <= {"clock_nanosleep", "clock_gettime", *io}
        assert io <= set(active_calls(trace, loop))


@needs_compiler
@not_sanitized
def test_topics_cost_the_cycle_no_allocation(tmp_path: Path) -> None:
    library = tmp_path / "probe.so"
    source = Path(__file__).with_name("alloc_probe.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    build_fake_rcl(tmp_path)
    environment = {"LD_PRELOAD": str(library)}
    _, result = run_program([], environment, 1.0, str(tmp_path), TOPICS)
    assert result["self_test"] == 1, "the probe counts"
    assert result["executed"] > 50
    assert result["taken"] > 50
    assert result["published"] > 50
    assert result["allocations"] == 0


@needs_compiler
@needs_strace
@not_sanitized
def test_topics_cost_the_cycle_one_wake_up_of_the_thread_that_publishes(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    build_fake_rcl(tmp_path)
    tracer = ["strace", "-ff", "-o", str(trace)]
    (loop, guard), result = run_program(tracer, {}, 1.5, str(tmp_path), TOPICS)
    assert result["published"] > 50
    assert set(active_calls(trace, guard)) == {"clock_nanosleep"}
    assert set(active_calls(trace, loop)) <= {"clock_nanosleep", "clock_gettime", "futex"}
    futexes = [line for line in active_lines(trace, loop) if line.startswith("futex")]
    assert futexes
    assert all("FUTEX_WAKE_PRIVATE" in line for line in futexes), "it waits for nobody"
