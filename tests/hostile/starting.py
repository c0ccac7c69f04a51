"""Devices that misbehave before anything moves: HELLO, schema, clock, ARM."""

from __future__ import annotations

import itertools
import struct

from tests.hostile.device import SCHEMA, Clean, Device, Refused
from tests.hostile.wire import (
    ACTIVE,
    ARMED,
    HARDWARE,
    HELLO_REPLY,
    HOST_STOP,
    IDLE,
    INIT,
    LIMIT,
    SCHEMA_CHUNK,
    TIME_REPLY,
    Packet,
    framed,
    schema_id,
)

# --- HELLO ---


class SaysNothing(Device):
    """Never answers, and never speaks."""

    expected = Refused("nothing at all was received")

    def on_hello(self, request: Packet) -> None:
        pass


class SaysGarbage(Device):
    """Answers HELLO with noise."""

    expected = Refused("no packet that holds")

    def on_hello(self, request: Packet) -> None:
        self.write_raw(self.random.randbytes(300))


class EchoesTheHost(Device):
    """A plug that sends everything back."""

    expected = Refused("no device answered")

    def on_hello(self, request: Packet) -> None:
        self.send(request.type, request.payload)


class BootsForAWhile(Device):
    """Answers the 15th HELLO."""

    expected = Clean()

    def on_hello(self, request: Packet) -> None:
        if len(self.received) >= 15:
            super().on_hello(request)


class AnswersHelloLate(Device):
    """Each HELLO after 150 ms, when the next one was sent."""

    expected = Clean()

    def on_hello(self, request: Packet) -> None:
        self.is_known = True
        self.send_later(0.15, HELLO_REPLY, self.hello_reply())


class SpeaksNoVersionOfOurs(Device):
    """Chooses version 0."""

    expected = Refused("does not speak version 1")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(version=0))


class ChoosesVersion2(Device):
    """Answers in a version that it was not offered."""

    expected = Refused("does not speak version 1")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(version=2))


class SendsPacketsOfVersion2(Device):
    """Every packet, HELLO_REPLY too, is of version 2."""

    expected = Refused("no packet that holds")
    version = 2


class AnswersHelloTooBriefly(Device):
    """A HELLO_REPLY that lacks its last byte."""

    expected = Refused("is not understood")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply()[:-1])


class IsInAnUnknownState(Device):
    """State 9."""

    expected = Refused("state 9")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(state=9))


class HasANameThatIsNoText(Device):
    """24 bytes of 0xff, none of them 0."""

    expected = Clean()

    def on_hello(self, request: Packet) -> None:
        self.is_known = True
        self.send(HELLO_REPLY, self.hello_reply(name=b"\xff" * 24))


class HasANameOfControlCharacters(Device):
    """An escape sequence for the terminal that shows the error; the name shows in no raw form."""

    expected = Refused(r"does not speak version 1")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(version=0, name=b"\x1b[2J\x1b]0;owned\x07"))


class HangsUpAtHello(Device):
    """The line is gone."""

    expected = Refused("was lost|could not be opened|there is no")

    def on_hello(self, request: Packet) -> None:
        self.unplug()


class SpeaksBeforeItIsAsked(Device):
    """A megabyte without an end, then it is good."""

    expected = Clean()

    def on_hello(self, request: Packet) -> None:
        for _ in range(64):
            self.write_raw(b"\x55" * 16384)
        self.write_raw(b"\0")
        super().on_hello(request)


# --- schema and announcements ---


class HasASchemaOfAnotherId(Device):
    """The id in its packets is not that of its text."""

    expected = Refused("its firmware is inconsistent")

    def __init__(self) -> None:
        super().__init__()
        self.schema_id ^= 1


class StopsAmidItsSchema(Device):
    """Its first hundred bytes, and no more."""

    expected = Refused("stopped answering while it sent its schema")

    def on_schema_request(self, request: Packet) -> None:
        (offset,) = struct.unpack_from("<H", request.payload)
        self.send_chunk(offset, self.schema[offset:100])


class HasAnEndlessSchema(Device):
    """Announces 64 KiB, and sends them."""

    expected = Refused("its firmware is inconsistent|schema is wrong")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(schema_bytes=0xFFFF))

    def on_schema_request(self, request: Packet) -> None:
        (offset,) = struct.unpack_from("<H", request.payload)
        self.send_chunk(offset, b"#" * 200)


class SendsMoreSchemaThanItAnnounced(Device):
    """The last chunk is too long."""

    expected = Refused("its firmware is inconsistent")

    def on_schema_request(self, request: Packet) -> None:
        (offset,) = struct.unpack_from("<H", request.payload)
        self.send_chunk(offset, (self.schema + b"x" * 200)[offset : offset + 200])


class SendsTheWrongPieceOfItsSchema(Device):
    """Always its beginning, whatever was asked for."""

    expected = Refused("stopped answering while it sent its schema")

    def on_schema_request(self, request: Packet) -> None:
        self.send(SCHEMA_CHUNK, struct.pack("<HH", 0, len(self.schema)) + self.schema[:80])


class HasNoSchema(Device):
    """An empty text."""

    expected = Refused("schema is wrong in line 1")
    schema = b""


class HasASchemaThatIsNoText(Device):
    """With a byte that is not ASCII."""

    expected = Refused("no printable ASCII at 25")
    schema = SCHEMA.replace(b"hostile", b"host\xffle")


class HasASchemaThatControlsATerminal(Device):
    """In the name of a unit."""

    expected = Refused("no printable ASCII")
    schema = SCHEMA.replace(b"rad/s", b"\x1b[2J")


class HasARateOfZero(Device):
    """In its schema."""

    expected = Refused("the rate '0'")
    schema = SCHEMA.replace(b"200", b"0")


class HasARateThatIsNoNumber(Device):
    """In its schema."""

    expected = Refused("the rate 'nan'")
    schema = SCHEMA.replace(b"200", b"nan")


class HasTooManyValues(Device):
    """300 sensors."""

    expected = Refused("at most 128 values")
    schema = (
        b"rtloop-schema 1\nname many\n"
        + b"".join(b"sensor s_%d m f32 200\n" % i for i in range(300))
        + b"command force N f32 200\n"
    )


class HasNoSensors(Device):
    """Where the loop has an input."""

    expected = Refused("cart", exit_code=2)
    schema = b"rtloop-schema 1\nname blind\ncommand force N f32 200\n"


class HasNoCommands(Device):
    """Where the loop has an output."""

    expected = Refused("cart", exit_code=2)
    schema = SCHEMA[: SCHEMA.index(b"command")]


class AnnouncesOtherCounts(Device):
    """Than its schema lists."""

    expected = Refused("announced 9 sensor and 1 command values")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(n_sensor=9))


class AnnouncesASensorPeriodOfZero(Device):
    """0 µs."""

    expected = Refused("announced a sensor period of 0 us")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(period_us=0))


class AnnouncesAnotherRate(Device):
    """A sensor period of 1 s, where its schema says 200 Hz."""

    expected = Refused("expected 5000 us, because its schema lists 200 Hz")

    def on_hello(self, request: Packet) -> None:
        self.send(HELLO_REPLY, self.hello_reply(period_us=1_000_000))


class HangsUpAtItsSchema(Device):
    """The line is gone."""

    expected = Refused("was lost|there is no")

    def on_schema_request(self, request: Packet) -> None:
        self.unplug()


# --- clock ---


class TellsNoTime(Device):
    """TIME_REQUEST is not answered."""

    expected = Refused("answered 0 of 16 time requests")

    def on_time_request(self, request: Packet) -> None:
        pass


class TellsTheTimeOfAnotherQuestion(Device):
    """The echoed host time is not the one it was asked with."""

    expected = Refused("answered 0 of 16 time requests")

    def on_time_request(self, request: Packet) -> None:
        now_us = self.now_us()
        self.send(TIME_REPLY, struct.pack("<QQQ", 4711, now_us, now_us))


class AnswersBeforeItWasAsked(Device):
    """Its times say that it held the request for a second, in an exchange of a millisecond."""

    expected = Refused("answered 0 of 16 time requests")

    def on_time_request(self, request: Packet) -> None:
        now_us = self.now_us()
        self.send(TIME_REPLY, request.payload + struct.pack("<QQ", now_us - 1_000_000, now_us))


class TellsTheTimeBackwards(Device):
    """Replied a second before it received."""

    expected = Refused("answered 0 of 16 time requests")

    def on_time_request(self, request: Packet) -> None:
        now_us = self.now_us()
        self.send(TIME_REPLY, request.payload + struct.pack("<QQ", now_us, now_us - 1_000_000))


class TellsAnAbsurdTime(Device):
    """All bits set."""

    expected = Refused("answered 0 of 16 time requests")

    def on_time_request(self, request: Packet) -> None:
        self.send(TIME_REPLY, request.payload + b"\xff" * 16)


# --- ARM ---


class RefusesToArm(Device):
    """Says so, and why."""

    expected = Refused("did not arm: its machine objects .HARDWARE")

    def on_arm(self, request: Packet) -> None:
        self.send_status(request, reasons=HARDWARE)


class RefusesToArmWithoutAWord(Device):
    """Stays IDLE."""

    expected = Refused("did not arm: it is IDLE")

    def on_arm(self, request: Packet) -> None:
        self.send_status(request)


class IgnoresArm(Device):
    """No answer."""

    expected = Refused("did not answer ARM")

    def on_arm(self, request: Packet) -> None:
        pass


class GoesSafeAtArm(Device):
    """The power stage trips as it is switched on."""

    expected = Refused("did not arm: it is SAFE: LIMIT")

    def on_arm(self, request: Packet) -> None:
        self.trip(LIMIT)
        self.send_status(request)


class AnswersAnotherRequest(Device):
    """STATUS acknowledges what was not asked."""

    expected = Refused("did not answer ARM")

    def on_arm(self, request: Packet) -> None:
        self.send_status(request._replace(seq=request.seq + 7 & 0xFFFF), state=ARMED)


class HangsUpAtArm(Device):
    """The line is gone."""

    expected = Refused("was lost|there is no")

    def on_arm(self, request: Packet) -> None:
        self.unplug()


class ArmsWithItsOwnTimeout(Device):
    """Whatever was asked for. So does, to a host, firmware that tells its default in every state."""

    expected = Refused(
        "was armed with a command timeout of 600 ms, but says that 20 ms is in force, its own"
    )

    def on_arm(self, request: Packet) -> None:
        self.state = ARMED
        self.send_status(request)


class ArmsWithTwiceTheTimeout(Device):
    """It counts in other units."""

    expected = Refused("a command timeout of 600 ms, but says that 1200 ms is in force. Correct")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.timeout_us *= 2


class RestartsOnceArmed(Device):
    """The power stage pulls its supply down."""

    expected = Refused("has restarted since the handshake")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.boot_id, self.seq, self.state = 8, 0, IDLE


class TripsOnceArmed(Device):
    """Its answer to ARM has left already."""

    expected = Refused("says right after it that it is SAFE: LIMIT")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.trip(LIMIT)


class IsDisarmedOnceArmed(Device):
    """By a key switch."""

    expected = Refused("says right after it that it is IDLE")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.state = IDLE


class IsCommandedOnceArmed(Device):
    """By another program."""

    expected = Refused("says right after it that it is ACTIVE")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.state = ACTIVE
        self.last_command_us = self.now_us()


class ChangesItsSchemaOnceArmed(Device):
    """Another firmware answers, of the same boot."""

    expected = Refused("has restarted since the handshake")

    def on_arm(self, request: Packet) -> None:
        super().on_arm(request)
        self.schema_id ^= 1


class AnswersNoHelloOnceArmed(Device):
    """Nor anything else but STOP."""

    expected = Refused("no device answered")

    def on_hello(self, request: Packet) -> None:
        if self.state != ARMED:
            super().on_hello(request)


class AnswersAnEarlierHelloOnceArmed(Device):
    """With what it was before it was armed: the answer to this one comes after it."""

    expected = Clean()

    def __init__(self) -> None:
        super().__init__()
        self.earlier = b""

    def on_hello(self, request: Packet) -> None:
        if self.state == ARMED:
            self.write(self.earlier)
        else:
            self.earlier = self.made(HELLO_REPLY, self.hello_reply())
        super().on_hello(request)


class IsLatchedSafe(Device):
    """From before, at its limit."""

    expected = Refused("latched SAFE: LIMIT")

    def __init__(self) -> None:
        super().__init__()
        self.trip(LIMIT)


class RefusesToBeCleared(Device):
    """SAFE after an ordinary stop, but its door is open."""

    expected = Refused("was not cleared: it is SAFE: HOST_STOP, HARDWARE")

    def __init__(self) -> None:
        super().__init__()
        self.trip(HOST_STOP)

    def on_clear(self, request: Packet) -> None:
        self.trip(HARDWARE)
        self.send_status(request)


class WasStoppedBefore(Device):
    """SAFE after an ordinary stop: no reason not to go on."""

    expected = Clean()

    def __init__(self) -> None:
        super().__init__()
        self.trip(HOST_STOP)


class IsNotReady(Device):
    """INIT."""

    expected = Refused("is not ready")

    def __init__(self) -> None:
        super().__init__()
        self.state = INIT


class IsActiveAlready(Device):
    """Another program drives it."""

    expected = Refused("another program commands it")

    def __init__(self) -> None:
        super().__init__()
        self.state = ACTIVE

    def on_tick(self) -> None:
        self.send_sensor()


class RestartsAgainAndAgain(Device):
    """A new boot at every HELLO."""

    expected = Refused("has restarted since the handshake")
    boots = itertools.count(1)

    def on_hello(self, request: Packet) -> None:
        self.boot_id = next(self.boots)
        self.state, self.seq = IDLE, 0
        super().on_hello(request)


class ChangesItsSchemaBeforeArm(Device):
    """Another firmware answers the second HELLO."""

    expected = Refused("another schema|has restarted since the handshake")

    def on_hello(self, request: Packet) -> None:
        if any(packet.schema_id for packet in self.received):
            self.boot_id = 8
            self.schema = SCHEMA.replace(b"force", b"speed")
            self.schema_id = schema_id(self.schema)
        super().on_hello(request)


class IsSilentOnceArmed(Device):
    """No sample comes."""

    expected = Refused("had no sample")

    def on_tick(self) -> None:
        if self.state == IDLE:
            super().on_tick()


class SendsAFrameOfAMegabyte(Device):
    """Amid the handshake, between two good answers."""

    expected = Clean()

    def on_schema_request(self, request: Packet) -> None:
        super().on_schema_request(request)
        self.write_raw(framed(b"\x01" * 60_000))
