"""The records inside a chunk of a recording."""

import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import lz4.frame
import numpy as np
import zstandard
from mcap.opcode import Opcode
from mcap.records import Chunk
from numpy.typing import NDArray

_MESSAGE: Final = int(Opcode.MESSAGE)
_RECORD_HEADER: Final = 1 + 8
_MESSAGE_HEADER: Final = 2 + 4 + 8 + 8
_SAME: Final = _RECORD_HEADER + 2
"""The first bytes of a message: opcode, length, channel."""
_LONGEST_PATTERN: Final = 4
_WINDOW: Final = 1 << 20
_CHUNK_HEAD: Final = struct.Struct("<BQQQQI")
"""Opcode, length, first and last time, size and checksum of what is inside."""
_ZSTD: Final = b"\x04\0\0\0zstd"
"""What comes next in a chunk of ours, before the size of its data."""
_U64: Final = struct.Struct("<Q")
_CHUNK_BEGIN: Final = _CHUNK_HEAD.size + len(_ZSTD) + _U64.size
_U16: Final = struct.Struct("<H")

LARGEST_RECORD = 1 << 26
"""Bytes, compressed or not. Recorders make chunks of 64 KiB, other tools of a few MiB."""


def next_chunk(file: BinaryIO, at: int, end: int) -> int | None:
    """Where a chunk begins, from ``at`` on; None without one. Moves the file's position."""
    while at < end:
        file.seek(at)
        data = file.read(min(_WINDOW, end - at))
        place = data.find(_ZSTD)
        while place >= 0:
            begin = at + place - _CHUNK_HEAD.size
            file.seek(max(begin, 0))
            head = file.read(_CHUNK_BEGIN)
            if begin >= 0 and len(head) == _CHUNK_BEGIN and _is_chunk(head, end - begin):
                return begin
            place = data.find(_ZSTD, place + 1)
        # What is looked for may lie across the edge.
        at += max(1, len(data) - len(_ZSTD) + 1)
    return None


def _is_chunk(head: bytes, room: int) -> bool:
    """Whether the sizes in the first bytes of what may be a chunk fit each other and the file."""
    opcode, length, _, _, size, _ = _CHUNK_HEAD.unpack_from(head)
    (packed,) = _U64.unpack_from(head, _CHUNK_HEAD.size + len(_ZSTD))
    inside = _CHUNK_BEGIN - _RECORD_HEADER
    fits = opcode == Opcode.CHUNK and length == inside + packed and size <= LARGEST_RECORD
    return bool(fits and _RECORD_HEADER + length <= room)


def decompressed(chunk: Chunk) -> bytes:
    """The records of a chunk. However little it takes in the file, it does not fill the memory."""
    size = chunk.uncompressed_size
    if size > LARGEST_RECORD:
        raise ValueError(f"a chunk of {size} bytes")
    if chunk.compression == "zstd":
        unzip = zstandard.ZstdDecompressor(max_window_size=LARGEST_RECORD)
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


@dataclass
class Messages:
    """What the messages of one channel say, in their order, end to end."""

    n: int = 0
    data: list[bytes] = field(default_factory=list)


def taken_apart(data: bytes) -> tuple[dict[int, Messages], list[tuple[int, bytes]]]:
    """The messages of a chunk by channel id, and its other records (opcode, payload).

    Raises ValueError when its records do not end where it ends.
    """
    found: dict[int, Messages] = defaultdict(Messages)
    others: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while at < end:
        opcode, body = data[at], at + _RECORD_HEADER
        after = body + _U64.unpack_from(data, at + 1)[0]
        if after > end:
            raise ValueError("a record ends after its chunk")
        if opcode != _MESSAGE:
            others.append((opcode, data[body:after]))
        elif pattern := _pattern(data, at):
            after = _take_run(data, at, pattern, found)
        else:
            messages = found[_U16.unpack_from(data, body)[0]]
            messages.n += 1
            messages.data.append(data[body + _MESSAGE_HEADER : after])
        at = after
    return found, others


def _pattern(data: bytes, at: int) -> list[int]:
    """Where messages end, from here on, until one comes that begins as the first did; empty
    without one."""
    first, ends, end = data[at : at + _SAME], [], at
    for _ in range(_LONGEST_PATTERN):
        if data[end] != _MESSAGE:
            return []
        length = _U64.unpack_from(data, end + 1)[0]
        end += _RECORD_HEADER + length
        if length < _MESSAGE_HEADER or end + _SAME > len(data):
            return []
        ends.append(end - at)
        if data[end : end + _SAME] == first:
            return ends
    return []


def _take_run(data: bytes, at: int, pattern: list[int], found: dict[int, Messages]) -> int:
    """Takes the messages as long as the pattern repeats itself; returns where that ends."""
    size = pattern[-1]
    rows: NDArray[np.uint8] = np.frombuffer(data, np.uint8, offset=at)
    rows = rows[: len(rows) // size * size].reshape(-1, size)
    begins = [0, *pattern[:-1]]
    same = np.ones(len(rows), bool)
    for begin in begins:
        heads = rows[:, begin : begin + _SAME]
        same &= (heads == heads[0]).all(axis=1)
    n = len(rows) if same.all() else int(np.argmin(same))
    for begin, end in zip(begins, pattern, strict=True):
        messages = found[_U16.unpack_from(data, at + begin + _RECORD_HEADER)[0]]
        messages.n += n
        inside = rows[:n, begin + _RECORD_HEADER + _MESSAGE_HEADER : end]
        messages.data.append(inside.tobytes())
    return at + n * size
