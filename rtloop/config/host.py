"""What this host lacks for a configuration, and may have once it is run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.errors import Finding
from rtloop.link import transports

if TYPE_CHECKING:
    from rtloop.config.config import Config


def host_problems(config: Config) -> list[Finding]:
    """What is not there on this host: CPUs, link devices. Warnings: neither has to be there yet."""
    return [*_cpus(config), *_devices(config)]


def _cpus(config: Config) -> Iterator[Finding]:
    present = _numbers("/sys/devices/system/cpu/online") or set(range(os.cpu_count() or 1))
    allowed = os.sched_getaffinity(0)
    for name, loop in config.loops.items():
        for index, cpu in enumerate(loop.realtime.cpu_affinity or ()):
            if cpu in allowed:
                continue
            where = config.where("loops", name, "realtime", "cpu_affinity", index)
            if cpu not in present:
                found, expected = f"CPU {cpu}", f"a CPU of this host: {_list(present)}"
            else:
                found = f"CPU {cpu}, which this process may not use"
                wider = "a wider cpuset (container, systemd AllowedCPUs, taskset)"
                expected = f"one of {_list(allowed)}, or {wider}"
            yield Finding.of(where, found, expected, severity="warning")


def _numbers(path: str) -> set[int]:
    """CPU numbers in the kernel's list format: ``0-3,6``."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
        ranges = [part.partition("-") for part in text.split(",") if part]
        return {n for a, dash, b in ranges for n in range(int(a), int(b if dash else a) + 1)}
    except (OSError, ValueError):
        return set()


def _list(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _devices(config: Config) -> Iterator[Finding]:
    for name, link in config.links.items():
        transport = transports.of(link.device)
        problem = None if transport is None else transport.host_problem(link.device)
        if problem is not None:
            yield Finding.of(config.where("links", name, "device"), *problem, severity="warning")
