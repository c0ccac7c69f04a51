"""The messages of the handshake, as values. Their bytes are firmware/lib's, through the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from rtloop import core
from rtloop.errors import LinkError

PROTOCOL_VERSION = core.PROTOCOL_VERSION


class PacketType(IntEnum):
    HELLO = 1
    HELLO_REPLY = 2
    SCHEMA_REQUEST = 3
    SCHEMA_CHUNK = 4
    TIME_REQUEST = 5
    TIME_REPLY = 6
    SENSOR = 7
    COMMAND = 8
    ARM = 9
    CLEAR = 10
    STOP = 11
    EVENT = 12
    STATUS_REQUEST = 13
    STATUS = 14
    STATS_REQUEST = 15
    STATS = 16
    HISTOGRAM_REQUEST = 17
    HISTOGRAM = 18


class DeviceState(IntEnum):
    """INIT → IDLE → ARMED → ACTIVE → SAFE, which is latched until CLEAR."""

    INIT = 0
    IDLE = 1
    ARMED = 2
    ACTIVE = 3
    SAFE = 4


class Reason(IntFlag):
    """Why a device is SAFE; reasons add up until it is cleared."""

    COMMAND_TIMEOUT = 1
    DEADLINE_MISSES = 2
    LINK_ERRORS = 4
    NON_FINITE = 8
    LIMIT = 16
    HOST_STOP = 32
    HARDWARE = 64

    def names(self) -> str:
        """For messages: ``"COMMAND_TIMEOUT, LIMIT"``."""
        return ", ".join(reason.name or "" for reason in Reason if reason in self) or "no reason"


@dataclass(frozen=True)
class HelloReply:
    """What a device says about itself. ``version`` is 0 when there is none in common."""

    version: int
    state: DeviceState
    reasons: Reason
    n_sensor: int
    n_command: int
    schema_bytes: int
    sensor_period_us: int
    command_timeout_us: int
    boot_id: int
    name: str
    accounts: bool = False
    """Whether it answers STATS_REQUEST and HISTOGRAM_REQUEST."""


@dataclass(frozen=True)
class SchemaChunk:
    offset: int
    total: int
    text: bytes


@dataclass(frozen=True)
class TimeReply:
    """``host_ns`` is that of the request; t2 and t3 are 64 bits of device time."""

    host_ns: int
    t2_us: int
    t3_us: int


@dataclass(frozen=True)
class DeviceStatus:
    """State and counters of a device; the counters run since its boot and wrap at 32 bits."""

    state: DeviceState
    loop_class: int
    reasons: Reason
    boot_id: int
    rx_packets: int
    crc_errors: int
    frame_errors: int
    seq_gaps: int
    late_commands: int
    rejected_commands: int
    command_timeouts: int
    tx_packets: int


@dataclass(frozen=True)
class DeviceStats:
    """What a device accounted for from ARM until SAFE; times in µs, by its own clock.

    ``loop_class`` None: it has no loop that it accounts for. A job is numbered by its release; the worst is
    that of the largest lateness, and there is a first miss where there are ``misses``.
    """

    loop_class: str | None
    max_misses: int
    window: int
    max_consecutive: int
    boot_id: int
    period_us: int
    deadline_us: int
    jobs: int
    skipped: int
    misses: int
    limit_broken: int
    most_consecutive: int
    lateness_max_us: int
    worst_job: int
    first_miss_job: int
    began_us: int
    worst_us: int
    first_miss_us: int
    response_max_us: int
    release_latency_max_us: int
    sample_to_actuation_max_us: int
    traced: int
    untraced: int


@dataclass(frozen=True)
class Sample:
    """What a device has measured; ``sample_time_us`` is 32 bits of device time."""

    sample_time_us: int
    state: DeviceState
    reasons: Reason
    command_seq: int
    late_commands: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class DeviceEvent:
    """What happened to a device, with its state since; ``time_us`` is 32 bits of device time, ``total`` counts
    all of the kind. ``lateness_us`` is that of a late command."""

    event: str
    state: DeviceState
    reasons: Reason
    time_us: int
    lateness_us: int
    total: int

    def __str__(self) -> str:
        if self.event == "state_change":
            return f"state_change to {self.told_state}"
        late = f", {self.lateness_us} µs late" if self.lateness_us else ""
        return f"{self.event}{late} ({self.total} so far), {self.told_state}"

    @property
    def told_state(self) -> str:
        return told_state(self.state, self.reasons)


def told_state(state: DeviceState, reasons: Reason) -> str:
    """``"ACTIVE"``; of SAFE with its reasons: ``"SAFE: COMMAND_TIMEOUT"``."""
    return f"{state.name}: {reasons.names()}" if state == DeviceState.SAFE else state.name


def encode_hello() -> bytes:
    return core.hello_encode(PROTOCOL_VERSION, PROTOCOL_VERSION)


def encode_schema_request(offset: int) -> bytes:
    return core.schema_request_encode(offset)


def encode_time_request(host_ns: int) -> bytes:
    return core.time_request_encode(host_ns)


def encode_arm(loop_class: int, max_late_commands: int, command_timeout_us: int) -> bytes:
    return core.arm_encode(loop_class, max_late_commands, command_timeout_us)


def encode_command(valid_until_us: int, values: Sequence[float]) -> bytes:
    """``valid_until_us``: device time, of which 32 bits travel."""
    return core.command_encode(valid_until_us & 0xFFFFFFFF, values)


def encode_stop(reasons: Reason) -> bytes:
    return core.stop_encode(int(reasons))


def encode_histogram_request(kind: int) -> bytes:
    return core.histogram_request_encode(kind)


def decode_hello_reply(payload: bytes, flags: int = 0) -> HelloReply:
    """``flags`` are those of its packet. Raises LinkError when this is no HELLO_REPLY."""
    raw = _decode(PacketType.HELLO_REPLY, payload)
    state, reasons = _state(raw.pop("state")), Reason(raw.pop("reasons") & _KNOWN)
    # It is shown in terminals: nothing in it may control one.
    name = "".join(c if c.isprintable() else "?" for c in raw.pop("name"))
    accounts = bool(flags & core.FLAG_ACCOUNTS)
    return HelloReply(state=state, reasons=reasons, name=name, accounts=accounts, **raw)


def decode_schema_chunk(payload: bytes) -> SchemaChunk:
    """Raises LinkError when this is no SCHEMA_CHUNK."""
    raw = _decode(PacketType.SCHEMA_CHUNK, payload)
    return SchemaChunk(raw["offset"], raw["total"], raw["bytes"])


def decode_time_reply(payload: bytes) -> TimeReply:
    """Raises LinkError when this is no TIME_REPLY."""
    return TimeReply(**_decode(PacketType.TIME_REPLY, payload))


def decode_status(payload: bytes) -> DeviceStatus:
    """Raises LinkError when this is no STATUS."""
    raw = _decode(PacketType.STATUS, payload)
    state, reasons = _state(raw.pop("state")), Reason(raw.pop("reasons") & _KNOWN)
    return DeviceStatus(state=state, reasons=reasons, **raw)


def decode_stats(payload: bytes) -> DeviceStats:
    """Raises LinkError when this is no STATS."""
    raw = _decode(PacketType.STATS, payload)
    number = raw.pop("loop_class")
    if number == core.CLASS_NONE:
        return DeviceStats(loop_class=None, **raw)
    names = [name for name, value in core.CLASSES.items() if value == number]
    if not names:
        raise LinkError(f"the device says that its own loop is of class {number}: there is none")
    return DeviceStats(loop_class=names[0], **raw)


def decode_histogram(payload: bytes) -> tuple[int, tuple[int, ...]]:
    """Its kind and its counts, by the buckets of ``core.HISTOGRAM_EDGES_US``, without the last that are empty.

    Raises LinkError when this is no HISTOGRAM."""
    raw = _decode(PacketType.HISTOGRAM, payload)
    return raw["kind"], tuple(raw["counts"])


def decode_sample(payload: bytes) -> Sample:
    """Raises LinkError when this is no SENSOR."""
    raw = _decode(PacketType.SENSOR, payload)
    state, reasons = _state(raw.pop("state")), Reason(raw.pop("reasons") & _KNOWN)
    return Sample(state=state, reasons=reasons, values=tuple(raw.pop("values")), **raw)


def decode_event(payload: bytes) -> DeviceEvent:
    """Raises LinkError when this is no EVENT."""
    raw = _decode(PacketType.EVENT, payload)
    name = EVENTS.get(raw["event"], f"event {raw['event']}")
    return DeviceEvent(
        event=name,
        state=_state(raw["state"]),
        reasons=Reason(raw["reasons"] & _KNOWN),
        time_us=raw["time_us"],
        lateness_us=raw["lateness_us"],
        total=raw["total"],
    )


_KNOWN = sum(Reason)
#: By their numbers on the wire; a device's own deadline miss has another one among what a port reports.
EVENTS = {n: name for name, n in core.PORT_EVENTS.items() if 1 <= n <= 4} | {5: "deadline_miss"}


def _decode(type: PacketType, payload: bytes) -> dict[str, Any]:
    try:
        return core.message_decode(type, payload)
    except ValueError as error:
        raise LinkError(
            f"the device's answer is not understood ({error}); its firmware speaks another "
            "protocol: flash the firmware of this rtloop version"
        ) from None


def _state(number: int) -> DeviceState:
    try:
        return DeviceState(number)
    except ValueError:
        raise LinkError(
            f"the device says it is in state {number}, which rtloop does not know; flash the "
            "firmware of this rtloop version"
        ) from None
