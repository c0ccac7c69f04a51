"""One loop of `benchmarks.clock`, in a process of its own: its device's clock as it knew it, cycle by cycle.

The device is the firmware program on a pty, whose clock is this machine's less its `clock_origin_ns`: the
true offset is known exactly. Prints what came of it as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measured_loop import MS, US, S, graph_of, thread_setup, what_was_denied
from benchmarks.policies import Network
from rtloop import core
from rtloop.config.problem import Keys
from rtloop.demos.firmware import FirmwareProcess
from rtloop.link.port import LinkPort
from rtloop.link.section import LinkConfig

SENSOR_HZ = 1000
#: Of the slowest loop three periods. How soon a device gives up is not what is measured.
COMMAND_TIMEOUT_MS = 10_000
#: The pole stands upright, and nothing disturbs it: it stays there for as long as the command is 0.
UNDISTURBED = ("--angle-rad", "0", "--noise", "0", "--push-newton", "0")


@dataclass
class Clock:
    """How wrong the clock was, and how wrong it said it might be, over all cycles. Times in µs."""

    cycles: int
    beyond_bound: int  # cycles in which it was wrong by more than it said
    error_max_us: float  # the absolute one
    bound_max_us: float
    bound_p50_us: float
    skew_ppb: int  # as it was estimated last; 0 is right, both are one clock
    contradictions: int
    denied: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Loop:
    """What the link's port needs to know of it."""

    period_ns: int
    loop_class: str = "soft"
    is_paced: bool = True

    @property
    def nominal_rate_hz(self) -> float:
        return S / self.period_ns

    @property
    def longest_gap_ns(self) -> int:
        return self.period_ns

    def pace_keys(self, here: Keys) -> tuple[Keys, ...]:
        return (here,)

    def timeout_of_ns(self, name: str) -> int | None:
        return None


def measure(options: argparse.Namespace) -> Clock:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        arguments = [*UNDISTURBED, "--rate-hz", str(SENSOR_HZ)]
        arguments += ["--command-timeout-ms", str(COMMAND_TIMEOUT_MS)]
        device = stack.enter_context(FirmwareProcess(folder / "cart", arguments))
        settings = LinkConfig(device=str(device.link), command_timeout_ms=COMMAND_TIMEOUT_MS)
        port = LinkPort.open("cart", _Loop(round(S / options.rate_hz)), settings)
        stack.callback(port.close)
        port.prepare()
        loop = _new_loop(port, options.rate_hz, folder)
        port.arm(False)
        granted = core.apply_to_this_thread(thread_setup("clock", [options.cpu], options.priority))
        offsets_ns, bounds_ns = _run(loop, port.core, round(options.seconds * options.rate_hz))
        loop.end()
        counters = port.core.counters()
        port.stop()
        true_offset_ns = -int(device.stop()["clock_origin_ns"])
    errors_ns = np.abs(offsets_ns - true_offset_ns)
    return Clock(
        cycles=len(errors_ns),
        beyond_bound=int(np.count_nonzero(errors_ns > bounds_ns)),
        error_max_us=float(errors_ns.max()) / US,
        bound_max_us=float(bounds_ns.max()) / US,
        bound_p50_us=float(np.median(bounds_ns)) / US,
        skew_ppb=counters["clock_skew_ppb"],
        contradictions=counters["clock_contradictions"],
        denied=what_was_denied(granted),
    )


def _new_loop(port: LinkPort, rate_hz: float, folder: Path) -> core.Loop:
    n_in, n_out = len(port.inputs), len(port.outputs)
    config = core.LoopConfig()
    config.name = "clock"
    config.loop_class = core.LoopClass.soft
    config.period_ns = config.deadline_ns = round(S / rate_hz)
    config.hang_limit_ns = 60 * S
    # A wrong clock must not keep the loop from going on: what is measured is how wrong it is.
    config.inputs = [core.InputConfig(0, 3600 * S, core.OnStale.use)]
    nothing = [0.0] * n_out
    config.outputs = [core.OutputConfig(0, nothing, nothing, [], nothing)]
    ring = core.RingWriter(str(folder / "ring"), 1000, 1, n_in, n_out, b"{}")
    graph = graph_of(Network((n_in, n_out), "Tanh"))
    return core.Loop(config, [port.core], graph, ring, core.MonotonicClock())


def _run(
    loop: core.Loop, port: core.Port, cycles: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offset and its bound as each of so many cycles used them, ns, int64 [cycles]."""
    offsets_ns, bounds_ns = np.empty((2, max(1, cycles)), np.int64)
    loop.begin(MS)
    for i in range(len(offsets_ns)):
        if not loop.step():
            raise RuntimeError(f"the loop ended by itself: {loop.status()}")
        counters = port.counters()
        offsets_ns[i], bounds_ns[i] = counters["clock_offset_ns"], counters["clock_error_ns"]
    return offsets_ns, bounds_ns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cpu", type=int, required=True)
    parser.add_argument("--priority", type=int, required=True)
    print(json.dumps(asdict(measure(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
