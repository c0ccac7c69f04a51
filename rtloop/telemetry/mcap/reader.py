"""Reads recordings back: whole ones as numpy arrays, cut ones as far as they are intact."""

import io
import json
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import lz4.frame
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Metadata, Schema
from numpy.typing import NDArray

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.messages import (
    SOURCE_FIELDS,
    cdr_dtype,
    fields_of_schema,
    signals_dtype,
)
from rtloop.telemetry.mcap.writer import (
    AT_THE_END,
    CHECKSUM,
    LOOP_METADATA,
    LOST_METADATA,
    RUN_METADATA,
    SUMMARY_METADATA,
    checksum,
)
from rtloop.telemetry.observe.records import (
    INPUT_RECORD_DTYPE,
    RECORD_DTYPE,
    InputRecords,
    Records,
    empty_records,
)
from rtloop.telemetry.observe.ring import Batch, LoopMetadata
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary

_MAGIC: Final = b"\x89MCAP0\r\n"
_TOPIC: Final = re.compile(r"/rtloop/(?P<loop>.+)/(?P<kind>cycle|signals|miss)")
_SIGNAL_PREFIXES: Final = (SOURCE_FIELDS[0][0], "input", "output")
_NEEDED: Final = ("cycle", "release_ns", "start_ns", "finish_ns", "deadline_ns")
_RENAMED: Final = {"longest_stage": "cause"}
"""Fields of a record by the name they had in format 1."""
_LARGEST_RECORD: Final = 1 << 26
"""Bytes, compressed or not. Recorders make chunks of 64 KiB, other tools of a few MiB."""
_DESCRIBING: Final = (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.METADATA)
_RECORD_HEADER: Final = struct.Struct("<BQ")
_U64: Final = struct.Struct("<Q")
_U16: Final = struct.Struct("<H")


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
        metadata: Mapping[str, LoopMetadata] | None = None,
    ) -> None:
        """Open the file. ``RecordingError`` when it cannot be read or is no MCAP file.

        Without ``signals`` the batches have vectors of width zero, and reading is faster.
        ``metadata`` stands in for what the file says of its loops where that is damaged.
        """
        self.path = path
        self.run_id = ""
        self.run: dict[str, Any] = {}
        self.metadata: dict[str, LoopMetadata] = dict(metadata or {})
        self.lost: dict[str, int] = defaultdict(int)
        self.summary: dict[str, Any] = {}
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
        self._losses: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, _ChannelDecoder | None] = {}
        self._looked_ahead = False
        self._waiting: dict[str, _Waiting] = defaultdict(_Waiting)
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
            raise RecordingError(f"{path} is not an MCAP file")

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
            at += _RECORD_HEADER.size + length
            if at > self.size_bytes or opcode == 0:
                return
            if length > _LARGEST_RECORD:
                self.damaged_chunks += 1  # no recorder of ours made it, and it stays unread
                self._file.seek(at)
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

    def _look_ahead(self) -> None:
        """Once: what the rest of the file says about loops and channels, cycles left aside."""
        if self._looked_ahead:
            return
        self._looked_ahead = True
        back = at = self._file.tell()
        while at + _RECORD_HEADER.size <= self.size_bytes:
            opcode, length = _RECORD_HEADER.unpack(self._file.read(_RECORD_HEADER.size))
            at += _RECORD_HEADER.size + length
            if at > self.size_bytes or opcode in (0, Opcode.FOOTER):
                break
            if length <= _LARGEST_RECORD and opcode in _DESCRIBING:
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
            found = self._messages(_decompressed(Chunk.read(_stream(payload))))
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

    def _decode(self, found: dict[int, list[bytes]]) -> None:
        decoded: list[tuple[_ChannelDecoder, int, NDArray[np.void] | None]] = []
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
            decoded.append((decoder, len(messages), data))
        # Not before all of it is known to be intact.
        for decoder, n, data in decoded:
            self.messages[decoder.topic] += n
            waiting = self._waiting[decoder.loop]
            if data is not None:
                (waiting.records if decoder.kind == "cycle" else waiting.signals).append(data)

    def _messages(self, data: bytes) -> dict[int, list[bytes]]:
        """The messages of a chunk by channel; schemas and channels are taken note of."""
        found: dict[int, list[bytes]] = defaultdict(list)
        at, end = 0, len(data)
        message = int(Opcode.MESSAGE)
        while at < end:
            opcode = data[at]
            body = at + 9
            at = body + _U64.unpack_from(data, at + 1)[0]
            if at > end:
                raise ValueError("a record ends after its chunk")
            if opcode == message:
                found[_U16.unpack_from(data, body)[0]].append(data[body + 22 : at])
            elif opcode == Opcode.SCHEMA:
                schema = Schema.read(_stream(data[body:at]))
                self._schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                self._open_channel(Channel.read(_stream(data[body:at])))
        return found

    def _open_channel(self, channel: Channel) -> None:
        match = _TOPIC.fullmatch(channel.topic)
        if match is None or channel.message_encoding != "cdr":
            self._channels[channel.id] = None
            return
        schema = self._schemas[channel.schema_id].data.decode()
        self._channels[channel.id] = _ChannelDecoder(
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
                yield _part(batch, begin, cut, lost)
                begin, lost = cut, 0
            lost += count
        yield _part(batch, begin, len(cycles), lost)


def _decompressed(chunk: Chunk) -> bytes:
    """The records of a chunk. However little it takes in the file, it does not fill the memory."""
    size = chunk.uncompressed_size
    if size > _LARGEST_RECORD:
        raise ValueError(f"a chunk of {size} bytes")
    if chunk.compression == "zstd":
        unzip = zstandard.ZstdDecompressor(max_window_size=_LARGEST_RECORD)
        with unzip.stream_reader(chunk.data) as reader:
            data = reader.read(size + 1)
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
    elif chunk.compression == "":
        data = chunk.data
    else:
        raise ValueError(f"compression {chunk.compression!r}")
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes instead of {size}")
    if chunk.uncompressed_crc not in (0, zlib.crc32(data)):
        raise ValueError("its checksum does not fit")
    return bytes(data)


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} instead of an object")
    return found


def _part(batch: Batch, begin: int, end: int, lost: int) -> Batch:
    part = slice(begin, end)
    return Batch(
        batch.records[part], batch.sources[part], batch.inputs[part], batch.outputs[part], lost
    )


class _ChannelDecoder:
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
        else:
            counts = [sum(n.startswith(f"{p}_") for n in names) for p in _SIGNAL_PREFIXES]
            n_sources, n_inputs, n_outputs = counts
            if 1 + len(SOURCE_FIELDS) * n_sources + n_inputs + n_outputs != len(names):
                raise RecordingError(f"{path}: topic {topic} is not rtloop's: {', '.join(names)}")
            self._dtype = signals_dtype(n_sources, n_inputs, n_outputs)

    def records(self, messages: list[bytes]) -> Records:
        decoded = self.signals(messages)
        records = empty_records(len(decoded))
        for name, found in self._names.items():
            records[name] = decoded[found]
        return records

    def signals(self, messages: list[bytes]) -> NDArray[np.void]:
        data = b"".join(messages)
        if len(data) != len(messages) * self._dtype.itemsize:
            raise RecordingError(f"{self._path}: messages of {self.topic} do not fit their schema")
        return np.frombuffer(data, self._dtype)


@dataclass
class _Waiting:
    """Cycles whose signals are in the next chunk: a chunk may end between the two messages."""

    records: list[Records] = field(default_factory=list)
    signals: list[NDArray[np.void]] = field(default_factory=list)

    def take(self, *, with_signals: bool) -> Batch:
        records = np.concatenate(self.records) if self.records else empty_records()
        if not with_signals:
            self.records = []
            return _without_signals(records)
        if not self.signals:
            return _without_signals(records[:0])
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


def _without_signals(records: Records) -> Batch:
    nothing = np.empty((len(records), 0), np.float32)
    return Batch(records, np.empty((len(records), 0), INPUT_RECORD_DTYPE), nothing, nothing)


def _stream(data: bytes) -> ReadDataStream:
    return ReadDataStream(io.BytesIO(data))


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
    reader = RecordingReader(path, signals=signals)
    batches: dict[str, list[Batch]] = defaultdict(list)
    for loop, batch in reader:
        batches[loop].append(batch)
    if not reader.metadata and (reader.size_bytes == 0 or not reader.complete):
        raise RecordingError(f"{path} ends before it says anything. {_ADVICE.format(path=path)}")
    if not reader.whole:
        what = "is damaged" if reader.complete else "is cut: its end is missing"
        raise RecordingError(f"{path} {what}. {_ADVICE.format(path=path)}")
    if not reader.metadata:
        raise RecordingError(f"{path} was not recorded by rtloop: it has no loop in it")
    return Recording(
        path=path,
        run_id=reader.run_id,
        run=reader.run,
        loops={
            name: _joined(metadata, batches[name], reader)
            for name, metadata in reader.metadata.items()
        },
        size_bytes=reader.size_bytes,
        messages=dict(reader.messages),
        chunks=reader.chunks,
        library=reader.library,
    )


_ADVICE: Final = "If its run has ended, `rtloop recover {path}` restores it."


def _joined(metadata: LoopMetadata, batches: list[Batch], reader: RecordingReader) -> LoopRecording:
    if not batches:
        batches = [_without_signals(empty_records())]
    records = np.concatenate([batch.records for batch in batches])
    lost = reader.lost.get(metadata.loop, 0)
    return LoopRecording(
        metadata=metadata,
        records=records,
        sources=np.concatenate([batch.sources for batch in batches]),
        inputs=np.concatenate([batch.inputs for batch in batches]),
        outputs=np.concatenate([batch.outputs for batch in batches]),
        lost=lost,
        summary=_summary(reader.summary.get(metadata.loop), metadata, records, lost),
    )


def _summary(
    said: dict[str, Any] | None, metadata: LoopMetadata, records: Records, lost: int
) -> LoopSummary:
    if said:
        return LoopSummary.from_dict(said)
    statistics = LoopStatistics(metadata)
    statistics.update(records, lost)
    return statistics.summary()
