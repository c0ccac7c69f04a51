"""Messages in CDR, made by hand: what rclpy's serializer makes of a type, without rclpy."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rtloop.core import CdrType

FORMATS = dict(zip(CdrType, "?bBhHiIqQfd", strict=True))


class Encoder:
    """Appends; each number is aligned to its size. Chain the calls, then take ``message``."""

    def __init__(self, order: str = "<", padding: bytes = b"\0") -> None:
        self._order = order
        self._padding = padding
        self._body = bytearray()

    def number(self, kind: CdrType, *values: float) -> Encoder:
        one = struct.Struct(self._order + FORMATS[kind])
        for value in values:
            self.align(one.size)
            self._body += one.pack(value)
        return self

    def align(self, size: int) -> None:
        while len(self._body) % size:
            self._body += self._padding

    def sequence(self, kind: CdrType, values: Sequence[float]) -> Encoder:
        return self.count(len(values)).number(kind, *values)

    def count(self, value: int) -> Encoder:
        return self.number(CdrType.uint32, value)

    def string(self, text: str) -> Encoder:
        raw = text.encode() + b"\0"
        self.count(len(raw))
        self._body += raw
        return self

    def wstring(self, text: str) -> Encoder:
        return self.sequence(CdrType.uint32, [ord(letter) for letter in text])

    def strings(self, texts: Sequence[str]) -> Encoder:
        self.count(len(texts))
        for text in texts:
            self.string(text)
        return self

    def stamp(self, seconds: int, nanoseconds: int) -> Encoder:
        return self.number(CdrType.int32, seconds).number(CdrType.uint32, nanoseconds)

    @property
    def size(self) -> int:
        """So far, with the four bytes before."""
        return 4 + len(self._body)

    @property
    def message(self) -> bytes:
        return bytes([0, self._order == "<", 0, 0]) + bytes(self._body)


def joint_state(
    names: Sequence[str],
    *fields: Sequence[float],
    order: str = "<",
    padding: bytes = b"\0",
    stamp: tuple[int, int] = (12, 34),
) -> bytes:
    """As sensor_msgs/msg/JointState: position, velocity, effort."""
    encoder = Encoder(order, padding).stamp(*stamp).string("base").strings(names)
    for field in fields:
        encoder.sequence(CdrType.float64, field)
    return encoder.message
