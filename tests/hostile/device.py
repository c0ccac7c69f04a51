"""A device that does all as docs/protocol.md wants it. Each hostile one overrides what it does otherwise."""

from __future__ import annotations

import os
import pty
import random
import select
import struct
import threading
import time
import tty
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from tests.hostile.wire import (
    ACCOUNTS,
    ACTIVE,
    ARM,
    ARMED,
    CLEAR,
    COMMAND,
    COMMAND_TIMEOUT,
    EVENT,
    HELLO,
    HELLO_REPLY,
    HISTOGRAM,
    HISTOGRAM_REQUEST,
    HOST_STOP,
    IDLE,
    SAFE,
    SCHEMA_CHUNK,
    SCHEMA_REQUEST,
    SENSOR,
    STATS,
    STATS_REQUEST,
    STATUS,
    STATUS_REQUEST,
    STOP,
    TIME_REPLY,
    TIME_REQUEST,
    U32,
    Packet,
    framed,
    packet,
    schema_id,
    unframed,
    unpacked,
)

SCHEMA = (
    b"rtloop-schema 1\nname hostile\nsensor cart_position m f32 200\nsensor cart_velocity m/s f32 200\n"
    b"sensor pole_angle rad f32 200\nsensor pole_rate rad/s f32 200\ncommand force N f32 200\n"
)
PERIOD_US = 5000
TIMEOUT_US = 20_000
#: How long an ordinary run takes; from the first command on devices misbehave after TURN_S.
RUN_S = 0.7
TURN_S = 0.15


@dataclass(frozen=True)
class Clean:
    """The run goes well: exit code 0."""


@dataclass(frozen=True)
class Refused:
    """Nothing is started: exit code 1, and stderr says why."""

    says: str
    exit_code: int = 1


@dataclass(frozen=True)
class Faulted:
    """The loop ends in FAULT for this reason (a pattern, where it depends on who is first): exit code 1."""

    reason: str
    says: str = ""


@dataclass(frozen=True)
class Problem:
    """The loop ends in order, but the run has a problem that says this: exit code 1."""

    says: str


Expectation = Clean | Refused | Faulted | Problem


class Device:
    """A pty with a thread. Of a subclass the docstring says what it does, ``expected`` what rtloop must do."""

    expected: ClassVar[Expectation] = Clean()
    run_s: ClassVar[float] = RUN_S
    schema = SCHEMA
    period_us = PERIOD_US
    boot_id = 7
    version = 1
    accounts = False

    def __init__(self) -> None:
        self.random = random.Random(4)
        self.schema_id = schema_id(self.schema)
        self.state, self.reasons = IDLE, 0
        self.clock_offset_us = 3_000_000_000
        self.seq = self.ack = self.command_seq = self.late_commands = 0
        self.timeout_us = TIMEOUT_US
        self.last_command_us = 0
        self.samples = 0
        self.is_known = False  # a HELLO was received
        self.reads = True
        self.was_unplugged = False
        self.received: list[Packet] = []
        self.first_command_s: float | None = None
        self._later: list[tuple[float, bytes]] = []
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._bytes = b""
        self._has_ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Device:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._has_ended = True
        self._thread.join()
        self.unplug()

    # --- what happens; hostile devices override these ---

    def on_hello(self, request: Packet) -> None:
        self.is_known = True
        self.send(HELLO_REPLY, self.hello_reply())

    def on_schema_request(self, request: Packet) -> None:
        (offset,) = struct.unpack_from("<H", request.payload)
        self.send_chunk(offset, self.schema[offset : offset + 200])

    def on_time_request(self, request: Packet) -> None:
        now_us = self.now_us()
        self.send(TIME_REPLY, request.payload + struct.pack("<QQ", now_us, now_us))

    def on_arm(self, request: Packet) -> None:
        if self.state in (IDLE, ARMED):
            self.state = ARMED
            _, _, timeout_us = struct.unpack("<BxHI", request.payload)
            self.timeout_us = timeout_us or TIMEOUT_US
        self.send_status(request)

    def on_clear(self, request: Packet) -> None:
        if self.state == SAFE:
            self.state, self.reasons = IDLE, 0
        self.send_status(request)

    def on_command(self, request: Packet) -> None:
        if self.state not in (ARMED, ACTIVE):
            return
        (valid_until_us,) = struct.unpack_from("<I", request.payload)
        if (self.now_us() - valid_until_us) & U32 < 1 << 31:
            self.late_commands += 1
            return
        self.state = ACTIVE
        self.command_seq = request.seq
        self.last_command_us = self.now_us()

    def on_stop(self, request: Packet) -> None:
        self.trip(struct.unpack_from("<H", request.payload)[0] or HOST_STOP)
        self.send_status(request)

    def on_status_request(self, request: Packet) -> None:
        self.send_status(request)

    def on_stats_request(self, request: Packet) -> None:
        """Of one that ``accounts``; the others are not asked."""
        self.send(STATS, self.stats())

    def on_histogram_request(self, request: Packet) -> None:
        self.send(HISTOGRAM, struct.pack("<BBxx3I", request.payload[0], 3, 0, 1, 2))

    def on_tick(self) -> None:
        """At every multiple of the sensor period, once a host has said HELLO."""
        if self.state == ACTIVE and self.now_us() - self.last_command_us > self.timeout_us:
            self.trip(COMMAND_TIMEOUT)
        self.send_sensor()

    def values(self) -> list[float]:
        return [0.0, 0.0, 0.01, 0.0]

    def sample_time_us(self) -> int:
        return self.now_us()

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self.clock_offset_us

    def write(self, frame: bytes) -> None:
        """One frame to the line; what it has no room for is lost."""
        self.write_raw(frame)

    # --- what they have at hand ---

    @property
    def has_turned(self) -> bool:
        """Whether it has been commanded for a while: time to misbehave."""
        return self.first_command_s is not None and time.monotonic() > self.first_command_s + TURN_S

    def trip(self, reasons: int) -> None:
        self.state = SAFE
        self.reasons |= reasons

    def hello_reply(self, **changes: int | bytes) -> bytes:
        sensors, commands = self.schema.count(b"\nsensor "), self.schema.count(b"\ncommand ")
        fields: dict[str, int | bytes] = {
            "version": 1,
            "state": self.state,
            "reasons": self.reasons,
            "n_sensor": sensors & 0xFF,
            "n_command": commands,
            "schema_bytes": len(self.schema),
            "period_us": self.period_us,
            "timeout_us": self.timeout_us if self.state in (ARMED, ACTIVE) else TIMEOUT_US,
            "boot_id": self.boot_id,
            "name": b"hostile",
        }
        return struct.pack("<BBHBBHIII24s", *{**fields, **changes}.values())

    def stats(self, **changes: int) -> bytes:
        """Of a soft loop that missed nothing."""
        fields = {
            "loop_class": 2,
            "max_misses": 0,
            "window": 0,
            "max_consecutive": 0,
            "boot_id": self.boot_id,
            "period_us": self.period_us,
            "deadline_us": self.period_us,
            "jobs": 3,
            "skipped": 0,
            "misses": 0,
            "limit_broken": 0,
            "most_consecutive": 0,
            "lateness_max_us": -100,
            "worst_job": 0,
            "first_miss_job": 0,
            "began_us": 1,
            "worst_us": 2,
            "first_miss_us": 0,
            "response_max_us": 2,
            "release_latency_max_us": 2,
            "sample_to_actuation_max_us": 2,
            "traced": 3,
            "untraced": 0,
        }
        return struct.pack("<BxHHHIIIIIIIIiIIQQQIIIII", *{**fields, **changes}.values())

    def send_chunk(self, offset: int, text: bytes) -> None:
        self.send(SCHEMA_CHUNK, struct.pack("<HH", offset, len(self.schema)) + text)

    def send_status(self, request: Packet, state: int | None = None, reasons: int = 0) -> None:
        self.ack = request.seq
        head = self.state if state is None else state, 0, reasons or self.reasons, self.boot_id
        self.send(STATUS, struct.pack("<BBHI", *head) + bytes(32))

    def sensor(self, **changes: int) -> bytes:
        values = self.values()
        fields = {
            "time_us": self.sample_time_us() & U32,
            "state": self.state,
            "count": len(values),
            "reasons": self.reasons,
            "command_seq": self.command_seq,
            "late_commands": self.late_commands & 0xFFFF,
        }
        head = struct.pack("<IBBHHH", *{**fields, **changes}.values())
        return head + struct.pack(f"<{len(values)}f", *values)

    def send_sensor(self, **changes: int) -> None:
        self.samples += 1
        self.send(SENSOR, self.sensor(**changes))

    def event(self, kind: int = 3) -> bytes:
        now_us = self.now_us() & U32
        return struct.pack("<BBHIIiIB3x", kind, 1, 0, now_us, 0, 0, self.samples, self.state)

    def send_event(self, kind: int = 3) -> None:
        self.send(EVENT, self.event(kind))

    def made(self, type: int, payload: bytes) -> bytes:
        """The frame of the next packet."""
        made = packet(
            type,
            self.seq,
            self.ack,
            self.schema_id,
            self.now_us(),
            payload,
            self.version,
            ACCOUNTS if self.accounts and type == HELLO_REPLY else 0,
        )
        self.seq += 1
        return framed(made)

    def send(self, type: int, payload: bytes) -> None:
        self.write(self.made(type, payload))

    def send_later(self, delay_s: float, type: int, payload: bytes) -> None:
        self._later.append((time.monotonic() + delay_s, self.made(type, payload)))

    def write_raw(self, data: bytes) -> None:
        if self._master < 0:
            return
        with suppress(BlockingIOError):
            os.write(self._master, data)

    def unplug(self) -> None:
        self.was_unplugged |= not self._has_ended
        for fd in (self._master, self._slave):
            if fd >= 0:
                os.close(fd)
        self._master = self._slave = -1

    # --- the thread ---

    def _serve(self) -> None:
        tick_s = time.monotonic()
        while not self._has_ended and self._master >= 0:
            reading = [self._master] if self.reads else []
            wait_s = max(0.0, min(tick_s - time.monotonic(), 0.005))
            if select.select(reading, [], [], wait_s)[0]:
                self._receive()
            while self._later and self._later[0][0] <= time.monotonic():
                self.write(self._later.pop(0)[1])
            if time.monotonic() >= tick_s and self._master >= 0:
                tick_s = max(tick_s + self.period_us / 1e6, time.monotonic() - 0.1)
                if self.is_known:
                    self.on_tick()

    def _receive(self) -> None:
        try:
            self._bytes += os.read(self._master, 65536)
        except OSError:  # nobody has the other end open
            time.sleep(0.002)
            return
        *frames, self._bytes = self._bytes.split(b"\0")
        for frame in frames:
            request = unpacked(unframed(frame))
            if request is not None and self._master >= 0:
                self._take(request)

    def _take(self, request: Packet) -> None:
        self.received.append(request)
        self.ack = request.seq
        if request.type == COMMAND and self.first_command_s is None:
            self.first_command_s = time.monotonic()
        {
            HELLO: self.on_hello,
            SCHEMA_REQUEST: self.on_schema_request,
            TIME_REQUEST: self.on_time_request,
            ARM: self.on_arm,
            CLEAR: self.on_clear,
            COMMAND: self.on_command,
            STOP: self.on_stop,
            STATUS_REQUEST: self.on_status_request,
            STATS_REQUEST: self.on_stats_request,
            HISTOGRAM_REQUEST: self.on_histogram_request,
        }[request.type](request)
