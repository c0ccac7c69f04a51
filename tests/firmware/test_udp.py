"""The firmware program on UDP: real sockets, and whoever else can reach them."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.firmware import reference as ref
from tests.firmware.program import (
    ACTIVE,
    COMMAND_TIMEOUT,
    HOST_STOP,
    IDLE,
    LINK_ERRORS,
    FirmwareProgram,
    Host,
)

Start = Callable[..., FirmwareProgram]
UDP = ("--udp", "udp://127.0.0.1:0")
LONG = ("--command-timeout-ms", "10000")


class UdpHost(Host):
    """The same packets, a datagram each, from a port of its own."""

    def __init__(self, address: str) -> None:
        host, _, port = address.removeprefix("udp://").rpartition(":")
        self.end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.end.connect((host, int(port)))
        self.schema_id = 0
        self.packets = []
        self.broken = 0
        self._seq = 0

    def __enter__(self) -> UdpHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()

    def transmit(self, packet: bytes) -> None:
        self.end.send(packet)

    def wait_until_received(self, n: int) -> None:
        """Until the device says that it has so many packets, whatever else it says."""
        end = time.monotonic() + 10
        while not any(
            packet.name == "device_status" and packet.fields["rx_packets"] == n
            for packet in self.receive()
        ):
            assert time.monotonic() < end

    def receive(self, timeout_s: float = 0.02) -> list[ref.Packet]:
        new: list[ref.Packet] = []
        while select.select([self.end], [], [], timeout_s)[0]:
            new.append(ref.decode_packet(self.end.recv(2048)))
            timeout_s = 0
        self.packets += new
        return new


def counters(program: FirmwareProgram) -> dict[str, Any]:
    found: dict[str, Any] = program.stop()["counters"]
    return found


def test_a_session_over_datagrams_ends_in_safe_and_counts_nothing_lost(
    start_program: Start,
) -> None:
    program = start_program(*UDP)
    with UdpHost(program.address) as host:
        host.activate()
        host.wait_until_safe()
        host.send("status_request")
        assert host.wait_for("device_status")["reasons"] == COMMAND_TIMEOUT
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
    assert counters(program)["seq_gaps"] == 0


def test_the_pty_beside_it_is_the_same_device(start_program: Start) -> None:
    program = start_program(*UDP)
    with UdpHost(program.address) as host, Host(program.path) as other:
        host.open()
        host.wait_for("sensor")
        other.open()
        other.wait_for("sensor")
        host.receive()
        assert not host.receive(0.05), "the host is at the line now"


def test_while_it_moves_a_stranger_is_not_heard_but_may_stop_it(start_program: Start) -> None:
    program = start_program(*UDP, *LONG)
    with UdpHost(program.address) as host, UdpHost(program.address) as stranger:
        host.activate()
        stranger.schema_id = host.schema_id
        stranger.send("hello", min_version=1, max_version=1)
        stranger.send("status_request")
        stranger.send("clear")
        stranger.transmit(b"\0" * 600)
        stranger.transmit(b"")
        newest = host.wait_for("sensor")["sample_time_us"]
        stranger.send("command", valid_until_us=(newest + 50_000) & 0xFFFFFFFF, values=[9.0])
        assert not stranger.receive(0.1)
        assert (
            host.wait_for("sensor", lambda f: f["sample_time_us"] > newest + 50_000)["state"]
            == ACTIVE
        )
        stranger.send("stop", reason_bits=0)
        assert stranger.wait_for("device_status")["reasons"] == HOST_STOP
        assert host.wait_until_safe() == HOST_STOP, "and the host hears of it"
    found = counters(program)
    assert found["crc_errors"] == found["frame_errors"] == found["rejected_commands"] == 0


def test_once_it_is_safe_who_says_hello_takes_it_over(start_program: Start) -> None:
    program = start_program(*UDP)
    with UdpHost(program.address) as host, UdpHost(program.address) as other:
        host.activate()
        host.wait_until_safe()
        other.open()
        other.wait_for("sensor")
        host.receive()
        assert not host.receive(0.05)


def test_garbage_from_the_host_is_counted_and_damage_in_a_row_makes_it_safe(
    start_program: Start,
) -> None:
    program = start_program(*UDP, *LONG)
    noise = random.Random(1)
    sent = [noise.randbytes(noise.randrange(0, 1200)) for _ in range(200)]
    with UdpHost(program.address) as host:
        host.activate()
        for i in range(0, len(sent), 20):  # a socket holds only so much at once
            for datagram in sent[i : i + 20]:
                host.transmit(datagram)
            host.send("status_request")
            status = host.wait_for("device_status")
        assert host.wait_until_safe() == LINK_ERRORS
    assert status["crc_errors"] + status["frame_errors"] == len(sent)


def test_more_than_one_packet_a_datagram_is_damage(start_program: Start) -> None:
    program = start_program(*UDP)
    with UdpHost(program.address) as host:
        host.open()
        packet = ref.encode_packet(13, 1, 0, host.schema_id, 0, b"")
        host.transmit(packet + packet)
        host.send("status_request")
        assert host.wait_for("device_status")["crc_errors"] == 1


@pytest.mark.parametrize(
    "address", ["udp://0.0.0.0:0", "udp://10.0.0.1:5", "tcp://127.0.0.1:0", "udp://127.0.0.1:70000"]
)
def test_no_address_but_loopback_is_taken(
    start_program: Start, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="did not start"):
        start_program("--udp", address)
    assert "give udp://127.0.0.1:PORT" in capfd.readouterr().err


def test_udp_and_zmq_exclude_each_other(
    start_program: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError, match="did not start"):
        start_program(*UDP, "--zmq", "tcp://127.0.0.1:0")
    assert "--zmq and --udp exclude each other" in capfd.readouterr().err


def test_a_port_that_is_taken_is_told(
    start_program: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    first = start_program(*UDP)
    with pytest.raises(AssertionError, match="did not start"):
        start_program("--udp", first.address)
    assert "Address already in use" in capfd.readouterr().err


def test_loss_reorder_and_copies_are_counted_as_they_were(start_program: Start) -> None:
    """Requests through a network that loses, doubles and overtakes; the device counts the truth."""
    program = start_program(*UDP)
    draw = random.Random(7)
    arriving: list[tuple[float, int]] = []
    for number in range(1, 1000):
        copies = 0 if draw.random() < 0.1 else 2 if draw.random() < 0.1 else 1
        for _ in range(copies):
            held = draw.randrange(1, 40) if draw.random() < 0.1 else 0
            arriving.append((number + held + draw.random() / 2, number))
    arrived = [number for _, number in sorted(arriving)] + [1000]
    with UdpHost(program.address) as host:
        host.open()
        for at in range(0, len(arrived), 20):  # a socket holds only so much at once
            for number in arrived[at : at + 20]:
                request = ref.MESSAGES["status_request"][0]
                host.transmit(ref.encode_packet(request, number, 0, host.schema_id, number, b""))
            n = 1 + len(set(arrived[: at + 20]))
            if n > 1 + len(set(arrived[:at])):
                host.wait_until_received(n)
    found = counters(program)
    seen: set[int] = set()
    overtaken = 0
    for number in arrived:
        overtaken += number not in seen and number < max(seen, default=0)
        seen.add(number)
    assert found["rx_packets"] == 1 + len(seen)
    assert found["seq_gaps"] == 1000 - len(seen)
    assert found["reordered"] == overtaken
    assert found["repeated"] == len(arrived) - len(seen)


def test_a_copy_of_a_command_drives_nothing_and_is_no_packet_more(start_program: Start) -> None:
    program = start_program(*UDP, *LONG)
    with UdpHost(program.address) as host:
        host.activate()
        newest = host.wait_for("sensor")["sample_time_us"]
        fields = {"valid_until_us": (newest + 5_000_000) & 0xFFFFFFFF, "values": [0.0]}
        packet = ref.encode_packet(
            ref.MESSAGES["command"][0],
            500,
            0,
            host.schema_id,
            0,
            ref.encode_message("command", fields),
        )
        host.transmit(packet)
        host.wait_for("sensor", lambda f: f["command_seq"] == 500)
        host.transmit(packet)
        host._seq = 501
        host.send("status_request")
        status = host.wait_for("device_status")
    assert (status["rejected_commands"], status["state"]) == (1, ACTIVE)
