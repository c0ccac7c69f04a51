"""Round trips over a link's transports: a device, and beside it the barest thing that answers there."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import UnavailableError
from rtloop import core
from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.errors import LinkError
from rtloop.link import Link
from rtloop.link.transports import open_line

HERE = Path(__file__).parent
LIBRARY = HERE.parent / "firmware" / "lib"
SOURCES = ("frame.c", "packet.c", "messages.c", "messages_stats.c")
BAUD = 1_000_000
#: Round trips in one burst, and the pause between two of them: a robot's rate, not a flood.
BURST = 100
PAUSE_NS = 700_000
#: zmq_proxy() between a socket and itself: libzmq sends back what comes, without Python.
ZMQ_ECHO = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
port = socket.bind_to_random_port("tcp://127.0.0.1")
print(port, flush=True)
zmq.proxy(socket, socket)
"""
PlacePeer = Callable[[int], None]
"""Gives the process at the other end its CPU and priority."""


class _Line(ctypes.Structure):
    _fields_ = [
        ("fd", ctypes.c_int),
        ("keeps_packets", ctypes.c_int),
        ("is_echo", ctypes.c_int),
        ("schema_id", ctypes.c_uint16),
        ("pause_ns", ctypes.c_int64),
    ]


class Built:
    """The two programs in C, in ``folder``. Raises UnavailableError without a compiler."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("cc") is None:
            raise UnavailableError("there is no C compiler, cc: apt-get install gcc")
        self.echo, library = folder / "echo", folder / "round_trips.so"
        sources = [str(LIBRARY / "src" / name) for name in SOURCES]
        include = f"-I{LIBRARY / 'include'}"
        for command in (
            [
                str(HERE / "round_trips.c"),
                *sources,
                include,
                "-shared",
                "-fPIC",
                "-o",
                str(library),
            ],
            [str(HERE / "echo.c"), "-o", str(self.echo)],
        ):
            subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", *command], check=True)
        self._round_trips = ctypes.CDLL(str(library)).round_trips

    def burst(self, end: End) -> NDArray[np.int64]:
        """Of BURST round trips, ns. Without the GIL. Raises UnavailableError when one is not answered."""
        times = np.empty(BURST, np.int64)
        line = _Line(end.fd, end.keeps_packets, end.is_echo, end.schema_id, PAUSE_NS)
        pointer = times.ctypes.data_as(ctypes.POINTER(ctypes.c_int64))
        if self._round_trips(ctypes.byref(line), pointer, BURST) != BURST:
            raise UnavailableError("a round trip was not answered")
        return times


@dataclass(frozen=True)
class End:
    """The host's end of a line: to an echo, or to a device of this schema."""

    fd: int
    keeps_packets: bool
    schema_id: int = 0
    is_echo: bool = True


@contextmanager
def _process(
    command: list[str], place: PlacePeer, **how: object
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, text=True, **how)  # type: ignore[call-overload]
    try:
        place(process.pid)
        yield process
    finally:
        process.kill()
        process.wait()


def echo_on_a_pty(stack: ExitStack, built: Built, place: PlacePeer) -> End:
    ours, theirs = os.openpty()
    for fd in (ours, theirs):
        tty.setraw(fd)
    stack.callback(os.close, ours)
    stack.enter_context(_process([str(built.echo)], place, stdin=theirs))
    os.close(theirs)
    return End(ours, keeps_packets=False)


def echo_of_datagrams(stack: ExitStack, built: Built, place: PlacePeer) -> End:
    ours, theirs = (
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
    )
    for end in (ours, theirs):
        end.bind(("127.0.0.1", 0))
    ours.connect(theirs.getsockname())
    theirs.connect(ours.getsockname())
    stack.enter_context(_process([str(built.echo)], place, stdin=theirs.fileno()))
    return End(ours.fileno(), keeps_packets=True)


def echo_of_libzmq(
    stack: ExitStack, built: Built, place: PlacePeer, carrier: core.ThreadSetup
) -> End:
    """At the other end of the bridge that a link has, libzmq itself in place of the firmware's peer."""
    process = stack.enter_context(
        _process([sys.executable, "-c", ZMQ_ECHO], place, stdout=subprocess.PIPE)
    )
    assert process.stdout is not None
    line = open_line(f"zmq+tcp://127.0.0.1:{process.stdout.readline().strip()}", BAUD)
    stack.callback(line.close)
    line.schedule(carrier)
    return End(line.fileno(), keeps_packets=True)


def device(
    stack: ExitStack, folder: Path, place: PlacePeer, transport: str, carrier: core.ThreadSetup
) -> End:
    """The firmware program, which also simulates its plant and sends a sample every millisecond."""
    program = stack.enter_context(FirmwareProcess(folder / transport, TRANSPORTS[transport]))
    place(program.pid)
    try:
        link = Link.open(transport, program.device, BAUD)
    except LinkError as error:
        raise UnavailableError(str(error)) from error
    stack.callback(link.close)
    link.schedule(carrier)
    return End(link.fileno(), link.keeps_packets, link.info.schema_id, is_echo=False)
