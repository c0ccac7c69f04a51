"""The records inside a chunk of a recording."""

import zlib

import lz4.frame
import zstandard
from mcap.records import Chunk

LARGEST_RECORD = 1 << 26
"""Bytes, compressed or not. Recorders make chunks of 64 KiB, other tools of a few MiB."""


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
