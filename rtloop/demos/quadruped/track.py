"""Where a robot went: its board writes it down 50 times a second, and anybody may look on.

Memory without a name, handed on as a descriptor: the board stores and never waits, whoever reads may
be slow or dead, and nothing is left behind. The newest hour is kept.
"""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtloop.errors import RtloopError
from rtloop.telemetry.private import replace_file

RATE_HZ = 50
_CAPACITY = 3600 * RATE_HZ
_HEADER = 64

#: ``qpos``: place of the trunk's middle in m, its orientation wxyz, and the positions of the joints.
ROW = np.dtype(
    [
        ("time_ns", "<i8"),  # CLOCK_MONOTONIC, as in a recording
        ("driven_s", "<f8"),  # how long it was driven until then, by its own time
        ("qpos", "<f4", (19,)),
        ("is_driven", "?"),
        ("is_pushed", "?"),
        ("has_fallen", "?"),
        ("reserved", "V1"),
    ]
)
Rows = npt.NDArray[np.void]


class Track:
    """Written by the board, read by everybody else; all ends share it by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over; see :meth:`create`."""
        self._file = io.FileIO(descriptor, "r+")

    @classmethod
    def create(cls) -> Track:
        """An empty one. Raises RtloopError."""
        size = _HEADER + _CAPACITY * ROW.itemsize
        try:
            track = cls(os.memfd_create("rtloop-track", os.MFD_CLOEXEC))
            os.ftruncate(track.descriptor, size)
        except OSError as error:
            raise RtloopError(
                f"cannot keep the track of the robot, {size} bytes of memory: {error.strerror}"
            ) from error
        return track

    @property
    def descriptor(self) -> int:
        """For a process that is to inherit it."""
        return self._file.fileno()

    def __len__(self) -> int:
        """Rows so far, also those that were overwritten since."""
        return int.from_bytes(os.pread(self.descriptor, 8, 0), "little")

    def newest(self, count: int = _CAPACITY) -> Rows:
        """A copy of the newest rows [up to count], the oldest first."""
        end = len(self)
        begin = max(0, end - min(count, _CAPACITY))
        first, last = begin % _CAPACITY, begin % _CAPACITY + end - begin
        data = self._read(first, min(last, _CAPACITY)) + self._read(0, max(0, last - _CAPACITY))
        return np.frombuffer(data, ROW)

    def _read(self, begin: int, end: int) -> bytes:
        size = ROW.itemsize
        return os.pread(self.descriptor, (end - begin) * size, _HEADER + begin * size)

    def save(self, path: Path) -> None:
        """The rows as a private NumPy archive, an array for each name. Raises OSError."""
        rows = self.newest()
        arrays: dict[str, Any] = {name: rows[name] for name in _SAVED}
        archive = io.BytesIO()
        np.savez_compressed(archive, **arrays)
        replace_file(path, archive.getvalue())


_SAVED = tuple(name for name in ROW.names or () if name != "reserved")


def load_track(path: Path) -> Rows:
    """What ``save`` wrote. Raises OSError, KeyError, ValueError."""
    with np.load(path) as saved:
        rows = np.zeros(len(saved["time_ns"]), ROW)
        for name in _SAVED:
            rows[name] = saved[name]
    return rows


class TrackWriter:
    """The board's end: an append is a few stores, no system call."""

    def __init__(self, track: Track) -> None:
        memory = mmap.mmap(track.descriptor, 0)
        self._count = np.frombuffer(memory, "<i8", 1)
        self._rows: Rows = np.frombuffer(memory, ROW, _CAPACITY, _HEADER)

    def append(
        self,
        time_ns: int,
        driven_s: float,
        qpos: npt.NDArray[np.float64],
        *,
        is_driven: bool,
        is_pushed: bool,
        has_fallen: bool,
    ) -> None:
        """One row; a reader sees it once it is whole."""
        count = int(self._count[0])
        row = self._rows[count % _CAPACITY]
        row["time_ns"], row["driven_s"], row["qpos"] = time_ns, driven_s, qpos
        row["is_driven"], row["is_pushed"], row["has_fallen"] = is_driven, is_pushed, has_fallen
        self._count[0] = count + 1
