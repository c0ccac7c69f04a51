"""A serial line: opened exclusively and raw, read and written with timeouts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import termios
import time
from shlex import quote
from typing import TYPE_CHECKING

from rtloop import core
from rtloop.errors import LinkError
from rtloop.link.transports.serial_latency import latency_problem
from rtloop.link.transports.transport import Transport, register
from rtloop.link.transports.waiting import is_readable, is_writable

if TYPE_CHECKING:
    import serial  # imported where it is used: reading a configuration needs no device

_READ_SIZE = 4096
#: serial.SerialException is an OSError; termios.error is not.
_ERRORS = (OSError, termios.error)


class SerialLine:
    """An open line. Reads and writes raise LinkError when it is gone.

    ``low_latency`` tells whether the driver passes bytes on at once (USB adapters otherwise
    collect them for up to 16 ms). A driver without such a mode, or a pty, gives False.
    """

    keeps_packets = False

    def __init__(self, port: serial.Serial, device: str, baud: int) -> None:
        self.device = device
        self.bit_rate: int | None = baud
        self.check = f"its firmware uses {baud} baud and that no console shares the port"
        self._port = port
        self._owner = os.getpid()
        self.low_latency = False
        with contextlib.suppress(ValueError, OSError, NotImplementedError):
            port.set_low_latency_mode(True)
            self.low_latency = True

    def fileno(self) -> int:
        return int(self._port.fileno())

    def read(self, timeout_s: float) -> bytes:
        """The bytes that are there, after at most ``timeout_s``; empty when none came."""
        try:
            ready = is_readable(self.fileno(), timeout_s)
            data = os.read(self.fileno(), _READ_SIZE) if ready else b""
        except BlockingIOError:
            return b""
        except _ERRORS as error:
            raise self._lost(error) from error
        if ready and not data:
            raise self._lost(OSError(errno.EIO, os.strerror(errno.EIO)))
        return data

    def write(self, data: bytes, timeout_s: float = 0.5) -> None:
        """All of it; also raises LinkError when the line does not take it within ``timeout_s``."""
        end = time.monotonic() + timeout_s
        while data:
            try:
                data = data[os.write(self.fileno(), data) :]
            except BlockingIOError:
                remaining = end - time.monotonic()
                if remaining <= 0:
                    raise LinkError(
                        f"{self.device} takes no bytes since {timeout_s:g} s: nothing reads at "
                        "the other end; check that the firmware runs and that flow control is off"
                    ) from None
                is_writable(self.fileno(), remaining)
            except _ERRORS as error:
                raise self._lost(error) from error

    def discard_input(self) -> None:
        """Drops what was received and not read."""
        with contextlib.suppress(*_ERRORS):
            self._port.reset_input_buffer()

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        return []

    def close(self) -> None:
        """The device is free for others, also where a forked child still has it open. May be called again."""
        with contextlib.suppress(*_ERRORS):
            # A lock ends with the last of all copies of its descriptor, or with a word. It is the word of
            # who locked: a child must not free the device of its parent.
            if self._port.is_open and self._owner == os.getpid():
                fcntl.flock(self.fileno(), fcntl.LOCK_UN)
        with contextlib.suppress(*_ERRORS):
            self._port.close()

    def _lost(self, error: Exception) -> LinkError:
        return LinkError(
            f"{self.device} was lost: {error}; check the cable and that the device has power"
        )


@register
class SerialTransport(Transport):
    """A path: a serial device, a pty, or a symlink to either."""

    scheme = ""
    device = "the path of a serial device"
    where_lost = "cable, shield and baud rate"

    def open(self, device: str, baud: int) -> SerialLine:
        return open_serial(device, baud)

    def bit_rate(self, baud: int) -> int:
        return baud

    def host_problem(self, device: str) -> tuple[str, str] | None:
        try:
            mode = os.stat(device).st_mode
        except OSError as error:
            near = _likely_devices()
            expected = f"a serial device, such as {', '.join(near)}" if near else "a serial device"
            return f"'{device}': {error.strerror}", expected
        if not stat.S_ISCHR(mode):
            return f"'{device}', no character device", "a serial device"
        if not os.access(device, os.R_OK | os.W_OK):
            found = f"'{device}' without permission to read and write"
            group = "both: add the user to the device's group (often dialout) and log in again"
            return found, group
        return None

    def latency_problem(self, device: str) -> str:
        return latency_problem(device)


def open_serial(device: str, baud: int) -> SerialLine:
    """Opens a device for this process alone. Raises LinkError that says what to do."""
    import serial

    try:
        port = serial.Serial(device, baud, timeout=0, write_timeout=0, exclusive=True)
    except (*_ERRORS, ValueError) as error:
        raise _explained(device, baud, error) from error
    return SerialLine(port, device, baud)


def _explained(device: str, baud: int, error: Exception) -> LinkError:
    number = getattr(error, "errno", None)
    if not os.path.exists(device):
        return LinkError(f"there is no {device}; {_existing_devices()}")
    if number == errno.EACCES:
        return LinkError(
            f"no permission to open {device}; join its group, usually 'sudo usermod -aG dialout "
            "$USER', then log out and in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return LinkError(
            f"{device} is in use by another program; end that one first, `fuser -v {quote(device)}` "
            "names it (on a fresh board it may be ModemManager)"
        )
    if isinstance(error, ValueError):
        return LinkError(f"{device} does not do {baud} baud: {error}; choose another baud")
    if not _is_terminal(device):
        return LinkError(f"{device} is no serial device; {_existing_devices()}")
    return LinkError(f"{device} could not be opened: {error}")


def _is_terminal(device: str) -> bool:
    try:
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.isatty(fd)
    finally:
        os.close(fd)


def _likely_devices() -> list[str]:
    """Serial adapters by their names alone."""
    names = ("ttyACM", "ttyUSB", "ttyAMA")
    try:
        return [f"/dev/{name}" for name in sorted(os.listdir("/dev")) if name.startswith(names)][:5]
    except OSError:
        return []


def _existing_devices() -> str:
    import serial.tools.list_ports

    ports = sorted(serial.tools.list_ports.comports())
    if not ports:
        return "no serial device is plugged in; check power and that the cable carries data"
    names = ", ".join(
        f"{port.device} ({port.description})" if port.description != "n/a" else str(port.device)
        for port in ports
    )
    return f"the serial devices here are: {names}"
