"""The middleware's own threads in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rtloop import core

#: What Fast DDS calls those that take messages from other processes and hosts.
_RECEIVERS = ("dds.shm.", "dds.udp.", "dds.tcp.")
_TASKS = Path("/proc/self/task")


def schedule_receivers(setup: core.ThreadSetup) -> list[core.Right]:
    """Those that receive get the priority of ``setup``, unless another loop has given them a higher one.

    They are the first on the way of a message to a loop: as ordinary threads they wait for whatever computes.
    Nothing for a middleware whose threads have other names. Their CPUs stay as they are.
    """
    if setup.scheduler == core.Scheduler.other:
        return []
    theirs = core.ThreadSetup()
    theirs.scheduler = core.Scheduler.fifo
    theirs.priority = setup.priority
    rights: list[core.Right] = []
    for thread in _receivers():
        with suppress(OSError):  # it has ended
            if os.sched_getparam(thread).sched_priority < setup.priority:
                rights += core.apply_to_thread(thread, theirs)
    return rights


def _receivers() -> Iterator[int]:
    for task in _TASKS.iterdir():
        with suppress(OSError):
            if (task / "comm").read_text().startswith(_RECEIVERS):
                yield int(task.name)
