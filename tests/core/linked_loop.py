"""A loop on the device of a test: real time, stepped by the test."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rtloop import core
from rtloop.telemetry.observe.records import RECORD_DTYPE
from tests.core.conftest import MS, first_of
from tests.core.fake_device import FakeDevice


class LinkedLoop:
    """command = first sensor value. Not begun; ``changes`` are those of the port's options."""

    def __init__(
        self,
        device: FakeDevice,
        path: Path,
        *,
        period_ns: int = 2 * MS,
        max_age_ns: int = 20 * MS,
        max_rate_per_s: float | None = None,
        hold: int | None = None,
        stalls: list[core.Stall] | None = None,
        **changes: int,
    ) -> None:
        self.port = device.port(**changes)
        config = core.LoopConfig()
        config.name = "linked"
        config.loop_class = core.LoopClass.soft
        config.period_ns = config.deadline_ns = period_ns
        config.inputs = [core.InputConfig(0, max_age_ns, core.OnStale.hold)]
        rates = [] if max_rate_per_s is None else [max_rate_per_s]
        safe = [0.0] if hold is None else [math.nan]
        held = [] if hold is None else [hold]
        config.outputs = [core.OutputConfig(0, max_rate_per_s=rates, safe=safe, hold=held)]
        config.stalls = stalls or []
        self.path = str(path)
        ring = core.RingWriter(self.path, 1024, 1, 2, 1, b"{}")
        self.loop = core.Loop(config, [self.port], first_of(2), ring, core.MonotonicClock())

    def last(self) -> tuple[np.void, list[float]]:
        """Record of the newest cycle; its sample, then its command."""
        return last_cycle(self.path)


def last_cycle(path: Path | str) -> tuple[np.void, list[float]]:
    """The same of any ring whose loop has one input."""
    raw, _ = core.RingReader(str(path)).read(1024)
    row = np.ascontiguousarray(raw[-1])
    values = row[core.RECORD_SIZE + core.INPUT_RECORD_SIZE :].view("<f4")
    return row[: core.RECORD_SIZE].view(RECORD_DTYPE)[0], [float(v) for v in values]
