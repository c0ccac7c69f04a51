"""A line whose descriptor has a number as those of large programs have: select() would refuse it."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rtloop.link.transports.udp import UdpLine
from rtloop.link.transports.waiting import is_readable, is_writable

LARGE = 1500


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= LARGE:
        pytest.skip("no more descriptors are allowed here: raise the hard limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, LARGE + 10), hard))
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    large = socket.socket(fileno=fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, LARGE))
    large.setblocking(False)
    yield large, other
    for end in (one, other, large):
        end.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_packets_come_and_go(pair: tuple[socket.socket, socket.socket]) -> None:
    large, other = pair
    line = UdpLine(large, "udp://there:1")
    assert line.fileno() >= LARGE
    assert line.read(0.01) == b""
    other.send(b"packet")
    assert line.read(20) == b"packet"
    line.write(b"answer")
    assert other.recv(100) == b"answer"


def test_a_line_that_takes_nothing_more_is_not_writable() -> None:
    reads, writes = os.pipe2(os.O_NONBLOCK)
    assert is_writable(writes, 0)
    assert not is_readable(reads, 0)
    with suppress(BlockingIOError):
        while os.write(writes, bytes(4096)):
            pass
    assert not is_writable(writes, 0.01)
    assert is_readable(reads, 20)
    os.close(writes)
    os.close(reads)
