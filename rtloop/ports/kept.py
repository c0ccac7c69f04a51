"""How many of a loop's commands are kept for the loops that read it, and how many are too many."""

from __future__ import annotations

from rtloop.ports.port import ReadableLoop

#: Of the commands of one output that are kept for the loops that read it; locked, where memory is.
KEPT_BYTES_MAX = 64 << 20


def commands_kept(loop: ReadableLoop, reader: ReadableLoop) -> int:
    """As many of a loop's as come while the reader is late by a period, or by those that it catches up with."""
    behind_ns = reader.period_ns * (1 + reader.catch_up)
    return -(-behind_ns // loop.period_ns) + loop.catch_up + 3


def most_kept(size: int) -> int:
    """Commands of so many values that fit into KEPT_BYTES_MAX."""
    return KEPT_BYTES_MAX // _bytes(size)


def what_is_kept(n: int, size: int) -> str:
    """In words."""
    return f"of which {n} commands of {size} values would be kept ({n * _bytes(size) >> 20} MiB)"


def _bytes(size: int) -> int:
    return 64 + 4 * size  # of the command itself: its time, its number, its place


KEPT_INSTEAD = (
    f"at most {KEPT_BYTES_MAX >> 20} MiB of them, for a period of the loop that reads and those that it "
    "catches up with: fewer values, rates that are closer, a smaller max_catch_up, or output: asap in the "
    "loop that is read"
)
