"""From the start of `rtloop run FILE` to its first cycle, and of Python to `import rtloop` being done."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import command_line, demo_process
from benchmarks.demo_process import DemoProcess
from benchmarks.result import Result, Table, Target
from rtloop.demos.firmware import FirmwareProcess

#: An `import` is measured this often; `rtloop run` takes longer, and is measured as often as --seconds allow.
IMPORTS = 15
LEAST_RUNS = 3


def measure(options: argparse.Namespace, result: Result) -> None:
    demo_process.require()
    bare, imports = [], []
    for _ in range(IMPORTS):
        bare.append(_python_s("pass"))
        imports.append(_python_s("import rtloop"))
    runs: list[float] = []
    end = time.monotonic() + options.seconds
    while time.monotonic() < end or len(runs) < LEAST_RUNS:
        command_line.progress(f"run {len(runs) + 1}")
        runs.append(_run_s(record=len(runs) % 2 == 0))
    recorded, unrecorded = runs[::2], runs[1::2]

    table = Table(
        ["", "ratio p50", "p50 s", "longest s", "N"], title="wall time, with a warm page cache"
    )
    base_s = float(np.median(bare))
    for name, times in (
        ("python -c pass", bare),
        ("python -c 'import rtloop'", imports),
        ("rtloop run, to the first cycle", recorded),
        ("rtloop run --no-record, to the first cycle", unrecorded),
    ):
        median_s = float(np.median(times))
        table.add(name, median_s / base_s, median_s, max(times), len(times))
    result.tables.append(table)
    result.targets += [
        Target("rtloop run, start to first cycle", float(np.median(recorded)), "≤", 1.5, " s"),
        Target(
            "import rtloop, Python's start included", float(np.median(imports)), "<", 0.15, " s"
        ),
    ]


def _python_s(program: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.monotonic() - began


def _run_s(*, record: bool) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FirmwareProcess(folder / "cart", ["--seed", "1"]):
            file = demo_process.write_configuration(folder, folder / "cart")
            arguments = ["run", str(file), "--no-report", *([] if record else ["--no-record"])]
            with DemoProcess(arguments, folder) as rtloop:
                return rtloop.first_cycle_ns() / 1e9


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30)
    return command_line.run("start_up", "Time to the first cycle", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
