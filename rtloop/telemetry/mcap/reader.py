"""Reads whole recordings into memory, as numpy arrays."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    )


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
