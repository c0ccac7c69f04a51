"""ZeroMQ over TCP: a device that listens as a ZMTP peer. The core moves the packets (ZmqBridge)."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
import weakref
from pathlib import Path

from rtloop import core
from rtloop.errors import LinkError
from rtloop.link.transports.address import RULE, host_and_port, resolved
from rtloop.link.transports.transport import DISCARDED_MAX, Transport, register
from rtloop.link.transports.waiting import is_readable, is_writable
from rtloop.stopping import go_on

_PACKET_MAX = 4096
#: As long as a device is asked for HELLO: boards that were reset come back within a second or two.
CONNECT_TIMEOUT_S = 3.0
#: Between two attempts, and between two looks whether a stop was asked for.
_LOOK_S = 0.1
_PROBE_TIMEOUT_S = 0.5


class ZmqLine:
    """An open line. Reads and writes raise LinkError when the connection is lost: it is made anew by opening
    another one."""

    bit_rate: int | None = None
    low_latency = True
    keeps_packets = True

    def __init__(self, bridge: core.ZmqBridge, device: str) -> None:
        self.device = device
        self.check = (
            f"what listens there is the firmware of a device, or a gateway to one: {device}"
        )
        self._bridge = bridge
        # Also at the end of the process: its thread must not outlive what it calls.
        self._close = weakref.finalize(self, bridge.close)

    def fileno(self) -> int:
        return self._bridge.fileno()

    def read(self, timeout_s: float) -> bytes:
        """The next packet, after at most ``timeout_s``; empty when none came."""
        try:
            ready = is_readable(self.fileno(), timeout_s)
            packet = os.read(self.fileno(), _PACKET_MAX) if ready else b""
        except BlockingIOError:
            return b""
        except (OSError, ValueError) as error:
            raise self._lost() from error
        if ready and not packet:
            raise self._lost()
        return packet

    def write(self, data: bytes, timeout_s: float = 0.5) -> None:
        """One packet; also raises LinkError when the device does not take it within ``timeout_s``."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                os.write(self.fileno(), data)
                return
            except BlockingIOError:
                remaining = end - time.monotonic()
                if remaining <= 0:
                    raise LinkError(
                        f"{self.device} takes no packets since {timeout_s:g} s: the device does not "
                        "read; check that its firmware runs"
                    ) from None
                is_writable(self.fileno(), remaining)
            except (OSError, ValueError) as error:
                raise self._lost() from error

    def discard_input(self) -> None:
        """Drops what was received and not read."""
        try:
            for _ in range(DISCARDED_MAX):
                if not os.read(self.fileno(), _PACKET_MAX):
                    return
        except (OSError, ValueError):
            pass  # nothing more is there, or the next read says that it is lost

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        return self._bridge.schedule(setup)

    def close(self) -> None:
        """What was written still leaves, STOP among it. May be called again."""
        self._close()

    def _lost(self) -> LinkError:
        return LinkError(
            f"{self.device} was lost: the connection has ended; check the network and that the device has power"
        )


@register
class ZmqTransport(Transport):
    """A device, or a gateway to one, that listens for ZeroMQ peers."""

    scheme = "zmq+tcp"
    device = "zmq+tcp://HOST:PORT"
    rule = RULE
    where_lost = "its firmware and what is between, a proxy or a gateway: TCP itself loses nothing"
    has_threads = True

    def takes(self, device: str) -> bool:
        return host_and_port(device) is not None

    def open(self, device: str, baud: int) -> ZmqLine:
        return open_zmq(device)

    def bit_rate(self, baud: int) -> None:
        return None

    def host_problem(self, device: str) -> tuple[str, str] | None:
        host, _ = host_and_port(device) or ("", 0)
        try:
            libzmq()
        except LinkError:
            return f"'{device}', but no libzmq", "libzmq: pip install pyzmq"
        try:
            _addresses(device)
        except LinkError:
            return (
                f"'{host}', a name that is not known here",
                "a known name, or the device's address",
            )
        return None


def open_zmq(device: str) -> ZmqLine:
    """Connects and agrees on ZMTP. Raises LinkError that says what to do, StoppedError."""
    library = libzmq()
    addresses = _addresses(device)
    end_s = time.monotonic() + CONNECT_TIMEOUT_S
    reached = core.ZmqBridge.Stage.connecting
    while True:
        for address in addresses:
            until_s = end_s if address is addresses[-1] else end_s - CONNECT_TIMEOUT_S / 2
            try:
                bridge = core.ZmqBridge(library, f"tcp://{address}")
            except (RuntimeError, OSError) as error:
                raise LinkError(f"{device} cannot be opened: {error}") from error
            try:
                if _is_open(bridge, until_s):
                    return ZmqLine(bridge, device)
                reached = max(reached, bridge.reached, key=lambda stage: stage.value)
            except BaseException:
                bridge.close()
                raise
            bridge.close()
        if time.monotonic() + _LOOK_S > end_s:
            raise LinkError(_why_not_open(device, reached))
        time.sleep(_LOOK_S)
        go_on()


def libzmq() -> str:
    """libzmq as pyzmq brings it, or the system's; pyzmq is not imported. Raises LinkError."""
    spec = importlib.util.find_spec("zmq")
    if spec is not None and spec.origin is not None:
        beside = Path(spec.origin).parents[1] / "pyzmq.libs"
        if found := sorted(beside.glob("libzmq-*.so*")):
            return str(found[0])
    # A pyzmq that was built here uses the system's, or that of its environment (conda).
    for folder in (Path(sys.prefix, "lib"), *(Path(p) for p in _SYSTEM_FOLDERS)):
        for library in (folder / "libzmq.so.5", *sorted(folder.glob("*-linux-gnu*/libzmq.so.5"))):
            if library.exists():
                return str(library)
    raise LinkError("there is no libzmq; install it: pip install pyzmq")


_SYSTEM_FOLDERS = ("/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib")


def _addresses(device: str) -> list[str]:
    """``ADDRESS:PORT``, one or more."""
    found = resolved(device, socket.SOCK_STREAM)
    return [f"[{at}]:{port}" if ":" in at else f"{at}:{port}" for _, at, port in found]


def _is_open(bridge: core.ZmqBridge, until_s: float) -> bool:
    stage = core.ZmqBridge.Stage
    while True:
        left_s = until_s - time.monotonic()
        now = bridge.wait(int(max(0.0, min(left_s, _LOOK_S)) * 1e9))
        if now in (stage.open, stage.lost) or left_s <= 0:
            return now == stage.open
        go_on()


def _why_not_open(device: str, reached: core.ZmqBridge.Stage) -> str:
    waited = f"{device} was not opened within {CONNECT_TIMEOUT_S:g} s"
    if reached != core.ZmqBridge.Stage.connecting:
        return (
            f"{waited}: something took the connection, but does not speak ZMTP 3 with us. Check that it is the "
            "device's port, and that no other host is connected to the device: it serves one at a time"
        )
    return f"{waited}: {_why_not_connected(device)}"


def _why_not_connected(device: str) -> str:
    """libzmq does not tell; a plain connection does."""
    host, port = host_and_port(device) or ("", 0)
    try:
        socket.create_connection((host, port), _PROBE_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return (
            "the connection was refused: nothing listens at this port; check that the device's firmware runs, "
            "and the port"
        )
    except TimeoutError:
        return "no answer: check that the device has power and is on this network, and the address"
    except OSError as error:
        return f"{error.strerror or error}: check the network's cable, this host's address and the device's"
    return "it answers now; start again"
