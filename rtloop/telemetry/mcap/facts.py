"""The metadata records of a recording: what they are called, and the checksum each has."""

import zlib
from typing import Final

RUN_METADATA: Final = "rtloop"
LOOP_METADATA: Final = "rtloop.loop"
LOST_METADATA: Final = "rtloop.lost"
SUMMARY_METADATA: Final = "rtloop.summary"
BEFORE_METADATA: Final = "rtloop.before"
AT_THE_END: Final = -1
"""`before_cycle` of records that were lost after the last one written."""
CHECKSUM: Final = "crc32"
"""The key of a metadata record's checksum, which MCAP has for chunks only."""


def checksum(name: str, facts: dict[str, str]) -> str:
    """Of a metadata record: CRC-32 of its name, its keys and its values, each ended by a zero."""
    parts = [
        name,
        *(part for item in sorted(facts.items()) for part in item if item[0] != CHECKSUM),
    ]
    return f"{zlib.crc32(b''.join(part.encode() + bytes(1) for part in parts)):08x}"
