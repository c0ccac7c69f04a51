"""Devices over ZeroMQ: who is there, who is not, and what is said about it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq

from rtloop import core
from rtloop.errors import LinkError, StoppedError
from rtloop.link import DeviceState, Link, Reason, transports
from rtloop.link.transports import zeromq
from rtloop.link.transports.zeromq import ZmqTransport, libzmq, open_zmq
from rtloop.stopping import stopped_when
from tests.firmware.program import FirmwareProgram

Start = Callable[..., FirmwareProgram]
ZMQ = ("--zmq", "tcp://127.0.0.1:0")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "CONNECT_TIMEOUT_S", 0.4)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    "device",
    ["zmq+tcp://10.0.0.7:5555", "ZMQ+TCP://board.local:1", "zmq+tcp://[fe80::1%eth0]:65535"],
)
def test_an_address_or_a_name_with_a_port_is_a_device(device: str) -> None:
    assert isinstance(transports.of(device), ZmqTransport)


@pytest.mark.parametrize(
    "device",
    ["zmq+tcp://", "zmq+tcp://board", "zmq+tcp://:5", "zmq+tcp://b:0", "zmq+tcp://b:70000"],
)
def test_anything_else_is_none_and_said_so(device: str) -> None:
    with pytest.raises(LinkError, match=r"cannot be opened; a device is .*zmq\+tcp://HOST:PORT"):
        Link.open("arm", device, 1_000_000)


def test_a_device_shakes_hands_is_armed_and_stopped(start_program: Start) -> None:
    program = start_program(*ZMQ, "--boot-id", "99")
    with Link.open("cart", f"zmq+{program.address}", 300) as link:
        assert (link.info.name, link.info.boot_id) == ("cartpole", 99)
        assert [field.name for field in link.info.schema.commands] == ["force"]
        assert link.info.clock_error_ns < 100_000_000
        assert (link.bit_rate, link.keeps_packets, link.low_latency) == (None, True, True)
        assert link.arm(loop_class=1).state == DeviceState.ARMED
        stopped = link.stop()
        assert stopped is not None
        assert stopped.reasons == Reason.HOST_STOP
    link.close()
    assert program.stop()["counters"]["crc_errors"] == 0


@contextmanager
def routing(device: str) -> Iterator[str]:
    """A ROUTER in front of a device, as a gateway has it; its address."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.linger = dealer.linger = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")
    dealer.connect(device)
    over = threading.Event()

    def route() -> None:
        host = b""
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(dealer, zmq.POLLIN)
        while not over.is_set():
            for end, _ in poller.poll(50):
                if end is router:
                    host, packet = router.recv_multipart()
                    dealer.send(packet)
                else:
                    router.send_multipart([host, dealer.recv()])

    thread = threading.Thread(target=route)
    thread.start()
    try:
        yield f"zmq+tcp://127.0.0.1:{port}"
    finally:
        over.set()
        thread.join()
        context.destroy(linger=0)


def test_a_router_may_stand_before_the_device(start_program: Start) -> None:
    program = start_program(*ZMQ)
    with routing(program.address) as address, Link.open("cart", address, 300) as link:
        assert link.arm(loop_class=1).state == DeviceState.ARMED


def test_a_device_that_comes_late_is_waited_for(start_program: Start) -> None:
    port = free_port()
    lines: list[zeromq.ZmqLine] = []
    opening = threading.Thread(target=lambda: lines.append(open_zmq(f"zmq+tcp://localhost:{port}")))
    opening.start()
    time.sleep(0.3)
    start_program("--zmq", f"tcp://127.0.0.1:{port}")
    opening.join()
    lines[0].close()


@pytest.mark.usefixtures("quick")
def test_where_nothing_listens_it_is_refused() -> None:
    device = f"zmq+tcp://127.0.0.1:{free_port()}"
    with pytest.raises(LinkError) as refused:
        Link.open("cart", device, 300)
    assert str(refused.value) == (
        f"link 'cart': {device} was not opened within 0.4 s: the connection was refused: nothing listens at "
        "this port; check that the device's firmware runs, and the port"
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("says", [b"", b"\x7fnot what we speak" * 20, b"\xff" + bytes(63)])
def test_what_takes_the_connection_and_is_no_zmtp_is_no_device(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with socket.socket() as kept:
                try:
                    while True:
                        kept = server.accept()[0]
                        kept.sendall(says)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(
            LinkError, match="took the connection, but does not speak ZMTP 3 with us"
        ):
            open_zmq(f"zmq+tcp://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_what_speaks_zmtp_and_is_no_device_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtloop.link.handshake.HELLO_ATTEMPTS", 3)
    nothing = r"no device answered on zmq\+tcp.* nothing at all was received"
    with listening() as port, pytest.raises(LinkError, match=nothing):
        Link.open("cart", f"zmq+tcp://127.0.0.1:{port}", 300)


@contextmanager
def listening() -> Iterator[int]:
    """A peer that says nothing; its port."""
    context = zmq.Context()
    end = context.socket(zmq.DEALER)
    try:
        yield end.bind_to_random_port("tcp://127.0.0.1")
    finally:
        context.destroy(linger=0)


@pytest.mark.usefixtures("quick")
def test_a_second_host_is_told_that_the_device_has_one(start_program: Start) -> None:
    device = f"zmq+{start_program(*ZMQ).address}"
    with Link.open("first", device, 300) as first:
        with pytest.raises(
            LinkError, match="no other host is connected to the device: it serves one"
        ):
            Link.open("second", device, 300)
        assert first.status().state == DeviceState.IDLE
    Link.open("second", device, 300).close()


def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    device = "zmq+tcp://nobody.invalid:5555"
    with pytest.raises(
        LinkError, match=r"the name 'nobody.invalid' of zmq\+tcp.* cannot be resolved"
    ):
        open_zmq(device)
    found, expected = ZmqTransport().host_problem(device) or ("", "")
    assert found == "'nobody.invalid', a name that is not known here"
    assert expected == "a known name, or the device's address"
    assert ZmqTransport().host_problem("zmq+tcp://127.0.0.1:1") is None


def test_a_stop_that_is_asked_for_ends_the_wait_for_a_device() -> None:
    began_s = time.monotonic()
    with (
        stopped_when(lambda: "Ctrl-C" if time.monotonic() - began_s > 0.3 else ""),
        pytest.raises(StoppedError),
    ):
        open_zmq(f"zmq+tcp://127.0.0.1:{free_port()}")
    assert time.monotonic() - began_s < 2.5


def test_a_device_that_is_gone_is_lost_for_reads_writes_and_questions(start_program: Start) -> None:
    program = start_program(*ZMQ)
    link = Link.open("cart", f"zmq+{program.address}", 300)
    program.process.kill()
    program.process.wait()
    with pytest.raises(LinkError, match="was lost: the connection has ended; check the network"):
        link.resync()
    assert link.stop() is None
    link.close()
    link.close()


def test_a_device_that_does_not_go_on_does_not_answer(start_program: Start) -> None:
    program = start_program(*ZMQ)
    with Link.open("cart", f"zmq+{program.address}", 300) as link:
        program.process.send_signal(signal.SIGSTOP)
        with pytest.raises(LinkError, match="did not answer STATUS_REQUEST"):
            link.status()
        program.process.send_signal(signal.SIGCONT)
        assert link.status().state == DeviceState.IDLE


def test_libzmq_is_that_of_the_wheel_and_pyzmq_is_not_imported() -> None:
    code = (
        "import sys; from rtloop.link.transports.zeromq import libzmq; print(libzmq());"
        "assert 'zmq' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).name.startswith("libzmq")


def test_without_a_wheel_it_is_the_system_s_or_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(zeromq, "_SYSTEM_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(LinkError, match="there is no libzmq; install it: pip install pyzmq"):
        libzmq()
    found, _ = ZmqTransport().host_problem("zmq+tcp://127.0.0.1:1") or ("", "")
    assert found == "'zmq+tcp://127.0.0.1:1', but no libzmq"
    library = tmp_path / "x86_64-linux-gnu" / "libzmq.so.5"
    library.parent.mkdir()
    library.touch()
    assert libzmq() == str(library)
    with pytest.raises(LinkError, match="cannot load libzmq: .*file too short"):
        open_zmq("zmq+tcp://127.0.0.1:1")


def test_both_addresses_of_a_name_are_tried() -> None:
    """A host whose name has an address of each kind, and whose device listens at the second."""
    with listening() as port:
        addresses = [f"[::1]:{port}", f"127.0.0.1:{port}"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zeromq, "_addresses", lambda device: addresses)
            with closing(open_zmq(f"zmq+tcp://two.example:{port}")) as line:
                assert line.fileno() >= 0
                assert isinstance(line.schedule(core.ThreadSetup()), list)
