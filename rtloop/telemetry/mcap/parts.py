"""A recording of several files, read as one."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import RUN_FILE, first_path, first_there, parts_there
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.ring import Batch, LoopMetadata


def parts_meant(path: Path) -> list[Path]:
    """The files to read: all of a run for its folder, for the name of its first part, and for its
    oldest part that is left; else the one file."""
    if path.is_dir():
        path = path / RUN_FILE
    first = first_path(path)
    parts = parts_there(first)
    if not parts or path not in (first, parts[0]):
        return [path]
    runs = [_run_id(part) for part in parts]
    # Another run's file may have such a name, where somebody put them together.
    return [part for part, run_id in zip(parts, runs, strict=True) if run_id in ("", runs[0])]


def _run_id(path: Path) -> str:
    reader = RecordingReader(path, signals=False)
    reader.read_head()
    return reader.run_id


class PartsReader:
    """Reads the files of a recording as one; what they say is in the attributes after that.

    Iterating yields ``(loop, batch)`` in recorded order, and raises ``RecordingError``, with what
    to do, when a file is cut, damaged or not rtloop's.
    """

    def __init__(self, path: Path, *, signals: bool = True, events: bool = False) -> None:
        """Raises ``RecordingError`` when a file cannot be read."""
        self.paths = parts_meant(path)
        self._signals, self._events = signals, events
        self._readers: list[RecordingReader] = []

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        for path in self.paths:
            reader = RecordingReader(path, signals=self._signals, events=self._events)
            self._readers.append(reader)
            yield from reader
            reader.require_whole()
            if reader.run_id != self.run_id:
                raise RecordingError(f"{reader.path} is of another run than {self.paths[0]}")

    def take_events(self) -> dict[str, PortEvents]:
        """As of one file."""
        taken = [reader.take_events() for reader in self._readers]
        loops = {loop for each in taken for loop in each}
        return {loop: np.concatenate([e[loop] for e in taken if loop in e]) for loop in loops}

    @property
    def _first(self) -> RecordingReader:
        return self._readers[0]

    @property
    def run_id(self) -> str:
        return self._first.run_id

    @property
    def run(self) -> dict[str, Any]:
        return self._first.run

    @property
    def library(self) -> str:
        return self._first.library

    @property
    def metadata(self) -> dict[str, LoopMetadata]:
        return self._first.metadata

    @property
    def alone(self) -> bool:
        """Whether it is a later file of several, and the others were not asked for."""
        path = self.paths[0]
        return self._first.part > 0 and path != first_there(first_path(path))

    @property
    def numbers(self) -> list[int]:
        """Of the parts read."""
        return [reader.part for reader in self._readers]

    @property
    def before(self) -> dict[str, Any]:
        """What came before the first part read, by loop: ``LoopStatistics.so_far``."""
        return self._first.before

    @property
    def continued(self) -> bool:
        """Whether the run went on in a file that was not read."""
        return self._readers[-1].continued

    @property
    def summary(self) -> dict[str, Any]:
        """Of the last file: of the run up to there."""
        return self._readers[-1].summary

    @property
    def size_bytes(self) -> int:
        return sum(reader.size_bytes for reader in self._readers)

    @property
    def chunks(self) -> int:
        return sum(reader.chunks for reader in self._readers)

    @property
    def lost(self) -> dict[str, int]:
        """Cycles lost while these files were written, by loop."""
        return _sums(reader.lost for reader in self._readers)

    @property
    def messages(self) -> dict[str, int]:
        """Messages by topic."""
        return _sums(reader.messages for reader in self._readers)


def _sums(counts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for one in counts:
        for name, n in one.items():
            total[name] += n
    return dict(total)
