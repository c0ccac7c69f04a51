"""A 10 kHz loop with the real recorder process beside it: nothing may be lost, and it must be cheap.

`--aot` is at 20 kHz, with the policy compiled ahead of time: there it counts how many releases are skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import command_line
from benchmarks.measured_loop import NAME, US, MeasuredLoop, Rights, compiled_graph_of
from benchmarks.policies import SMALL
from benchmarks.result import Result, Table, Target
from rtloop.policy.bench.distribution import Distribution, ratio
from rtloop.telemetry.observe.records import MISS, release_latency_ns, response_ns
from rtloop.telemetry.recorder.start import RecorderProcess, RecordingResult

PERIOD_NS = 100 * US
PERIOD_OF_AOT_NS = 50 * US
#: Of all periods, in percent, with `--aot`.
LARGEST_SKIPPED = 0.2


def measure(options: argparse.Namespace, result: Result) -> None:
    graph = compiled_graph_of(SMALL) if options.aot else None
    period_ns = PERIOD_OF_AOT_NS if options.aot else PERIOD_NS
    rights = Rights()
    with tempfile.TemporaryDirectory() as folder:
        loop = MeasuredLoop(
            options.cpu,
            options.priority,
            period_ns=period_ns,
            ring_s=options.seconds + 30,
            graph=graph,
        )
        try:
            loop.activate()
            recorder = RecorderProcess.start(
                [loop.ring_path],
                Path(folder) / "run.mcap",
                keep_rings=True,
                avoid_cpus=[options.cpu],
            )
            recorder.wait_ready()
            process = psutil.Process(recorder.pid)
            before_s, began_s = _cpu_s(process), time.monotonic()
            time.sleep(options.seconds)
            share = (_cpu_s(process) - before_s) / (time.monotonic() - began_s)
            loop.deactivate()
            status, records = loop.status(), loop.records()
        finally:
            loop.deactivate()
            loop.finalize()
        recorded = recorder.wait()
        loop.close()
    result.denied = rights.denied() + loop.denied

    response = Distribution.of(response_ns(records))
    latency = Distribution.of(release_latency_ns(records))
    times = Table(
        ["", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"{1e6 / period_ns:g} kHz, deadline {period_ns / US:g} µs",
    )
    times.add("release latency", *latency.us())
    times.add("response", *response.us())
    counts = Table(["", "cycles"])
    for key in ("elapsed_periods", "executed", "skipped"):
        counts.add(key.replace("_", " "), status[key])
    counts.add("missed deadlines", int(np.count_nonzero(records["events"] & MISS)))
    counts.add("recorded", recorded.records.get(NAME, 0))
    result.tables += [times, counts]
    _judge(result, status["elapsed_periods"], status["executed"], status["skipped"], recorded)
    cost_us = ratio(1e6 * share * options.seconds, status["executed"])
    result.notes.append(
        f"recorder: {cost_us or 0:.1f} µs of CPU time a cycle, "
        f"{recorded.size_bytes / 1e6:.1f} MB in all"
    )
    if options.aot:
        skipped = ratio(100 * status["skipped"], status["elapsed_periods"])
        text = "skipped, of all periods"
        result.targets.append(Target(text, skipped, "≤", LARGEST_SKIPPED, " %"))
    else:
        result.targets.append(Target("recorder, of one core", 100 * share, "≤", 5.0, " %"))


def _judge(
    result: Result, elapsed: int, executed: int, skipped: int, recorded: RecordingResult
) -> None:
    if recorded.error:
        result.notes.append(f"the recording is not whole: {recorded.error}")
    lost = None if recorded.error else recorded.lost.get(NAME, 0)
    result.targets += [
        Target("elapsed - executed - skipped", elapsed - executed - skipped, "=", 0),
        Target("records lost", lost, "=", 0),
        Target("executed - recorded", executed - recorded.records.get(NAME, 0), "=", 0),
    ]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    parser = command_line.parser(__doc__, seconds=60)
    parser.add_argument(
        "--aot", action="store_true", help="at 20 kHz, with a policy compiled ahead of time"
    )
    return command_line.run("ten_khz", "A fast loop with the recorder", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
