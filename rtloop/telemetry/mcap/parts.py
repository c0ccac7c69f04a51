"""A recording of several files, read as one."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import (
    RUN_FILE,
    first_path,
    first_there,
    part_number,
    parts_there,
)
from rtloop.telemetry.mcap.stream import NotMcapError, RecordingReader
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.ring import Batch, LoopMetadata


@dataclass(frozen=True)
class Parts:
    """The files of a recording, as far as their heads tell."""

    paths: list[Path]
    heads: list[RecordingReader]
    """Of each path what it says before its first cycle, which may be nothing; none where no file is."""
    others: list[str] = field(default_factory=list)
    """What is called like one of them and is none, in words."""

    @property
    def run_id(self) -> str:
        """By the first file that says it."""
        return next((found for head in self.heads if (found := _run_id(head))), "")

    @property
    def run(self) -> dict[str, Any]:
        """The facts of the run, by the first file that says them."""
        return next((head.run for head in self.heads if head.run), {})

    @property
    def described(self) -> dict[str, LoopMetadata]:
        """What the files say of their loops: of each the first that says it."""
        loops: dict[str, LoopMetadata] = {}
        for head in self.heads:
            loops = {**head.metadata, **loops}
        return loops


def find_parts(path: Path) -> Parts:
    """The files to read: all of a run for its folder, for the name of its first part, and for its
    oldest part that is left; else the one file.

    A file belongs to it by what it says: its run, and the number in its name. One that was cut
    before it says anything belongs by its name. Raises RecordingError.
    """
    asked = path / RUN_FILE if path.is_dir() else path
    first = first_path(asked)
    there = parts_there(first)
    if not there or asked not in (first, there[0]):
        return _one(asked)
    heads: dict[Path, RecordingReader] = {}
    others: dict[Path, str] = {}
    for part in there:
        try:
            heads[part] = _head(part)
        except NotMcapError:
            others[part] = "it is not an MCAP file"
    fits = {part: not head.run_id or head.part == part_number(part) for part, head in heads.items()}
    run_id = next(
        (_run_id(head) for part, head in heads.items() if fits[part] and _run_id(head)), ""
    )
    for part, head in list(heads.items()):
        # Another run's file may have such a name, where somebody put them together.
        if _run_id(head) not in ("", run_id):
            others[part] = f"it is of run {_run_id(head)}"
        elif not fits[part]:
            others[part] = f"it is a copy of part {head.part}"
        elif not _run_id(head) and head.library and not head.library.startswith("rtloop"):
            others[part] = "it was not recorded by rtloop"
        if part in others:
            del heads[part]
    if not heads or (asked in others and path == asked):
        return _one(asked)
    told = [f"{part.name} is no part of this run: {others[part]}" for part in sorted(others)]
    return Parts(list(heads), list(heads.values()), told)


def _one(path: Path) -> Parts:
    return Parts([path], [_head(path)] if os.path.lexists(path) else [])


def _head(path: Path) -> RecordingReader:
    reader = RecordingReader(path, signals=False)
    reader.read_head()
    return reader


def _run_id(head: RecordingReader) -> str:
    return head.run_id or next((loop.run_id for loop in head.metadata.values()), "")


class PartsReader:
    """Reads the files of a recording as one; what they say is in the attributes after that.

    Iterating yields ``(loop, batch)`` in recorded order, and raises ``RecordingError``, with what
    to do, when a file is cut, damaged or not rtloop's.
    """

    def __init__(self, path: Path, *, signals: bool = True, events: bool = False) -> None:
        """Raises ``RecordingError`` when a file cannot be read."""
        parts = find_parts(path)
        self.paths, self.others = parts.paths, parts.others
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
    def problems(self) -> tuple[str, ...]:
        """What went wrong in the run, in sentences, each once: its last file says it."""
        return tuple(dict.fromkeys(self._readers[-1].problems))

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
