"""Writes a recording: MCAP, `ros2` profile."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcap.writer import LIBRARY_IDENTIFIER

from rtloop.telemetry.mcap.facts import (
    AT_THE_END,
    BEFORE_METADATA,
    CHECKSUM,
    LOOP_METADATA,
    LOST_METADATA,
    RUN_METADATA,
    SUMMARY_METADATA,
    checksum,
)
from rtloop.telemetry.mcap.file import McapFile
from rtloop.telemetry.mcap.messages import (
    CycleMessage,
    MissMessage,
    PortEventMessage,
    SignalsMessage,
    signals_type_name,
)
from rtloop.telemetry.mcap.rows import CycleRows, MissRows, PortEventRows
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.ring import LOOP_FACTS, Batch, LoopMetadata
from rtloop.telemetry.private import new_file

CHUNK_BYTES: Final = 64 * 1024
PROFILE: Final = "ros2"

FORMAT: Final = "2"
"""2: age and gap per input in the signals, `longest_stage`. 1 (rtloop 0.1) is still read."""


def topic(loop: str, kind: str) -> str:
    """The topic of a loop: ``/rtloop/<loop>/cycle``, ``…/miss``, ``…/signals`` or ``…/event``."""
    return f"/rtloop/{loop}/{kind}"


class _Output:
    """The file below the MCAP writer: it collects what the writer says in many small pieces.

    Data reaches the file at ``flush`` only, whole MCAP records at a time, so that an interrupted
    write can be cut back to the last state that a reader can use.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = new_file(path)
        self.written = 0
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def tell(self) -> int:
        return self.written + len(self._pending)

    def flush(self) -> None:
        at = 0
        with memoryview(self._pending) as view:
            while at < len(view):
                # A full disk first shows as a short write, then as an error.
                at += os.write(self.descriptor, view[at:])
        self.written += at
        self._pending.clear()

    def cut_back(self) -> None:
        """Drop what the last, failed flush left behind."""
        self._pending.clear()
        os.ftruncate(self.descriptor, self.written)

    def sync(self) -> None:
        os.fsync(self.descriptor)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass
class _Channels:
    metadata: LoopMetadata
    rows: CycleRows
    misses: MissRows
    events: PortEventRows
    records: int = 0
    lost: int = 0
    """Lost since the last record that was written."""


class RecordingWriter:
    """One MCAP file being written. Every method may raise ``OSError``: call ``abandon`` then.

    An existing file is never overwritten.
    """

    def __init__(self, path: Path, *, part: int = 0) -> None:
        """``part`` is the number of this file where a recording is split."""
        self.path = path
        self._part = part
        self._output = _Output(path)
        self._mcap = McapFile(
            self._output, PROFILE, f"rtloop; {LIBRARY_IDENTIFIER}", chunk_bytes=CHUNK_BYTES
        )
        self._cycle = CycleMessage()
        self._miss = MissMessage()
        self._event = PortEventMessage()
        self._schemas: dict[str, int] = {}
        self._loops: dict[str, _Channels] = {}
        self._descriptions: list[tuple[str, dict[str, str]]] = []

    @property
    def size_bytes(self) -> int:
        """Bytes in the file and on their way to it."""
        return self._output.tell()

    def records(self) -> dict[str, int]:
        """Cycles written so far, by loop."""
        return {name: channels.records for name, channels in self._loops.items()}

    def describe_run(self, run_id: str, run: dict[str, Any]) -> None:
        """Write the facts about the run as a whole."""
        run = {name: value for name, value in run.items() if name not in LOOP_FACTS}
        facts = {"format": FORMAT, "run_id": run_id, "part": str(self._part)}
        facts["json"] = json.dumps(run, ensure_ascii=False)
        # Once more one by one, for people who look with other tools.
        for name, value in run.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            facts.setdefault(name, text)
        self._describe(RUN_METADATA, facts)

    def add_loop(self, metadata: LoopMetadata) -> None:
        """Open the four channels of a loop. Its name must be new."""
        name = metadata.loop
        signals = SignalsMessage(metadata, signals_type_name(name, self._schemas))
        self._describe(LOOP_METADATA, {"loop": name, "json": metadata.to_json(with_run=False)})
        cycle_id = self._channel(topic(name, "cycle"), self._cycle.type_name, self._cycle.schema)
        signals_id = self._channel(topic(name, "signals"), signals.type_name, signals.schema)
        miss_id = self._channel(topic(name, "miss"), self._miss.type_name, self._miss.schema)
        event_id = self._channel(topic(name, "event"), self._event.type_name, self._event.schema)
        self._loops[name] = _Channels(
            metadata=metadata,
            rows=CycleRows(self._cycle, cycle_id, signals, signals_id),
            misses=MissRows(self._miss, miss_id),
            events=PortEventRows(self._event, event_id),
        )

    def describe_before(self, loops: dict[str, Any]) -> None:
        """Of a part that is not the first: what came before it, by loop."""
        self._describe(BEFORE_METADATA, {"json": json.dumps(loops, ensure_ascii=False)})

    def _describe(self, name: str, facts: dict[str, str]) -> None:
        """Said at the beginning, and once more at the end: no cycle can be read without it."""
        self._add_metadata(name, facts)
        self._descriptions.append((name, facts))

    def _add_metadata(self, name: str, facts: dict[str, str]) -> None:
        self._mcap.add_metadata(name, {**facts, CHECKSUM: checksum(name, facts)})

    def _channel(self, name: str, type_name: str, schema: str) -> int:
        if type_name not in self._schemas:
            self._schemas[type_name] = self._mcap.add_schema(type_name, "ros2msg", schema.encode())
        return self._mcap.add_channel(name, "cdr", self._schemas[type_name])

    def write(self, loop: str, batch: Batch) -> None:
        """Append consecutive cycles: of each its cycle message and its signals, then the misses
        among them."""
        channels = self._loops[loop]
        channels.lost += batch.lost
        records = batch.records
        if len(records) == 0:
            return
        if channels.lost:
            self._note_lost(loop, channels, int(records["cycle"][0]))
        begin = 0
        while begin < len(records):
            # The last one may go beyond: chunks of less than a cycle would cost as much as full ones.
            end = begin + -(-self._mcap.room // channels.rows.size)
            self._add(channels, batch.part(begin, end))
            begin = end
        channels.records += len(records)

    def write_events(self, loop: str, events: PortEvents) -> None:
        """Append what the ports of a loop reported, structured [n]."""
        channels, begin = self._loops[loop], 0
        while begin < len(events):
            end = begin + -(-self._mcap.room // channels.events.size)
            part = events[begin:end]
            self._mcap.add(channels.events.of(part, channels.metadata.realtime_ns_offset))
            begin = end

    def _add(self, channels: _Channels, batch: Batch) -> None:
        offset = channels.metadata.realtime_ns_offset
        self._mcap.add(channels.rows.of(batch, offset))
        missed = batch.records[rec.missed(batch.records)]
        if len(missed):
            self._mcap.add(channels.misses.of(missed, offset))

    def _note_lost(self, loop: str, channels: _Channels, before_cycle: int) -> None:
        self._add_metadata(
            LOST_METADATA,
            {"loop": loop, "records": str(channels.lost), "before_cycle": str(before_cycle)},
        )
        channels.lost = 0

    def flush(self) -> None:
        """Finish the chunk in progress and hand everything to the kernel: safe from ``kill -9``."""
        self._mcap.flush()

    def finish(self, summary: dict[str, Any]) -> int:
        """Write the summary and the index, put the file on the disk, and return its size in
        bytes."""
        for name, channels in self._loops.items():
            if channels.lost:
                self._note_lost(name, channels, AT_THE_END)
        facts = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in summary.items()
        }
        self._add_metadata(SUMMARY_METADATA, facts)
        for name, description in self._descriptions:
            self._add_metadata(name, description)
        self._mcap.finish()
        self._output.flush()
        self._output.sync()
        self._output.close()
        sync_directory(self.path.parent)
        return self._output.written

    def abandon(self) -> None:
        """Give up after an error: what was flushed stays, cut at the end of a whole MCAP record."""
        try:
            self._output.cut_back()
        except OSError:
            pass  # a recording that ends in the middle of a record can be recovered, too
        finally:
            self._output.close()


def sync_directory(directory: Path) -> None:
    """Make names that were created or replaced in a directory outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # not every file system can
    finally:
        os.close(descriptor)
