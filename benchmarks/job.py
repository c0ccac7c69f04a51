"""One segment of `benchmarks.busy`, in a process of its own: a 1 kHz job, one way, one disturbance.

The job: newest sensor sample → 12-64-64-4 policy → clamped command. Prints what happened as JSON
and saves the response times (ns, int64 [n]) to --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import beside
from benchmarks.measured_loop import MS, MeasuredLoop, Rights, thread_setup, what_was_denied
from benchmarks.result import UnavailableError
from rtloop import core
from rtloop.telemetry.observe.records import MISS, response_ns

WAYS = ("core", "absolute_sleep", "rate_limiter", "rclpy_timer", "horus_node")


@dataclass
class Done:
    """What came of a segment. Periods that passed = ``executed`` + ``skipped``."""

    executed: int
    skipped: int
    gaps: int  # how often one or more releases in a row were skipped
    misses: int
    rate_hz: float
    denied: list[str] = field(default_factory=list)
    messages_hz: float | None = None


def run_core(options: argparse.Namespace) -> tuple[Done, NDArray[np.int64]]:
    with ExitStack() as stack:
        loop = MeasuredLoop(options.cpu, options.priority, ring_s=options.seconds + 30)
        stack.enter_context(loop)
        disturbance = beside.start(stack, options.beside, loop.port.put)
        loop.activate()
        began = disturbance.messages, time.monotonic()
        time.sleep(options.seconds)
        heard = _rate(disturbance, began)
        loop.deactivate()
        records, status = loop.records(), loop.status()
    if status["elapsed_periods"] != status["executed"] + status["skipped"]:
        raise RuntimeError(f"the identity of the grid is broken: {status}")
    starts = records["start_ns"]
    done = Done(
        executed=status["executed"],
        skipped=status["skipped"],
        gaps=int(np.count_nonzero(records["skipped"])),
        misses=int(np.count_nonzero(records["events"] & MISS)),
        rate_hz=(len(starts) - 1) * 1e9 / float(starts[-1] - starts[0]),
        denied=loop.denied,
        messages_hz=heard,
    )
    return done, response_ns(records)


def run_python(options: argparse.Namespace) -> tuple[Done, NDArray[np.int64]]:
    """The Python loops. Their thread has the same scheduler, priority and CPU as the core's."""
    from benchmarks.python_loops import LOOPS, PolicyJob, Times

    job = PolicyJob()
    loop = LOOPS[options.way]
    times: list[Times] = []
    errors: list[BaseException] = []
    denied: list[str] = []

    def run() -> None:
        granted = core.apply_to_this_thread(
            thread_setup("python-loop", [options.cpu], options.priority)
        )
        denied.extend(what_was_denied(granted))
        try:
            times.append(loop(job, MS, options.seconds))
        except BaseException as error:
            errors.append(error)

    with ExitStack() as stack:
        disturbance = beside.start(stack, options.beside, job.put)
        # Not in the main thread: what it starts would inherit the loop's CPU.
        thread = threading.Thread(target=run)
        began = disturbance.messages, time.monotonic()
        thread.start()
        thread.join()
        heard = _rate(disturbance, began)
    if errors:
        raise errors[0]
    (seen,) = times
    response = seen.finish_ns - seen.release_ns
    executed = len(response)
    span_ns = float(seen.start_ns[-1] - seen.start_ns[0])
    # On a grid from the first start: also for loops that move their own.
    skipped = max(0, round(span_ns / MS) + 1 - executed)
    done = Done(
        executed=executed,
        skipped=skipped,
        gaps=int(np.count_nonzero(np.diff(seen.start_ns) > 1.5 * MS)),
        misses=int(np.count_nonzero(response > MS)),
        rate_hz=(executed - 1) * 1e9 / span_ns,
        denied=denied,
        messages_hz=heard,
    )
    return done, response


def _rate(disturbance: beside.Disturbance, began: tuple[int, float]) -> float | None:
    if disturbance.messages == 0:
        return None
    return (disturbance.messages - began[0]) / (time.monotonic() - began[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--beside", choices=beside.KINDS, default="nothing")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cpu", type=int, required=True)
    parser.add_argument("--priority", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rights = Rights()
    run: Callable[[argparse.Namespace], tuple[Done, NDArray[np.int64]]]
    run = run_core if options.way == "core" else run_python
    try:
        done, response = run(options)
    except UnavailableError as error:
        print(json.dumps({"unavailable": str(error)}))
        return 0
    done.denied += rights.denied()
    np.save(options.out, response)
    print(json.dumps(asdict(done)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
