"""The same job as periodic Python: four ways in which people pace a loop.

Each is written as its users would write it well; none is slowed down. The session is the one of
`benchmarks.inference`: bound buffers, one thread.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.inference import PythonSession
from benchmarks.measured_loop import S
from benchmarks.policies import SMALL
from benchmarks.result import UnavailableError
from rtloop.policy.bench.bursts import WARM_UP_RUNS

LEAD_NS = 2_000_000
TIMER_ABSTIME = 1
LIMIT = 10.0


class PolicyJob:
    """Newest sample → policy → clamped command."""

    def __init__(self) -> None:
        self._session = PythonSession(SMALL)
        self._sample = np.linspace(-1, 1, SMALL.n_inputs, dtype=np.float32)
        self.command = np.zeros(SMALL.n_outputs, np.float32)
        for _ in range(WARM_UP_RUNS):
            self()

    def put(self, values: NDArray[np.float32]) -> None:
        """A new sample, float32 [12]."""
        self._sample = values

    def __call__(self) -> None:
        self._session.observation[0] = self._sample
        self._session.run()
        np.clip(self._session.action[0], -LIMIT, LIMIT, out=self.command)


@dataclass
class Times:
    """Of each cycle, ns of CLOCK_MONOTONIC, int64 [n]."""

    release_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    finish_ns: NDArray[np.int64]


class _TimeLog:
    """Preallocated: a list that grows would be charged to the loop."""

    def __init__(self, period_ns: int, seconds: float) -> None:
        self._times = np.zeros((round(seconds * S / period_ns * 1.1) + 100, 3), np.int64)
        self.n = 0

    def add(self, release_ns: int, start_ns: int, finish_ns: int) -> None:
        self._times[self.n] = release_ns, start_ns, finish_ns
        self.n += 1

    def times(self) -> Times:
        release, start, finish = self._times[: self.n].T
        return Times(release, start, finish)


def absolute_sleep(job: PolicyJob, period_ns: int, seconds: float) -> Times:
    """A `while` loop on an absolute grid; late, it goes on with the next slot, as rtloop does."""
    log = _TimeLog(period_ns, seconds)
    now = time.monotonic_ns
    first_ns = now() + LEAD_NS
    end_ns = first_ns + round(seconds * S)
    cycle, release_ns = 0, first_ns
    while release_ns < end_ns:
        _sleep_until(release_ns)
        start_ns = now()
        job()
        finish_ns = now()
        log.add(release_ns, start_ns, finish_ns)
        cycle += 1
        late_ns = now() - (first_ns + cycle * period_ns)
        if late_ns > 0:
            cycle += -(-late_ns // period_ns)
        release_ns = first_ns + cycle * period_ns
    return log.times()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_libc = ctypes.CDLL(None)
_timespec = _Timespec()


def _sleep_until(time_ns: int) -> None:
    """clock_nanosleep on CLOCK_MONOTONIC; lets the interpreter go meanwhile. One loop at a time."""
    _timespec.seconds, _timespec.nanoseconds = divmod(time_ns, S)
    _libc.clock_nanosleep(time.CLOCK_MONOTONIC, TIMER_ABSTIME, ctypes.byref(_timespec), None)


def rate_limiter(job: PolicyJob, period_ns: int, seconds: float) -> Times:
    """RateLimiter of loop-rate-limiters. The release is its own tick, wherever it has moved it."""
    try:
        from loop_rate_limiters import RateLimiter
    except ImportError:
        raise UnavailableError(
            "loop-rate-limiters is not installed: pip install loop-rate-limiters"
        ) from None
    log = _TimeLog(period_ns, seconds)
    now = time.monotonic_ns
    limiter = RateLimiter(frequency=S / period_ns, warn=False)
    end_ns = now() + round(seconds * S)
    start_ns = 0
    while start_ns < end_ns:
        release_ns = round(limiter.next_tick * S)  # perf_counter is CLOCK_MONOTONIC on Linux
        limiter.sleep()
        start_ns = now()
        job()
        log.add(release_ns, start_ns, now())
    return log.times()


def rclpy_timer(job: PolicyJob, period_ns: int, seconds: float) -> Times:
    """A timer on a steady clock in a spinning executor, the loop's thread."""
    from benchmarks import ros

    log = _TimeLog(period_ns, seconds)
    now = time.monotonic_ns
    ends_ns: list[int] = []  # once the first tick has come

    def on_timer(info: Any) -> None:
        start_ns = now()
        late_ns = info.actual_call_time.nanoseconds - info.expected_call_time.nanoseconds
        job()
        log.add(start_ns - late_ns, start_ns, now())
        if not ends_ns:
            ends_ns.append(start_ns + round(seconds * S))

    ros.spin_timer(on_timer, period_ns, until=lambda: bool(ends_ns) and now() >= ends_ns[0])
    return log.times()


def horus_node(job: PolicyJob, period_ns: int, seconds: float) -> Times:
    """A node of horus-robotics, which makes the thread: this one's scheduler, priority and CPU go to it.

    It does not say when a tick was due: its release is its start, which flatters it by its latency.
    """
    try:
        import horus
    except ImportError:
        raise UnavailableError(
            "horus-robotics is not installed: pip install horus-robotics"
        ) from None
    log = _TimeLog(period_ns, seconds)
    now = time.monotonic_ns

    def tick(_node: Any) -> None:
        start_ns = now()
        job()
        log.add(start_ns, start_ns, now())

    (cpu,) = os.sched_getaffinity(0)
    node = horus.Node(
        name=f"benchmark_{os.getpid()}",
        tick=tick,
        rate=S / period_ns,
        # Not the period: after some twenty misses the scheduler calls the node no more.
        budget=1.0,
        deadline=1.0,
        on_miss="warn",
        priority=os.sched_getparam(0).sched_priority or None,
        core=cpu,
    )
    # What it starts beside the node's thread must inherit neither the priority nor the CPU.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, os.sched_getaffinity(os.getpid()))
    with _silence():
        horus.run(node, duration=seconds, rt=True)
    if log.n < 2:
        raise RuntimeError(f"the node of horus-robotics was called {log.n} times")
    return log.times()


@contextmanager
def _silence() -> Iterator[None]:
    """Without what horus-robotics prints: a log, and a table at the end."""
    streams = (1, 2)
    sys.stdout.flush()
    with open(os.devnull, "wb") as nothing, ExitStack() as stack:
        for fd in streams:
            kept = os.dup(fd)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, fd)
            os.dup2(nothing.fileno(), fd)
        yield


LOOPS: dict[str, Callable[[PolicyJob, int, float], Times]] = {
    "absolute_sleep": absolute_sleep,
    "rate_limiter": rate_limiter,
    "rclpy_timer": rclpy_timer,
    "horus_node": horus_node,
}
