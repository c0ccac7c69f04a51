"""cyclictest of Debian's rt-tests: the practical limit of a wake-up on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import UnavailableError

#: The histogram's size, ns; with -N its bins are 1 ns wide. A later wake-up counts as this late.
LONGEST_NS = 1_000_000
START_UP_S = 10


def require() -> None:
    """Raises UnavailableError."""
    if shutil.which("cyclictest") is None:
        raise UnavailableError("cyclictest is not installed: apt-get install rt-tests")


def wake_up_latencies_ns(
    seconds: float, *, cpu: int, priority: int, period_us: int = 1000
) -> NDArray[np.int64]:
    """Every latency of one run, int64 [n], sorted. Raises UnavailableError, RuntimeError."""
    require()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cyclictest.json"
        command = ["cyclictest", "-m", f"-p{priority}", f"-i{period_us}", f"-a{cpu}", "-t1", "-q"]
        command += ["-N", f"-h{LONGEST_NS}", f"-l{max(1, round(seconds * 1e6 / period_us))}"]
        done = subprocess.run(
            [*command, f"--json={out}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=2 * seconds + START_UP_S,
        )
        if done.returncode != 0:
            raise UnavailableError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        thread = json.loads(out.read_text(encoding="utf-8"))["thread"]["0"]
    counts = {int(latency): count for latency, count in thread["histogram"].items()}
    counts[LONGEST_NS] = thread["cycles"] - sum(counts.values())
    return np.repeat(np.array(list(counts), np.int64), list(counts.values()))
