"""UDP as a transport of a link: what is sent is a datagram, what is not there is told."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from rtloop.errors import LinkError
from rtloop.link import Link, transports
from rtloop.link.link import stop_device
from rtloop.link.messages import DeviceState
from rtloop.link.packet_stream import PacketStream
from rtloop.link.section import LinkConfig
from rtloop.link.transports.udp import UdpLine, UdpTransport, open_udp
from tests.firmware import reference as ref
from tests.firmware.conftest import firmware_build, start_program
from tests.firmware.program import FirmwareProgram

__all__ = ["firmware_build", "start_program"]

UDP = ("--udp", "udp://127.0.0.1:0")
Peer = tuple[UdpLine, socket.socket]


@pytest.fixture(params=["127.0.0.1", "::1"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """A line, and the socket that it is for."""
    host = request.param
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as there:
        try:
            there.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        port = there.getsockname()[1]
        line = open_udp(f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}")
        yield line, there
        line.close()


@pytest.mark.parametrize(
    "device", ["udp://10.0.0.2:5555", "UDP://board.local:1", "udp://[fe80::1%eth0]:65535"]
)
def test_an_address_with_its_port_is_a_device(device: str) -> None:
    assert isinstance(transports.of(device), UdpTransport)


@pytest.mark.parametrize(
    "device",
    ["udp://10.0.0.2", "udp://:5", "udp://a:0", "udp://a:65536", "udp://a:b", "udp://a:1/x"],
)
def test_an_address_without_a_port_is_told_how_to_write_it(device: str) -> None:
    (problem,) = LinkConfig(device=device).rules(("links", "arm"))
    assert problem.keys == ("links", "arm", "device")
    assert "udp://HOST:PORT" in problem.expected


def test_a_baud_rate_beside_a_transport_without_one_is_refused_where_it_stands() -> None:
    (problem,) = LinkConfig(device="udp://10.0.0.2:5", baud=9600).rules(("links", "arm"))
    assert problem.keys == ("links", "arm", "baud")
    assert problem.expected == "no baud: only serial lines have one"
    assert not list(LinkConfig(device="udp://10.0.0.2:5").rules(("links", "arm")))


def test_each_write_is_a_datagram_and_each_read_one(peer: Peer) -> None:
    line, there = peer
    line.write(b"ab")
    line.write(b"c\0")
    first, host = there.recvfrom(100)
    assert (first, there.recv(100)) == (b"ab", b"c\0")
    there.sendto(b"xy", host)
    there.sendto(b"z", host)
    assert [line.read(5), line.read(5)] == [b"xy", b"z"]
    assert line.read(0) == b""
    assert not os.get_blocking(line.fileno())


def test_only_its_device_is_heard(peer: Peer) -> None:
    line, there = peer
    line.write(b"hello")
    _, host = there.recvfrom(100)
    with socket.socket(there.family, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"forged", host)
    there.sendto(b"real", host)
    assert line.read(5) == b"real"


@pytest.mark.parametrize("size", [0, 44, 540])
def test_of_a_flood_no_more_waits_than_a_cycle_takes_in(peer: Peer, size: int) -> None:
    line, there = peer
    line.write(b"hello")
    _, host = there.recvfrom(100)
    for _ in range(1000):
        there.sendto(bytes(size), host)
    waited = 0
    with socket.socket(fileno=os.dup(line.fileno())) as ours, suppress(BlockingIOError):
        while True:
            ours.recv(600)
            waited += 1
    assert 20 < waited <= 128


def test_what_was_received_before_is_dropped_a_refusal_included(peer: Peer) -> None:
    line, there = peer
    line.write(b"hello")
    _, host = there.recvfrom(100)
    at = there.getsockname()
    there.close()
    line.write(b"refused")
    with socket.socket(
        socket.AF_INET6 if len(at) > 2 else socket.AF_INET, socket.SOCK_DGRAM
    ) as again:
        again.bind(at)
        again.sendto(b"old", host)
        line.discard_input()
        again.sendto(b"new", host)
        assert line.read(5) == b"new"


def test_a_stop_that_is_refused_is_said_again() -> None:
    """As the core's link has it: a refusal alone is no loss, for a moment later somebody may listen."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        at = free.getsockname()

    def listen_late() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
            time.sleep(0.3)
            there.bind(at)
            there.settimeout(5)
            said, host = there.recvfrom(1000)
            stop = ref.decode_packet(said)
            fields = dict.fromkeys(ref.MESSAGES["device_status"][2], 0) | {"state": 4}
            payload = ref.encode_message("device_status", fields)
            kind = ref.MESSAGES["device_status"][0]
            there.sendto(ref.encode_packet(kind, 0, stop.seq, 9, 0, payload), host)

    line = open_udp(f"udp://127.0.0.1:{at[1]}")
    device = threading.Thread(target=listen_late)
    device.start()
    status = stop_device(PacketStream(line))
    device.join()
    line.close()
    assert status is not None
    assert status.state == DeviceState.SAFE


def test_a_line_that_was_closed_waits_for_nobody(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, _ = peer
    line.close()
    monkeypatch.setattr("rtloop.link.link.ANSWER_TIMEOUT_S", 60.0)
    assert stop_device(PacketStream(line)) is None


def test_where_nobody_listens_a_link_says_so_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LinkError, match=f"link 'arm': nobody listens at udp://127.0.0.1:{port}"):
        Link.open("arm", f"udp://127.0.0.1:{port}", 0)


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(LinkError, match="the name 'no-such-board.invalid' of udp://"):
        open_udp("udp://no-such-board.invalid:5")
    found = UdpTransport().host_problem("udp://no-such-board.invalid:5")
    assert found is not None
    assert UdpTransport().host_problem("udp://127.0.0.1:5") is None


def test_a_link_over_udp_shakes_hands_arms_and_stops(
    start_program: Callable[..., FirmwareProgram],
) -> None:
    device = start_program(*UDP)
    with Link.open("cart", device.address, 0) as link:
        assert (link.info.name, link.bit_rate, link.keeps_packets) == ("cartpole", None, True)
        assert link.info.round_trip_ns > 0
        assert link.arm(loop_class=1).state == DeviceState.ARMED
        assert link.status().rx_packets > 0
    counters = device.stop()["counters"]
    assert counters["seq_gaps"] == counters["frame_errors"] == counters["crc_errors"] == 0
