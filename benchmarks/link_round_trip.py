"""A request through the firmware link and back, against a bare echo of the same bytes on a pty."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line, demo_process
from benchmarks.measured_loop import Rights, thread_setup, what_was_denied
from benchmarks.result import Result, Table
from rtloop import core
from rtloop.demos.firmware import FirmwareProcess
from rtloop.link import Link
from rtloop.link.messages import PacketType, encode_time_request
from rtloop.policy.bench.distribution import Distribution, noise_floor

BAUD = 1_000_000
#: Round trips in one burst, and the pause between two of them: a robot's rate, not a flood.
BURST = 100
PAUSE_S = 0.0007
ECHO = "import os\nwhile True:\n    os.write(1, os.read(0, 4096))\n"

RoundTrip = Callable[[], int]
"""Makes one round trip; its time, ns."""


def measure(options: argparse.Namespace, result: Result) -> None:
    demo_process.require()
    rights = Rights()
    bursts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    errors: list[BaseException] = []
    with ExitStack() as stack:
        echo = _bare_echo(stack, options)
        link = _through_the_link(stack, options)

        def alternate() -> None:
            granted = core.apply_to_this_thread(
                thread_setup("round-trip", [options.cpu], options.priority)
            )
            result.denied = rights.denied() + what_was_denied(granted)
            end = time.monotonic() + options.seconds
            try:
                while time.monotonic() < end or len(bursts[0]) < 4:
                    for round_trip, times in zip((echo, link), bursts, strict=True):
                        times.append(_burst(round_trip))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=alternate)
        thread.start()
        thread.join()
    if errors:
        raise errors[0]

    a, b = (Distribution.of(np.concatenate(times)) for times in bursts)
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority} at both ends, bursts of {BURST} in turn, on a pty",
    )
    table.add("time request through the link / echo", *b.over(a), *b.us())
    table.add("bare echo of the same bytes", 1, 1, 1, *a.us())
    table.add("noise floor: echo / itself", *noise_floor(bursts[0]), *[None] * 4)
    table.add("noise floor: link / itself", *noise_floor(bursts[1]), *[None] * 4)
    result.tables.append(table)
    result.notes.append(
        "the device also simulates its plant and sends a sensor packet every millisecond; both "
        "host ends are Python"
    )


def _burst(round_trip: RoundTrip) -> NDArray[np.int64]:
    times = np.empty(BURST, np.int64)
    for i in range(BURST):
        times[i] = round_trip()
        time.sleep(PAUSE_S)
    return times


def _request(schema_id: int) -> bytes:
    payload = encode_time_request(time.monotonic_ns())
    packet = core.packet_encode(PacketType.TIME_REQUEST, 0, 0, schema_id, 0, payload)
    return core.frame_encode(packet)


def _read(fd: int) -> bytes:
    # Sleeps until there is something: the kernel thread that passes bytes on is no real-time thread.
    select.select([fd], [], [])
    return os.read(fd, 4096)


def _place_peer(pid: int, options: argparse.Namespace) -> None:
    """The other end runs on the other CPUs, one priority below, whichever it is."""
    with suppress(PermissionError):  # then the measuring thread is denied its own, too
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(options.priority - 1))
    os.sched_setaffinity(pid, set(core.allowed_cpus()) - {options.cpu} or {options.cpu})


def _bare_echo(stack: ExitStack, options: argparse.Namespace) -> RoundTrip:
    host_fd, peer_fd = os.openpty()
    tty.setraw(host_fd)
    tty.setraw(peer_fd)
    stack.callback(os.close, host_fd)
    peer = subprocess.Popen([sys.executable, "-c", ECHO], stdin=peer_fd, stdout=peer_fd)
    os.close(peer_fd)

    def end() -> None:
        peer.kill()
        peer.wait()

    stack.callback(end)
    _place_peer(peer.pid, options)
    size = len(_request(1))

    def round_trip() -> int:
        began = time.monotonic_ns()
        os.write(host_fd, _request(1))
        received = 0
        while received < size:
            received += len(_read(host_fd))
        return time.monotonic_ns() - began

    round_trip()  # the echo is up
    return round_trip


def _through_the_link(stack: ExitStack, options: argparse.Namespace) -> RoundTrip:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    device = stack.enter_context(FirmwareProcess(folder / "cart"))
    _place_peer(device.pid, options)
    link = Link.open("cart", str(folder / "cart"), BAUD)
    stack.callback(link.close)
    fd, decoder = link.fileno(), core.FrameDecoder()

    def round_trip() -> int:
        # Sensor packets that came meanwhile are nobody's round trip.
        termios.tcflush(fd, termios.TCIFLUSH)
        began = time.monotonic_ns()
        os.write(fd, _request(link.info.schema_id))
        while True:
            for frame in decoder.feed(_read(fd)):
                if core.packet_decode(frame)[0] == PacketType.TIME_REPLY:
                    return time.monotonic_ns() - began

    return round_trip


def main() -> int:
    parser = command_line.parser(__doc__, seconds=20)
    return command_line.run(
        "link_round_trip", "A round trip through the link against a bare echo", parser, measure
    )


if __name__ == "__main__":
    sys.exit(main())
