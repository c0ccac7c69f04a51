"""A 500 Hz JointState into a 500 Hz loop: by an rclpy callback, and by rtloop's topics, beside busy Python."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line
from benchmarks.result import Cell, Result, Table, Target
from rtloop.policy.bench.distribution import Distribution, noise_floor

START_UP_S = 60
MAX_AGE_MS = 5
#: Who brings the messages to the loop, and what paces it.
READERS = {
    "callback": "rclpy callback",
    "topic": "rtloop topic",
    "paced": "rtloop topic, paced by it",
    "none": "no ROS: a mailbox",
}
BESIDE = {"nothing": "", "python": "busy Python thread", "calls": "15 ms calls with the GIL"}
TELLING = (("topic", "python"), ("topic", "calls"))


@dataclass
class Done:
    """What one process has seen of one segment."""

    published: int
    received: int
    executed: int
    stale: int
    age_ns: NDArray[np.int64]
    """Of a callback: from the publisher's stamp to the callback; else of the input, at each cycle's start."""
    latency_ns: NDArray[np.int64]
    """From release to start, of each cycle."""


@dataclass
class Variant:
    """One reader beside one disturbance; what came of it, segment by segment."""

    reader: str
    beside: str
    done: list[Done] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " + ".join(filter(None, (READERS[self.reader], BESIDE[self.beside])))

    def measure(self, seconds: float, options: argparse.Namespace) -> None:
        """One segment, in a process of its own."""
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.topic_loop", self.reader]
            command += ["--beside", self.beside, "--seconds", str(seconds), "--out", folder]
            command += ["--cpu", str(options.cpu), "--priority", str(options.priority)]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, timeout=3 * seconds + START_UP_S
            )
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
            counted = json.loads(done.stdout.splitlines()[-1])
            arrays = (np.load(Path(folder) / f"{name}.npy") for name in ("age_ns", "latency_ns"))
            self.done.append(Done(*counted, *arrays))

    def total(self, name: str) -> int:
        return sum(getattr(done, name) for done in self.done)

    @property
    def received(self) -> float:
        return self.total("received") / self.total("published")

    @property
    def stale(self) -> float:
        return self.total("stale") / self.total("executed")

    def of(self, name: str) -> Distribution:
        return Distribution.of(np.concatenate([getattr(done, name) for done in self.done]))


def measure(options: argparse.Namespace, result: Result) -> None:
    from benchmarks import ros

    ros.require()
    alone = Variant("none", "nothing")
    variants = [alone] + [
        Variant(reader, beside)
        for reader in ("callback", "topic", "paced")
        for beside in ("nothing", *options.beside)
    ]
    segment_s = options.seconds / options.segments
    for i in range(options.segments):
        # There and back again, so that nothing always comes first.
        for variant in variants if i % 2 == 0 else reversed(variants):
            command_line.progress(f"segment {i + 1} of {options.segments}: {variant.name}")
            variant.measure(segment_s, options)
    by = {(variant.reader, variant.beside): variant for variant in variants}
    result.tables.append(_table(variants, options, segment_s))
    result.targets += _targets(by)
    floor = noise_floor([done.latency_ns for done in alone.done])
    result.tables[-1].add("noise floor: without ROS / itself", *[None] * 4, *floor, None)
    result.notes.append(
        f"12 joints in shuffled order at 500 Hz from another process, best effort, 5 kept; stale: older than "
        f"{MAX_AGE_MS} ms"
    )


def _table(variants: Sequence[Variant], options: argparse.Namespace, segment_s: float) -> Table:
    columns = ["", "received %", "stale %", "age p50 µs", "p99 µs", "release latency p50 µs"]
    table = Table(
        [*columns, "p99 µs", "p99.9 µs", "cycles"],
        title=f"500 Hz; FIFO {options.priority}, CPU {options.cpu}, {options.segments} alternating "
        f"segments of {segment_s:g} s",
    )
    for variant in variants:
        read: list[Cell] = [None, None, None, None]
        if variant.reader != "none":
            age = variant.of("age_ns").us()
            read = [100 * variant.received, 100 * variant.stale, *age[:2]]
        table.add(variant.name, *read, *variant.of("latency_ns").us())
    return table


def _targets(by: dict[tuple[str, str], Variant]) -> list[Target]:
    busy = [variant for key, variant in by.items() if key in TELLING]
    latency = by["topic", "nothing"].of("latency_ns").over(by["none", "nothing"].of("latency_ns"))
    age_us = by["paced", "nothing"].of("age_ns").us()
    return [
        *(Target(f"{v.name}: stale cycles", 100 * v.stale, "≤", 0.5, " %") for v in busy),
        Target("rtloop topic: release latency p99.9 / without ROS", latency[2], "≤", 1.5),
        Target("rtloop topic, paced by it: age p99", age_us[1], "≤", 200, " µs"),
    ]


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30, segments=2)
    disturbances = [beside for beside in BESIDE if beside != "nothing"]
    parser.add_argument(
        "--beside", nargs="*", choices=disturbances, default=disturbances, help="default: all"
    )
    return command_line.run("topics", "topics", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
