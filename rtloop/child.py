"""Processes of our own beside a run, the recorder and the report: how they are started, and what
they are rid of."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

#: The program that each of their command lines names.
ENTRY = Path(__file__).absolute().with_name("child_entry.py")


def command(part: str) -> list[str]:
    """This Python with a part of rtloop, told to ignore what this process was told to ignore
    (``-E``, ``-s``, ``-I``)."""
    return [*python(), str(ENTRY), part]


def python() -> list[str]:
    """This Python, told to ignore what this process was told to ignore."""
    flags = ["-E"] if sys.flags.ignore_environment else []
    flags += ["-s"] if sys.flags.no_user_site else []
    return [sys.executable, *flags]


def environment() -> dict[str, str]:
    """This process's environment, with no working directory in ``PYTHONPATH``.

    An empty entry means it, and ``PYTHONPATH=/some/where:$PYTHONPATH`` makes one. Entries that
    name a folder are kept.
    """
    result = dict(os.environ)
    entries = result.pop("PYTHONPATH", "").split(os.pathsep)
    kept = [os.path.abspath(entry) for entry in entries if os.path.normpath(entry) != os.curdir]
    if kept:
        result["PYTHONPATH"] = os.pathsep.join(kept)
    return result


def become_ordinary(avoid_cpus: Sequence[int], *, nice: int = 0) -> None:
    """In the child: drop what a real-time parent may have handed down. ``nice`` is at least so
    much; ``avoid_cpus`` are left to the loops where there are others."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    except OSError:
        pass  # it may not be lowered further, or not changed at all: then it runs as it is
    every = set(range(os.cpu_count() or 1))
    for cpus in (every - set(avoid_cpus) - _isolated_cpus(), every):
        try:
            os.sched_setaffinity(0, cpus)
        except (OSError, ValueError):
            continue
        return


def _isolated_cpus() -> set[int]:
    """CPUs kept free for real-time work by ``isolcpus=``: nothing balances load there."""
    try:
        text = Path("/sys/devices/system/cpu/isolated").read_text().strip()
    except OSError:
        return set()
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus
