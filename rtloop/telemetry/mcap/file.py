"""An MCAP file being written, by whole arrays of messages.

The ``mcap`` package takes one message at a time, which is most of what a recorder costs. Here its
records are used, and only what there is one of per message is written by itself: the messages and
their index.
"""

import zlib
from typing import Final, Protocol

import numpy as np
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from rtloop.telemetry.mcap.rows import Rows

_INDEX_HEADER: Final = np.dtype(
    [("opcode", "u1"), ("length", "<u8"), ("channel", "<u2"), ("size", "<u4")]
)
_INDEX_ENTRY: Final = np.dtype([("time", "<u8"), ("offset", "<u8")])
_FOOTER_HEAD: Final = np.dtype(
    [("opcode", "u1"), ("length", "<u8"), ("summary", "<u8"), ("offsets", "<u8")]
)


class Output(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> int:
        """Take bytes."""

    def tell(self) -> int:
        """How many were taken."""

    def flush(self) -> None:
        """Hand them on."""


class McapFile:
    """Header, chunks with their message indexes, metadata, and at the end the summary section.

    What is kept until the end is some hundred bytes a chunk.
    """

    def __init__(self, output: Output, profile: str, library: str, chunk_bytes: int) -> None:
        self._output = output
        self._chunk_bytes = chunk_bytes
        self._crc = 0
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._metadata_indexes = b""
        self._chunk_indexes = bytearray()
        self._n_metadata = self._n_chunks = 0
        self._counts: dict[int, int] = {}
        self._times: tuple[int, int] | None = None
        self._chunk: list[bytes] = []
        self._chunk_size = 0
        self._chunk_rows: list[tuple[int, Rows]] = []
        self._zstd = zstandard.ZstdCompressor()
        self._put(MCAP0_MAGIC)
        self._put(_bytes(Header(profile, library)))

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """The id of a new schema."""
        schema = Schema(id=len(self._schemas) + 1, data=data, encoding=encoding, name=name)
        self._schemas.append(schema)
        self._add_to_chunk(_bytes(schema))
        return schema.id

    def add_channel(self, topic: str, encoding: str, schema_id: int) -> int:
        """The id of a new channel."""
        number = len(self._channels) + 1
        channel = Channel(
            id=number, topic=topic, message_encoding=encoding, schema_id=schema_id, metadata={}
        )
        self._channels.append(channel)
        self._add_to_chunk(_bytes(channel))
        return number

    def add_metadata(self, name: str, facts: dict[str, str]) -> None:
        """Written at once, before the chunk in progress."""
        record = _bytes(Metadata(name=name, metadata=facts))
        index = MetadataIndex(offset=self._output.tell(), length=len(record), name=name)
        self._metadata_indexes += _bytes(index)
        self._n_metadata += 1
        self._put(record)

    @property
    def room(self) -> int:
        """Bytes that the chunk in progress still takes; it is whole once there is none."""
        return self._chunk_bytes - self._chunk_size

    def add(self, rows: Rows) -> None:
        """Messages, which all become part of one chunk."""
        self._chunk_rows.append((self._chunk_size, rows))
        self._add_to_chunk(rows.data)
        if self.room <= 0:
            self._finish_chunk()

    def flush(self) -> None:
        """Finish the chunk in progress, and hand everything on."""
        self._finish_chunk()
        self._output.flush()

    def finish(self) -> None:
        """Write the summary section; nothing may be added any more."""
        self._finish_chunk()
        self._put(_bytes(DataEnd(self._crc)))
        start = self._output.tell()
        groups: list[tuple[Opcode, bytes]] = [
            (Opcode.SCHEMA, b"".join(map(_bytes, self._schemas))),
            (Opcode.CHANNEL, b"".join(map(_bytes, self._channels))),
            (Opcode.STATISTICS, _bytes(self._statistics())),
            (Opcode.CHUNK_INDEX, bytes(self._chunk_indexes)),
            (Opcode.METADATA_INDEX, self._metadata_indexes),
        ]
        summary, offsets = b"", b""
        for opcode, records in groups:
            if records:
                place = SummaryOffset(
                    group_opcode=opcode, group_start=start + len(summary), group_length=len(records)
                )
                offsets += _bytes(place)
                summary += records
        offsets_start = start + len(summary)
        head = np.array((Opcode.FOOTER, 8 + 8 + 4, start, offsets_start), _FOOTER_HEAD)
        crc = zlib.crc32(head.tobytes(), zlib.crc32(summary + offsets))
        self._put(summary + offsets)
        self._put(
            _bytes(Footer(summary_start=start, summary_offset_start=offsets_start, summary_crc=crc))
        )
        self._put(MCAP0_MAGIC)

    def _put(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._output.write(data)

    def _add_to_chunk(self, data: bytes) -> None:
        self._chunk.append(data)
        self._chunk_size += len(data)

    def _finish_chunk(self) -> None:
        if not self._chunk_rows:
            return  # schemas alone wait for a message
        data = b"".join(self._chunk)
        times = [rows.times for _, rows in self._chunk_rows]
        first, last = min(int(t.min()) for t in times), max(int(t.max()) for t in times)
        packed = self._zstd.compress(data)
        chunk = _bytes(
            Chunk(
                compression="zstd",
                data=packed,
                message_start_time=first,
                message_end_time=last,
                uncompressed_crc=zlib.crc32(data),
                uncompressed_size=len(data),
            )
        )
        start = self._output.tell()
        self._put(chunk)
        offsets, length = self._put_message_indexes()
        self._chunk_indexes += _bytes(
            ChunkIndex(
                message_start_time=first,
                message_end_time=last,
                chunk_start_offset=start,
                chunk_length=len(chunk),
                message_index_offsets=offsets,
                message_index_length=length,
                compression="zstd",
                compressed_size=len(packed),
                uncompressed_size=len(data),
            )
        )
        self._n_chunks += 1
        before = self._times or (first, last)
        self._times = min(before[0], first), max(before[1], last)
        self._chunk, self._chunk_size, self._chunk_rows = [], 0, []

    def _put_message_indexes(self) -> tuple[dict[int, int], int]:
        """Where the messages of each channel are in the chunk just written: place of each index by
        channel, and their size."""
        entries: dict[int, list[np.ndarray]] = {}
        for begin, rows in self._chunk_rows:
            for channel, offset in rows.offsets.items():
                index = np.empty(len(rows.times), _INDEX_ENTRY)
                index["time"], index["offset"] = rows.times, begin + offset
                entries.setdefault(channel, []).append(index)
        start = self._output.tell()
        places = {}
        for channel, parts in entries.items():
            places[channel] = self._output.tell()
            n = sum(map(len, parts))
            self._counts[channel] = self._counts.get(channel, 0) + n
            size = n * _INDEX_ENTRY.itemsize
            head = np.array((Opcode.MESSAGE_INDEX, 2 + 4 + size, channel, size), _INDEX_HEADER)
            self._put(head.tobytes() + b"".join(part.tobytes() for part in parts))
        return places, self._output.tell() - start

    def _statistics(self) -> Statistics:
        first, last = self._times or (0, 0)
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=self._n_chunks,
            message_count=sum(self._counts.values()),
            message_end_time=last,
            message_start_time=first,
            metadata_count=self._n_metadata,
            schema_count=len(self._schemas),
        )


def _bytes(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]
