"""A host without rtloop, on any transport: the reference implementation's packets, and no rule of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from tests.firmware.program import Host
from tests.firmware.test_udp import UdpHost
from tests.firmware.test_zmtp import ZmqHost


@contextmanager
def host_at(address: str) -> Iterator[Host]:
    """A host of a device's, or of a wire's, address."""
    if address.startswith("udp://"):
        with UdpHost(address) as host:
            yield host
    elif address.startswith("zmq+tcp://"):
        with zmq.Context() as context:
            end = context.socket(zmq.DEALER)
            end.linger = 0
            end.reconnect_ivl = 20
            end.connect(address.removeprefix("zmq+"))
            with ZmqHost(end) as host:
                yield host
    else:
        with Host(address) as host:
            yield host
