"""The same 1 kHz job in rtloop's core and in Python, alone and beside busy Python in its process."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line
from benchmarks.job import Done
from benchmarks.result import Result, Table, Target, chance_of_so_many
from rtloop.policy.bench.distribution import Distribution, noise_floor

NOMINAL_HZ = 1000.0
START_UP_S = 60


@dataclass
class Variant:
    """One way to run the job, beside one disturbance; what came of it, segment by segment."""

    name: str
    way: str
    beside: str
    judged: bool = False
    done: list[Done] = field(default_factory=list)
    response_ns: list[NDArray[np.int64]] = field(default_factory=list)
    unavailable: str = ""

    def measure(self, seconds: float, options: argparse.Namespace) -> None:
        """One segment, in a process of its own."""
        if self.unavailable:
            return
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "response.npy"
            command = [sys.executable, "-m", "benchmarks.job", self.way, "--beside", self.beside]
            command += ["--seconds", str(seconds), "--cpu", str(options.cpu)]
            command += ["--priority", str(options.priority), "--out", str(out)]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, timeout=3 * seconds + START_UP_S
            )
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}")
            said = json.loads(done.stdout)
            self.unavailable = said.get("unavailable", "")
            if not self.unavailable:
                self.done.append(Done(**said))
                self.response_ns.append(np.load(out))

    def distribution(self) -> Distribution:
        return Distribution.of(np.concatenate(self.response_ns or [np.zeros(0, np.int64)]))

    @property
    def skipped(self) -> int:
        return sum(done.skipped for done in self.done)

    @property
    def gaps(self) -> int:
        return sum(done.gaps for done in self.done)

    @property
    def misses(self) -> int:
        return sum(done.misses for done in self.done)

    @property
    def rate_hz(self) -> float | None:
        return float(np.mean([done.rate_hz for done in self.done])) if self.done else None


def _variants(with_ros: bool) -> list[Variant]:
    variants = [
        Variant("rtloop", "core", "nothing"),
        Variant("rtloop again (noise floor)", "core", "nothing"),
        Variant("rtloop + busy Python thread", "core", "python", judged=True),
        Variant("Python, clock_nanosleep", "absolute_sleep", "nothing"),
        Variant("Python, clock_nanosleep + busy thread", "absolute_sleep", "python"),
        Variant("loop-rate-limiters", "rate_limiter", "nothing"),
        Variant("loop-rate-limiters + busy thread", "rate_limiter", "python"),
        Variant("horus-robotics", "horus_node", "nothing"),
        Variant("horus-robotics + busy thread", "horus_node", "python"),
    ]
    if with_ros:
        variants += [
            Variant("rtloop + spinning rclpy node", "core", "rclpy", judged=True),
            Variant("rclpy timer", "rclpy_timer", "nothing"),
            Variant("rclpy timer + busy thread", "rclpy_timer", "python"),
        ]
    return variants


def measure(options: argparse.Namespace, result: Result) -> None:
    if options.ros:
        from benchmarks import ros

        ros.require()
    variants = _variants(options.ros)
    segment_s = options.seconds / options.segments
    for i in range(options.segments):
        # There and back again, so that nothing always comes first.
        for variant in variants if i % 2 == 0 else reversed(variants):
            command_line.progress(f"segment {i + 1} of {options.segments}: {variant.name}")
            variant.measure(segment_s, options)
    alone, again = variants[0], variants[1]
    result.denied = sorted({right for done in alone.done for right in done.denied})
    baseline = Distribution.of(np.concatenate([*alone.response_ns, *again.response_ns]))

    columns = ["", "ratio p50", "p99", "p99.9", "rate Hz", "skipped", "misses"]
    table = Table(
        [*columns, "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"response time; FIFO {options.priority}, CPU {options.cpu}, 1 kHz, "
        f"{options.segments} alternating segments of {segment_s:g} s; ratios to rtloop alone",
    )
    result.tables.append(table)
    for variant in variants:
        if variant.unavailable:
            result.notes.append(f"{variant.name}: not run: {variant.unavailable}")
            continue
        found = variant.distribution()
        table.add(
            variant.name,
            *found.over(baseline),
            variant.rate_hz,
            variant.skipped,
            variant.misses,
            *found.us(),
        )
        if variant.judged:
            result.targets += _targets(variant, found, baseline, alone.gaps + again.gaps)
        heard = [done.messages_hz for done in variant.done if done.messages_hz is not None]
        if heard:
            result.notes.append(
                f"{variant.name}: {np.mean(heard):.0f} messages/s came through two subscriptions"
            )
    result.tables.append(_why(variants))
    floor = noise_floor(
        [x for y in zip(alone.response_ns, again.response_ns, strict=True) for x in y]
    )
    table.add("noise floor: rtloop / itself", *floor, *[None] * 7)
    result.notes.append(
        "skipped: releases of a 1 kHz grid that had no cycle, also of loops that move their own grid"
    )


def _why(variants: list[Variant]) -> Table:
    """What a busy Python thread makes of each way: the table of the README."""
    columns = ["", "alone, Hz", "beside a busy Python thread, Hz", "releases without a cycle, %"]
    table = Table([*columns, "N"], title="the same 1 kHz job")
    alone = {v.way: v for v in reversed(variants) if v.beside == "nothing"}
    for variant in variants:
        if variant.beside == "python" and variant.done:
            executed = sum(done.executed for done in variant.done)
            lost = 100 * variant.skipped / (variant.skipped + executed)
            way = alone[variant.way]
            table.add(way.name, way.rate_hz, variant.rate_hz, lost, executed)
    return table


def _targets(
    variant: Variant, found: Distribution, baseline: Distribution, gaps_alone: int
) -> list[Target]:
    rate_hz = variant.rate_hz
    off = None if rate_hz is None else 100 * abs(rate_hz / NOMINAL_HZ - 1)
    return [
        Target(f"{variant.name}: rate off by", off, "≤", 0.1, " %"),
        Target(
            f"{variant.name}: {variant.gaps} gaps in the grid against {gaps_alone} in twice the "
            "time alone; so many by chance",
            # Stalls of the machine hit both at random: more is a finding only beyond chance.
            100 * chance_of_so_many(variant.gaps, gaps_alone, 1 / 3),
            "≥",
            1.0,
            " %",
        ),
        Target(f"{variant.name}: response p99.9 / alone", found.over(baseline)[2], "≤", 1.5),
    ]


def main() -> int:
    parser = command_line.parser(__doc__, seconds=60, segments=6)
    parser.add_argument(
        "--ros", action="store_true", help="also beside rclpy, and as an rclpy timer"
    )
    return command_line.run("busy", "A 1 kHz job beside busy Python", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
