"""A device of a port's tests at the far end of a bridge to ZeroMQ."""

from __future__ import annotations

import zmq

from rtloop import core
from rtloop.link.transports.zeromq import libzmq
from tests.core.fake_device import FakeDevice


class ZmqDevice(FakeDevice):
    """The same packets, a message each; ``slave`` is the descriptor that a link would use."""

    def __init__(self, offset_ns: int = 0) -> None:
        self.offset_ns = offset_ns
        self.late_commands = 0
        self.keeps_packets = True
        self._seq = 0
        self._context = zmq.Context()
        self._end = self._context.socket(zmq.DEALER)
        port = self._end.bind_to_random_port("tcp://127.0.0.1")
        self._bridge = core.ZmqBridge(libzmq(), f"tcp://127.0.0.1:{port}")
        assert self._bridge.wait(20_000_000_000) == core.ZmqBridge.Stage.open
        self.slave = self._bridge.fileno()

    def send_raw(self, data: bytes) -> None:
        self._end.send(data)
        self._settle()

    def packets(self) -> list[tuple[int, int, int, int, int, int, bytes]]:
        self._settle()
        packets = []
        while self._end.poll(0):
            packets.append(core.packet_decode(self._end.recv()))
        return packets

    def unplug(self) -> None:
        self._bridge.close()
        self._context.destroy(linger=0)
