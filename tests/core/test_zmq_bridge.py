"""The thread between libzmq and the line of a link: what comes out where, what a loss is, what is left."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest
import zmq

from rtloop import core
from rtloop.link.transports.zeromq import libzmq

Socket: TypeAlias = "zmq.Socket[bytes]"
Stage = core.ZmqBridge.Stage
S = 1_000_000_000
PACKET = core.packet_encode(8, 1, 0, 7, 0, bytes(40))


class Peer:
    """A device's end, by pyzmq."""

    def __init__(self, kind: int = zmq.DEALER, **options: int) -> None:
        self.context = zmq.Context()
        self.end: Socket = self.context.socket(kind)
        self.end.linger = 0
        self.end.rcvtimeo = 20_000
        self.end.rcvhwm = self.end.sndhwm = 10_000
        for name, value in options.items():
            setattr(self.end, name, value)
        self.address = f"tcp://127.0.0.1:{self.end.bind_to_random_port('tcp://127.0.0.1')}"

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


class Host:
    """Our end: an open bridge, and its descriptor as a socket."""

    def __init__(self, address: str) -> None:
        self.bridge = core.ZmqBridge(libzmq(), address)
        assert self.bridge.wait(20 * S) == Stage.open
        self.line = socket.socket(fileno=os.dup(self.bridge.fileno()))
        self.line.settimeout(20)

    def close(self) -> None:
        self.bridge.close()
        self.line.close()


@pytest.fixture
def host(peer: Peer) -> Iterator[Host]:
    host = Host(peer.address)
    yield host
    host.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_packets_pass_both_ways_whole_and_in_order(peer: Peer, host: Host) -> None:
    for number in range(300):
        packet = number.to_bytes(2, "little") + bytes(number)
        host.line.send(packet)
        assert peer.end.recv() == packet
        peer.end.send(packet)
        assert host.line.recv(1000) == packet


def test_a_router_is_a_peer_like_any_other() -> None:
    with closing(Peer(zmq.ROUTER)) as peer, closing(Host(peer.address)) as host:
        host.line.send(PACKET)
        name, packet = peer.end.recv_multipart()
        assert packet == PACKET
        peer.end.send_multipart([name, packet])
        assert host.line.recv(1000) == PACKET


def test_a_message_that_is_no_packet_is_one_broken_packet(peer: Peer, host: Host) -> None:
    peer.end.send(b"")
    peer.end.send_multipart([PACKET, b"more", PACKET])
    peer.end.send(PACKET + bytes(600))
    peer.end.send(PACKET)
    got = [host.line.recv(1000) for _ in range(4)]
    assert got[3] == PACKET
    for broken in got[:3]:
        with pytest.raises(ValueError, match="."):
            core.packet_decode(broken)


def test_a_message_longer_than_any_packet_ends_the_connection(peer: Peer, host: Host) -> None:
    peer.end.send(bytes(100_000))
    assert host.bridge.wait(20 * S) in (Stage.open, Stage.lost)
    with pytest.raises(ConnectionResetError):
        host.line.recv(1000)


def test_where_nobody_reads_the_newest_is_there(peer: Peer, host: Host) -> None:
    for number in range(3000):
        peer.end.send(number.to_bytes(2, "little") + bytes(80))
    host.line.send(b"sent after them")
    peer.end.recv()
    time.sleep(0.2)
    host.line.setblocking(False)
    got = []
    try:
        while True:
            got.append(int.from_bytes(host.line.recv(1000)[:2], "little"))
    except BlockingIOError:
        pass
    assert got == sorted(got)
    assert got[-1] == 2999
    assert 8 < len(got) < 256


def test_a_peer_that_does_not_read_stops_the_line() -> None:
    """Nothing is kept for later but what the network holds: the loop is told that it did not leave."""
    with (
        closing(Peer(rcvhwm=1, rcvbuf=4096, rcvtimeo=2000)) as peer,
        closing(Host(peer.address)) as host,
    ):
        host.line.setblocking(False)
        sent = 0
        refused_since_s: float | None = None
        while refused_since_s is None or time.monotonic() - refused_since_s < 0.5:
            try:
                host.line.send(sent.to_bytes(4, "little") + bytes(400))
                sent, refused_since_s = sent + 1, None
            except BlockingIOError:
                refused_since_s = refused_since_s or time.monotonic()
                time.sleep(0.01)
            assert sent < 5000
        got = [int.from_bytes(peer.end.recv()[:4], "little") for _ in range(sent)]
        assert got == list(range(sent)), "what was taken arrives"


def test_the_end_of_the_peer_is_a_connection_reset_told_once(peer: Peer, host: Host) -> None:
    host.line.send(PACKET)
    peer.end.recv()
    peer.close()
    assert host.bridge.wait(20 * S) in (Stage.open, Stage.lost)
    wait_until(lambda: host.bridge.wait(S) == Stage.lost)
    with pytest.raises(ConnectionResetError):
        host.line.recv(1000)
    assert host.line.recv(1000) == b""
    with pytest.raises(BrokenPipeError):
        host.line.send(PACKET)
    assert host.bridge.reached == Stage.open


def test_a_write_finds_the_loss_as_a_read_does(peer: Peer, host: Host) -> None:
    peer.close()
    wait_until(lambda: host.bridge.wait(S) == Stage.lost)
    with pytest.raises(ConnectionResetError):
        host.line.send(PACKET)


def test_what_was_written_before_the_end_still_leaves(peer: Peer) -> None:
    for _ in range(20):
        host = Host(peer.address)
        for number in range(5):
            host.line.send(bytes([number]) + PACKET)
        host.close()
        assert [peer.end.recv()[0] for _ in range(5)] == list(range(5))


def test_where_nobody_listens_it_is_lost_at_once_and_knows_how_far_it_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with closing(core.ZmqBridge(libzmq(), address)) as bridge:
            assert bridge.wait(S // 2) == Stage.greeting
    with closing(core.ZmqBridge(libzmq(), address)) as bridge:
        assert bridge.wait(20 * S) == Stage.lost
        assert bridge.reached == Stage.connecting


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "udp://127.0.0.1:5", "nonsense"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RuntimeError, match=f"cannot connect to {address}"):
        core.ZmqBridge(libzmq(), address)


def test_a_library_that_is_no_libzmq_or_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot load libzmq: .*nowhere.so"):
        core.ZmqBridge("/nowhere.so", "tcp://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="no libzmq: it lacks zmq_version"):
        core.ZmqBridge("libc.so.6", "tcp://127.0.0.1:1")
    source = tmp_path / "old.c"
    source.write_text("void zmq_version(int *a, int *b, int *c) { *a = 4; *b = 2; *c = 5; }")
    library = tmp_path / "old.so"
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    with pytest.raises(RuntimeError, match=r"old.so is libzmq 4.2, expected 4.3"):
        core.ZmqBridge(str(library), "tcp://127.0.0.1:1")


def test_nothing_is_left_of_bridges_that_were_closed_lost_or_dropped() -> None:
    process = psutil.Process()

    def left() -> tuple[int, int]:
        return process.num_fds(), process.num_threads()

    def some() -> None:
        peer = Peer()
        closed, lost, dropped = (Host(peer.address) for _ in range(3))
        closed.close()
        closed.bridge.close()
        assert closed.bridge.fileno() == -1
        assert closed.bridge.wait(0) == Stage.lost
        dropped.line.close()
        del dropped
        peer.close()
        wait_until(lambda: lost.bridge.wait(S) == Stage.lost)
        lost.close()

    some()
    before = left()
    for _ in range(5):
        some()
    wait_until(lambda: left() == before)


def test_its_threads_take_no_signal_and_are_asked_for_their_rights(host: Host) -> None:
    setup = core.ThreadSetup()
    setup.scheduler, setup.priority = core.Scheduler.other, 0
    setup.cpus = [core.allowed_cpus()[-1]]
    rights = host.bridge.schedule(setup)
    assert [right.name for right in rights] == ["cpu_affinity", "scheduler"] * 2
    assert all(right.granted for right in rights)
    pinned = [
        Path(task)
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text().strip() in ("rtloop zmq", "ZMQbg/IO/0")
        and os.sched_getaffinity(int(task.name)) == set(setup.cpus)
    ]
    assert len(pinned) == 2 or len(core.allowed_cpus()) == 1
    for task in pinned:
        status = dict(
            line.split(":\t", 1)
            for line in (task / "status").read_text().splitlines()
            if ":\t" in line
        )
        assert int(status["SigBlk"], 16) & 1 << 1, "SIGINT is for the main thread"


def test_rights_that_are_denied_are_told_and_end_nothing(peer: Peer, host: Host) -> None:
    setup = core.ThreadSetup()
    setup.cpus = [4095]
    setup.scheduler, setup.priority = core.Scheduler.other, 0
    affinity = host.bridge.schedule(setup)[0]
    assert not affinity.granted
    assert affinity.error == errno.EINVAL
    host.line.send(PACKET)
    assert peer.end.recv() == PACKET


FORKED = """
import os, socket, sys, time
from rtloop import core
bridge = core.ZmqBridge(sys.argv[1], sys.argv[2])
assert bridge.wait(20_000_000_000) == core.ZmqBridge.Stage.open
child = os.fork()
if child == 0:
    bridge.close()
    del bridge
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
line = socket.socket(fileno=os.dup(bridge.fileno()))
line.settimeout(20)
line.send(b"after the fork")
assert line.recv(100) == b"answer"
print("served", flush=True)
"""


def test_a_forked_child_takes_nothing_from_its_parent_and_the_process_ends(peer: Peer) -> None:
    """The parent ends without closing: what is left of the bridge keeps nothing from ending."""
    command = [sys.executable, "-c", FORKED, libzmq(), peer.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert peer.end.recv() == b"after the fork"
        peer.end.send(b"answer")
        out, _ = process.communicate(timeout=20)
    assert (out, process.returncode) == ("served\n", 0)


without_sanitizer = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""),
    reason="the sanitizer takes memory and descriptors of its own: run without it",
)

CRAMPED = """
import resource, sys
from rtloop import core
core.ZmqBridge(sys.argv[1], "tcp://127.0.0.1:1").close()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 6_000_000,) * 2)
try:
    core.ZmqBridge(sys.argv[1], "tcp://127.0.0.1:1")
except OSError as error:
    print(error)
"""


@without_sanitizer
def test_without_memory_for_its_threads_there_is_no_bridge_and_nothing_ends() -> None:
    """libzmq would abort the process, and the loop with it."""
    command = [sys.executable, "-c", CRAMPED, libzmq()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no memory for the threads of a ZeroMQ link" in done.stdout


CROWDED = """
import os, resource, sys
from rtloop import core
core.ZmqBridge(sys.argv[1], "tcp://127.0.0.1:1").close()
taken = len(os.listdir("/proc/self/fd"))
for free in range(1, 20):
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + free, 4096))
    try:
        core.ZmqBridge(sys.argv[1], "tcp://127.0.0.1:1").close()
    except OSError as error:
        print(error)
print("goes on")
"""


@without_sanitizer
def test_without_descriptors_for_its_events_there_is_no_bridge_and_nothing_ends() -> None:
    """libzmq would abort the process, and the loop with it."""
    command = [sys.executable, "-c", CROWDED, libzmq()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no descriptors for a ZeroMQ link" in done.stdout
    assert done.stdout.endswith("goes on\n")


OUTLIVED = """
import os, signal, socket, sys, time
from rtloop import core
bridge = core.ZmqBridge(sys.argv[1], sys.argv[2])
assert bridge.wait(20_000_000_000) == core.ZmqBridge.Stage.open
child = os.fork()
if child == 0:
    signal.pause()
line = socket.socket(fileno=os.dup(bridge.fileno()))
line.settimeout(20)
print("open", flush=True)
try:
    told = line.recv(100)
except ConnectionResetError:
    told = b""
try:
    line.send(b"into the void")
except BrokenPipeError:
    print("lost", told, flush=True)
os.kill(child, signal.SIGKILL)
"""


def test_a_forked_child_that_stays_hides_no_loss(peer: Peer) -> None:
    command = [sys.executable, "-c", OUTLIVED, libzmq(), peer.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        peer.close()
        out, _ = process.communicate(timeout=60)
    assert out == "lost b''\n"


def test_what_it_opens_is_not_handed_on_to_programs_that_are_started(peer: Peer) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with closing(Host(peer.address)) as host:
        opened = set(os.listdir("/proc/self/fd")) - before
        inherited = []
        for fd in map(int, opened):
            try:
                if os.get_inheritable(fd):
                    inherited.append(os.readlink(f"/proc/self/fd/{fd}"))
            except OSError:
                continue  # that of the listing
        assert len(opened) > 4
        assert inherited == []
        assert host.bridge.fileno() >= 0
