"""What this host lacks for a configuration. A warning here is an error only at start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.link import transports

if TYPE_CHECKING:
    from rtloop.config.config import Config


def host_problems(config: Config) -> list[str]:
    """What would not work on this host: CPUs, link devices, the recording directory.

    One line each, in the form of a ConfigError: ``FILE:LINE:COL: key: found X; expected Y``.
    """
    return [*_cpus(config), *_devices(config), *_recording(config)]


def _cpus(config: Config) -> Iterator[str]:
    present = _numbers("/sys/devices/system/cpu/online") or set(range(os.cpu_count() or 1))
    allowed = os.sched_getaffinity(0)
    for name, loop in config.loops.items():
        for index, cpu in enumerate(loop.realtime.cpu_affinity or ()):
            if cpu in allowed:
                continue
            where = config.where("loops", name, "realtime", "cpu_affinity", index)
            if cpu not in present:
                yield f"{where}: found CPU {cpu}; expected a CPU of this host: {_list(present)}"
            else:
                yield (
                    f"{where}: found CPU {cpu}, which this process may not use; expected one of "
                    f"{_list(allowed)}, or a wider cpuset (container, systemd AllowedCPUs, taskset)"
                )


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


def _devices(config: Config) -> Iterator[str]:
    for name, link in config.links.items():
        transport = transports.of(link.device)
        problem = "" if transport is None else transport.host_problem(link.device)
        if problem:
            yield f"{config.where('links', name, 'device')}: {problem}"


def _recording(config: Config) -> Iterator[str]:
    if not config.recording.enabled:
        return
    wanted = os.path.abspath(config.recording.directory)
    folder = wanted
    while not os.path.lexists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    where = config.where("recording", "directory")
    if not os.path.isdir(folder):
        yield f"{where}: found '{folder}', no folder; expected a folder for recordings"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"{where}: found '{folder}', not writable; expected a folder for recordings"
