"""The four messages of a recording: ros2msg schema texts, and CDR encodings of whole batches.

CDR is little-endian with every primitive aligned to its size, counted from after a 4-byte
encapsulation header. A message without strings therefore has one fixed layout, which is a numpy
structured dtype.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.ports.signal import Signal
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.records import (
    INPUT_RECORD_DTYPE,
    PORT_EVENT_DTYPE,
    RECORD_DTYPE,
    PortEvents,
    Records,
)
from rtloop.telemetry.observe.ring import Batch, LoopMetadata

PACKAGE: Final = "rtloop_msgs"
CYCLE_TYPE: Final = f"{PACKAGE}/msg/CycleRecord"
MISS_TYPE: Final = f"{PACKAGE}/msg/DeadlineMiss"
EVENT_TYPE: Final = f"{PACKAGE}/msg/PortEvent"

_HEADER: Final = "encapsulation"
_LITTLE_ENDIAN: Final = np.array([0, 1, 0, 0], np.uint8)
_ROS_TYPES: Final = {
    "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
    "f4": "float32", "f8": "float64",
}  # fmt: skip
_NUMPY_CODES: Final = {ros: code for code, ros in _ROS_TYPES.items()}

Field = tuple[str, str]
"""(name, numpy code without byte order)."""

_NOTES: Final = {
    "cycle": "k, index on the release grid; a gap is a skipped release",
    "release_ns": "r, CLOCK_MONOTONIC, as all times below",
    "start_ns": "s, the cycle woke up",
    "read_ns": "the inputs were read",
    "infer_ns": "the graph returned",
    "finish_ns": "f, the outputs were written or the result discarded",
    "deadline_ns": "d",
    "input_age_ns": "age of the oldest input at start; -1: one never arrived",
    "cpu_ns": "CPU time of the cycle when a budget is configured, else 0",
    "skipped": "releases skipped right before this one",
    "events": "bit mask of EVENT_*",
    "consecutive_misses": "jobs lost in a row that end here, missed or skipped",
    "window_misses": "jobs lost in the (m, k) window that ends here",
    "loop_class": "CLASS_*",
    "outcome": "OUTCOME_*: what was done with the result",
    "longest_stage": "STAGE_*: the stage that took longest, when missed",
    "device_state": "of the linked devices, the furthest along",
    "device_reasons": "why a device is safe, bit mask",
    "device_late_commands": "commands the devices refused as late, modulo 65536",
    "lateness_ns": "L = f - d; a deadline miss is L > 0",
    "tardiness_ns": "max(0, L)",
    "response_ns": "R = f - r",
    "release_latency_ns": "s - r",
    "number": "of all the loop's events; a gap is what was lost",
    "time_ns": "CLOCK_MONOTONIC; of a device's event, by its clock as it was mapped",
    "clock_offset_ns": "CLOCK: device clock - CLOCK_MONOTONIC",
    "clock_error_ns": "CLOCK: the offset is right within this",
    "clock_skew_ppb": "CLOCK: how much faster the device's clock runs; 0: not known yet",
    "lateness_us": "LATE_COMMAND: after its valid-until",
    "total": "a device's event: of its kind since it booted, sent or not",
    "error": "errno, where the event has one",
    "port": "index into the loop's ports (metadata record rtloop.loop)",
    "kind": "KIND_*",
    "device_event": "a device's event: its kind as it was sent",
}

_DERIVED: Final[tuple[Field, ...]] = (
    ("lateness_ns", "i8"),
    ("response_ns", "i8"),
    ("release_latency_ns", "i8"),
)


def cdr_dtype(fields: Iterable[Field]) -> np.dtype[np.void]:
    """The CDR layout of a message of primitives, encapsulation header included."""
    names, formats, offsets, at = [_HEADER], ["(4,)u1"], [0], 0
    for name, code in fields:
        size = int(code[1:])
        at = -(-at // size) * size
        names.append(name)
        formats.append(f"<{code}")
        offsets.append(4 + at)
        at += size
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": 4 + at})


def _schema(title: str, fields: Iterable[Field], constants: Iterable[str] = ()) -> str:
    lines = [f"# {line}" for line in title.splitlines()]
    lines += constants
    for name, code in fields:
        note = f"  # {_NOTES[name]}" if name in _NOTES else ""
        lines.append(f"{_ROS_TYPES[code]} {name}{note}")
    return "\n".join(lines) + "\n"


def _constants(prefix: str, ros_type: str, values: dict[str, int]) -> list[str]:
    return [f"{ros_type} {prefix}_{name.upper()}={value}" for name, value in values.items()]


def _record_fields() -> tuple[Field, ...]:
    return tuple((name, np.dtype(code).str[1:]) for name, code, _ in core.RECORD_FIELDS)


class CycleMessage:
    """``rtloop_msgs/msg/CycleRecord``: the record of the ring with what follows from it."""

    type_name = CYCLE_TYPE

    def __init__(self) -> None:
        fields = (*_record_fields(), *_DERIVED)
        self.dtype = cdr_dtype(fields)
        self.schema = _schema(
            "One executed cycle of a control loop. Times in nanoseconds of CLOCK_MONOTONIC.",
            fields,
            [
                *_constants("CLASS", "uint8", core.CLASSES),
                *_constants("OUTCOME", "uint8", core.OUTCOMES),
                *_constants("STAGE", "uint8", core.STAGES),
                *_constants("EVENT", "uint32", core.EVENTS),
            ],
        )

    def fill(self, message: NDArray[np.void], records: Records) -> None:
        """Encode one CDR message per record into zeroed ones of ``dtype``, shape [n]."""
        message[_HEADER] = _LITTLE_ENDIAN
        for name in RECORD_DTYPE.names or ():
            message[name] = records[name]
        message["lateness_ns"] = rec.lateness_ns(records)
        message["response_ns"] = rec.response_ns(records)
        message["release_latency_ns"] = rec.release_latency_ns(records)


class PortEventMessage:
    """``rtloop_msgs/msg/PortEvent``: what a port reported beside its samples."""

    type_name = EVENT_TYPE

    def __init__(self) -> None:
        fields = [(name, np.dtype(code).str[1:]) for name, code, _ in core.PORT_EVENT_FIELDS]
        self.dtype = cdr_dtype(fields)
        self.schema = _schema(
            "What a port of a control loop, or the device behind it, reported. What an event does\n"
            "not speak of is zero.",
            fields,
            [
                *_constants("KIND", "uint8", core.PORT_EVENTS),
                *_constants("CLASS", "uint8", core.CLASSES),
            ],
        )

    def fill(self, message: NDArray[np.void], events: PortEvents) -> None:
        """Encode one CDR message per event into zeroed ones of ``dtype``, shape [n]."""
        message[_HEADER] = _LITTLE_ENDIAN
        for name in PORT_EVENT_DTYPE.names or ():
            message[name] = events[name]


class SignalsMessage:
    """What one loop read and what stands at its outputs: one named field per input and element."""

    def __init__(self, metadata: LoopMetadata, type_name: str) -> None:
        self.type_name = type_name
        self.source_fields = tuple(
            f"{prefix}_{_identifier(source)}{suffix}"
            for prefix, _, suffix in SOURCE_FIELDS
            for source in metadata.sources
        )
        self.input_fields = field_names("input", metadata.inputs, taken=self.source_fields)
        self.output_fields = field_names("output", metadata.outputs, taken=self.input_fields)
        codes = [code for _, code, _ in SOURCE_FIELDS for _ in metadata.sources]
        fields = [
            ("cycle", "i8"),
            *zip(self.source_fields, codes, strict=True),
            *((name, "f4") for name in (*self.input_fields, *self.output_fields)),
        ]
        self.schema = _schema(
            f"What loop {metadata.loop} read, and what stood at its outputs, in one cycle.\n"
            "Of each input: its age at the start (-1: no sample yet), how many of its samples were\n"
            "sent and never arrived, and EVENT_* of CycleRecord.",
            fields,
        )
        self.dtype = signals_dtype(
            len(metadata.sources), len(metadata.inputs), len(metadata.outputs)
        )

    def fill(self, message: NDArray[np.void], batch: Batch) -> None:
        """Encode one CDR message per cycle into zeroed ones of ``dtype``, shape [n].

        Bit patterns, those of NaN included, are kept.
        """
        message[_HEADER] = _LITTLE_ENDIAN
        message["cycle"] = batch.records["cycle"]
        for name in INPUT_RECORD_DTYPE.names or ():
            message[name] = batch.sources[name]
        message["inputs"] = batch.inputs
        message["outputs"] = batch.outputs


SOURCE_FIELDS: Final = (("age", "i8", "_ns"), ("gap", "u4", ""), ("events", "u4", ""))
"""What a signals message says of each input: prefix, numpy code and suffix of the field's name."""


def signals_dtype(n_sources: int, n_inputs: int, n_outputs: int) -> np.dtype[np.void]:
    """The CDR layout of a signals message, encapsulation header included; it needs no padding."""
    return np.dtype(
        [
            (_HEADER, "u1", (4,)),
            ("cycle", "<i8"),
            ("age_ns", "<i8", (n_sources,)),
            ("gap", "<u4", (n_sources,)),
            ("events", "<u4", (n_sources,)),
            ("inputs", "<f4", (n_inputs,)),
            ("outputs", "<f4", (n_outputs,)),
        ]
    )


class MissMessage:
    """``rtloop_msgs/msg/DeadlineMiss``: a missed cycle, its longest stage and what was done, in words."""

    type_name = MISS_TYPE
    _times: tuple[Field, ...] = tuple(
        (name, "i8")
        for name in (
            "cycle", "release_ns", "deadline_ns", "lateness_ns", "tardiness_ns", "response_ns",
            "release_latency_ns", "read_duration_ns", "infer_duration_ns", "write_duration_ns",
        )
    )  # fmt: skip
    _counts: tuple[Field, ...] = tuple(
        (name, "u4") for name in ("skipped", "events", "consecutive_misses", "window_misses")
    )
    _words = ("loop_class", "outcome", "longest_stage", "event_names")

    def __init__(self) -> None:
        fields = (("sec", "i4"), ("nanosec", "u4"), *self._times, *self._counts)
        self.dtype = cdr_dtype(fields)
        self._suffixes: dict[int, bytes] = {}
        self.schema = (
            "# A missed deadline. Its durations sum up to the response time.\n"
            "builtin_interfaces/Time stamp  # of the release, wall clock\n"
            + "".join(
                f"{_ROS_TYPES[code]} {name}"
                + (f"  # {_NOTES[name]}" if name in _NOTES else "")
                + "\n"
                for name, code in (*self._times, *self._counts)
            )
            + "".join(f"string {name}\n" for name in self._words)
            + "=" * 80
            + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
        )

    def fill(self, message: NDArray[np.void], records: Records, realtime_ns_offset: int) -> None:
        """Encode the numbers of missed cycles into zeroed ones of ``dtype``, shape [n]; ``words``
        come behind each."""
        message[_HEADER] = _LITTLE_ENDIAN
        stamp_ns = records["release_ns"] + realtime_ns_offset
        message["sec"] = stamp_ns // 1_000_000_000
        message["nanosec"] = stamp_ns % 1_000_000_000
        for name in ("cycle", "release_ns", "deadline_ns", *(n for n, _ in self._counts)):
            message[name] = records[name]
        lateness = rec.lateness_ns(records)
        message["lateness_ns"] = lateness
        message["tardiness_ns"] = np.maximum(lateness, 0)
        message["response_ns"] = rec.response_ns(records)
        message["release_latency_ns"] = rec.release_latency_ns(records)
        message["read_duration_ns"] = rec.read_duration_ns(records)
        message["infer_duration_ns"] = rec.infer_duration_ns(records)
        message["write_duration_ns"] = rec.write_duration_ns(records)

    def keys(self, records: Records) -> NDArray[np.uint64]:
        """What the words of each record follow from."""
        key = records["events"].astype(np.uint64)
        for place, name in enumerate(("longest_stage", "outcome", "loop_class")):
            key |= records[name].astype(np.uint64) << np.uint64(32 + 8 * place)
        return key

    def words(self, key: int) -> bytes:
        """The strings at the end of a message, encoded."""
        found = self._suffixes.get(key)
        if found is None:
            stage, outcome, loop_class = ((key >> at) & 0xFF for at in (32, 40, 48))
            found = _cdr_strings(
                rec.name_of(rec.CLASS_NAMES, loop_class),
                rec.name_of(rec.OUTCOME_NAMES, outcome),
                rec.name_of(rec.STAGE_NAMES, stage),
                " ".join(rec.event_names(key & 0xFFFFFFFF)),
            )
            self._suffixes[key] = found
        return found


def _cdr_strings(*texts: str) -> bytes:
    """CDR strings in a row, after something that ends on a multiple of four."""
    encoded = b""
    for text in texts:
        encoded += b"\0" * (-len(encoded) % 4)
        data = text.encode() + b"\0"
        encoded += len(data).to_bytes(4, "little") + data
    return encoded


def fields_of_schema(schema: str) -> list[Field]:
    """The primitive fields of a ros2msg text, in order; constants and comments are left out.

    ``ValueError`` for anything that is not a plain primitive field.
    """
    fields: list[Field] = []
    for line in schema.splitlines():
        declaration = line.split("#", 1)[0].strip()
        if not declaration or "=" in declaration:
            continue
        ros_type, _, name = declaration.partition(" ")
        if ros_type not in _NUMPY_CODES:
            raise ValueError(f"field type {ros_type!r} is not a plain number")
        fields.append((name.strip(), _NUMPY_CODES[ros_type]))
    return fields


_UNITS: Final = {"%": "percent", "°": "deg", "Ω": "ohm", "µ": "u", "μ": "u", "²": "2", "³": "3"}


def field_names(
    prefix: str, signals: Sequence[Signal], taken: Iterable[str] = ()
) -> tuple[str, ...]:
    """ROS field names of a vector's elements: ``input_pole_rate_rad_per_s``, unique."""
    used = {"cycle", *taken}
    names = []
    for signal in signals:
        name = _identifier(f"{prefix}_{signal.name}")
        unit = signal.unit.replace("/", " per ")
        for symbol, word in _UNITS.items():
            unit = unit.replace(symbol, f" {word}" if word.isalpha() and len(word) > 1 else word)
        suffix = _identifier(unit)
        if suffix and not f"_{name}".endswith(f"_{suffix}"):
            name = f"{name}_{suffix}"
        unique, number = name, 2
        while unique in used:
            unique, number = f"{name}_{number}", number + 1
        used.add(unique)
        names.append(unique)
    return tuple(names)


def signals_type_name(loop: str, taken: Iterable[str] = ()) -> str:
    """The message type of a loop's signals: ``rtloop_msgs/msg/LeftArmSignals``, unique."""
    words = "".join(w[:1].upper() + w[1:] for w in re.split(r"[^A-Za-z0-9]+", loop))
    stem = words if words[:1].isalpha() else f"Loop{words}"
    name, number, used = f"{PACKAGE}/msg/{stem}Signals", 2, set(taken)
    while name in used:
        name, number = f"{PACKAGE}/msg/{stem}{number}Signals", number + 1
    return name


def _identifier(text: str) -> str:
    """Lower-case letters, digits and single underscores: what a ROS field name may hold."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
