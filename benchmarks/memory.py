"""Whether a running `rtloop demo` keeps its memory: loop process and recorder, sampled from outside."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks import command_line, demo_process
from benchmarks.demo_process import DemoProcess
from benchmarks.result import Result, Table, Target
from rtloop.child import ENTRY

SETTLE_S = 30.0
SAMPLE_S = 1.0
MIB = 1 << 20


@dataclass
class Samples:
    """Resident memory of one process, bytes."""

    time_s: list[float] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    anonymous: list[int] = field(default_factory=list)

    def add(self, pid: int, time_s: float) -> None:
        kib = {}
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key in ("VmRSS", "RssAnon"):
                kib[key] = int(value.split()[0])
        self.time_s.append(time_s)
        self.total.append(kib["VmRSS"] * 1024)
        self.anonymous.append(kib["RssAnon"] * 1024)

    def growth_mib(self, values: list[int], settle_s: float) -> float:
        """Median of the last tenth over that of the first tenth, once settled."""
        settled = np.array(values)[np.array(self.time_s) >= settle_s]
        tenth = max(1, len(settled) // 10)
        return float(np.median(settled[-tenth:]) - np.median(settled[:tenth])) / MIB

    def slope_kib_per_min(self, values: list[int], settle_s: float) -> float | None:
        keep = np.array(self.time_s) >= settle_s
        if np.count_nonzero(keep) < 3:
            return None
        slope = np.polyfit(np.array(self.time_s)[keep], np.array(values)[keep], 1)[0]
        return float(slope) * 60 / 1024


def measure(options: argparse.Namespace, result: Result) -> None:
    demo_process.require()
    # A short run settles as short.
    settle_s = min(SETTLE_S, options.seconds / 3)
    loop, recorder = Samples(), Samples()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["demo", "--duration", "0", "--no-report", "--json"]
        with DemoProcess(arguments, Path(folder)) as rtloop:
            rtloop.first_cycle_ns()
            began_s = time.monotonic()
            while (elapsed_s := time.monotonic() - began_s) < options.seconds:
                if rtloop.process.poll() is not None:
                    raise RuntimeError(f"the demo ended after {elapsed_s:.0f} s")
                loop.add(rtloop.process.pid, elapsed_s)
                if (pid := _recorder_of(rtloop.process.pid)) is not None:
                    recorder.add(pid, elapsed_s)
                command_line.progress(f"{elapsed_s:.0f} s") if len(loop.total) % 60 == 1 else None
                time.sleep(min(SAMPLE_S, options.seconds / 20))

    table = Table(
        ["", "growth MiB", "slope KiB/min", "MiB at the end", "N"],
        title=f"{options.seconds:g} s at 1 kHz, recorded; after the first {settle_s:g} s",
    )
    for name, samples, values in (
        ("loop process, resident", loop, loop.total),
        ("loop process, anonymous", loop, loop.anonymous),
        ("recorder, resident", recorder, recorder.total),
        ("recorder, anonymous", recorder, recorder.anonymous),
    ):
        table.add(
            name,
            samples.growth_mib(values, settle_s),
            samples.slope_kib_per_min(values, settle_s),
            values[-1] / MIB,
            len(values),
        )
    result.tables.append(table)
    result.notes.append(
        "the recorder's resident memory takes in the shared ring, page by page as it reads"
    )
    growth = loop.growth_mib(loop.total, settle_s)
    result.targets.append(Target("growth of the loop process", growth, "<", 1.0, " MiB"))


def _recorder_of(pid: int) -> int | None:
    for child in psutil.Process(pid).children():
        if {str(ENTRY), "recorder"} <= set(child.cmdline()):
            return child.pid
    return None


def main() -> int:
    parser = command_line.parser(__doc__, seconds=600)
    return command_line.run("memory", "Memory of a running loop", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
