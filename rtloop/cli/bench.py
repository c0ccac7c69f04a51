"""``rtloop policy bench``: how long a policy takes here, in each version, as tables for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping

from rtloop.cli.outlet import say
from rtloop.cli.policy import chosen_policy
from rtloop.cli.table import table
from rtloop.cli.terminal import Terminal
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.bench.bench import (
    Bench,
    Measured,
    bench,
    subject_of_loop,
    subject_of_model,
)
from rtloop.policy.bench.conditions import Conditions
from rtloop.policy.bench.cost import Cost
from rtloop.policy.bench.distribution import Distribution
from rtloop.policy.bench.limit import Limit
from rtloop.policy.bench.versions import VERSIONS

#: A column that a narrow terminal can do without.
FURTHER = ("N", "p99.9 µs")
TITLES = {
    "warm": "warm: back to back",
    "cold": "cold: after each run, more was written than the last cache holds",
    "in_loop": "in the loop: cycles paced at its rate, between mailboxes",
}


def bench_policy(options: argparse.Namespace) -> int:
    """Measures, and prints; 0 where onnxruntime itself could be measured."""
    unknown = [name for name in options.versions if name not in VERSIONS]
    if unknown:
        listed = ", ".join(VERSIONS)
        raise ConfigError(f"--versions: found '{unknown[0]}'; expected some of {listed}")
    if options.file.suffix == ".onnx":
        if options.loop is not None or options.policy is not None:
            option = "--policy" if options.loop is None else "--loop"
            raise ConfigError(f"{option}: found {options.file}, a model alone; it has no loops")
        subject = subject_of_model(options.file)
    else:
        one = chosen_policy(load(options.file), options)
        subject = subject_of_loop(one.config, one.loop, one.label)
    found = bench(subject, options.versions, options.seconds)
    if options.json:
        told = {"file": str(options.file), **found.as_dict(), "exit_code": 0}
        return 0 if say(json.dumps(told, indent=2)) else 1
    return 0 if say("\n".join(_told(found, Terminal(sys.stdout)))) else 1


def _told(found: Bench, terminal: Terminal) -> Iterator[str]:
    every = f", the policy once in {found.every} cycles" if found.every > 1 else ""
    rate = f"{1e9 / found.period_ns:g} Hz"
    yield terminal.styled(f"{found.name}: {rate}{every}", "bold")
    for line in (*_of_cost(found.cost), of_limit(found.limit)):
        yield terminal.wrapped(line)
    measured = {n: m for n, m in found.versions.items() if isinstance(m, Measured)}
    for what, title in TITLES.items():
        yield f"\n{title}"
        header = (
            "",
            "version",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "high water µs",
            "N",
            "× ort",
            "of this core",
        )
        rows = [_row(name, version, what) for name, version in measured.items()]
        rows.append(("", "ort / itself", "", "", "", "", "", _ratio(found.noise[what]), ""))
        yield from table(header, rows, terminal, FURTHER)
    yield "\nfirst run, and weights"
    rows = [
        ("", name, f"{version.first_run_ns / 1e3:.3g}", size(version.weight_bytes))
        for name, version in measured.items()
    ]
    yield from table(("", "version", "first run µs", "weights"), rows, terminal)
    yield ""
    for name, version in found.versions.items():
        if isinstance(version, str):
            yield terminal.wrapped(f"{name}: not measured: {version}")
            continue
        loop = version.in_loop
        if version.note:
            yield terminal.wrapped(f"{name}: {version.note}")
        if loop.missed or loop.skipped:
            told = (
                f"{loop.missed} of {loop.cycles} deadlines missed, {loop.skipped} releases skipped"
            )
            yield terminal.wrapped(f"{name}: in the loop {told}")
        if loop.ended:
            yield terminal.wrapped(f"{name}: in the loop it ended early: {loop.ended}")
    yield from map(terminal.wrapped, of_conditions(found.conditions))


def _row(name: str, version: Measured, what: str) -> tuple[str, ...]:
    of = {"warm": version.warm, "cold": version.cold, "in_loop": version.in_loop.inference}[what]
    share = {"warm": version.of_limit, "cold": version.of_memory}.get(what)
    ratio = _ratio(version.ratios[what])
    return ("", name, *percentiles(of), ratio, "" if share is None else _percent(share))


def percentiles(of: Distribution) -> tuple[str, ...]:
    """p50, p99, p99.9 and the high water in µs, and N; a dash for what so few values do not tell."""
    told: Mapping[str, float | int | None] = of.as_dict()
    names = ("p50_us", "p99_us", "p99_9_us", "high_water_us")
    values = (told[name] for name in names)
    return (*("–" if value is None else _us(value) for value in values), str(of.n))


def _us(value: float) -> str:
    return f"{value:.4g}" if value < 1e4 else f"{value:.0f}"  # 52940, not 5.294e+04


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _of_cost(cost: Cost) -> Iterator[str]:
    by = ", ".join(cost.counted) or "no operator that is counted"
    yield (
        f"a run of the policy: {_si(cost.flops)}FLOP ({by}); {size(cost.weight_bytes)} of weights, "
        f"{size(cost.tensor_bytes)} of tensors"
    )
    if cost.not_counted:
        listed = ", ".join(f"{name} {count}" for name, count in cost.not_counted.items())
        yield f"not among the FLOPs, as no sum of products that is counted, or of unknown shape: {listed}"
    if cost.unsized:
        yield f"not among the bytes: {cost.unsized} tensors whose shape the models do not tell"


def of_limit(limit: Limit) -> str:
    """What a core can do, and that nobody looked it up."""
    return (
        f"one core, measured here: {_si(limit.flops_per_s)}FLOP/s of float32 multiply-adds; "
        f"{_si(limit.bytes_per_s)}B/s from its caches, {_si(limit.memory_bytes_per_s)}B/s from memory"
    )


def of_conditions(conditions: Conditions) -> Iterator[str]:
    """Under what all of this was measured."""
    yield (
        f"on {conditions.cpu}, Linux {conditions.kernel}; {conditions.scheduler}; load before "
        f"{conditions.load:g}; {conditions.stolen_percent:g} % of the time stolen by the hypervisor"
    )
    for right in conditions.denied:
        yield f"denied: {right}"


def size(count: float) -> str:
    return f"{_si(count)}B"


def _si(value: float) -> str:
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "
