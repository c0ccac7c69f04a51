"""What a cycle costs beside inference and I/O: ports, limits, gate, record, release grid."""

from __future__ import annotations

import argparse
import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line
from benchmarks.measured_loop import MeasuredLoop, Rights, thread_setup, what_was_denied
from benchmarks.result import Result, Table, Target
from rtloop import core
from rtloop.policy.bench.distribution import Distribution, noise_floor
from rtloop.telemetry.observe.records import Records, read_duration_ns, write_duration_ns

#: Cycles in a row, then a rest: a real-time thread that never sleeps is throttled.
BURST = 1000
REST_S = 0.01


def measure(options: argparse.Namespace, result: Result) -> None:
    rights = Rights()
    bursts: list[NDArray[np.int64]] = []

    def run_bursts() -> None:
        granted = core.apply_to_this_thread(
            thread_setup("overhead", [options.cpu], options.priority)
        )
        result.denied = rights.denied() + what_was_denied(granted)
        end = time.monotonic() + options.seconds
        loop.core_loop.measure_overhead(BURST)  # the first one is to warm up
        while time.monotonic() < end or len(bursts) < 4:
            bursts.append(loop.core_loop.measure_overhead(BURST))
            time.sleep(REST_S)

    with MeasuredLoop(options.cpu, options.priority, ring_s=options.seconds + 10) as loop:
        # A thread of its own, which takes its rights with it when it ends.
        thread = threading.Thread(target=run_bursts)
        thread.start()
        thread.join()
        loop.discard_records()
        loop.activate()
        time.sleep(options.seconds)
        loop.deactivate()
        seen = _recorded_overhead_ns(loop.records())

    overhead, in_place = Distribution.of(np.concatenate(bursts)), Distribution.of(seen)
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority}, CPU {options.cpu}, mailbox ports, {loop.network.name}",
    )
    table.add("cycles back to back: all of it", 1, 1, 1, *overhead.us())
    table.add("  noise floor: overhead / itself", *noise_floor(bursts), *[None] * 4)
    table.add("at 1 kHz: what the record shows", *in_place.over(overhead), *in_place.us())
    result.tables.append(table)
    p50_us = overhead.us()[0]
    result.targets.append(Target("overhead of a cycle, p50", p50_us, "≤", 2.0, " µs"))


def _recorded_overhead_ns(records: Records) -> NDArray[np.int64]:
    """Reading inputs, limits, gate and outputs: at 1 kHz, each time after a sleep, on cold caches."""
    result: NDArray[np.int64] = read_duration_ns(records) + write_duration_ns(records)
    return result


def main() -> int:
    parser = command_line.parser(__doc__, seconds=10)
    return command_line.run("overhead", "What a cycle costs beside inference", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
