"""What loops ask of Linux for their whole process: asked for once, however many loops want it."""

from __future__ import annotations

from collections.abc import Iterable

from rtloop import core
from rtloop.config import RealtimeConfig
from rtloop.realtime.rights import RightReport, report


class ProcessRights:
    """Locked memory and a bound on the CPU's wake-up latency, for the loops of a run while they are active.

    Memory stays locked when the rights are closed: what is resident then does no harm.
    """

    def __init__(self, asked: Iterable[RealtimeConfig]) -> None:
        """Asks for what any of ``asked`` wants. Raises nothing: what was denied is in the reports."""
        asked = list(asked)
        latencies_us = [a.cpu_dma_latency_us for a in asked if a.cpu_dma_latency_us is not None]
        self._memory: RightReport | None = None
        self._latency: RightReport | None = None
        self._hold: core.CpuLatencyHold | None = None
        if any(a.lock_memory for a in asked):
            self._memory = report(core.lock_memory())
        if latencies_us:
            # The kernel obeys the smallest of all that are held; so one is enough.
            self._hold = core.CpuLatencyHold(min(latencies_us))
            self._latency = report(self._hold.right)

    def of(self, realtime: RealtimeConfig) -> list[RightReport]:
        """What became of those that one loop asked for."""
        rights = []
        if realtime.lock_memory and self._memory is not None:
            rights.append(self._memory)
        if realtime.cpu_dma_latency_us is not None and self._latency is not None:
            rights.append(self._latency)
        return rights

    def close(self) -> None:
        """Lets the CPU go back to its deep idle states."""
        self._hold = None
