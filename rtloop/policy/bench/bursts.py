"""Several things timed in turn, in bursts: what else this machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.stopping import go_on

Times = NDArray[np.int64]
#: Runs so often and returns the time of each run, ns.
Burst = Callable[[int], Times]

#: A burst lasts so long, then this thread rests as long: a real-time thread that never sleeps is throttled.
BURST_S = 0.01
#: After fewer runs, allocations and frequency scaling still show in the tail.
WARM_UP_RUNS = 200
#: Of what is slow, fewer runs are enough.
WARM_UP_S = 0.25
#: Of a burst of something slow.
LEAST_RUNS = 10
LEAST_BURSTS = 4


def of_graph(graph: core.Graph) -> Burst:
    """Runs from the graph's reset, on zeros but for what terms make of them."""
    return lambda n: graph.warm_up(n)[1]


def alternate(bursts: Sequence[Burst], seconds: float) -> list[list[Times]]:
    """Bursts of each in turn, for so long in all; of each the times of all its bursts.

    Raises StoppedError, and what a burst raises.
    """
    sizes = [_warmed_up(burst) for burst in bursts]
    times: list[list[Times]] = [[] for _ in bursts]
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or len(times[0]) < LEAST_BURSTS:
        for burst, n, own in zip(bursts, sizes, times, strict=True):
            go_on()
            began_s = time.monotonic()
            own.append(burst(n))
            time.sleep(max(BURST_S, (time.monotonic() - began_s) / 10))
    return times


def _warmed_up(burst: Burst) -> int:
    """How many runs make a burst."""
    once_s = _once_s(burst, LEAST_RUNS)
    once_s = _once_s(burst, max(LEAST_RUNS, min(WARM_UP_RUNS, round(WARM_UP_S / once_s))))
    return max(LEAST_RUNS, round(BURST_S / once_s))


def _once_s(burst: Burst, n: int) -> float:
    """By the clock on the wall: more may belong to a run than what is timed of it."""
    began_s = time.monotonic()
    burst(n)
    return max(1e-9, (time.monotonic() - began_s) / n)
