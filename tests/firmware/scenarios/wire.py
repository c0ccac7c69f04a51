"""A wire between a host and a device that remembers what went into it and what came out, and can be cut."""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
import time
import tty
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.firmware import reference as ref

POLL_S = 0.002
READ_SIZE = 65536


class Way:
    """One direction: the pieces that were sent into it, and those of them that came out."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.arrived: list[bytes] = []


class Wire(ABC):
    """Between a host at ``address`` and a device; carries from the start, and until ``close()``.

    What comes while it is cut is lost on a serial line and with UDP, and late with TCP. A device that is
    reset finds it as it was, and so does a host that comes after another one.
    """

    address: str

    def __init__(self) -> None:
        self._to_device, self._to_host = Way(), Way()
        self._is_cut = self._ended = False
        self._thread = threading.Thread(target=self._carry_on, daemon=True)
        self._thread.start()

    def cut(self, for_s: float) -> None:
        """Returns when it is whole again."""
        self._is_cut = True
        time.sleep(for_s)
        self._is_cut = False

    def sent_to_device(self) -> list[ref.Packet]:
        """The packets that hosts sent, in order."""
        return _decoded(self.packets(list(self._to_device.sent)))

    def arrived_at_device(self) -> list[ref.Packet]:
        return _decoded(self.packets(list(self._to_device.arrived)))

    def sent_to_host(self) -> list[ref.Packet]:
        """The packets that the device sent, since the wire was laid: also across resets."""
        return _decoded(self.packets(list(self._to_host.sent)))

    def arrived_at_host(self) -> list[ref.Packet]:
        return _decoded(self.packets(list(self._to_host.arrived)))

    def close(self) -> None:
        self._ended = True
        self._thread.join()

    def _carry_on(self) -> None:
        while not self._ended:
            self._carry()

    @abstractmethod
    def _carry(self) -> None:
        """Passes on what has come, and waits for it at most POLL_S."""

    @staticmethod
    @abstractmethod
    def packets(pieces: list[bytes]) -> Iterable[bytes]:
        """The whole packets in them."""


def _decoded(packets: Iterable[bytes]) -> list[ref.Packet]:
    decoded = []
    for packet in packets:
        with suppress(ValueError):  # damaged
            decoded.append(ref.decode_packet(packet))
    return decoded


class SerialWire(Wire):
    """A UART behind a USB bridge: the host's end stays when the device is reset."""

    def __init__(self, device: Path, path: Path) -> None:
        self._device_path = device
        self._device = -1
        # Ours, too: a host that closes the line must not hang it up.
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        path.symlink_to(os.ttyname(self._slave))
        self.address = str(path)
        super().__init__()

    def close(self) -> None:
        super().close()
        for fd in (self._master, self._slave, self._device):
            if fd >= 0:
                os.close(fd)

    def _carry(self) -> None:
        if self._device < 0 and not self._is_open():
            return
        ends = {self._master: self._to_device, self._device: self._to_host}
        for end in select.select(list(ends), [], [], POLL_S)[0]:
            other = self._device if end == self._master else self._master
            try:
                data = os.read(end, READ_SIZE)
                ends[end].sent.append(data)
                if not self._is_cut:
                    ends[end].arrived.append(data[: os.write(other, data)])
            except BlockingIOError:  # nobody reads there, and the kernel keeps no more
                pass
            except OSError:  # the device is away
                os.close(self._device)
                self._device = -1
                return

    def _is_open(self) -> bool:
        try:
            self._device = os.open(self._device_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(self._device)
        except OSError:
            time.sleep(POLL_S)
            return False
        return True

    @staticmethod
    def packets(pieces: list[bytes]) -> Iterable[bytes]:
        return ref.decode_frames(b"".join(pieces))[0]


class UdpWire(Wire):
    """Datagrams: each is one piece."""

    def __init__(self, device: tuple[str, int]) -> None:
        self._host_end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._host_end.bind(("127.0.0.1", 0))
        self._device_end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._device_end.connect(device)
        # What was readable may be an error that a send has taken since.
        self._host_end.setblocking(False)
        self._device_end.setblocking(False)
        self._host: tuple[str, int] | None = None
        self.address = f"udp://127.0.0.1:{self._host_end.getsockname()[1]}"
        super().__init__()

    def close(self) -> None:
        super().close()
        self._host_end.close()
        self._device_end.close()

    def _carry(self) -> None:
        for end in select.select([self._host_end, self._device_end], [], [], POLL_S)[0]:
            with suppress(OSError):  # nobody listens there, now
                if end is self._host_end:
                    data, self._host = self._host_end.recvfrom(READ_SIZE)
                    self._to_device.sent.append(data)
                    if not self._is_cut:
                        self._device_end.send(data)
                        self._to_device.arrived.append(data)
                else:
                    data = self._device_end.recv(READ_SIZE)
                    self._to_host.sent.append(data)
                    if not self._is_cut and self._host is not None:
                        self._host_end.sendto(data, self._host)
                        self._to_host.arrived.append(data)

    @staticmethod
    def packets(pieces: list[bytes]) -> Iterable[bytes]:
        return pieces


class TcpWire(Wire):
    """ZeroMQ's. While it is cut nothing is passed on; afterwards all of it is.

    ``loses_the_host``: the device does not hear of it when the host's end closes, as when its machine
    loses its power.
    """

    loses_the_host = False

    def __init__(self, device: tuple[str, int]) -> None:
        self._device_at = device
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._host: socket.socket | None = None
        self._device: socket.socket | None = None
        self.address = f"zmq+tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        super().__init__()

    def close(self) -> None:
        super().close()
        self._hang_up()
        self._listener.close()

    def _carry(self) -> None:
        if self._is_cut:
            time.sleep(POLL_S / 4)
            return
        ends = [end for end in (self._listener, self._host, self._device) if end is not None]
        for end in select.select(ends, [], [], POLL_S)[0]:
            if end is self._listener:
                self._connect()
                return
            if not self._pass_on(end):
                return

    def _connect(self) -> None:
        host = self._listener.accept()[0]
        self._hang_up()
        try:
            self._device = socket.create_connection(self._device_at)
        except OSError:  # it is away: libzmq tries again
            host.close()
            return
        self._host = host
        for end in (self._host, self._device):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(5)
        for way in (self._to_device, self._to_host):
            way.sent.append(b"")  # a connection begins
            way.arrived.append(b"")

    def _pass_on(self, end: socket.socket) -> bool:
        """Whether both ends are still there."""
        way, other = self._to_device, self._device
        if end is self._device:
            way, other = self._to_host, self._host
        data = b""
        with suppress(OSError):
            data = end.recv(READ_SIZE)
        if not data and end is self._host and self.loses_the_host:
            self._host.close()
            self._host = None
            return False
        if not data:
            self._hang_up()
            return False
        way.sent.append(data)
        if other is not None:
            with suppress(OSError):
                other.sendall(data)
                way.arrived.append(data)
        return True

    def _hang_up(self) -> None:
        for end in (self._host, self._device):
            if end is not None:
                end.close()
        self._host = self._device = None

    @staticmethod
    def packets(pieces: list[bytes]) -> Iterable[bytes]:
        connections: list[bytes] = []
        for piece in pieces:
            if piece == b"":
                connections.append(b"")
            else:
                connections[-1] += piece
        return [message for stream in connections for message in _messages(stream)]


GREETING_SIZE = 64
LONG, COMMAND = 2, 4


def _messages(stream: bytes) -> Iterable[bytes]:
    """The messages of a ZMTP 3.0 connection, as far as they are whole."""
    at = GREETING_SIZE
    while at + 2 <= len(stream):
        flags = stream[at]
        head = 9 if flags & LONG else 2
        end = at + head + int.from_bytes(stream[at + 1 : at + head], "big")
        if end > len(stream):
            return
        if not flags & COMMAND:
            yield stream[at + head : end]
        at = end


def wire_to(address: str, path: Path) -> Wire:
    """A wire to a device; ``path`` is where the host's end of a serial line is made."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return SerialWire(Path(address), path)
    host, port = rest.rsplit(":", 1)
    kind = {"udp": UdpWire, "zmq+tcp": TcpWire}[scheme]
    return kind((host, int(port)))
