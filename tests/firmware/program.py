"""The firmware program as a test sees it: a process, and a raw host at the other end of its line.

The host speaks through the reference implementation: rtloop's own codec is not trusted here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
import tty
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.firmware import reference as ref

if TYPE_CHECKING:
    from typing_extensions import Self

IDLE, ARMED, ACTIVE, SAFE = 1, 2, 3, 4
COMMAND_TIMEOUT, LINK_ERRORS, NON_FINITE, LIMIT, HOST_STOP, HARDWARE = 1, 4, 8, 16, 32, 64


class FirmwareProgram:
    """``rtloop-firmware`` with further arguments; its line is at ``path``.

    The cart-pole, or where ``plant_fd`` is the end of a socket: what is at the other end.
    """

    def __init__(
        self, executable: Path, path: Path, *arguments: str, plant_fd: int | None = None
    ) -> None:
        self.path = path
        plant = ["cartpole"] if plant_fd is None else ["remote", "--plant-fd", str(plant_fd)]
        self.process = subprocess.Popen(
            [str(executable), *plant, "--pty", str(path), "--die-with-parent", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=() if plant_fd is None else (plant_fd,),
            text=True,
        )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        assert self.ready_line.startswith("READY "), "it did not start: see stderr"

    @property
    def slave(self) -> str:
        return self.ready_line.split()[1]

    @property
    def address(self) -> str:
        """With --zmq or --udp."""
        return self.ready_line.split()[2]

    def unplug(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def stop(self, with_signal: int = signal.SIGTERM) -> dict[str, Any]:
        """Ends it and returns its summary; a sanitizer's complaint is a failure."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(with_signal)
        out, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        summary: dict[str, Any] = json.loads(out)
        return summary

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Host:
    """Sends and receives packets on a line, without any rule of its own."""

    def __init__(self, path: Path | str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.schema_id = 0
        self.packets: list[ref.Packet] = []
        self.broken = 0
        self._seq = 0
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.fd)

    def send(self, name: str, **fields: Any) -> int:
        """The number that it was sent with, which its answer acknowledges."""
        payload = ref.encode_message(name, fields)
        seq = self._seq
        packet = ref.encode_packet(ref.MESSAGES[name][0], seq, 0, self.schema_id, 0, payload)
        self._seq = (seq + 1) & 0xFFFF
        self.transmit(packet)
        return seq

    def transmit(self, packet: bytes) -> None:
        rest = ref.encode_frame(packet)
        while rest:  # a device on a busy machine may be slower than a test
            assert select.select([], [self.fd], [], 10)[1], "the line takes nothing"
            rest = rest[os.write(self.fd, rest) :]

    def send_command(self, *values: float, valid_for_us: int = 50_000) -> int:
        """Device time is taken from the newest sample. Its number."""
        newest = self.newest("sensor").fields["sample_time_us"]
        return self.send(
            "command", valid_until_us=(newest + valid_for_us) & 0xFFFFFFFF, values=list(values)
        )

    def receive(self, timeout_s: float = 0.02) -> list[ref.Packet]:
        """What arrives until the timeout or the first pause; also kept in ``packets``."""
        new: list[ref.Packet] = []
        while select.select([self.fd], [], [], timeout_s)[0]:
            self._received += os.read(self.fd, 65536)
            whole, delimiter, self._received = self._received.rpartition(b"\0")
            frames, broken, _ = ref.decode_frames(whole + delimiter)
            self.broken += broken
            new += [ref.decode_packet(frame) for frame in frames]
            timeout_s = 0
        self.packets += new
        return new

    def wait_for(
        self, name: str, where: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """The fields of the next packet of this kind that fits."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for packet in self.receive():
                if packet.name == name and where(packet.fields):
                    return packet.fields
        raise AssertionError(f"no such {name} came; the last were {self.packets[-3:]}")

    def newest(self, name: str) -> ref.Packet:
        self.receive(0)
        if not any(packet.name == name for packet in self.packets):
            self.wait_for(name)
        return next(packet for packet in reversed(self.packets) if packet.name == name)

    def open(self) -> dict[str, Any]:
        """HELLO; everything after it carries the device's schema id."""
        self.send("hello", min_version=1, max_version=1)
        reply = self.wait_for("hello_reply")
        self.schema_id = self.newest("hello_reply").schema_id
        return reply

    def activate(self, loop_class: int = 1, command_timeout_us: int = 0) -> None:
        """To ACTIVE with a first command of one value, 0."""
        timeout_us = self.open()["command_timeout_us"]
        self.send(
            "arm",
            loop_class=loop_class,
            max_late_commands=0,
            command_timeout_us=command_timeout_us,
        )
        assert self.wait_for("device_status")["state"] == ARMED
        self.wait_for("sensor")
        timeout_us = command_timeout_us or timeout_us
        end = time.monotonic() + 10
        while self.newest("sensor").fields["state"] != ACTIVE:
            assert time.monotonic() < end, "no command was taken"
            self.send_command(0.0, valid_for_us=timeout_us // 2)
            self.receive(0.005)

    def wait_until_safe(self) -> int:
        """The reasons."""
        reasons: int = self.wait_for("sensor", lambda f: f["state"] == SAFE)["reasons"]
        return reasons
