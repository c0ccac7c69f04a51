"""What the two threads of a loop ask of Linux."""

from __future__ import annotations

from typing import Protocol

from rtloop import core
from rtloop.config import RealtimeConfig


class Paced(Protocol):
    """What the threads of a loop depend on; a ``LoopConfig`` is one."""

    @property
    def realtime(self) -> RealtimeConfig: ...
    @property
    def period_ns(self) -> int: ...
    @property
    def deadline_ns(self) -> int: ...
    @property
    def budget_ns(self) -> int | None: ...


def loop_thread(name: str, config: Paced) -> core.ThreadSetup:
    """The thread that runs the cycle."""
    realtime = config.realtime
    setup = _setup(f"rt:{name}", realtime.scheduler, realtime.thread_priority)
    if realtime.scheduler == "deadline":
        setup.period_ns = config.period_ns
        setup.deadline_ns = config.deadline_ns
        setup.runtime_ns = config.budget_ns or config.deadline_ns // 2
    else:
        setup.cpus = list(realtime.cpu_affinity or ())
    return setup


def guard_thread(name: str, config: Paced) -> core.ThreadSetup:
    """The thread that acts at the deadline, one priority above the loop."""
    realtime = config.realtime
    if realtime.scheduler == "deadline":
        # The highest FIFO priority still yields to SCHED_DEADLINE; the loop's own throttling lets it run.
        return _setup(f"rtg:{name}", "fifo", 99)
    setup = _setup(f"rtg:{name}", realtime.scheduler, realtime.thread_priority + 1)
    if realtime.cpu_affinity is not None:
        # Off the loop's CPUs where it can: its wake-up at d would delay the release at d, and a CPU that is
        # stuck must not take its guard with it.
        others = sorted(set(core.allowed_cpus()) - set(realtime.cpu_affinity))
        setup.cpus = others or list(realtime.cpu_affinity)
    return setup


def link_thread(name: str, config: Paced) -> core.ThreadSetup:
    """The threads, not the loop's, that carry the packets of a link, and so also its STOP.

    Real-time like the loop, or a busy machine would be late for it; one priority below, so that a flood from
    the network cannot keep the loop from its CPU; and off the loop's CPUs where they can, so that a loop that
    hangs cannot keep the safe command from leaving. Where there is one CPU only, it can: then the device's own
    command timeout is what is left.
    """
    realtime = config.realtime
    if realtime.scheduler == "deadline":
        setup = _setup(
            f"link:{name}", "fifo", 98
        )  # below its guard; the loop comes before all of them
    else:
        priority = max(1, realtime.thread_priority - 1) if realtime.scheduler != "other" else 0
        setup = _setup(f"link:{name}", realtime.scheduler, priority)
    taken = realtime.cpu_affinity
    if taken is not None:
        setup.cpus = sorted(set(core.allowed_cpus()) - set(taken)) or list(taken)
    return setup


def function_thread(name: str, config: Paced) -> core.ThreadSetup:
    """The thread of a policy's Python function: never real-time, and off the loop's CPUs where it can."""
    setup = _setup(f"py:{name}", "other", 0)
    taken = config.realtime.cpu_affinity
    if taken is not None:
        setup.cpus = sorted(set(core.allowed_cpus()) - set(taken)) or list(taken)
    return setup


def _setup(name: str, scheduler: str, priority: int) -> core.ThreadSetup:
    setup = core.ThreadSetup()
    setup.name = name
    setup.scheduler = core.Scheduler[scheduler]
    setup.priority = priority
    return setup
