"""What is particular to a line that keeps packets apart: whole, empty, longer ones, and refusals."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtloop import core
from rtloop.link.transports.udp import QUEUE_BYTES
from tests.core.conftest import MS
from tests.core.fake_device import COMMAND, STOP, TIME_REQUEST, FakeDevice
from tests.core.linked_loop import LinkedLoop

#: RTL_PACKET_MAX
PACKET_MAX = 540


@pytest.fixture(params=["udp", "seqpacket"])
def device(request: pytest.FixtureRequest) -> Iterator[FakeDevice]:
    device = FakeDevice(wire=request.param)
    yield device
    device.unplug()


@pytest.fixture
def udp() -> Iterator[FakeDevice]:
    device = FakeDevice(wire="udp")
    yield device
    device.unplug()


def test_a_command_a_time_request_and_stop_are_a_bare_packet_each(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    linked.loop.step()
    linked.loop.end()
    received = []
    while True:
        try:
            received.append(os.read(device.master, 4096))
        except BlockingIOError:
            break
    packets = [core.packet_decode(packet) for packet in received]
    assert [packet[0] for packet in packets] == [COMMAND, TIME_REQUEST, STOP]
    assert [packet[2] for packet in packets[:2]] == [1, 2], "numbered as they leave"


@pytest.mark.parametrize("bad", [b"x", b"\0" * 15, b"\0" * PACKET_MAX, b"\0" * (PACKET_MAX + 1)])
def test_what_is_no_packet_counts_as_one_that_is_broken_and_leaves_the_next_alone(
    device: FakeDevice, tmp_path: Path, bad: bytes
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_raw(bad)
    device.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    counters = linked.port.counters()
    assert (counters["rx_errors"], counters["rx_packets"]) == (1, 1)
    assert linked.last()[1][0] == 0.5


def test_an_empty_datagram_is_a_broken_packet_and_no_end(udp: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(udp, tmp_path / "r")
    linked.loop.begin()
    udp.send_raw(b"")
    udp.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    assert linked.port.counters()["rx_errors"] == 1
    assert linked.last()[1][0] == 0.5


def test_a_zero_byte_ends_no_packet(device: FakeDevice, tmp_path: Path) -> None:
    """A delimiter belongs to streams: no packet is begun, ended or followed by one."""
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_raw(b"\0")
    device.send_sensor([0.0, 0.0])  # full of zeros
    assert linked.loop.step()
    counters = linked.port.counters()
    assert (counters["rx_errors"], counters["rx_packets"]) == (1, 1)


def test_a_flood_of_packets_costs_a_cycle_128_of_them_and_what_it_displaced_is_counted(
    tmp_path: Path,
) -> None:
    device = FakeDevice(wire="seqpacket")
    socket.socket(fileno=os.dup(device.master)).setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22
    )
    packets: list[bytes] = []
    device.send_raw = packets.append  # type: ignore[method-assign,assignment]
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    for i in range(300):
        device.send_sensor([float(i), 0.0])
    for packet in packets:
        os.write(device.master, packet)
    for received in (128, 256, 300):
        assert linked.loop.step()
        assert linked.port.counters()["rx_packets"] == received
        assert linked.last()[1][0] == received - 1.0
    device.unplug()


def test_of_a_flood_of_datagrams_a_cycle_knows_the_newest_that_waited(
    udp: FakeDevice, tmp_path: Path
) -> None:
    with socket.socket(fileno=os.dup(udp.slave)) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
    linked = LinkedLoop(udp, tmp_path / "r")
    linked.loop.begin()
    packets: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(udp, "send_raw", packets.append)
        for i in range(2000):
            udp.send_sensor([float(i), 0.0])
    for packet in packets:
        os.write(udp.master, packet)
    assert linked.loop.step()
    waited = linked.port.counters()["rx_packets"]
    assert linked.last()[1][0] == waited - 1.0
    udp.send_sensor([-1.0, 0.0])
    assert linked.loop.step()
    counters = linked.port.counters()
    assert (linked.last()[1][0], counters["rx_packets"]) == (-1.0, waited + 1)
    assert counters["rx_lost"] == 2000 - waited > 0


def refuse(udp: FakeDevice, linked: LinkedLoop) -> None:
    """Whatever the host sent is answered by its kernel with ICMP: nobody listens there."""
    ours = socket.socket(fileno=udp.master)
    name, peer = ours.getsockname(), ours.getpeername()
    ours.close()
    assert linked.loop.step()
    again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    again.bind(name)
    again.connect(peer)
    again.setblocking(False)
    udp.master = again.detach()


def test_one_refusal_is_no_loss_when_the_device_is_there_again(
    udp: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(udp, tmp_path / "r")
    linked.loop.begin()
    udp.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    udp.send_sensor([0.5, 0.0])
    refuse(udp, linked)
    udp.send_sensor([0.75, 0.0])
    sent_before = linked.port.counters()["tx_packets"]
    assert linked.loop.step()
    assert linked.last()[1][0] == 0.75
    assert linked.port.counters()["tx_packets"] == sent_before + 1
    (command,) = [payload for kind, payload in udp.received() if kind == COMMAND]
    assert struct.unpack("<IB3xf", command)[2] == 0.75, "and the refusal took no command with it"


def test_silence_after_a_refusal_is_told_as_one(udp: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(udp, tmp_path / "r", silence_timeout_ns=30 * MS)
    linked.loop.begin()
    udp.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    udp.send_sensor([0.5, 0.0])
    refuse(udp, linked)
    while linked.loop.step():
        pass
    assert linked.loop.status()["fault_errno"] == errno.ECONNREFUSED


def test_silence_after_a_packet_is_silence(udp: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(udp, tmp_path / "r", silence_timeout_ns=30 * MS)
    linked.loop.begin()
    udp.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    refuse(udp, linked)
    udp.send_sensor([0.5, 0.0])
    while linked.loop.step():
        pass
    assert linked.loop.status()["fault_errno"] == errno.ETIMEDOUT


def test_the_other_end_of_a_pair_that_hangs_up_is_a_loss_at_once(tmp_path: Path) -> None:
    device = FakeDevice(wire="seqpacket")
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    device.unplug()
    assert not linked.loop.step()
    assert linked.loop.status()["fault_errno"] == errno.ECONNRESET


def test_a_pair_that_hangs_up_raises_no_signal() -> None:
    """Where the core is embedded, nobody has told SIGPIPE to stay away."""
    device = FakeDevice(wire="seqpacket")
    port = device.port()
    device.unplug()
    old = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        port.write_safe()
    finally:
        signal.signal(signal.SIGPIPE, old)


def test_stop_leaves_also_where_a_full_line_takes_no_command(tmp_path: Path) -> None:
    """As behind a bridge whose device does not read: STOP is the last thing that waits for it."""
    device = FakeDevice(wire="seqpacket")
    with socket.socket(fileno=os.dup(device.slave)) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    while linked.port.counters()["tx_dropped"] < 3:
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
    linked.loop.end()
    types = [kind for kind, _ in device.received()]
    assert types[-1] == STOP
    assert COMMAND in types
    device.unplug()
