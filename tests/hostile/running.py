"""Devices that misbehave while the loop runs: states, samples, the line."""

from __future__ import annotations

import math
import struct
import time
from typing import ClassVar

from tests.hostile.device import Clean, Device, Faulted, Problem
from tests.hostile.wire import (
    ARMED,
    COMMAND_TIMEOUT,
    DEADLINE_MISSES,
    EVENT,
    HARDWARE,
    IDLE,
    LIMIT,
    LINK_ERRORS,
    NON_FINITE,
    SENSOR,
    STATUS,
    TIME_REPLY,
    Packet,
    framed,
)

# --- states ---


class NeverBecomesActive(Device):
    """Takes every command, and stays ARMED."""

    expected = Faulted("not_obeyed")

    def on_command(self, request: Packet) -> None:
        self.command_seq = request.seq


class GetsEveryCommandTooLate(Device):
    """What comes has taken longer than it is valid."""

    expected = Faulted(
        "not_obeyed", r"'cart' \(/dev/pts/\d+\), which is ARMED.* refused \d+ as too late"
    )

    def on_command(self, request: Packet) -> None:
        self.late_commands += 1


class NeverConfirmsACommand(Device):
    """ACTIVE, but command_seq stands still."""

    expected = Faulted("not_obeyed", "which is ACTIVE, did not confirm .* Look at its firmware")

    def send_sensor(self, **changes: int) -> None:
        super().send_sensor(command_seq=0)


class ConfirmsWhatWasNeverSent(Device):
    """command_seq is far ahead."""

    expected = Faulted("not_obeyed")

    def send_sensor(self, **changes: int) -> None:
        super().send_sensor(command_seq=self.command_seq + 20_000 & 0xFFFF)


class StopsTakingCommands(Device):
    """After a while it is ARMED again, and stays that."""

    expected = Faulted("not_obeyed")

    def on_command(self, request: Packet) -> None:
        if not self.has_turned:
            super().on_command(request)
        else:
            self.state = ARMED


class GoesIdle(Device):
    """Disarms by itself."""

    expected = Faulted("not_obeyed")

    def on_tick(self) -> None:
        if self.has_turned:
            self.state = IDLE
        super().on_tick()


class GoesSafe(Device):
    """By itself, at its limit."""

    expected = Faulted("device_safe", "LIMIT. latched SAFE")
    why: ClassVar[int] = LIMIT

    def on_tick(self) -> None:
        if self.has_turned:
            self.trip(self.why)
        super().on_tick()


class GoesSafeForItsHardware(GoesSafe):
    """A fault pin."""

    expected = Faulted("device_safe", "HARDWARE. latched SAFE")
    why = HARDWARE


class GoesSafeForLateCommands(GoesSafe):
    """Too many, it says."""

    expected = Faulted("device_safe", "DEADLINE_MISSES. latched SAFE")
    why = DEADLINE_MISSES


class GoesSafeForItsLine(GoesSafe):
    """Too many damaged packets, it says."""

    expected = Faulted("device_safe", "LINK_ERRORS. latched SAFE")
    why = LINK_ERRORS


class GoesSafeForACommand(GoesSafe):
    """That was not finite, it says."""

    expected = Faulted("device_safe", "NON_FINITE. latched SAFE")
    why = NON_FINITE


class GoesSafeForSilence(GoesSafe):
    """Of the host, it says."""

    expected = Faulted("device_safe", "COMMAND_TIMEOUT. latched SAFE")
    why = COMMAND_TIMEOUT


class GoesSafeForNoReason(GoesSafe):
    """SAFE with no reason bit, or one that nobody knows."""

    expected = Faulted("device_safe", "no reason. latched SAFE")
    why = 1 << 12


class IsInAStateThatDoesNotExist(Device):
    """200, after a while."""

    expected = Faulted("not_obeyed")

    def send_sensor(self, **changes: int) -> None:
        super().send_sensor(**({"state": 200} if self.has_turned else {}))


class RestartsAndIsSilent(Device):
    """Its watchdog bites; after that it waits for HELLO, and tells the time since."""

    expected = Faulted("stale_input|port_error")

    def on_tick(self) -> None:
        if self.has_turned:
            self.is_known = False
            self.boot_id, self.seq, self.state = 8, 0, IDLE
            self.clock_offset_us -= self.now_us()
        else:
            super().on_tick()


class RestartsAndGoesOnSending(Device):
    """IDLE, counting from 0, its clock too."""

    expected = Faulted("stale_input|not_obeyed")
    has_restarted = False

    def on_tick(self) -> None:
        if self.has_turned and not self.has_restarted:
            self.has_restarted = True
            self.boot_id, self.seq, self.command_seq, self.state = 8, 0, 0, IDLE
            self.clock_offset_us -= self.now_us()
        super().on_tick()


# --- samples ---


class StopsSending(Device):
    """Nothing more comes."""

    expected = Faulted("port_error", "was lost")

    def on_tick(self) -> None:
        if not self.has_turned:
            super().on_tick()


class SendsAllButSamples(Device):
    """STATUS, EVENT and TIME_REPLY go on."""

    expected = Faulted("port_error", "was lost")

    def send_sensor(self, **changes: int) -> None:
        if not self.has_turned:
            super().send_sensor(**changes)
            return
        self.send_event()
        self.send(STATUS, bytes(40))


class SendsAnotherCountOfValues(Device):
    """Five, after a while."""

    expected = Faulted("port_error", "was lost")

    def values(self) -> list[float]:
        return [0.0] * (5 if self.has_turned else 4)


class LiesAboutItsCount(Device):
    """Four values, and a head that says 128."""

    expected = Faulted("port_error", "was lost")

    def send_sensor(self, **changes: int) -> None:
        super().send_sensor(**({"count": 128} if self.has_turned else {}))


class SendsNotANumber(Device):
    """NaN in one value."""

    expected = Faulted("non_finite")

    def values(self) -> list[float]:
        return [0.0, math.nan if self.has_turned else 0.0, 0.0, 0.0]


class SendsInfinity(Device):
    """In one value."""

    expected = Faulted("non_finite")

    def values(self) -> list[float]:
        return [0.0, math.inf if self.has_turned else 0.0, 0.0, 0.0]


class SendsHugeValues(Device):
    """As large as a float is: what comes out is clipped."""

    expected = Clean()

    def values(self) -> list[float]:
        return [3.4e38 if self.has_turned else 0.0] * 4


class ChangesItsSchemaId(Device):
    """After a while."""

    expected = Faulted("port_error", "was lost")

    def on_tick(self) -> None:
        if self.has_turned:
            self.schema_id = 4711
        super().on_tick()


class CountsLateCommandsBackwards(Device):
    """And through the wrap: a number for the record, nothing else."""

    expected = Clean()

    def send_sensor(self, **changes: int) -> None:
        super().send_sensor(late_commands=-self.samples & 0xFFFF)


class SendsTenTimesAsOften(Device):
    """2 kHz, announced as 200 Hz."""

    expected = Problem("sent a sample every .* but had announced one every 5 ms")
    run_s = 1.6

    early_us = 0

    def now_us(self) -> int:
        return super().now_us() - self.early_us

    def on_tick(self) -> None:
        for self.early_us in range(4500, -1, -500):
            super().on_tick()


class SendsATenthAsOften(Device):
    """20 Hz, announced as 200 Hz."""

    expected = Problem("sent a sample every .* but had announced one every 5 ms")
    run_s = 1.8
    ticks = 0

    def on_tick(self) -> None:
        self.ticks += 1
        if self.ticks % 10 == 0:
            super().on_tick()


class SendsInBursts(Device):
    """Ten samples every 50 ms, each with its time."""

    expected = Clean()

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bytes] = []

    def send_sensor(self, **changes: int) -> None:
        self.waiting.append(self.made(SENSOR, self.sensor()))
        if len(self.waiting) == 10:
            self.write_raw(b"".join(self.waiting))
            self.waiting.clear()


# --- the line ---


class HangsUp(Device):
    """The plug is pulled."""

    expected = Faulted("port_error", "was lost")

    def on_tick(self) -> None:
        if self.has_turned:
            self.unplug()
        else:
            super().on_tick()


class StopsReading(Device):
    """It samples on, but its receiver is dead: the line fills up."""

    expected = Faulted("not_obeyed")

    def on_tick(self) -> None:
        self.reads = not self.has_turned
        self.send_sensor()


class FloodsWithEvents(Device):
    """6000 a second."""

    expected = Clean()

    def on_tick(self) -> None:
        super().on_tick()
        self.write_raw(b"".join(self.made(EVENT, self.event(1 + i % 4)) for i in range(30)))


class FloodsWithTimeReplies(Device):
    """To questions that nobody asked, with times from nowhere."""

    expected = Clean()

    def on_tick(self) -> None:
        super().on_tick()
        replies = (self.made(TIME_REPLY, self.random.randbytes(24)) for _ in range(20))
        self.write_raw(b"".join(replies))


class FloodsWithNoise(Device):
    """400 kB/s between its samples: half of what the host takes from a line when nothing holds it up."""

    expected = Clean()

    def on_tick(self) -> None:
        self.write_raw(self.random.randbytes(2000) + b"\0")
        super().on_tick()


class SendsEventsThatMeanNothing(Device):
    """Unknown kinds, cut ones, and packets of unknown types."""

    expected = Clean()

    def on_tick(self) -> None:
        super().on_tick()
        self.send_event(kind=self.random.randrange(5, 256))
        self.send(EVENT, self.event()[: self.random.randrange(28)])
        self.send(self.random.randrange(15, 256), self.random.randbytes(40))


class RepeatsItself(Device):
    """Each packet leaves three times."""

    expected = Clean()

    def write(self, frame: bytes) -> None:
        self.write_raw(frame * 3)


class SwapsPackets(Device):
    """Of each two the second leaves first, once it is commanded."""

    expected = Clean()
    kept = b""

    def write(self, frame: bytes) -> None:
        if not self.has_turned or self.kept:
            self.write_raw(frame + self.kept)
            self.kept = b""
        else:
            self.kept = frame


class LosesEveryThirdPacket(Device):
    """Once it is commanded."""

    expected = Clean()

    def write(self, frame: bytes) -> None:
        if not self.has_turned or self.seq % 3:
            self.write_raw(frame)


class DamagesEveryFourthPacket(Device):
    """A flipped bit, once it is commanded."""

    expected = Clean()

    def write(self, frame: bytes) -> None:
        if self.has_turned and self.seq % 4 == 0:
            at = self.random.randrange(len(frame) - 1)
            frame = (
                frame[:at] + bytes([frame[at] ^ 1 << self.random.randrange(8)]) + frame[at + 1 :]
            )
        self.write_raw(frame)


class CutsEveryFourthPacket(Device):
    """The rest of its frame never leaves, nor does its end, once it is commanded."""

    expected = Clean()

    def write(self, frame: bytes) -> None:
        is_cut = self.has_turned and self.seq % 4 == 0
        self.write_raw(frame[: self.random.randrange(len(frame))] if is_cut else frame)


class SendsFramesThatNeverEnd(Device):
    """Of 10 kB, and intact ones longer than a packet may be."""

    expected = Clean()

    def on_tick(self) -> None:
        self.write_raw(b"\x55" * 10_000 + b"\0" if self.samples % 5 == 0 else b"")
        self.write_raw(framed(self.random.randbytes(541)))
        super().on_tick()


class SendsItByteByByte(Device):
    """Each packet in pieces, a moment apart."""

    expected = Clean()

    def write(self, frame: bytes) -> None:
        for at in range(0, len(frame), 16):
            self.write_raw(frame[at : at + 16])
            time.sleep(0.0002)


class PadsItsSamples(Device):
    """More bytes than its count says, after a while."""

    expected = Faulted("port_error", "was lost")

    def sensor(self, **changes: int) -> bytes:
        return super().sensor(**changes) + (struct.pack("<f", 1.0) if self.has_turned else b"")
