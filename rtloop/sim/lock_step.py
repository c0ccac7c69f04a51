"""The loops of a run, stepped through time that somebody else tells: a simulation's, or a recording's.

    clock = LockStep()
    clock.advance(0)
    with Run(config, timing=clock) as run:
        run.loops["arm"].write_input("joints", joints)
        clock.advance(10_000_000)   # every cycle that is due until then, and nothing else

A cycle takes no time here, and begins exactly at its release: the same times and inputs make the same records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rtloop import core
from rtloop.errors import ConfigError, Finding, RtloopError
from rtloop.realtime.timing import Outside

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtloop.config import Config
    from rtloop.run import Run


#: More than that at once is another time, and not the next step: at 1 kHz it would be 10 000 cycles.
STEP_MAX_NS = 10_000_000_000


@dataclass(frozen=True)
class _NothingFound:
    """No thread is set up, and no right asked for."""

    loop_rights: list[core.Right] = field(default_factory=list)
    guard_rights: list[core.Right] = field(default_factory=list)
    error: str = ""
    warm_up_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


class _Stepped:
    """One activation of one loop. Its clock stands between two steps where the one of all of them stands."""

    def __init__(
        self, owner: LockStep, loop: core.Loop, clock: core.VirtualClock, period_ns: int
    ) -> None:
        self.loop, self.clock, self.period_ns = loop, clock, period_ns
        self._owner = owner

    def set_up(
        self,
        loop_thread: core.ThreadSetup,
        guard_thread: core.ThreadSetup,
        warm_up_runs: int,
        look: Callable[[], None] | None = None,
    ) -> _NothingFound:
        return _NothingFound()

    def deactivate(self, timeout_ns: int) -> bool:
        self._owner.end(self)
        return True

    def begin_after(self, now_ns: int) -> None:
        """At the next multiple of its period, whenever that activation was: so grids do not depend on it."""
        self.loop.begin((now_ns // self.period_ns + 1) * self.period_ns - now_ns)

    @property
    def next_ns(self) -> int:
        status = self.loop.status()
        passed_ns = int(status["elapsed_periods"]) * self.period_ns
        return int(status["first_release_ns"]) + passed_ns + int(status["slipped_ns"])

    def pass_until(self, time_ns: int) -> None:
        self.clock.spend(max(0, time_ns - self.clock.now()))


class LockStep:
    """The time of one :class:`rtloop.Run`, as ``timing``. Any thread may call it, one at a time is heard."""

    is_real = False

    def __init__(self) -> None:
        self._now_ns: int | None = None
        self._lock = threading.RLock()
        self._released: list[_Stepped] = []
        """Whose first release is awaited: for a sample of every input of every loop."""
        self._begun: list[_Stepped] = []
        self._outside: list[Outside] = []

    def advance(self, to_ns: int) -> None:
        """Runs every cycle that is released until ``to_ns``, in the order of the releases; of one time, in that
        of the file. The first call only says what time it is.

        Before the first cycle each input must have a sample; the release after that is the first one. Raises
        ValueError where time goes back: see :meth:`follow`.
        """
        with self._lock:
            if self._now_ns is None:
                self._now_ns = to_ns
            if self.went_back(to_ns):
                raise ValueError(f"found {to_ns} ns; expected no time before {self._now_ns} ns")
            for outside in self._outside:
                outside.take(self._now_ns)
            self._deliver(self._now_ns)
            self._begin_released(self._now_ns)
            while (due := self._due()) is not None and due.next_ns <= to_ns:
                self._now_ns = max(self._now_ns, due.next_ns)
                self._deliver(self._now_ns)
                if not due.loop.step():  # in FAULT
                    self.end(due)
                for outside in self._outside:
                    outside.send()
            for stepped in (*self._begun, *self._released):
                stepped.pass_until(to_ns)
            self._now_ns = to_ns

    def try_advance(self, to_ns: int) -> bool:
        """:meth:`advance`, unless time jumped under its loops: False then, and nothing was done.

        It did where it went back, and where it went on by more than 10 s at once after their first release.
        Before that they wait on: to activate them anew may take longer than 10 s of a fast simulation.
        """
        with self._lock:
            if self.went_back(to_ns):
                return False
            if self._now_ns is not None and to_ns - self._now_ns > STEP_MAX_NS:
                if self._begun:
                    return False
                self._now_ns = to_ns  # no cycle was due until then
            self.advance(to_ns)
            return True

    def follow(self, run: Run, to_ns: int) -> bool:
        """:meth:`try_advance`; where time jumped, ends ``run`` and activates it anew at ``to_ns``: True then.

        Raises what :meth:`Run.activate` raises; ``run`` is inactive then.
        """
        if self.try_advance(to_ns):
            return False
        was_active = run.state == "active"
        run.deactivate()
        self.begin_anew(to_ns)
        if was_active:
            run.activate()
        return was_active

    def went_back(self, to_ns: int) -> bool:
        """Whether that was before now: then no cycle is due any more."""
        return self._now_ns is not None and to_ns < self._now_ns

    def begin_anew(self, at_ns: int) -> None:
        """It is any other time now. Raises RtloopError where a loop is active, which must be ended before."""
        with self._lock:
            if self._begun or self._released:
                raise RtloopError("simulated time cannot jump under a loop that is active")
            self._now_ns = at_ns

    # --- as Timing ---

    def refuse(self, config: Config) -> None:
        """Raises ConfigError: what keeps a time of its own cannot be stepped."""
        found = [
            Finding.of(
                config.where("loops", name, direction, key),
                f"a {section.kind}",
                f"{_STEPPED}: its time is not that of the simulation",
            )
            for name, loop in config.loops.items()
            for direction, sections in (("inputs", loop.inputs), ("outputs", loop.outputs))
            for key, section in sections.items()
            if not section.is_stepped
        ]
        found += [
            Finding.of(
                config.where("loops", name, *keys, "python"),
                "a Python function",
                "a model: a function answers when it is done, and not in lock step",
            )
            for name, loop in config.loops.items()
            for keys, policy in loop.every_policy.values()
            if policy.python is not None
        ]
        found += [
            Finding.of(
                config.where("loops", name, "clock"),
                loop.clock.told(),
                "no clock: in lock step /clock, or who advances the time, releases every loop",
            )
            for name, loop in config.loops.items()
            if loop.clock is not None
        ]
        if found:
            raise ConfigError(found)

    def now_ns(self) -> int:
        """0 before anybody has said it."""
        return self._now_ns or 0

    def realtime_ns_offset(self) -> int:
        return 0

    def clock(self) -> core.VirtualClock:
        return core.VirtualClock(self.now_ns())

    def drive(self, loop: core.Loop, clock: core.Clock, period_ns: int) -> _Stepped:
        assert isinstance(clock, core.VirtualClock)
        return _Stepped(self, loop, clock, period_ns)

    def release(self, drives: Sequence[_Stepped]) -> int:
        """They begin with the first :meth:`advance` for which every input has a sample."""
        with self._lock:
            self._released = list(drives)
        return self.now_ns()

    def end(self, stepped: _Stepped) -> None:
        """Its safe command, if it has begun; then it is stepped no more."""
        with self._lock:
            if stepped in self._released:
                self._released.remove(stepped)
            if stepped in self._begun:
                self._begun.remove(stepped)
                stepped.loop.end()

    def attach(self, outside: Outside) -> None:
        with self._lock:
            self._outside.append(outside)

    def detach(self, outside: Outside) -> None:
        with self._lock:
            if outside in self._outside:
                self._outside.remove(outside)

    # --- inside ---

    def _deliver(self, until_ns: int) -> None:
        for outside in self._outside:
            outside.deliver(until_ns)

    def _begin_released(self, now_ns: int) -> None:
        for stepped in self._released:
            stepped.pass_until(now_ns)
        if any(stepped.loop.missing_input() is not None for stepped in self._released):
            return
        for stepped in self._released:
            stepped.begin_after(now_ns)
        self._begun += self._released
        self._released = []

    def _due(self) -> _Stepped | None:
        return min(self._begun, key=lambda stepped: stepped.next_ns, default=None)


_STEPPED = "a mailbox, a topic or another loop"
