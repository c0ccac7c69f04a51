"""CDR messages of a recording back to arrays: one channel, then a loop's two channels together."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.chunk import Messages
from rtloop.telemetry.mcap.messages import (
    SOURCE_FIELDS,
    cdr_dtype,
    fields_of_schema,
    signals_dtype,
)
from rtloop.telemetry.observe.records import (
    INPUT_RECORD_DTYPE,
    PORT_EVENT_DTYPE,
    RECORD_DTYPE,
    PortEvents,
    Records,
    empty_records,
)
from rtloop.telemetry.observe.ring import Batch

_SIGNAL_PREFIXES: Final = (SOURCE_FIELDS[0][0], "input", "output")
_NEEDED: Final = ("cycle", "release_ns", "start_ns", "finish_ns", "deadline_ns")
_RENAMED: Final = {"longest_stage": "cause"}
"""Fields of a record by the name they had in format 1."""


class ChannelDecoder:
    """CDR messages of one channel back to arrays, after the layout its own schema tells."""

    def __init__(self, path: Path, topic: str, loop: str, kind: str, schema: str) -> None:
        self.topic, self.loop, self.kind = topic, loop, kind
        self._path = path
        if kind == "miss":
            return
        try:
            fields = fields_of_schema(schema)
        except ValueError as error:
            raise RecordingError(f"{path}: topic {topic} is not rtloop's: {error}") from None
        names = [name for name, _ in fields]
        self._dtype = cdr_dtype(fields)
        if kind == "cycle":
            missing = [name for name in _NEEDED if name not in names]
            if missing:
                raise RecordingError(
                    f"{path}: topic {topic} is not rtloop's: no {missing[0]} in it"
                )
            self._names = {
                name: found
                for name in RECORD_DTYPE.names or ()
                if (found := name if name in names else _RENAMED.get(name)) in names
            }
        elif kind == "event":
            self._names = {name: name for name in PORT_EVENT_DTYPE.names or () if name in names}
        else:
            counts = [sum(n.startswith(f"{p}_") for n in names) for p in _SIGNAL_PREFIXES]
            n_sources, n_inputs, n_outputs = counts
            if 1 + len(SOURCE_FIELDS) * n_sources + n_inputs + n_outputs != len(names):
                raise RecordingError(f"{path}: topic {topic} is not rtloop's: {', '.join(names)}")
            self._dtype = signals_dtype(n_sources, n_inputs, n_outputs)

    def records(self, messages: Messages) -> Records:
        decoded = self.signals(messages)
        records = empty_records(len(decoded))
        for name, found in self._names.items():
            records[name] = decoded[found]
        return records

    def events(self, messages: Messages) -> PortEvents:
        decoded = self.signals(messages)
        events: PortEvents = np.zeros(len(decoded), PORT_EVENT_DTYPE)
        for name, found in self._names.items():
            events[name] = decoded[found]
        return events

    def signals(self, messages: Messages) -> NDArray[np.void]:
        data = b"".join(messages.data)
        if len(data) != messages.n * self._dtype.itemsize:
            raise RecordingError(f"{self._path}: messages of {self.topic} do not fit their schema")
        return np.frombuffer(data, self._dtype)


@dataclass
class Waiting:
    """Cycles whose signals are in the next chunk: a chunk may end between the two messages."""

    records: list[Records] = field(default_factory=list)
    signals: list[NDArray[np.void]] = field(default_factory=list)

    def take(self, *, with_signals: bool) -> Batch:
        records = np.concatenate(self.records) if self.records else empty_records()
        if not with_signals:
            self.records = []
            return without_signals(records)
        if not self.signals:
            return without_signals(records[:0])
        signals = np.concatenate(self.signals)
        # Equal but for what is still to come, or was in a damaged chunk.
        _, of_records, of_signals = np.intersect1d(
            records["cycle"], signals["cycle"], assume_unique=True, return_indices=True
        )
        last = max(of_records[-1] if len(of_records) else -1, -1)
        self.records = [records[last + 1 :]]
        self.signals = [signals[signals["cycle"] > records["cycle"][last]]] if last >= 0 else []
        both = signals[of_signals]
        sources = np.empty(both["age_ns"].shape, INPUT_RECORD_DTYPE)
        for name in INPUT_RECORD_DTYPE.names or ():
            sources[name] = both[name]
        return Batch(records[of_records], sources, both["inputs"], both["outputs"])


def without_signals(records: Records) -> Batch:
    nothing = np.empty((len(records), 0), np.float32)
    return Batch(records, np.empty((len(records), 0), INPUT_RECORD_DTYPE), nothing, nothing)
