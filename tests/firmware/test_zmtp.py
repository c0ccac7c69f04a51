"""The ZeroMQ peer of the firmware against libzmq: the program, and a peer that sends all back."""

from __future__ import annotations

import os
import random
import select
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import zmq

from tests.firmware import reference as ref
from tests.firmware.program import (
    ACTIVE,
    COMMAND_TIMEOUT,
    HOST_STOP,
    IDLE,
    SAFE,
    FirmwareProgram,
    Host,
)

Start = Callable[..., FirmwareProgram]
Socket: TypeAlias = "zmq.Socket[bytes]"
Open = Callable[..., Socket]
ZMQ = ("--zmq", "tcp://127.0.0.1:0")
LONG = ("--command-timeout-ms", "10000")
HEARTBEATS = {"heartbeat_ivl": 100, "heartbeat_timeout": 2000, "heartbeat_ttl": 2000}
KINDS = pytest.mark.parametrize("kind", [zmq.DEALER, zmq.ROUTER], ids=["dealer", "router"])

GREETING = b"\xff" + bytes(7) + b"\1\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)


def ready(socket_type: bytes) -> bytes:
    body = b"\5READY\x0bSocket-Type" + len(socket_type).to_bytes(4, "big") + socket_type
    return bytes([4, len(body)]) + body


@pytest.fixture
def open_socket() -> Iterator[Open]:
    """Opens a socket of libzmq that connects, with options by name; none outlives the test."""
    context = zmq.Context()

    def connect(address: str, kind: int = zmq.DEALER, **options: int) -> Socket:
        end = context.socket(kind)
        end.linger = 0
        end.rcvtimeo = 20_000
        end.reconnect_ivl = 20
        for name, value in options.items():
            setattr(end, name, value)
        if kind == zmq.ROUTER:
            end.setsockopt(zmq.CONNECT_ROUTING_ID, b"device")
            end.router_mandatory = True
        end.connect(address)
        return end

    yield connect
    context.destroy(linger=0)


@pytest.fixture
def echo_address(firmware_build: Path) -> Iterator[str]:
    with subprocess.Popen(
        [str(firmware_build / "zmtp_echo")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.poll() is None, "it found a message that was damaged, see stderr"
        process.kill()


class ZmqHost(Host):
    """The same packets, a message each."""

    def __init__(self, end: Socket) -> None:
        self.end = end
        self.schema_id = 0
        self.packets = []
        self.broken = 0
        self._seq = 0

    def __enter__(self) -> ZmqHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.end.close()

    def transmit(self, packet: bytes) -> None:
        send(self.end, packet)

    def receive(self, timeout_s: float = 0.02) -> list[ref.Packet]:
        new: list[ref.Packet] = []
        while self.end.poll(int(timeout_s * 1000)):
            new.append(ref.decode_packet(receive(self.end)))
            timeout_s = 0
        self.packets += new
        return new


def send(end: Socket, message: bytes) -> None:
    if end.type != zmq.ROUTER:
        end.send(message)
        return
    # A ROUTER knows its peer once the handshake is done.
    deadline = time.monotonic() + 20
    while not end.poll(0, zmq.POLLOUT) and time.monotonic() < deadline:
        time.sleep(0.01)
    end.send_multipart([b"device", message])


def receive(end: Socket) -> bytes:
    parts = end.recv_multipart()
    assert parts[:-1] == ([b"device"] if end.type == zmq.ROUTER else [])
    return parts[-1]


def raw_connection(address: str) -> socket.socket:
    host, port = address.removeprefix("tcp://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(20)
    return connection


def read_to_the_end(connection: socket.socket) -> bytes:
    got = b""
    try:
        while piece := connection.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def is_served(host: Host) -> dict[str, Any]:
    """Says HELLO, as a host does, until it is answered."""
    deadline = time.monotonic() + 20
    while True:
        host.send("hello", min_version=1, max_version=1)
        for packet in host.receive(0.1):
            if packet.name == "hello_reply":
                return packet.fields
        assert time.monotonic() < deadline, "HELLO is not answered"


# ---- libzmq ------------------------------------------------------------------------------------


@KINDS
def test_ten_thousand_messages_of_all_sizes_come_back_whole(
    echo_address: str, open_socket: Open, kind: int
) -> None:
    draw = random.Random(kind)
    end = open_socket(echo_address, kind, heartbeat_ivl=20, heartbeat_timeout=20_000)
    waiting: list[bytes] = []
    for number in range(10_000):
        size = draw.choice((0, 1, 40, 251, 252, 300, 540, draw.randrange(4000)))
        body = draw.randbytes(60_000 if number % 500 == 0 else size)
        message = body + zlib.crc32(body).to_bytes(4, "little")
        send(end, message)
        waiting.append(message)
        while len(waiting) > 30 or (waiting and end.poll(0)):
            assert receive(end) == waiting.pop(0)
    while waiting:
        assert receive(end) == waiting.pop(0)


def test_heartbeats_keep_a_connection_on_which_nothing_else_is_said(
    start_program: Start, open_socket: Open
) -> None:
    # Nor a sample: a device that was never spoken to is silent.
    end = open_socket(start_program(*ZMQ).address, heartbeat_ivl=100, heartbeat_timeout=1500)
    events = end.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    assert events.poll(20_000)
    events.recv_multipart()
    assert not events.poll(6500)  # longer than libzmq waits for a PONG, and the device for a byte


def test_a_peer_that_is_silent_for_longer_than_its_own_ttl_has_left(start_program: Start) -> None:
    program = start_program(*ZMQ)
    with closing(raw_connection(program.address)) as connection:
        began = time.monotonic()
        connection.sendall(GREETING + ready(b"DEALER") + b"\4\7\4PING\0\2")
        assert read_to_the_end(connection) == GREETING + ready(b"DEALER") + b"\4\5\4PONG"
        assert time.monotonic() - began < 4  # the device's own patience is 5 s


def test_a_peer_that_never_speaks_makes_room_for_the_next(
    start_program: Start, open_socket: Open
) -> None:
    program = start_program(*ZMQ)
    with (
        closing(raw_connection(program.address)) as silent,
        ZmqHost(open_socket(program.address)) as host,
    ):
        assert is_served(host)["name"] == "cartpole"
        assert read_to_the_end(silent) == GREETING


@KINDS
def test_it_connects_again_by_itself_after_the_device_has_restarted(
    start_program: Start, open_socket: Open, kind: int
) -> None:
    program = start_program(*ZMQ, "--boot-id", "1")
    address = program.address
    with ZmqHost(open_socket(address, kind, **HEARTBEATS)) as host:
        assert is_served(host)["boot_id"] == 1
        program.process.kill()
        program.process.wait()
        start_program("--zmq", address, "--boot-id", "2")
        deadline = time.monotonic() + 20
        while is_served(host)["boot_id"] != 2:
            assert time.monotonic() < deadline


def test_the_next_peer_is_served_after_one_has_left(
    start_program: Start, open_socket: Open
) -> None:
    address = start_program(*ZMQ).address
    with ZmqHost(open_socket(address)) as first:
        is_served(first)
        second = ZmqHost(open_socket(address))
        second.send("hello", min_version=1, max_version=1)
        assert not second.receive(0.3)  # one at a time
    with second:
        second.wait_for("hello_reply")  # it waited, and did not have to ask again


# ---- what is no peer ---------------------------------------------------------------------------


def test_other_kinds_of_sockets_are_told_by_error(start_program: Start, open_socket: Open) -> None:
    program = start_program(*ZMQ)
    with closing(raw_connection(program.address)) as connection:
        connection.sendall(GREETING + ready(b"REQ"))
        got = read_to_the_end(connection)
    assert got == GREETING + b"\4\x2a\5ERROR\x23Socket-Type is not DEALER or ROUTER"
    end = open_socket(program.address, zmq.REQ)
    failed = end.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    end.send(b"question")
    assert failed.poll(20_000)
    end.close()
    with ZmqHost(open_socket(program.address)) as host:
        is_served(host)


def test_300_connections_of_garbage_do_not_stop_it(start_program: Start, open_socket: Open) -> None:
    draw = random.Random(7)
    program = start_program(*ZMQ)
    begun = GREETING + ready(b"DEALER")
    for _ in range(300):
        kind = draw.randrange(4)
        data = draw.randbytes(draw.randrange(1, 300))
        if kind == 1:
            data = begun + data
        elif kind == 2:
            at = draw.randrange(len(begun))
            data = begun[:at] + data[:1] + begun[at + 1 :] + data
        elif kind == 3:
            data = begun[: draw.randrange(len(begun))]
        with closing(raw_connection(program.address)) as connection:
            try:
                connection.sendall(data)
                if draw.randrange(2):
                    connection.shutdown(socket.SHUT_WR)
                    read_to_the_end(connection)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was refused by its first bytes
    with ZmqHost(open_socket(program.address)) as host:
        assert is_served(host)["state"] == IDLE
    program.stop()  # a sanitizer's complaint would be a failure


# ---- the link ----------------------------------------------------------------------------------


@KINDS
def test_a_session_of_the_link_over_zeromq(
    start_program: Start, open_socket: Open, kind: int
) -> None:
    program = start_program(*ZMQ, "--boot-id", "4711")
    with ZmqHost(open_socket(program.address, kind, **HEARTBEATS)) as host:
        assert host.receive(0.2) == []  # it does not speak first
        reply = host.open()
        assert (reply["name"], reply["boot_id"], reply["state"]) == ("cartpole", 4711, IDLE)
        text = b""
        while len(text) < reply["schema_bytes"]:
            host.send("schema_request", offset=len(text))
            text += host.wait_for("schema_chunk")["bytes"]
        assert ref.schema_id(text.decode()) == host.schema_id
        host.activate(command_timeout_us=1_000_000)
        for force in (1.0, 2.0, 3.0):
            before = host.newest("sensor").fields["command_seq"]
            host.send_command(force, valid_for_us=900_000)
            host.wait_for("sensor", lambda fields, old=before: fields["command_seq"] != old)  # type: ignore[misc]
        host.send("time_request", host_ns=123)
        assert host.wait_for("time_reply")["host_ns"] == 123
        assert host.wait_until_safe() == COMMAND_TIMEOUT
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
    assert program.stop()["counters"]["crc_errors"] == 0


def test_a_peer_that_does_not_read_stalls_nothing(start_program: Start, open_socket: Open) -> None:
    program = start_program(*ZMQ, "--sensors", "128")
    with ZmqHost(open_socket(program.address, rcvhwm=10, rcvbuf=4096)) as host:
        host.activate()
        time.sleep(2.5)  # more than a megabyte
        newest = host.wait_for("sensor", lambda fields: fields["state"] == SAFE)
        assert len(newest["values"]) == 128  # decode_packet() would have raised at a damaged one
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
        host.newest("sensor")
    assert program.stop()["counters"]["tx_dropped"] > 100


def test_messages_that_are_no_packets_are_counted_as_damage(
    start_program: Start, open_socket: Open
) -> None:
    program = start_program(*ZMQ)
    with ZmqHost(open_socket(program.address)) as host:
        is_served(host)
        host.end.send(b"")
        host.end.send(b"not a packet")
        host.end.send(b"not a packet, and longer")
        host.end.send_multipart([b"a", b"b"])  # not even one message
        host.open()
    counters = program.stop()["counters"]
    assert (counters["frame_errors"], counters["crc_errors"]) == (2, 1)


def test_line_and_zeromq_at_once_have_one_host(start_program: Start, open_socket: Open) -> None:
    program = start_program(*ZMQ, *LONG)
    with Host(program.path) as host, ZmqHost(open_socket(program.address)) as other:
        host.activate()
        other.send("hello", min_version=1, max_version=1)
        assert other.receive(0.5) == []
        assert host.wait_for("sensor")["state"] == ACTIVE
        other.send("stop", reason_bits=0)
        assert other.wait_for("device_status")["reasons"] == HOST_STOP
        assert host.wait_until_safe() == HOST_STOP
        other.open()  # now it is the host
        other.wait_for("sensor")
        other.send("clear")
        assert other.wait_for("device_status")["state"] == IDLE
        host.receive(0.2)
        assert not host.receive(0.2)


def test_a_connection_does_not_keep_it_awake(start_program: Start, open_socket: Open) -> None:
    program = start_program(*ZMQ)
    end = open_socket(program.address)
    connected = end.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert connected.poll(20_000)
    stat = Path(f"/proc/{program.process.pid}/stat").read_text

    def used_ticks() -> int:
        fields = stat().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = used_ticks()
    time.sleep(1)
    assert used_ticks() - before < os.sysconf("SC_CLK_TCK") // 10


def test_unplugged_it_hangs_up_here_too(start_program: Start) -> None:
    program = start_program(*ZMQ)
    with closing(raw_connection(program.address)) as connection:
        assert select.select([connection], [], [], 20)[0]  # the greeting
        program.unplug()
        assert read_to_the_end(connection) == GREETING
    with pytest.raises(ConnectionRefusedError):
        raw_connection(program.address)
    program.stop()


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:5555", "127.0.0.1:5555", "tcp://127.0.0.1:70000", "ipc://robot"]
)
def test_an_address_that_is_not_loopback_is_refused(firmware_build: Path, address: str) -> None:
    done = run(firmware_build, address)
    assert done.returncode == 1
    assert f'"{address}"; give tcp://127.0.0.1:PORT' in done.stderr


def test_a_port_that_is_taken_is_named(start_program: Start, firmware_build: Path) -> None:
    address = start_program(*ZMQ).address
    done = run(firmware_build, address)
    assert done.returncode == 1
    assert f"cannot listen at {address}: Address already in use" in done.stderr


def run(build: Path, address: str) -> subprocess.CompletedProcess[str]:
    executable = build / "host" / "rtloop-firmware"
    return subprocess.run(
        [str(executable), "cartpole", "--zmq", address],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        env={**os.environ, "LC_ALL": "C"},
    )
