"""Reads whole recordings into memory, as numpy arrays."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtloop.ports.signal import Signal
from rtloop.telemetry.mcap.channel import without_signals
from rtloop.telemetry.mcap.parts import PartsReader
from rtloop.telemetry.observe.records import (
    PORT_EVENT_DTYPE,
    InputRecords,
    PortEvents,
    Records,
    empty_records,
)
from rtloop.telemetry.observe.ring import Batch, LoopMetadata
from rtloop.telemetry.observe.shown import in_words
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary


@dataclass(frozen=True, repr=False)
class LoopRecording:
    """All cycles of one loop of a recording; vectors of width zero when read without signals."""

    metadata: LoopMetadata
    records: Records
    sources: InputRecords
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    lost: int
    summary: LoopSummary
    """The recorder's, of all of the run until then; counted from the records where it left none."""
    events: PortEvents
    """What its ports reported, in the order of their numbers; ``metadata.ports`` names them."""

    @property
    def time_s(self) -> NDArray[np.float64]:
        """Of each cycle: its release since that of the first, [cycles]."""
        released_ns = self.records["release_ns"]
        return np.asarray((released_ns - released_ns[:1]) / 1e9, np.float64)

    def input(self, name: str) -> NDArray[np.float32]:
        """What each cycle saw of an input: [cycles, elements]. Raises KeyError."""
        return _columns(name, self.metadata.inputs, self.inputs)

    def output(self, name: str) -> NDArray[np.float32]:
        """What each cycle commanded by an output: [cycles, elements]. Raises KeyError."""
        return _columns(name, self.metadata.outputs, self.outputs)

    def __repr__(self) -> str:
        return f"<LoopRecording {self.metadata.loop}: {in_words(self.summary)}>"


@dataclass(frozen=True, repr=False)
class Recording:
    """A whole recording in memory."""

    path: Path
    run_id: str
    run: dict[str, Any]
    loops: dict[str, LoopRecording]
    size_bytes: int
    messages: dict[str, int]
    """Messages by topic."""
    chunks: int
    library: str
    problems: tuple[str, ...] = ()
    """What went wrong in the run, in sentences; empty where nobody could say."""

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {len(loop.records)} cycles" for name, loop in self.loops.items())
        return f"<Recording {self.run_id} {told}>"


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Reads all of a recording, signals included: a file, or the folder of several.

    Raises RecordingError, with what to do, when one is cut or not rtloop's.
    """
    return read_recording(Path(path), signals=True)


def read_recording(path: Path, *, signals: bool = False) -> Recording:
    """Read a whole recording: of several files all, by their folder or the first of them.

    ``RecordingError``, with what to do, when one is cut or not rtloop's.
    """
    reader = PartsReader(path, signals=signals, events=True)
    batches: dict[str, list[Batch]] = defaultdict(list)
    for loop, batch in reader:
        batches[loop].append(batch)
    events = reader.take_events()
    nothing: PortEvents = np.empty(0, PORT_EVENT_DTYPE)
    return Recording(
        path=reader.paths[0],
        run_id=reader.run_id,
        run=reader.run,
        loops={
            name: _joined(metadata, batches[name], events.get(name, nothing), reader)
            for name, metadata in reader.metadata.items()
        },
        size_bytes=reader.size_bytes,
        messages=reader.messages,
        chunks=reader.chunks,
        library=reader.library,
        problems=reader.problems,
    )


def _columns(
    name: str, signals: Sequence[Signal], values: NDArray[np.float32]
) -> NDArray[np.float32]:
    known = list(dict.fromkeys(signal.name.partition(".")[0] for signal in signals))
    if name not in known:
        raise KeyError(f"found '{name}'; expected one of {', '.join(known) or 'none'}")
    return values[:, [signal.name.partition(".")[0] == name for signal in signals]]


def _joined(
    metadata: LoopMetadata, batches: list[Batch], events: PortEvents, reader: PartsReader
) -> LoopRecording:
    if not batches:
        batches = [without_signals(empty_records())]
    records = np.concatenate([batch.records for batch in batches])
    inputs = np.concatenate([batch.inputs for batch in batches])
    lost = reader.lost.get(metadata.loop, 0)
    return LoopRecording(
        metadata=metadata,
        records=records,
        sources=np.concatenate([batch.sources for batch in batches]),
        inputs=inputs,
        outputs=np.concatenate([batch.outputs for batch in batches]),
        lost=lost,
        summary=_summary(
            reader.summary.get(metadata.loop), metadata, records, inputs, events, lost
        ),
        events=events[np.argsort(events["number"], kind="stable")],
    )


def _summary(
    said: dict[str, Any] | None,
    metadata: LoopMetadata,
    records: Records,
    inputs: NDArray[np.float32],
    events: PortEvents,
    lost: int,
) -> LoopSummary:
    if said:
        return LoopSummary.from_dict(said)
    statistics = LoopStatistics(metadata)
    statistics.update(records, lost, inputs)
    statistics.devices.update(events)
    return statistics.summary()
