"""A device that never pauses holds up nobody who drops what it has sent before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtloop.link.transports import zeromq
from rtloop.link.transports.udp import UdpLine
from rtloop.link.transports.zeromq import ZmqLine


class Flood:
    """Always has another packet; who reads for ever is told."""

    def __init__(self) -> None:
        self.packets = 0

    def recv(self, _size: int) -> bytes:
        self.packets += 1
        assert self.packets < 1_000_000, "it reads for ever"
        return b"packet"

    def read(self, _fd: int, size: int) -> bytes:
        return self.recv(size)

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        pass


def test_over_udp() -> None:
    flood = Flood()
    UdpLine(cast(Any, flood), "udp://10.0.0.2:5").discard_input()
    assert flood.packets > 1000


def test_over_zeromq(monkeypatch: pytest.MonkeyPatch) -> None:
    flood = Flood()
    line = ZmqLine(cast(Any, flood), "zmq+tcp://10.0.0.2:5")
    monkeypatch.setattr(zeromq, "os", SimpleNamespace(read=flood.read))
    line.discard_input()
    assert flood.packets > 1000
