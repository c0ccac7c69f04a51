"""Reads a recording batch by batch, a cut or damaged one as far as it is intact."""

import io
import json
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO, Final

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Metadata, Schema
from numpy.typing import NDArray

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.channel import ChannelDecoder, Waiting
from rtloop.telemetry.mcap.chunk import (
    LARGEST_RECORD,
    Messages,
    decompressed,
    next_chunk,
    taken_apart,
)
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
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.ring import Batch, LoopMetadata
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary

_MAGIC: Final = b"\x89MCAP0\r\n"
_TOPIC: Final = re.compile(r"/rtloop/(?P<loop>.+)/(?P<kind>cycle|signals|miss|event)")
_DESCRIBING: Final = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.METADATA)
_RECORD_HEADER: Final = struct.Struct("<BQ")
_ADVICE: Final = "If its run has ended, `rtloop recover {path}` restores it."


class NotMcapError(RecordingError):
    """It begins as no MCAP file does."""


class RecordingReader:
    """Reads a recording from its beginning as far as it is intact.

    Iterating yields ``(loop, batch)`` in recorded order. What the file says besides is in the
    attributes, complete after the iteration: ``whole`` then tells whether the end was where it
    belongs, and nothing before it was damaged.
    """

    def __init__(
        self,
        path: Path,
        *,
        signals: bool = True,
        events: bool = False,
        metadata: Mapping[str, LoopMetadata] | None = None,
    ) -> None:
        """Open the file. ``RecordingError`` when it cannot be read, ``NotMcapError`` when it is no MCAP file.

        Without ``signals`` the batches have vectors of width zero, and reading is faster.
        With ``events`` port events wait for ``take_events``.
        ``metadata`` stands in for what the file says of its loops where that is damaged.
        """
        self.path = path
        self.run_id = ""
        self.run: dict[str, Any] = {}
        self.metadata: dict[str, LoopMetadata] = dict(metadata or {})
        self.lost: dict[str, int] = defaultdict(int)
        self.summary: dict[str, Any] = {}
        """Of the run up to the end of this file, by loop."""
        self.problems: tuple[str, ...] = ()
        """What went wrong in the run as a whole, in sentences."""
        self.part = 0
        self.before: dict[str, Any] = {}
        """What came before this file, by loop: ``LoopStatistics.so_far``."""
        self.continued = False
        """Whether the run went on in another file."""
        self.complete = False
        self.library = ""
        self.chunks = 0
        self.damaged_chunks = 0
        """Chunks that are left out."""
        self.damaged_metadata = 0
        self.damaged_elsewhere = False
        """A checksum over a part of the file does not fit it."""
        self.undescribed: dict[str, int] = defaultdict(int)
        """Cycles left out because nothing intact describes their loop, by loop."""
        self.messages: dict[str, int] = defaultdict(int)
        self._signals = signals
        self._keeps_events = events
        self._events: dict[str, list[PortEvents]] = defaultdict(list)
        self._losses: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, ChannelDecoder | None] = {}
        self._looked_ahead = False
        self._waiting: dict[str, Waiting] = defaultdict(Waiting)
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror}") from None
        self.size_bytes = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        magic = self._file.read(len(_MAGIC))
        # An empty file is what a recorder leaves that died at once: intact as far as it goes.
        if magic != _MAGIC[: len(magic)]:
            self._file.close()
            raise NotMcapError(f"{path} is not an MCAP file")

    @property
    def damaged(self) -> bool:
        """Whether anything, as far as the file goes, is not as it was written."""
        return bool(
            self.damaged_chunks
            or self.damaged_metadata
            or self.damaged_elsewhere
            or self.undescribed
        )

    @property
    def whole(self) -> bool:
        """Whether the file is as its recorder left it."""
        return self.complete and not self.damaged

    def require_whole(self) -> None:
        """After the iteration: ``RecordingError``, with what to do, unless it is whole and
        rtloop's."""
        path, advice = self.path, _ADVICE.format(path=quote(str(self.path)))
        if not self.metadata and (self.size_bytes == 0 or not self.complete):
            raise RecordingError(f"{path} ends before it says anything. {advice}")
        if not self.whole:
            what = "is damaged" if self.complete else "is cut: its end is missing"
            raise RecordingError(f"{path} {what}. {advice}")
        if not self.metadata:
            raise RecordingError(f"{path} was not recorded by rtloop: it has no loop in it")

    def take_events(self) -> dict[str, PortEvents]:
        """What the ports of each loop reported, structured [n], as far as the file was read and
        since the last call."""
        taken = {loop: np.concatenate(parts) for loop, parts in self._events.items()}
        self._events.clear()
        return taken

    def read_head(self) -> None:
        """Only what stands before the first cycle; there is nothing to iterate afterwards."""
        with self._file:
            for opcode, payload in self._intact_records():
                if opcode == Opcode.CHUNK:
                    return
                if opcode == Opcode.METADATA:
                    self._note(payload)
                elif opcode == Opcode.HEADER:
                    self._read_header(payload)

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        with self._file:
            for opcode, payload in self._intact_records():
                if opcode == Opcode.CHUNK:
                    yield from self._chunk(payload)
                elif opcode == Opcode.METADATA:
                    self._note(payload)
                elif opcode == Opcode.HEADER:
                    self._read_header(payload)

    def _intact_records(self) -> Iterator[tuple[int, bytes]]:
        """Top-level MCAP records until the end or the cut. Checks the sums over its sections."""
        at = len(_MAGIC)
        crc, data_ended = zlib.crc32(_MAGIC), False
        while at + _RECORD_HEADER.size <= self.size_bytes:
            header = self._file.read(_RECORD_HEADER.size)
            opcode, length = _RECORD_HEADER.unpack(header)
            begin, at = at, at + _RECORD_HEADER.size + length
            if at > self.size_bytes or opcode == 0 or length > LARGEST_RECORD:
                # The file is cut here, or this is no record: then the next chunk leads on.
                found = next_chunk(self._file, begin + 1, self.size_bytes)
                if found is None:
                    return
                self.damaged_chunks += 1
                at = self._file.seek(found)
                continue
            payload = self._file.read(length)
            if opcode == Opcode.DATA_END:
                data_ended = True
                self._compare(payload[:4], crc)
                crc = 0
                continue
            if opcode == Opcode.FOOTER:
                self._compare(payload[16:20], zlib.crc32(header + payload[:16], crc))
                self.damaged_elsewhere |= not data_ended
                self.complete = self._file.read(len(_MAGIC) + 1) == _MAGIC
                return
            crc = zlib.crc32(payload, zlib.crc32(header, crc))
            yield opcode, payload

    def _compare(self, said: bytes, crc: int) -> None:
        # Zero stands for no checksum: files of rtloop 0.1 have none over their data.
        if any(said) and said != crc.to_bytes(4, "little"):
            self.damaged_elsewhere = True

    def _read_header(self, payload: bytes) -> None:
        try:
            self.library = Header.read(_stream(payload)).library
        except Exception:  # whatever a damaged record makes of its parser
            self.damaged_metadata += 1

    def _note(self, payload: bytes) -> None:
        try:
            metadata = Metadata.read(_stream(payload))
            facts = metadata.metadata
            said = facts.get(CHECKSUM)
            if said is not None and said != checksum(metadata.name, facts):
                raise ValueError("its checksum does not fit")
            self._take_note(metadata.name, facts)
        except Exception:  # whatever a damaged record makes of its parsers
            self.damaged_metadata += 1

    def _take_note(self, name: str, facts: dict[str, str]) -> None:
        if name == RUN_METADATA:
            self.run = _object(facts.get("json", "{}"))
            self.run_id = facts.get("run_id", "")
            self.part = int(facts.get("part", "0"))
        elif name == LOOP_METADATA:
            self.metadata[facts["loop"]] = LoopMetadata.from_json(facts["json"])
        elif name == LOST_METADATA:
            before_cycle, count = int(facts["before_cycle"]), int(facts["records"])
            if not (AT_THE_END <= before_cycle < 1 << 62 and 0 < count < 1 << 62):
                raise ValueError(f"{count} records lost before cycle {before_cycle}")
            self.lost[facts["loop"]] += count
            self._losses[facts["loop"]].append((before_cycle, count))
        elif name == SUMMARY_METADATA:
            loops = _object(facts.get("loops", "{}"))
            for said in loops.values():
                LoopSummary.from_dict(said)
            self.summary = loops
            self.problems = tuple(map(str, json.loads(facts.get("problems", "[]"))))
            self.continued = facts.get("continued") == "true"
        elif name == BEFORE_METADATA:
            before = _object(facts["json"])
            for loop, said in before.items():
                LoopStatistics.resumed(self.metadata[loop], said)
            self.before = before

    def _look_ahead(self) -> None:
        """Once: what the rest of the file says about loops and channels, cycles left aside."""
        if self._looked_ahead:
            return
        self._looked_ahead = True
        back = at = self._file.tell()
        while at + _RECORD_HEADER.size <= self.size_bytes:
            opcode, length = _RECORD_HEADER.unpack(self._file.read(_RECORD_HEADER.size))
            begin, at = at, at + _RECORD_HEADER.size + length
            if opcode == Opcode.FOOTER:
                break
            if at > self.size_bytes or opcode == 0 or length > LARGEST_RECORD:
                found = next_chunk(self._file, begin + 1, self.size_bytes)
                if found is None:
                    break
                at = found
            elif opcode in _DESCRIBING:
                with suppress(Exception):  # a damaged one says nothing; it is counted on its turn
                    self._describe(opcode, self._file.read(length))
            self._file.seek(at)
        self._file.seek(back)

    def _describe(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(_stream(payload))
            self._schemas.setdefault(schema.id, schema)
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(_stream(payload))
            if channel.id not in self._channels:
                self._open_channel(channel)
        else:
            metadata = Metadata.read(_stream(payload))
            facts = metadata.metadata
            if metadata.name == LOOP_METADATA and facts.get(CHECKSUM) == checksum(
                metadata.name, facts
            ):
                self.metadata.setdefault(facts["loop"], LoopMetadata.from_json(facts["json"]))

    def _chunk(self, payload: bytes) -> Iterator[tuple[str, Batch]]:
        try:
            found, others = taken_apart(decompressed(Chunk.read(_stream(payload))))
            for opcode, data in others:
                if opcode == Opcode.SCHEMA:
                    schema = Schema.read(_stream(data))
                    self._schemas[schema.id] = schema
                elif opcode == Opcode.CHANNEL:
                    self._open_channel(Channel.read(_stream(data)))
            if any(channel_id not in self._channels for channel_id in found):
                self._look_ahead()
            self._decode(found)
        except RecordingError:
            raise
        except Exception:  # zstd, lz4, CRC, struct …: one damaged chunk, whatever the reason
            self.damaged_chunks += 1
            return
        self.chunks += 1
        for loop, waiting in self._waiting.items():
            batch = waiting.take(with_signals=self._signals)
            if len(batch) == 0:
                continue
            if loop not in self.metadata:
                self._look_ahead()
            if loop in self.metadata:
                yield from ((loop, part) for part in self._split_at_losses(loop, batch))
            else:
                self.undescribed[loop] += len(batch)

    def _decode(self, found: dict[int, Messages]) -> None:
        decoded: list[tuple[ChannelDecoder, int, NDArray[np.void] | None]] = []
        for channel_id, messages in found.items():
            # KeyError, too: what describes its channel was in a damaged chunk.
            decoder = self._channels[channel_id]
            if decoder is None:
                continue
            data = None
            if decoder.kind == "cycle":
                data = decoder.records(messages)
            elif decoder.kind == "signals" and self._signals:
                data = decoder.signals(messages)
            elif decoder.kind == "event" and self._keeps_events:
                data = decoder.events(messages)
            decoded.append((decoder, messages.n, data))
        # Not before all of it is known to be intact.
        for decoder, n, data in decoded:
            self.messages[decoder.topic] += n
            if data is None:
                continue
            if decoder.kind == "event":
                self._events[decoder.loop].append(data)
                continue
            waiting = self._waiting[decoder.loop]
            (waiting.records if decoder.kind == "cycle" else waiting.signals).append(data)

    def _open_channel(self, channel: Channel) -> None:
        match = _TOPIC.fullmatch(channel.topic)
        if match is None or channel.message_encoding != "cdr":
            self._channels[channel.id] = None
            return
        schema = self._schemas[channel.schema_id].data.decode()
        self._channels[channel.id] = ChannelDecoder(
            self.path, channel.topic, match["loop"], match["kind"], schema
        )

    def _split_at_losses(self, loop: str, batch: Batch) -> Iterator[Batch]:
        cycles = batch.records["cycle"]
        begin, lost = 0, 0
        pending = self._losses[loop]
        while pending and pending[0][0] != AT_THE_END and pending[0][0] <= cycles[-1]:
            before_cycle, count = pending.pop(0)
            cut = int(np.searchsorted(cycles, before_cycle))
            if cut > begin:
                yield replace(batch.part(begin, cut), lost=lost)
                begin, lost = cut, 0
            lost += count
        yield replace(batch.part(begin, len(cycles)), lost=lost)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} instead of an object")
    return found


def _stream(data: bytes) -> ReadDataStream:
    return ReadDataStream(io.BytesIO(data))
