"""``rtloop link ping``: round trips of N exchanges of times."""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from rtloop.cli.outlet import say
from rtloop.cli.signals import Signals
from rtloop.cli.terminal import Terminal
from rtloop.errors import LinkError
from rtloop.link import Link
from rtloop.link.delivery import SHARE_MAX
from rtloop.link.handshake import ClockOffset
from rtloop.link.transports import latency_problem
from rtloop.stopping import stopped_when

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}


def ping(options: argparse.Namespace) -> int:
    """1 where more than 1 % was lost. Ctrl-C ends it early. Raises LinkError."""
    found: list[ClockOffset] = []
    tried = 0
    with Signals() as signals:
        stopped = signals.from_now_on()
        with stopped_when(stopped):
            link = Link.open(options.device, options.device, options.baud)
        try:
            before = link.damaged
            while tried < options.n and not stopped():
                tried += 1
                if (exchange := link.exchange_time()) is not None:
                    found.append(exchange)
                time.sleep(options.every)
            damaged = link.damaged - before
        finally:
            link.close()
    if not found:
        raise LinkError(
            f"'{link.info.name}' on {options.device} answered none of {tried} time requests; check the line"
        )
    lost = tried - len(found)
    times_us = [exchange.round_trip_ns / 1000 for exchange in found]
    round_trip_us = {name: float(np.percentile(times_us, p)) for name, p in PERCENTILES.items()}
    best = min(found, key=lambda exchange: exchange.round_trip_ns)
    code = int(lost > SHARE_MAX * tried)
    problem = latency_problem(options.device)
    if options.json:
        told = {
            "device": options.device,
            "name": link.info.name,
            "n": tried,
            "lost": lost,
            "damaged": damaged,
            "round_trip_us": round_trip_us,
            "clock_error_us": best.error_ns / 1000,
            "latency_problem": problem or None,
            "exit_code": code,
        }
        return code if say(json.dumps(told, indent=2)) else 1
    terminal = Terminal(sys.stdout)
    listed = "  ".join(f"{k.replace('_', '.')} {us:.0f}" for k, us in round_trip_us.items())
    share = f"{lost} lost ({lost / tried:.1%})"
    lines = [
        f"{link.info.name} on {options.device}: {tried} exchanges, "
        f"{terminal.styled(share, 'red') if code else share}, {damaged} damaged packets",
        f"  round trip  {listed} µs, without the time that the device had it",
        f"  clock       ± {best.error_ns / 1000:.0f} µs, by the quickest",
    ]
    if problem:
        lines.append(f"  latency     {problem}")
    return code if say("\n".join(map(terminal.wrapped, lines))) else 1
