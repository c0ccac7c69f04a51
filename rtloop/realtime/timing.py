"""What drives the cycles of a run's loops: threads in real time, or whoever steps them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rtloop import core

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from rtloop.config import Config


class Found(Protocol):
    """What setting a loop up has found: as ``core.SetUp``."""

    @property
    def loop_rights(self) -> list[core.Right]: ...
    @property
    def guard_rights(self) -> list[core.Right]: ...
    @property
    def error(self) -> str: ...
    @property
    def warm_up_ns(self) -> NDArray[np.int64]: ...


class Drive(Protocol):
    """What runs one loop for one activation: as ``core.LoopThreads``."""

    def set_up(
        self,
        loop_thread: core.ThreadSetup,
        guard_thread: core.ThreadSetup,
        warm_up_runs: int,
        look: Callable[[], None] | None = None,
    ) -> Found: ...
    def deactivate(self, timeout_ns: int) -> bool: ...


class Outside(Protocol):
    """What the loops read and write where no thread does it for them."""

    def take(self, now_ns: int) -> None:
        """Looks at what has come."""

    def deliver(self, until_ns: int) -> None:
        """Leaves what is no newer than that to its loop."""

    def send(self) -> None:
        """What its loop has commanded since."""


class Timing(Protocol):
    """The time of a run, and what makes its loops go."""

    @property
    def is_real(self) -> bool:
        """Whether it passes by itself: rights are asked for, and samples are waited for, in real time only."""

    def refuse(self, config: Config) -> None:
        """Raises ConfigError where a loop of the file cannot run in this time."""

    def now_ns(self) -> int: ...
    def realtime_ns_offset(self) -> int:
        """What makes a time of a recording of ``now_ns``."""

    def clock(self) -> core.Clock:
        """For one activation of one loop."""

    def drive(self, loop: core.Loop, clock: core.Clock, period_ns: int) -> Drive: ...
    def release(self, drives: Sequence[Any]) -> int:
        """Of those that are set up; the first release (ns)."""

    def attach(self, outside: Outside) -> None:
        """It is asked beside each cycle until it is detached; in time that is not real."""

    def detach(self, outside: Outside) -> None: ...


class RealTime:
    """CLOCK_MONOTONIC, and two threads for each loop."""

    is_real = True

    def refuse(self, config: Config) -> None:
        pass

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def realtime_ns_offset(self) -> int:
        return time.time_ns() - time.monotonic_ns()

    def clock(self) -> core.Clock:
        return core.MonotonicClock()

    def drive(self, loop: core.Loop, clock: core.Clock, period_ns: int) -> core.LoopThreads:
        return core.LoopThreads(loop)

    def release(self, drives: Sequence[core.LoopThreads]) -> int:
        return core.activate(drives)

    def attach(self, outside: Outside) -> None:
        raise ValueError("in real time nobody is asked: ports have threads of their own")

    def detach(self, outside: Outside) -> None:
        pass


REAL_TIME = RealTime()
