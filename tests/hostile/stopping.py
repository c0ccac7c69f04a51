"""Devices that do not end as they are told to."""

from __future__ import annotations

import struct

from tests.hostile.device import Clean, Device, Faulted, Problem
from tests.hostile.wire import ACTIVE, IDLE, LIMIT, SAFE, STATUS, Packet

UNCONFIRMED = Problem("did not confirm STOP")


class IgnoresStop(Device):
    """No answer, and it goes on."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        pass


class HearsNothingAnyMore(Device):
    """The line to it is cut, and the one from it is not: SAFE by its command timeout, as its samples say."""

    expected = Faulted(
        "device_safe",
        r"did not confirm STOP\. By its newest sample it is latched SAFE \(COMMAND_TIMEOUT\)",
    )

    def on_command(self, request: Packet) -> None:
        if not self.has_turned:
            super().on_command(request)

    def on_stop(self, request: Packet) -> None:
        pass


class StaysActive(Device):
    """Answers STOP with ACTIVE."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        self.send_status(request, state=ACTIVE)


class GoesIdleAtStop(Device):
    """Answers STOP with IDLE, which is not latched."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        self.state = IDLE
        self.send_status(request)


class AnswersStopTooLate(Device):
    """Half a second after each: the protocol gives it 200 ms."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        self.trip(LIMIT)
        self.ack = request.seq
        head = struct.pack("<BBHI", SAFE, 0, LIMIT, self.boot_id)
        self.send_later(0.5, STATUS, head + bytes(32))


class AnswersTheThirdStop(Device):
    """Two are lost."""

    expected = Clean()
    stops = 0

    def on_stop(self, request: Packet) -> None:
        self.stops += 1
        if self.stops > 3:  # the first one is the loop's own
            super().on_stop(request)


class StopsForAnotherReason(Device):
    """SAFE, but for its limit: safe is safe."""

    expected = Clean()

    def on_stop(self, request: Packet) -> None:
        self.trip(LIMIT)
        self.send_status(request)


class AnswersStopWithNoise(Device):
    """And with a STATUS that is cut."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        self.write_raw(self.random.randbytes(200) + b"\0")
        self.send(STATUS, bytes(39))


class HangsUpAtStop(Device):
    """The line is gone."""

    expected = UNCONFIRMED

    def on_stop(self, request: Packet) -> None:
        self.unplug()


class TalksOnAfterStop(Device):
    """Answers well, and floods the line with samples ever after."""

    expected = Clean()

    def on_tick(self) -> None:
        for _ in range(10 if self.state == SAFE else 1):
            super().on_tick()
