"""The two sockets of a gateway: PUB, and ROUTER with its monitor, both with CURVE where there are keys."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from rtloop.errors import RtloopError
from rtloop.link.gateway.access import clients, own_keys, refuse_open
from rtloop.link.gateway.commander import Peer
from rtloop.link.gateway.news import Message

#: What waits is old: a peer that does not read loses samples, and of commands few wait for a line that stalls.
QUEUED = 64
COMMANDS_QUEUED, COMMAND_BYTES = 8, 8192
NEWS_QUEUED = 1000
#: A peer whose network or host died is gone after so long; one that was killed is at once.
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 500, 2000
PACKET_MAX = 540
_POLL_MS = 20


class Sent(Enum):
    """What became of a message to a peer."""

    SENT = 1
    FULL = 2
    """It does not read, and so much waits for it already."""
    GONE = 3


class Sockets:
    """Bound. Raises ConfigError for an address that must not be offered, RtloopError where it is taken."""

    def __init__(self, pub: str, command: str, keys: Path | None) -> None:
        refuse_open("--pub", pub, keys is not None)
        refuse_open("--command", command, keys is not None)
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self.news = self._context.socket(zmq.PUB)
        self.peers = self._context.socket(zmq.ROUTER)
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            if keys is not None:
                self._secure(keys)
            self._set_up()
            self.news.ipv6, self.peers.ipv6 = "[" in pub, "[" in command
            self._monitor = self.peers.get_monitor_socket(
                zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
            )
            self.pub = _bound(self.news, pub, _ANOTHER)
            is_ours = _port(self.pub) == _port(command)
            self.command = _bound(self.peers, command, _OURS if is_ours else _ANOTHER)
        except BaseException:
            self.close()
            raise

    def wait(self, fd: int | None) -> None:
        """Until a peer, or the device at ``fd``, says something; at most some ms."""
        poller = zmq.Poller()
        poller.register(self.peers, zmq.POLLIN)
        if fd is not None:
            poller.register(fd, zmq.POLLIN)
        poller.poll(_POLL_MS)

    def ended(self) -> list[int]:
        """The descriptors of connections that ended since, but those whose number is another one's by now: that
        a peer of those is gone, the next send tells."""
        newest: dict[int, int] = {}
        while self._monitor is not None and self._monitor.poll(0):
            told = recv_monitor_message(self._monitor)
            newest[int(told["value"])] = int(told["event"])
        return [fd for fd, event in newest.items() if event == zmq.EVENT_DISCONNECTED]

    def received(self) -> Iterator[tuple[Peer, bytes]]:
        """What peers said, each message of one frame; others are passed over."""
        for _ in range(QUEUED):
            try:
                identity, *frames = self.peers.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            if len(frames) == 1:
                host = str(frames[0].get("Peer-Address"))
                peer = Peer(identity.bytes, int(frames[0].get(zmq.SRCFD)), host)
                yield peer, frames[0].bytes

    def drain(self) -> int:
        """Drops what peers have said so far; how many messages that were."""
        dropped = 0
        for _ in range(QUEUED):
            n = sum(1 for _ in self.received())
            dropped += n
            if n == 0:
                break
        return dropped

    def send(self, identity: bytes, packet: bytes) -> Sent:
        try:
            self.peers.send_multipart([identity, packet], zmq.DONTWAIT)
        except zmq.Again:
            return Sent.FULL
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return Sent.GONE
        return Sent.SENT

    def publish(self, message: Message) -> None:
        self.news.send_multipart(message, zmq.DONTWAIT)

    def close(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        if self._monitor is not None:
            self.peers.disable_monitor()
            self._monitor = None
        for socket in (self.news, self.peers):
            socket.close(linger=100)
        self._context.term()

    def _set_up(self) -> None:
        self.peers.router_mandatory = 1  # a send to who has left fails
        self.peers.maxmsgsize = PACKET_MAX
        self.peers.sndhwm = QUEUED
        self.peers.rcvhwm, self.peers.rcvbuf = COMMANDS_QUEUED, COMMAND_BYTES
        self.news.sndhwm = NEWS_QUEUED
        for socket in (self.news, self.peers):
            socket.heartbeat_ivl = HEARTBEAT_MS
            socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS

    def _secure(self, keys: Path) -> None:
        public, secret = own_keys(keys)
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=str(clients(keys)))
        for socket in (self.news, self.peers):
            socket.curve_server = 1
            socket.curve_publickey, socket.curve_secretkey = public, secret


#: Whose an address may be that nobody else can listen at, and what to do.
_ANOTHER = "another gateway may run there: end it"
_OURS = "samples and events are to have that port: give --pub another one"


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _bound(socket: zmq.Socket[bytes], address: str, whose: str) -> str:
    """Where it listens: also of port 0."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise RtloopError(
            f"cannot listen at {address}: {error.strerror}; {whose}, or take another port"
        ) from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)
