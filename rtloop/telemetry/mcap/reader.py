"""Reads whole recordings into memory, as numpy arrays."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtloop.telemetry.mcap.channel import without_signals
from rtloop.telemetry.mcap.stream import RecordingReader
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
    """The recorder's; counted from the records where it left none."""
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
    """Read a whole recording. ``RecordingError``, with what to do, when it is cut or not
    rtloop's."""
    reader = RecordingReader(path, signals=signals, events=True)
    batches: dict[str, list[Batch]] = defaultdict(list)
    for loop, batch in reader:
        batches[loop].append(batch)
    reader.require_whole()
    events = reader.take_events()
    nothing: PortEvents = np.empty(0, PORT_EVENT_DTYPE)
    return Recording(
        path=path,
        run_id=reader.run_id,
        run=reader.run,
        loops={
            name: _joined(metadata, batches[name], events.get(name, nothing), reader)
            for name, metadata in reader.metadata.items()
        },
        size_bytes=reader.size_bytes,
        messages=dict(reader.messages),
        chunks=reader.chunks,
        library=reader.library,
    )


def _joined(
    metadata: LoopMetadata, batches: list[Batch], events: PortEvents, reader: RecordingReader
) -> LoopRecording:
    if not batches:
        batches = [without_signals(empty_records())]
    records = np.concatenate([batch.records for batch in batches])
    lost = reader.lost.get(metadata.loop, 0)
    return LoopRecording(
        metadata=metadata,
        records=records,
        sources=np.concatenate([batch.sources for batch in batches]),
        inputs=np.concatenate([batch.inputs for batch in batches]),
        outputs=np.concatenate([batch.outputs for batch in batches]),
        lost=lost,
        summary=_summary(reader.summary.get(metadata.loop), metadata, records, events, lost),
        events=events[np.argsort(events["number"], kind="stable")],
    )


def _summary(
    said: dict[str, Any] | None,
    metadata: LoopMetadata,
    records: Records,
    events: PortEvents,
    lost: int,
) -> LoopSummary:
    if said:
        return LoopSummary.from_dict(said)
    statistics = LoopStatistics(metadata)
    statistics.update(records, lost)
    statistics.devices.update(events)
    return statistics.summary()
