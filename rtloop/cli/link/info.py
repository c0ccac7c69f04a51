"""``rtloop link info``: what a device is, what it measures, and how it is. It is left as it was."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rtloop.cli.outlet import say
from rtloop.cli.table import Row, table
from rtloop.cli.terminal import Terminal
from rtloop.link import DeviceStatus, Link, LinkInfo
from rtloop.link.messages import DeviceStats, Sample, told_state
from rtloop.link.transports import latency_problem

#: A device samples every period, from its HELLO on; a slow one is waited for so long.
SAMPLE_S = 1.0

COUNTERS = {
    "rx_packets": "packets received",
    "crc_errors": "with a wrong CRC",
    "frame_errors": "broken frames",
    "seq_gaps": "missed",
    "late_commands": "late commands",
    "rejected_commands": "rejected commands",
    "command_timeouts": "command timeouts",
    "tx_packets": "packets sent",
}


def info(options: argparse.Namespace) -> int:
    """Says HELLO, and asks for schema, time, counters and one sample. Raises LinkError."""
    link = Link.open(options.device, options.device, options.baud)
    try:
        status = link.status()
        sample = _first_sample(link)
        account = link.account()
        low_latency = link.low_latency if link.bit_rate is not None else None  # of a driver alone
    finally:
        link.close()
    problem = latency_problem(options.device)
    if options.json:
        told = {**as_dict(options.device, link.info, status, sample), "low_latency": low_latency}
        told["account"] = None if account is None else asdict(account[0])
        told |= {"latency_problem": problem or None, "exit_code": 0}
        return 0 if say(json.dumps(told, indent=2)) else 1
    terminal = Terminal(sys.stdout)
    lines = [*_told(options.device, link.info, status, sample, terminal)]
    if account is not None and account[0].loop_class is not None:
        lines.insert(1, terminal.wrapped(_account(account[0])))
    lines.append(terminal.wrapped(_latency(low_latency, problem)))
    return 0 if say("\n".join(filter(None, lines))) else 1


def _first_sample(link: Link) -> Sample | None:
    watch = link.watch()
    end = time.monotonic() + SAMPLE_S
    while watch.sample is None and time.monotonic() < end:
        for _ in watch.until(min(end, time.monotonic() + 0.01)):
            pass
    return watch.sample


def as_dict(
    device: str, info: LinkInfo, status: DeviceStatus, sample: Sample | None
) -> dict[str, Any]:
    """JSON has no NaN: a value that is not finite is null."""
    values = sample.values if sample else ()
    return {
        "device": device,
        "name": info.name,
        "state": status.state.name,
        "reasons": [reason.name for reason in type(status.reasons) if reason in status.reasons],
        "schema_id": info.schema_id,
        "boot_id": info.boot_id,
        "sensor_period_us": info.sensor_period_us,
        "command_timeout_us": info.command_timeout_us,
        "clock_offset_us": info.clock_offset_ns / 1000,
        "clock_error_us": info.clock_error_ns / 1000,
        "round_trip_us": info.round_trip_ns / 1000,
        "sensors": [
            {**asdict(field), "value": _finite(values[i]) if i < len(values) else None}
            for i, field in enumerate(info.schema.sensors)
        ],
        "commands": [asdict(field) for field in info.schema.commands],
        "counters": {name: getattr(status, name) for name in COUNTERS},
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _told(
    device: str, info: LinkInfo, status: DeviceStatus, sample: Sample | None, terminal: Terminal
) -> Iterator[str]:
    state = told_state(status.state, status.reasons)
    yield f"{terminal.styled(info.name, 'bold')} on {device} is {terminal.styled(state, 'bold')}"
    yield terminal.wrapped(
        f"  schema {info.schema_id:#06x}, boot {info.boot_id:#010x}; a sample every "
        f"{info.sensor_period_us / 1000:g} ms; SAFE after {info.command_timeout_us / 1000:g} ms without a "
        "command"
    )
    yield terminal.wrapped(
        f"  clock: ours {info.clock_offset_ns / 1e6:+.3f} ms, ± {info.clock_error_ns / 1000:.0f} µs; "
        f"round trip {info.round_trip_ns / 1000:.0f} µs"
    )
    counters = ", ".join(f"{getattr(status, k)} {words}" for k, words in COUNTERS.items())
    yield terminal.wrapped(f"  since its start: {counters}")
    values = [f"{value:.6g}" for value in sample.values] if sample else []
    rows: list[Row] = [
        (field.name, "sensor", values[i] if i < len(values) else "", field.unit, f"{field.rate_hz}")
        for i, field in enumerate(info.schema.sensors)
    ]
    rows += [
        (f.name, "command", "", "" if f.unit == "-" else f.unit, f"{f.rate_hz}")
        for f in info.schema.commands
    ]
    if rows:
        yield from table(("name", "", "value", "unit", "Hz"), rows, terminal, ("Hz",))
    if sample is None and info.schema.sensors:
        yield terminal.wrapped(
            f"  no sample came within {SAMPLE_S:g} s: see that its firmware calls rtl_device_tick()"
        )


def _account(stats: DeviceStats) -> str:
    return (
        f"  its own loop, {stats.loop_class}, every {stats.period_us / 1000:g} ms, since it was armed: "
        f"{stats.jobs} jobs, {stats.skipped} skipped, {stats.misses} deadline misses; response at most "
        f"{stats.response_max_us} µs, sample to actuation at most {stats.sample_to_actuation_max_us} µs"
    )


def _latency(low_latency: bool | None, problem: str) -> str:
    if problem:
        return f"  latency: {problem}"
    return "  latency: the driver passes received bytes on at once" if low_latency else ""
