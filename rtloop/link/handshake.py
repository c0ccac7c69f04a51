"""What host and device agree on before anything moves: who, what, and what time it is."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from rtloop.errors import LinkError
from rtloop.link import messages
from rtloop.link.messages import DeviceState, HelloReply, PacketType, Reason, SchemaChunk
from rtloop.link.packet_stream import Packet, PacketStream
from rtloop.link.schema import Schema, parse_schema, schema_id

#: Many boards reset when their line is opened, and take a second or two to come up.
HELLO_ATTEMPTS = 30
HELLO_TIMEOUT_S = 0.1
ATTEMPTS = 5
ANSWER_TIMEOUT_S = 0.2

TIME_EXCHANGES = 16
#: With fewer the lowest round trip says little.
TIME_EXCHANGES_MIN = 4
#: The device tells whole microseconds.
DEVICE_CLOCK_STEP_NS = 1000
PERIOD_STEP_US = 1
#: 142 years: what is beyond no device has counted, and would not fit in nanoseconds.
DEVICE_TIME_MAX_US = 1 << 52
_NOT_TEXT = re.compile(rb"[^\n\x20-\x7e]")


@dataclass(frozen=True)
class ClockOffset:
    """``offset_ns`` is device clock minus host CLOCK_MONOTONIC, right within ``error_ns``."""

    offset_ns: int
    error_ns: int
    round_trip_ns: int
    measured_ns: int


@dataclass(frozen=True)
class LinkInfo:
    """What the handshake found. State and reasons are those of that moment, and so is the command
    timeout: the device's own, unless it was armed already.

    ``clock_offset_ns`` is device time minus host CLOCK_MONOTONIC, measured at ``clock_time_ns``
    (CLOCK_MONOTONIC) and right within ``clock_error_ns``.
    """

    name: str
    schema: Schema
    schema_id: int
    boot_id: int
    device_state: DeviceState
    reasons: Reason
    sensor_period_us: int
    command_timeout_us: int
    clock_offset_ns: int
    clock_error_ns: int
    clock_time_ns: int
    round_trip_ns: int
    accounts: bool = False
    """Whether the device accounts for itself."""


def shake_hands(stream: PacketStream) -> LinkInfo:
    """HELLO, schema, time. Sets ``stream.schema_id``. Raises LinkError."""
    stream.restart()
    reply = hello(stream)
    schema = _schema(stream, reply)
    clock = clock_offset(stream)
    return LinkInfo(
        name=reply.name,
        schema=schema,
        schema_id=schema.id,
        boot_id=reply.boot_id,
        device_state=reply.state,
        reasons=reply.reasons,
        sensor_period_us=reply.sensor_period_us,
        command_timeout_us=reply.command_timeout_us,
        clock_offset_ns=clock.offset_ns,
        clock_error_ns=clock.error_ns,
        clock_time_ns=clock.measured_ns,
        round_trip_ns=clock.round_trip_ns,
        accounts=reply.accounts,
    )


def hello(stream: PacketStream) -> HelloReply:
    """Raises LinkError when nothing, or nothing of this protocol, answers."""
    first_seq = stream.last_seq + 1

    def accept(packet: Packet) -> HelloReply | None:
        # Any HELLO of this request may be the one that is answered. The answer to one from before may still
        # be on its way, and tells what was.
        if packet.ack - first_seq & 0xFFFF > stream.last_seq - first_seq & 0xFFFF:
            return None
        stream.schema_id = packet.schema_id
        return messages.decode_hello_reply(packet.payload, packet.flags)

    reply = stream.request(
        PacketType.HELLO,
        messages.encode_hello(),
        PacketType.HELLO_REPLY,
        accept,
        HELLO_ATTEMPTS,
        HELLO_TIMEOUT_S,
    )
    if reply is None:
        raise LinkError(_why_silent(stream))
    if reply.version != messages.PROTOCOL_VERSION:
        raise LinkError(
            f"'{reply.name}' on {stream.line.device} does not speak version "
            f"{messages.PROTOCOL_VERSION} of the protocol; flash the firmware of this rtloop "
            "version"
        )
    return reply


def _why_silent(stream: PacketStream) -> str:
    line = stream.line
    waited = f"no device answered on {line.device} within {HELLO_ATTEMPTS * HELLO_TIMEOUT_S:g} s"
    if stream.received_bytes == 0:
        return (
            f"{waited}, and nothing at all was received; check that it runs rtloop firmware and "
            "that this is its port"
        )
    return (
        f"{waited}; {stream.received_bytes} bytes were received, but no packet that holds "
        f"({stream.errors} damaged). Check that {line.check}"
    )


def _schema(stream: PacketStream, reply: HelloReply) -> Schema:
    text = b""
    while len(text) < reply.schema_bytes:
        text += _chunk(stream, len(text)).text
    if len(text) != reply.schema_bytes or schema_id(text) != stream.schema_id:
        raise LinkError(
            f"'{reply.name}' sent {len(text)} bytes of schema with id {schema_id(text)} where it "
            f"had announced {reply.schema_bytes} bytes with id {stream.schema_id}; its firmware "
            "is inconsistent: build and flash it again"
        )
    if odd := _NOT_TEXT.search(text):
        raise LinkError(
            f"the schema of '{reply.name}' has a byte that is no printable ASCII at {odd.start()}; "
            "correct it in the firmware"
        )
    schema = parse_schema(text.decode("ascii"))
    counts = (len(schema.sensors), len(schema.commands))
    if counts != (reply.n_sensor, reply.n_command):
        raise LinkError(
            f"'{reply.name}' announced {reply.n_sensor} sensor and {reply.n_command} command "
            f"values, but its schema lists {counts[0]} and {counts[1]}; correct the firmware"
        )
    _check_period(reply, schema)
    return schema


def _check_period(reply: HelloReply, schema: Schema) -> None:
    """Timeouts follow the announced period, the check of the wire the schema's rate: they must be one."""
    rate_hz = schema.sensors[0].rate_hz if schema.sensors else None
    period_us = reply.sensor_period_us
    if period_us > 0 and (
        rate_hz is None or abs(1_000_000 / rate_hz - period_us) <= PERIOD_STEP_US
    ):
        return
    expected = "more than 0" if rate_hz is None else f"{1_000_000 / rate_hz:g} us"
    listed = "" if rate_hz is None else f", because its schema lists {rate_hz} Hz"
    raise LinkError(
        f"'{reply.name}' announced a sensor period of {period_us} us, expected {expected}{listed}; "
        "correct the firmware"
    )


def _chunk(stream: PacketStream, offset: int) -> SchemaChunk:
    def accept(packet: Packet) -> SchemaChunk | None:
        chunk = messages.decode_schema_chunk(packet.payload)
        return chunk if chunk.offset == offset and chunk.text else None

    chunk = stream.request(
        PacketType.SCHEMA_REQUEST,
        messages.encode_schema_request(offset),
        PacketType.SCHEMA_CHUNK,
        accept,
        ATTEMPTS,
        ANSWER_TIMEOUT_S,
    )
    if chunk is None:
        raise LinkError(
            f"the device on {stream.line.device} stopped answering while it sent its schema "
            f"(byte {offset}, {stream.errors} damaged packets); check the line"
        )
    return chunk


def clock_offset(stream: PacketStream) -> ClockOffset:
    """The exchange with the lowest round trip of 16. Raises LinkError when too few succeed."""
    exchanges = [found for _ in range(TIME_EXCHANGES) if (found := exchange_time(stream))]
    if len(exchanges) < TIME_EXCHANGES_MIN:
        raise LinkError(
            f"the device on {stream.line.device} answered {len(exchanges)} of {TIME_EXCHANGES} "
            f"time requests with times that can be true ({stream.errors} damaged packets); check "
            "the line, and the clock in its firmware"
        )
    return min(exchanges, key=lambda exchange: exchange.round_trip_ns)


def exchange_time(stream: PacketStream) -> ClockOffset | None:
    """One request and its answer; None when none came in time that can be true. Raises LinkError."""
    t1_ns = time.monotonic_ns()

    def accept(packet: Packet) -> ClockOffset | None:
        reply = messages.decode_time_reply(packet.payload)
        if reply.host_ns != t1_ns:
            return None  # of an exchange that was given up
        if not reply.t2_us <= reply.t3_us <= DEVICE_TIME_MAX_US:
            return None
        t2_ns, t3_ns = 1000 * reply.t2_us, 1000 * reply.t3_us
        exchange = four_timestamps(t1_ns, t2_ns, t3_ns, packet.received_ns)
        # Between them the device had it for longer than we waited: its clock is not to be believed.
        return exchange if exchange.round_trip_ns >= -DEVICE_CLOCK_STEP_NS else None

    return stream.request(
        PacketType.TIME_REQUEST,
        messages.encode_time_request(t1_ns),
        PacketType.TIME_REPLY,
        accept,
        attempts=1,  # a repeated request would blur t1
        timeout_s=ANSWER_TIMEOUT_S,
    )


def four_timestamps(t1_ns: int, t2_ns: int, t3_ns: int, t4_ns: int) -> ClockOffset:
    """Sent (host), received (device), replied (device), received (host).

    However unequal the two ways were, the offset cannot be wrong by more than half the round trip.
    """
    round_trip_ns = (t4_ns - t1_ns) - (t3_ns - t2_ns)
    offset_ns = ((t2_ns - t1_ns) + (t3_ns - t4_ns)) // 2
    return ClockOffset(offset_ns, round_trip_ns // 2 + DEVICE_CLOCK_STEP_NS, round_trip_ns, t4_ns)
