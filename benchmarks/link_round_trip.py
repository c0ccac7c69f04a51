"""A request through the firmware link and back, against the barest answer there is on the same transport:
a pty and a bare echo, UDP and a bare echo of datagrams, ZeroMQ and libzmq's own; each also beside a busy
Python thread."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line, demo_process, round_trips
from benchmarks.measured_loop import Rights, thread_setup, what_was_denied
from benchmarks.result import Result, Table, Target
from benchmarks.round_trips import BURST, Built, End
from rtloop import core
from rtloop.policy.bench.distribution import Distribution, noise_floor

#: p50 of the device's over the bare one's, on each transport; p99.9 where both are beside a busy Python thread.
LIMITS = {"serial": 1.2, "zmq": 1.3, "udp": 1.2}
BESIDE_LIMIT = 1.5
BARE = {"serial": "bare echo on a pty", "zmq": "libzmq's own echo", "udp": "bare datagram echo"}


@dataclass
class Measured:
    """Bursts over one transport, ns."""

    bare: End
    device: End
    bare_ns: list[NDArray[np.int64]] = field(default_factory=list)
    device_ns: list[NDArray[np.int64]] = field(default_factory=list)
    bare_beside_ns: list[NDArray[np.int64]] = field(default_factory=list)
    device_beside_ns: list[NDArray[np.int64]] = field(default_factory=list)


class BusyThread:
    """Python that computes, in this process, while it is asked to."""

    def __init__(self) -> None:
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._compute, daemon=True)
        self._thread.start()

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._asked.set()
        try:
            yield
        finally:
            self._asked.clear()

    def end(self) -> None:
        self._ended = True
        self._asked.set()
        self._thread.join()

    def _compute(self) -> None:
        while not self._ended:
            self._asked.wait()
            sum(i * i for i in range(1000))


def measure(options: argparse.Namespace, result: Result) -> None:
    demo_process.require()
    rights = Rights()
    errors: list[BaseException] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        built = Built(folder)
        measured = {name: _ends(stack, built, folder, name, options) for name in LIMITS}
        busy = BusyThread()
        stack.callback(busy.end)

        def alternate() -> None:
            granted = core.apply_to_this_thread(
                thread_setup("round-trip", [options.cpu], options.priority)
            )
            result.denied = rights.denied() + what_was_denied(granted)
            end = time.monotonic() + 4 * len(LIMITS) * options.seconds
            try:
                while time.monotonic() < end or _bursts(measured) < 2:
                    for one in measured.values():
                        one.bare_ns.append(built.burst(one.bare))
                        one.device_ns.append(built.burst(one.device))
                        with busy.busy():
                            one.bare_beside_ns.append(built.burst(one.bare))
                            one.device_beside_ns.append(built.burst(one.device))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=alternate)
        thread.start()
        thread.join()
    if errors:
        raise errors[0]
    _say(measured, options, result)


def _bursts(measured: dict[str, Measured]) -> int:
    return min(len(one.device_beside_ns) for one in measured.values())


def _ends(
    stack: ExitStack, built: Built, folder: Path, transport: str, options: argparse.Namespace
) -> Measured:
    def place(pid: int) -> None:
        """The other end runs on the other CPUs, one priority below, whichever it is."""
        others = set(core.allowed_cpus()) - {options.cpu} or {options.cpu}
        with suppress(PermissionError):  # then the measuring thread is denied its own, too
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(options.priority - 1))
        os.sched_setaffinity(pid, others)

    carrier = thread_setup("carrier", core.allowed_cpus(), options.priority - 1)
    if transport == "serial":
        bare = round_trips.echo_on_a_pty(stack, built, place)
    elif transport == "udp":
        bare = round_trips.echo_of_datagrams(stack, built, place)
    else:
        bare = round_trips.echo_of_libzmq(stack, built, place, carrier)
    return Measured(bare, round_trips.device(stack, folder, place, transport, carrier))


def _say(measured: dict[str, Measured], options: argparse.Namespace, result: Result) -> None:
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority} at both ends, bursts of {BURST} in turn",
    )
    result.tables.append(table)
    for name, one in measured.items():
        bare, device, bare_beside, device_beside = (
            Distribution.of(np.concatenate(times))
            for times in (one.bare_ns, one.device_ns, one.bare_beside_ns, one.device_beside_ns)
        )
        both = f"{name}: device / {BARE[name]}, both beside a busy Python thread"
        table.add(f"{name}: {BARE[name]}", 1, 1, 1, *bare.us())
        table.add(f"{name}: device / {BARE[name]}", *device.over(bare), *device.us())
        table.add(both, *device_beside.over(bare_beside), *device_beside.us())
        table.add(
            f"{name}: {BARE[name]}, beside it / alone", *bare_beside.over(bare), *bare_beside.us()
        )
        table.add(
            f"{name}: device, beside it / alone", *device_beside.over(device), *device_beside.us()
        )
        table.add(f"{name}: noise floor: bare / itself", *noise_floor(one.bare_ns), *[None] * 4)
        table.add(f"{name}: noise floor: device / itself", *noise_floor(one.device_ns), *[None] * 4)
        result.targets += [
            Target(f"{name}: device / {BARE[name]}, p50", device.over(bare)[0], "≤", LIMITS[name]),
            Target(f"{both}, p99.9", device_beside.over(bare_beside)[2], "≤", BESIDE_LIMIT),
        ]
    result.notes.append(
        "the device also simulates its plant and sends a sensor packet every millisecond; the host's end is C, "
        "as a loop's is, and for ZeroMQ behind the bridge of a link, for libzmq's own echo, too"
    )
    result.notes.append(
        "what is written to a pty is carried over by an ordinary thread of the kernel, which waits for what "
        "computes"
    )


def main() -> int:
    parser = command_line.parser(__doc__, seconds=20)
    return command_line.run(
        "link_round_trip", "Round trips through the link against the barest ones", parser, measure
    )


if __name__ == "__main__":
    sys.exit(main())
