"""How wrong the clock of a device is, and how wrong it says it may be, at 1, 20, 200 and 1000 Hz.

All rates at the same time, each a loop with a device of its own, against the true offset.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks import command_line, demo_process
from benchmarks.clock_loop import SENSOR_HZ, Clock
from benchmarks.result import Result, Table, Target

RATES_HZ = (1, 20, 200, 1000)
JUDGED_HZ = 20
BOUND_LIMIT_US = 1000.0


def measure(options: argparse.Namespace, result: Result) -> None:
    demo_process.require()
    processes = {rate: _start(rate, options) for rate in RATES_HZ}
    clocks = {}
    for rate, process in processes.items():
        told, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"the loop at {rate} Hz broke off: {said}")
        clocks[rate] = Clock(**json.loads(told))
    result.denied = sorted({problem for clock in clocks.values() for problem in clock.denied})

    columns = ["loop, Hz", "max |error|, µs", "max bound, µs", "p50 bound, µs"]
    columns += ["|error| ≤ bound, % of N", "skew, ppb", "contradictions", "N"]
    table = Table(columns, title=f"device on a pty, {SENSOR_HZ} samples/s; all rates at once")
    for rate, clock in clocks.items():
        within = 100 * (1 - clock.beyond_bound / clock.cycles)
        times = (clock.error_max_us, clock.bound_max_us, clock.bound_p50_us)
        table.add(rate, *times, within, clock.skew_ppb, clock.contradictions, clock.cycles)
        text = f"{rate} Hz: cycles with |error| > bound"
        result.targets.append(Target(text, clock.beyond_bound, "=", 0))
    result.tables.append(table)
    largest_us = clocks[JUDGED_HZ].bound_max_us
    text = f"{JUDGED_HZ} Hz: largest bound"
    result.targets.append(Target(text, largest_us, "≤", BOUND_LIMIT_US, "µs"))
    result.notes.append("both clocks are this machine's CLOCK_MONOTONIC: the true skew is 0")


def _start(rate_hz: int, options: argparse.Namespace) -> subprocess.Popen[str]:
    arguments = {
        "rate-hz": rate_hz,
        # A slow loop has a few cycles at least, however short the run.
        "seconds": max(options.seconds, 3 / rate_hz),
        "cpu": options.cpu,
        "priority": options.priority,
    }
    command = [sys.executable, "-m", "benchmarks.clock_loop"]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> int:
    parser = command_line.parser(__doc__, seconds=300)
    return command_line.run("clock", "The clock of a device against the truth", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
