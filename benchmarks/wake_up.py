"""How late a 1 kHz loop of rtloop wakes up, against `cyclictest` with the same CPU and priority."""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from benchmarks import command_line, cyclictest
from benchmarks.measured_loop import MeasuredLoop, Rights
from benchmarks.result import Result, Table, Target
from rtloop.policy.bench.distribution import Distribution, noise_floor
from rtloop.telemetry.observe.records import release_latency_ns


def measure(options: argparse.Namespace, result: Result) -> None:
    cyclictest.require()
    rights = Rights()
    segment_s = options.seconds / options.segments
    theirs, ours = [], []
    with MeasuredLoop(options.cpu, options.priority, ring_s=segment_s + 10) as loop:
        for i in range(options.segments):
            command_line.progress(f"segment {i + 1} of {options.segments}: cyclictest, rtloop")
            theirs.append(
                cyclictest.wake_up_latencies_ns(
                    segment_s, cpu=options.cpu, priority=options.priority
                )
            )
            loop.activate()
            time.sleep(segment_s)
            loop.deactivate()
            # cyclictest's histogram ends there.
            ours.append(np.minimum(release_latency_ns(loop.records()), cyclictest.LONGEST_NS))
    result.denied = rights.denied() + loop.denied

    a, b = Distribution.of(np.concatenate(theirs)), Distribution.of(np.concatenate(ours))
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority}, CPU {options.cpu}, 1 kHz, "
        f"{options.segments} alternating segments of {segment_s:g} s",
    )
    table.add("rtloop / cyclictest", *b.over(a), *b.us())
    table.add("cyclictest", 1, 1, 1, *a.us())
    table.add("noise floor: cyclictest / itself", *noise_floor(theirs), *[None] * 4)
    table.add("noise floor: rtloop / itself", *noise_floor(ours), *[None] * 4)
    result.tables.append(table)

    pairs = [Distribution.of(y).over(Distribution.of(x)) for x, y in zip(theirs, ours, strict=True)]
    quartiles = np.quantile(np.array(pairs, np.float64)[:, :2], [0.25, 0.5, 0.75], axis=0).T
    for name, (low, middle, high) in zip(("p50", "p99"), quartiles, strict=True):
        result.notes.append(
            f"{name} ratio of neighbouring segments: median {middle:.2f}, "
            f"half of them within {low:.2f} – {high:.2f}"
        )
    p50, p99, _ = b.over(a)
    result.targets.append(Target("wake-up p50, rtloop / cyclictest", p50, "≤", 1.1))
    result.targets.append(Target("wake-up p99, rtloop / cyclictest", p99, "≤", 1.3))


def main() -> int:
    parser = command_line.parser(__doc__, seconds=60, segments=20)
    return command_line.run("wake_up", "Wake-up latency against cyclictest", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
