"""Restores a recording after loop and recorder died: the cut file, plus what only the rings still
hold.

Nothing is taken away before its content is safe in the new file, so an interrupted recovery is
simply run again. A ring whose writer lives, and a file whose recorder lives, are never touched.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import RecordingReader
from rtloop.telemetry.mcap.writer import RecordingWriter, sync_directory
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.ring import (
    RING_DIRECTORY,
    RING_SUFFIX,
    Batch,
    LoopMetadata,
    Ring,
    unfinished_cycle,
)
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.recorder.process import POINTER_NAME, explain, remove_rings

_BATCH = 8192
RUNS_DIRECTORY = Path("rtloop-runs")
RUN_FILE = "run.mcap"


@dataclass
class LoopRecovery:
    """Where the cycles of a restored loop came from."""

    from_file: int = 0
    from_ring: int = 0
    lost: int = 0
    """In neither: overwritten in the ring before anybody could write them down."""


@dataclass
class Recovered:
    """What became of one run. ``recording`` is None when there was nothing to keep."""

    run_id: str
    recording: Path | None
    loops: dict[str, LoopRecovery] = field(default_factory=dict)
    cut_copy: Path | None = None
    """The file as it was found, kept beside the restored one."""
    changed: bool = False
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    """Why this run could not be restored; nothing of it was changed then."""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run_id": self.run_id,
            "recording": None if self.recording is None else str(self.recording),
            "loops": {name: asdict(loop) for name, loop in self.loops.items()},
            "cut_copy": None if self.cut_copy is None else str(self.cut_copy),
            "changed": self.changed,
            "notes": self.notes,
            "error": self.error,
        }

    def __str__(self) -> str:
        """For people."""
        if self.error is not None:
            lines = [f"{self.run_id}: not recovered: {self.error}"]
        elif self.recording is None:
            lines = [f"{self.run_id}: nothing to keep"]
        elif not self.changed:
            lines = [f"{self.recording}: whole already"]
        else:
            lines = [f"{self.recording}: restored"]
            for name, loop in self.loops.items():
                lost = f"{loop.lost} lost" if loop.lost else "none lost"
                lines.append(
                    f"  {name}: {loop.from_file} cycles from the file, "
                    f"{loop.from_ring} from the ring, {lost}"
                )
            if self.cut_copy is not None:
                lines.append(f"  the file as it was found: {self.cut_copy}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


@dataclass
class _Run:
    """The rings of one run that outlived it, and the file they were being recorded in."""

    directory: Path | None
    rings: list[Ring] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    recording: Path | None = None
    recorder: ProcessIdentity | None = None

    @property
    def run_id(self) -> str:
        if self.rings:
            return self.rings[0].metadata.run_id
        return self.directory.name if self.directory else ""

    def who_lives(self) -> str | None:
        """Who still works on this run, in words; None when nobody does."""
        for ring in self.rings:
            if ring.writer.alive():
                return f"loop {ring.metadata.loop} is still running (process {ring.writer.pid})"
        if self.recorder is not None and self.recorder.alive():
            return f"its recorder is still writing (process {self.recorder.pid})"
        return None


def recover(
    target: Path | None = None,
    ring_directory: Path = RING_DIRECTORY,
    runs_directory: Path = RUNS_DIRECTORY,
) -> list[Recovered]:
    """Restore one run, or every dead one.

    ``target`` is a recording or the directory that holds its ``run.mcap``; None stands for every
    run with rings in ``ring_directory`` that nobody works on any more; one that cannot be restored
    then has its ``error`` set. A run without a recording is written to
    ``runs_directory/<run_id>/run.mcap``.

    Raises ``RecordingError`` for a ``target`` that is not a recording, still being written, or on a
    full disk.
    """
    runs = list(_runs(ring_directory))
    if target is None:
        return [_attempt(run, runs_directory) for run in runs if run.who_lives() is None]
    recording = target / RUN_FILE if target.is_dir() else target
    run = _run_of(recording, runs)
    living = run.who_lives()
    if living is not None:
        raise RecordingError(f"{recording} cannot be recovered yet: {living}. Stop it first.")
    return [_recover_run(run, recording)]


def _attempt(run: _Run, runs_directory: Path) -> Recovered:
    recording = run.recording
    if recording is None or not recording.parent.is_dir():
        recording = runs_directory / (run.run_id or "unknown") / RUN_FILE
    try:
        return _recover_run(run, recording)
    except RecordingError as error:
        return Recovered(run.run_id, recording, error=str(error), notes=run.unreadable)


def _runs(ring_directory: Path) -> Iterator[_Run]:
    if not ring_directory.is_dir():
        return
    for directory in sorted(path for path in ring_directory.iterdir() if path.is_dir()):
        run = _Run(directory)
        for path in sorted(directory.glob(f"*{RING_SUFFIX}")):
            try:
                run.rings.append(Ring(path))
            except RecordingError as error:
                run.unreadable.append(f"{error}; delete it by hand when nothing runs any more")
        _read_pointer(run, directory / POINTER_NAME)
        if run.rings or run.unreadable:
            yield run


def _read_pointer(run: _Run, path: Path) -> None:
    try:
        said = json.loads(path.read_text())
        run.recorder = ProcessIdentity(int(said["pid"]), int(said["start_time"]))
        run.recording = Path(said["recording"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # the run was not being recorded


def _run_of(recording: Path, runs: list[_Run]) -> _Run:
    """The rings that belong to a recording, if any are left."""
    for run in runs:
        if run.recording is not None and run.recording == recording.resolve():
            return run
    if not recording.exists():
        raise RecordingError(f"there is no recording {recording}")
    reader = RecordingReader(recording, signals=False)
    for _ in reader:
        break  # its facts come first
    for run in runs:
        if reader.run_id and run.run_id == reader.run_id:
            return run
    return _Run(None)


def _recover_run(run: _Run, recording: Path) -> Recovered:
    result = Recovered(run.run_id, recording, notes=list(run.unreadable))
    found = _survey(recording) if recording.exists() else None
    if found is None and not any(ring.backlog() for ring in run.rings):
        remove_rings(ring.path for ring in run.rings)
        result.recording = None
        result.notes.append("the run was never recorded and executed no cycle")
        return result
    if found is not None and found.whole and not _holds_more(run.rings, found):
        result.run_id = found.run_id or run.run_id
        for loop, statistics in found.statistics.items():
            result.loops[loop] = LoopRecovery(statistics.executed, 0, statistics.lost)
        remove_rings(ring.path for ring in run.rings)
        return result
    restored = recording.with_name(f"{recording.stem}.recovered.mcap")
    try:
        recording.parent.mkdir(parents=True, exist_ok=True)
        # Left by an interrupted recovery: everything in it is still in the cut file and the rings.
        restored.unlink(missing_ok=True)
        _write(run, found, restored, result)
        if found is not None:
            result.cut_copy = _keep_copy(recording)
        os.replace(restored, recording)
        sync_directory(recording.parent)
    except OSError as error:
        restored.unlink(missing_ok=True)
        raise RecordingError(explain(error, restored)) from None
    remove_rings(ring.path for ring in run.rings)
    result.changed = True
    return result


@dataclass
class _Survey:
    """What a first pass over the file found."""

    reader: RecordingReader
    whole: bool
    statistics: dict[str, LoopStatistics]

    @property
    def run_id(self) -> str:
        return self.reader.run_id


def _survey(recording: Path) -> _Survey:
    reader = RecordingReader(recording, signals=False)
    statistics: dict[str, LoopStatistics] = {}
    for loop, batch in reader:
        if loop not in statistics:
            statistics[loop] = LoopStatistics(reader.metadata[loop])
        statistics[loop].update(batch.records, batch.lost)
    whole = reader.complete and not reader.damaged_chunks
    if whole and not reader.metadata:
        raise RecordingError(f"{recording} was not recorded by rtloop: it has no loop in it")
    return _Survey(reader, whole, statistics)


def _holds_more(rings: list[Ring], found: _Survey) -> bool:
    """True when a ring holds a cycle newer than the file does."""
    for ring in rings:
        seen = found.statistics.get(ring.metadata.loop)
        newest = ring.status()["head"] - 1
        if newest < 0:
            continue
        ring.seek(newest)
        batch = ring.read(1)
        ring.seek(0)
        if len(batch) and (seen is None or int(batch.records["cycle"][-1]) > seen.last_cycle):
            return True
    return False


def _write(run: _Run, found: _Survey | None, restored: Path, result: Recovered) -> None:
    """Write file and rings as one new recording."""
    rings = {ring.metadata.loop: ring for ring in run.rings}
    metadata: dict[str, LoopMetadata] = {name: ring.metadata for name, ring in rings.items()}
    facts: dict[str, Any] = next((dict(ring.metadata.run) for ring in run.rings), {})
    result.run_id = run.run_id
    if found is not None:
        metadata = {**metadata, **found.reader.metadata}
        facts = found.reader.run or facts
        result.run_id = found.run_id or run.run_id
        if found.reader.damaged_chunks:
            result.notes.append(f"{found.reader.damaged_chunks} damaged chunks were left out")
    if not metadata:
        raise RecordingError(
            f"{result.recording} ends before it says anything, and no ring of its run is left: "
            "nothing to restore"
        )
    result.loops = {name: LoopRecovery() for name in metadata}
    statistics = {name: LoopStatistics(loop) for name, loop in metadata.items()}
    writer = RecordingWriter(restored)
    try:
        writer.describe_run(result.run_id, facts)
        for loop in metadata.values():
            writer.add_loop(loop)
        if found is not None:
            for name, batch in RecordingReader(found.reader.path):
                if found.reader.damaged_chunks:
                    batch = _with_gap_as_loss(batch, statistics[name].last_cycle)
                writer.write(name, batch)
                statistics[name].update(batch.records, batch.lost)
                result.loops[name].from_file += len(batch)
        summaries = {}
        for name, seen in statistics.items():
            ring = rings.get(name)
            if ring is not None:
                _append_ring(ring, seen, writer, result.loops[name])
            result.loops[name].lost = seen.lost
            status = ring.status() if ring else None
            summaries[name] = seen.summary(status=status).as_dict()
        writer.finish({"complete": "true", "recovered": "true", "loops": summaries})
    except OSError:
        writer.abandon()
        raise


def _with_gap_as_loss(batch: Batch, last_cycle: int) -> Batch:
    """After a damaged chunk: releases that no record accounts for count as lost cycles."""
    gap = int(batch.records["cycle"][0]) - last_cycle - 1 - int(batch.records["skipped"][0])
    return replace(batch, lost=max(batch.lost, gap))


def _append_ring(
    ring: Ring, seen: LoopStatistics, writer: RecordingWriter, result: LoopRecovery
) -> None:
    """Append the cycles that are newer than what the file had."""
    ring.seek(0)
    known = seen.executed + seen.lost
    last_cycle = seen.last_cycle
    first = True
    while len(batch := ring.read(_BATCH)):
        newer = batch.select(batch.records["cycle"] > last_cycle)
        lost = batch.lost
        if first:
            # What the ring overwrote, less what had been written down (or noted as lost) before. A
            # ring that still holds a cycle of the file continues it without a gap.
            overlaps = len(newer) < len(batch)
            lost = 0 if overlaps else max(0, batch.lost - known)
            first = False
        if len(newer) == 0:
            continue
        batch = replace(newer, lost=lost)
        seen.update(batch.records, batch.lost)
        writer.write(seen.metadata.loop, batch)
        result.from_ring += len(batch)
    last = unfinished_cycle(ring.status(), ring.metadata, seen.last_cycle, seen.consecutive_misses)
    if last is not None:
        seen.update(last.records)
        writer.write(seen.metadata.loop, last)


def _keep_copy(recording: Path) -> Path:
    """A second name for the file as it was found: ``RUN.cut.mcap``, then ``RUN.cut-2.mcap``."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        copy = recording.with_name(f"{recording.stem}.cut{suffix}.mcap")
        try:
            os.link(recording, copy)
        except FileExistsError:
            if copy.samefile(recording):
                return copy  # an interrupted recovery came this far
            number += 1
            continue
        except OSError:
            shutil.copyfile(recording, copy)  # no hard links on this file system
        return copy
