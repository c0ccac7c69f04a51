"""A device on a pty, as far as a port's tests need one: speaks packets, keeps no rules."""

from __future__ import annotations

import os
import pty
import struct
import termios
import time
import tty

import numpy as np

from rtloop import core

TIME_REQUEST, TIME_REPLY, SENSOR, COMMAND, STOP = 5, 6, 7, 8, 11
IDLE, ARMED, ACTIVE, SAFE = 1, 2, 3, 4
SCHEMA_ID = 0x1234


class FakeDevice:
    """Its clock is CLOCK_MONOTONIC plus ``offset_ns``."""

    def __init__(self, offset_ns: int = 0) -> None:
        self.offset_ns = offset_ns
        self.late_commands = 0
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave, termios.TCSANOW)
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
        }

    def lose(self, packets: int) -> None:
        """Numbers so many packets that never leave."""
        self._seq += packets

    def now_us(self) -> int:
        return (time.monotonic_ns() + self.offset_ns) // 1000

    def send(self, kind: int, payload: bytes, schema_id: int = SCHEMA_ID) -> None:
        self._seq += 1
        now_us = self.now_us() & 0xFFFFFFFF
        packet = core.packet_encode(kind, self._seq & 0xFFFF, 0, schema_id, now_us, payload)
        self.send_raw(core.frame_encode(packet))

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
        try:
            data = os.read(self.master, 65536)
        except (BlockingIOError, OSError):
            return []
        return [core.packet_decode(p) for p in self._decoder.feed(data)]

    def unplug(self) -> None:
        for name in ("master", "slave"):
            fd = getattr(self, name)
            if fd >= 0:
                os.close(fd)
                setattr(self, name, -1)
