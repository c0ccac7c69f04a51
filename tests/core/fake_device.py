"""A device on a pty or a socket, as far as a port's tests need one: speaks packets, keeps no rules."""

from __future__ import annotations

import os
import pty
import socket
import struct
import termios
import time
import tty

import numpy as np

from rtloop import core

TIME_REQUEST, TIME_REPLY, SENSOR, COMMAND, STOP = 5, 6, 7, 8, 11
STATS_REQUEST, STATS = 15, 16
IDLE, ARMED, ACTIVE, SAFE = 1, 2, 3, 4
SCHEMA_ID = 0x1234


class FakeDevice:
    """Its clock is CLOCK_MONOTONIC plus ``offset_ns``.

    ``wire`` is how its packets travel: ``pty``, ``udp``, ``seqpacket``. Its end is ``master``, ours ``slave``.
    """

    def __init__(self, offset_ns: int = 0, wire: str = "pty") -> None:
        self.offset_ns = offset_ns
        self.late_commands = 0
        self.keeps_packets = wire != "pty"
        self.master, self.slave = {"pty": _pty, "udp": _udp, "seqpacket": _seqpacket}[wire]()
        os.set_blocking(self.master, False)
        self._decoder = core.FrameDecoder()
        self._seq = 0

    def port(self, **changes: int) -> core.Port:
        """The host's end, past its handshake."""
        options = self.options()
        assert changes.keys() <= options.keys(), changes
        return core.Port("link", {**options, **changes})

    def options(self) -> dict[str, int]:
        """What a handshake would have found."""
        return {
            "fd": self.slave,
            "keeps_packets": int(self.keeps_packets),
            "schema_id": SCHEMA_ID,
            "n_sensor": 2,
            "n_command": 1,
            "clock_offset_ns": self.offset_ns,
            "clock_error_ns": 1000,
            "clock_time_ns": time.monotonic_ns(),
            "command_validity_ns": 500_000_000,
            "command_timeout_ns": 1_000_000_000,
            "obey_timeout_ns": 0,
            "silence_timeout_ns": 2_000_000_000,
            "reconnects": 0,
            "is_armed": 1,
            "accounts": 0,
        }

    def lose(self, packets: int) -> None:
        """Numbers so many packets that never leave."""
        self._seq += packets

    def now_us(self) -> int:
        return (time.monotonic_ns() + self.offset_ns) // 1000

    def send(self, kind: int, payload: bytes, schema_id: int = SCHEMA_ID, ack: int = 0) -> None:
        self._seq += 1
        now_us = self.now_us() & 0xFFFFFFFF
        packet = core.packet_encode(kind, self._seq & 0xFFFF, ack, schema_id, now_us, payload)
        self.send_raw(packet if self.keeps_packets else core.frame_encode(packet))

    def send_raw(self, data: bytes) -> None:
        os.write(self.master, data)
        self._settle()

    def _settle(self) -> None:
        # The kernel hands pty data over in a work item of its own.
        time.sleep(0.002)

    def send_sensor(
        self, values: list[float], state: int = ACTIVE, age_us: int = 0, command_seq: int = 0
    ) -> None:
        sampled_us = (self.now_us() - age_us) & 0xFFFFFFFF
        counted = command_seq, self.late_commands
        head = struct.pack("<IBBHHH", sampled_us, state, len(values), 0, *counted)
        self.send(SENSOR, head + np.array(values, "<f4").tobytes())

    def received(self) -> list[tuple[int, bytes]]:
        """(type, payload) of the packets since the last call."""
        return [(packet[0], packet[6]) for packet in self.packets()]

    def command_seqs(self) -> list[int]:
        """The numbers of the commands since the last call."""
        return [packet[2] for packet in self.packets() if packet[0] == COMMAND]

    def command_acks(self) -> list[int]:
        """What the commands since the last call say to have received."""
        return [packet[3] for packet in self.packets() if packet[0] == COMMAND]

    @property
    def newest_seq(self) -> int:
        """Of the packets that were sent."""
        return self._seq & 0xFFFF

    def packets(self) -> list[tuple[int, int, int, int, int, int, bytes]]:
        """As ``core.packet_decode`` gives them, since the last call."""
        self._settle()
        packets: list[bytes] = []
        try:
            while data := os.read(self.master, 65536):
                packets += [data] if self.keeps_packets else self._decoder.feed(data)
        except (BlockingIOError, OSError):
            pass
        return [core.packet_decode(packet) for packet in packets]

    def unplug(self) -> None:
        for name in ("master", "slave"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)


def _pty() -> tuple[int, int]:
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    return master, slave


def _udp() -> tuple[int, int]:
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for end in ends:
        end.bind(("127.0.0.1", 0))
    ends[0].connect(ends[1].getsockname())
    ends[1].connect(ends[0].getsockname())
    return ends[0].detach(), ends[1].detach()


def _seqpacket() -> tuple[int, int]:
    master, slave = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return master.detach(), slave.detach()
