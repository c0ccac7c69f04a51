"""Restores a recording after loop and recorder died: the cut file, plus what only the rings still
hold.

Nothing is taken away before its content is safe in the new file, so an interrupted recovery is
simply run again. A ring whose writer lives, and a file whose recorder lives, are never touched.

Rings lie where every user may write, and recovery is often run as root: only what belongs to the
caller is believed, and what a ring says never becomes a path.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.reader import RecordingReader
from rtloop.telemetry.mcap.writer import RecordingWriter, sync_directory
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.records import INPUT_RECORD_DTYPE, empty_records
from rtloop.telemetry.observe.ring import (
    RING_DIRECTORY,
    RING_SUFFIX,
    Batch,
    LoopMetadata,
    Ring,
    unfinished_cycle,
)
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.private import (
    ForeignError,
    check_own_file,
    make_private_directory,
    new_file,
    pinned,
    printable,
    read_own_file,
)
from rtloop.telemetry.recorder.process import POINTER_NAME, explain, remove_rings

_T = TypeVar("_T")

_BATCH = 8192
_POINTER_BYTES = 1 << 16
_PINNED = re.compile(r"/proc/self/fd/\d+")
RUNS_DIRECTORY = Path("rtloop-runs")
RUN_FILE = "run.mcap"


@dataclass
class LoopRecovery:
    """Where the cycles of a restored loop came from."""

    from_file: int = 0
    from_ring: int = 0
    lost: int = 0
    """In neither: overwritten in the ring before anybody could write them down, or damaged."""
    lost_is_known: bool = True
    """False: cycles may be missing after the last one, and nobody knows how many."""


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
    left_to: str | None = None
    """The user whose run it is: only that user recovers it."""

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
            "left_to": self.left_to,
        }

    def __str__(self) -> str:
        """For people."""
        if self.error is not None:
            lines = [f"{self.run_id}: not recovered: {self.error}"]
        elif self.left_to is not None:
            user = self.left_to
            lines = [
                f"{self.run_id}: left to {user}, whose it is (`sudo -u {user} rtloop recover`)"
            ]
        elif self.recording is None:
            lines = [f"{self.run_id}: nothing to keep"]
        elif not self.changed:
            lines = [f"{self.recording}: whole already"]
        else:
            lines = [f"{self.recording}: restored"]
            for name, loop in self.loops.items():
                lost = f"{loop.lost} lost" if loop.lost else "none lost"
                if not loop.lost_is_known:
                    lost = f"{loop.lost or 'none'} lost among them; what came after is not known"
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
    notes: list[str] = field(default_factory=list)
    """Rings that cannot be read, and what is doubtful about the others."""
    doubtful: bool = False
    """A ring cannot be read, or is damaged: that nothing is in it is not known."""
    recording: Path | None = None
    recorder: ProcessIdentity | None = None

    @property
    def run_id(self) -> str:
        # Not what a ring says: the name makes a path.
        return self.directory.name if self.directory else ""

    @property
    def described(self) -> dict[str, LoopMetadata]:
        return {ring.metadata.loop: ring.metadata for ring in self.rings}

    def who_lives(self) -> str | None:
        """Who still works on this run, in words; None when nobody does."""
        for ring in self.rings:
            if not ring.finished():
                return f"loop {ring.metadata.loop} is still running (process {ring.writer.pid})"
        if self.recorder is not None and self.recorder.alive():
            return f"its recorder is still writing (process {self.recorder.pid})"
        return None

    def settle(self) -> None:
        """Nobody writes any more: what was written is what the slots hold."""
        for ring in self.rings:
            if not ring.settle():
                self.doubtful = True
                self.notes.append(
                    f"ring {ring.path.name} is damaged: its records were counted anew, by its slots"
                )

    def remove_rings(self) -> None:
        if self.directory is not None:
            directory = self.directory
            remove_rings(directory / ring.path.name for ring in self.rings)


def recover(
    target: Path | None = None,
    ring_directory: Path = RING_DIRECTORY,
    runs_directory: Path = RUNS_DIRECTORY,
) -> list[Recovered]:
    """Restore one run, or every dead one, of those that belong to the caller.

    ``target`` is a recording or the directory that holds its ``run.mcap``; None stands for every
    run with rings in ``ring_directory`` that nobody works on any more; one that cannot be restored
    then has its ``error`` set, and does not keep the others from it. A run without a recording is
    written to ``runs_directory/<run_id>/run.mcap``.

    Raises ``RecordingError`` for a ``target`` that is not a recording, somebody else's, still being
    written, or on a full disk.
    """
    directories = _run_directories(ring_directory)
    if target is None:
        results = (_attempt(directory, runs_directory) for directory in directories)
        return [result for result in results if result is not None]
    recording = target / RUN_FILE if target.is_dir() else target
    if os.path.lexists(recording):
        check_own_file(recording)
    with _opened(_directory_of(recording, directories)) as run:
        living = run.who_lives()
        if living is not None:
            raise RecordingError(f"{recording} cannot be recovered yet: {living}. Stop it first.")
        run.settle()
        try:
            return [_recover_run(run, recording)]
        except OSError as error:
            raise RecordingError(f"{recording} cannot be recovered: {error}") from None


def _attempt(directory: Path, runs_directory: Path) -> Recovered | None:
    """One of all runs; None when somebody works on it, or nothing is left of it."""
    result = Recovered(printable(directory.name), None)
    try:
        with _opened(directory) as run:
            result.notes = run.notes
            if run.who_lives() is not None or not (run.rings or run.notes):
                return None
            run.settle()
            recording = run.recording
            if recording is None or not recording.parent.is_dir():
                recording = runs_directory / run.run_id / RUN_FILE
            result.recording = recording
            return _recover_run(run, recording)
    except ForeignError as error:
        if result.recording is None:
            result.left_to = error.owner
        else:
            result.error = str(error)
    except (RecordingError, OSError) as error:
        result.error = str(error)
    except Exception as error:  # ours, and one run's: the others are still to be saved
        result.error = f"{error!r}: an error in rtloop, please report it; nothing was changed"
    return result


def _run_directories(ring_directory: Path) -> list[Path]:
    try:
        return sorted(
            path for path in ring_directory.iterdir() if path.is_dir() and not path.is_symlink()
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordingError(f"cannot look for rings in {ring_directory}: {error}") from None


@contextmanager
def _opened(directory: Path | None) -> Iterator[_Run]:
    """The run in a folder of rings, which must be the caller's own."""
    if directory is None:
        yield _Run(None)
        return
    with pinned(directory) as here:
        run = _Run(directory)
        for path in sorted(here.glob(f"*{RING_SUFFIX}")):
            try:
                run.rings.append(_own_ring(path, directory.name))
            except RecordingError as error:
                why = printable(str(error).replace(str(here), str(directory)))
                run.notes.append(f"{why}; delete it by hand when nothing runs any more")
                run.doubtful = True
        _read_pointer(run, here / POINTER_NAME)
        yield run


def _own_ring(path: Path, run_id: str) -> Ring:
    ring = Ring(path)
    said = (ring.metadata.run_id, ring.metadata.loop)
    if said != (run_id, path.stem):
        run, loop = map(printable, said)
        raise RecordingError(f"ring {path} is not of this run: it says loop {loop} of run {run}")
    return ring


def _read_pointer(run: _Run, path: Path) -> None:
    try:
        said = json.loads(read_own_file(path, _POINTER_BYTES))
        recorder = ProcessIdentity(int(said["pid"]), int(said["start_time"]))
        recording = Path(said["recording"])
        if not recording.is_absolute() or "\0" in str(recording):
            raise ValueError(f"no place of a file: {recording}")
    except FileNotFoundError:
        return  # the run was not being recorded
    except (
        *(RecordingError, OSError, ValueError, KeyError, TypeError),
        *(OverflowError, RecursionError),
    ) as error:
        run.notes.append(f"where it was recorded is not known ({POINTER_NAME}: {error!r})")
        return
    run.recorder, run.recording = recorder, recording


def _directory_of(recording: Path, directories: list[Path]) -> Path | None:
    """The rings that belong to a recording, if any are left."""
    own: list[tuple[Path, str, Path | None]] = []
    for directory in directories:
        try:
            with _opened(directory) as run:
                own.append((directory, run.run_id, run.recording))
        except (RecordingError, OSError):
            continue
    for directory, _, recorded in own:
        if recorded is not None and recorded == recording.resolve():
            return directory
    if not recording.exists():
        raise RecordingError(f"there is no recording {recording}")
    reader = RecordingReader(recording, signals=False)
    for _ in reader:
        break  # its facts come first
    for directory, run_id, _ in own:
        if reader.run_id and run_id == reader.run_id:
            return directory
    return None


def _recover_run(run: _Run, recording: Path) -> Recovered:
    """Raises RecordingError, OSError; nothing was changed then."""
    result = Recovered(run.run_id, recording, notes=run.notes)
    with ExitStack() as held:
        there = _enter(recording.parent, held)
        file = None if there is None else there / recording.name
        found = None
        if file is not None and os.path.lexists(file):
            found = _in_words(recording, partial(_survey, file, run.described))
        if found is None and not any(ring.backlog() for ring in run.rings):
            result.recording = None
            if run.doubtful:
                result.error = "what its rings hold cannot be read"
                return result
            run.remove_rings()
            result.notes.append("the run was never recorded and executed no cycle")
            return result
        if found is not None and found.whole and not _holds_more(run.rings, found):
            result.run_id = found.run_id or run.run_id
            for loop, statistics in found.statistics.items():
                result.loops[loop] = LoopRecovery(statistics.executed, 0, statistics.lost)
            run.remove_rings()
            return result
        if file is None:
            file = _make(recording.parent, held) / recording.name
        _in_words(recording, partial(_restore, run, found, file, result))
    run.remove_rings()
    result.changed = True
    return result


def _enter(directory: Path, held: ExitStack) -> Path | None:
    """A name for the folder of a recording that goes on to mean it; None when there is none."""
    try:
        return held.enter_context(pinned(directory, shared=True))
    except FileNotFoundError:
        return None


def _make(directory: Path, held: ExitStack) -> Path:
    """The folder for a run that was never recorded, in ``rtloop-runs`` of the working directory."""
    base = directory.parent
    base.mkdir(parents=True, exist_ok=True)
    with pinned(base, shared=True) as there:
        make_private_directory(there / directory.name)
        return held.enter_context(pinned(there / directory.name))


def _in_words(recording: Path, action: Callable[[], _T]) -> _T:
    """What an action returns; its error names the folder of the recording as people know it."""
    try:
        return action()
    except RecordingError as error:
        raise RecordingError(_PINNED.sub(str(recording.parent), str(error))) from None


def _restore(run: _Run, found: "_Survey | None", recording: Path, result: Recovered) -> None:
    """Writes what the file and the rings hold under the name of the file."""
    shown = result.recording or recording
    restored = recording.with_name(f"{recording.stem}.recovered.mcap")
    try:
        # Left by an interrupted recovery: everything in it is still in the cut file and the rings.
        restored.unlink(missing_ok=True)
        _write(run, found, restored, result)
        if found is not None:
            result.cut_copy = shown.with_name(_keep_copy(recording).name)
        os.replace(restored, recording)
        sync_directory(recording.parent)
    except OSError as error:
        restored.unlink(missing_ok=True)
        raise RecordingError(explain(error, shown.with_name(restored.name))) from None
    except Exception:
        restored.unlink(missing_ok=True)
        raise


@dataclass
class _Survey:
    """What a first pass over the file found."""

    reader: RecordingReader
    statistics: dict[str, LoopStatistics]

    @property
    def whole(self) -> bool:
        return self.reader.whole

    @property
    def run_id(self) -> str:
        return self.reader.run_id


def _survey(recording: Path, described: Mapping[str, LoopMetadata]) -> _Survey:
    check_own_file(recording)
    reader = RecordingReader(recording, signals=False, metadata=described)
    statistics: dict[str, LoopStatistics] = {}
    for loop, batch in reader:
        if loop not in statistics:
            statistics[loop] = LoopStatistics(reader.metadata[loop])
        statistics[loop].update(batch.records, batch.lost)
    if reader.whole and not reader.metadata:
        raise RecordingError(f"{recording} was not recorded by rtloop: it has no loop in it")
    return _Survey(reader, statistics)


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
        result.notes += _damage(found.reader)
    if not metadata:
        raise RecordingError(
            f"{restored.with_name(result.recording.name) if result.recording else restored} ends "
            "before it says anything, and no ring of its run is left: nothing to restore"
        )
    writer = RecordingWriter(restored)
    loops = {name: _LoopRestorer(loop, rings.get(name), writer) for name, loop in metadata.items()}
    try:
        writer.describe_run(result.run_id, facts)
        for loop in metadata.values():
            writer.add_loop(loop)
        if found is not None:
            again = RecordingReader(found.reader.path, metadata=metadata)
            for name, batch in again:
                loops[name].add_from_file(batch)
        summaries = {}
        for name, loop_restorer in loops.items():
            loop_restorer.add_from_ring()
            said = None if found is None else found.reader.summary.get(name)
            summaries[name] = loop_restorer.finish(said, found).as_dict()
            result.loops[name] = loop_restorer.result
            result.notes += loop_restorer.notes
        writer.finish({"complete": "true", "recovered": "true", "loops": summaries})
    except BaseException:
        writer.abandon()
        raise


def _damage(reader: RecordingReader) -> list[str]:
    """What of a file is left out, in words."""
    notes = []
    if reader.damaged_chunks:
        notes.append(f"{reader.damaged_chunks} damaged chunks were left out")
    if reader.damaged_metadata:
        notes.append(f"{reader.damaged_metadata} damaged facts about the run were left out")
    for name, n in reader.undescribed.items():
        notes.append(f"{n} cycles of {name} were left out: nothing intact describes that loop")
    if reader.damaged_elsewhere and not notes:
        notes.append("the file is damaged, though none of its cycles and facts is")
    return notes


class _LoopRestorer:
    """One loop of the restored file: cycles of the cut file, and from the ring those it lacks."""

    def __init__(self, metadata: LoopMetadata, ring: Ring | None, writer: RecordingWriter) -> None:
        self.result = LoopRecovery()
        self.notes: list[str] = []
        self._seen = LoopStatistics(metadata)
        self._ring = ring
        self._writer = writer

    def add_from_file(self, batch: Batch) -> None:
        """Consecutive cycles of the file. What is missing before or among them, a ring may hold."""
        for part in _parts(batch, self._seen.last_cycle):
            lost = part.lost
            if lost and self._fill(int(part.records["cycle"][0])):
                lost = _gap(part, self._seen.last_cycle)
            self._write(replace(part, lost=lost))
            self.result.from_file += len(part)

    def add_from_ring(self) -> None:
        """The cycles that are newer than what the file had, and the one that never returned."""
        if self._ring is None:
            return
        self._fill(None)
        seen = self._seen
        try:
            last = unfinished_cycle(
                self._ring.status(), self._ring.metadata, seen.last_cycle, seen.consecutive_misses
            )
        except ValueError as error:
            self.notes.append(f"loop {seen.metadata.loop}: {error}")
            return
        if last is not None:
            seen.update(last.records)
            self._writer.write(seen.metadata.loop, last)

    def finish(self, said: dict[str, Any] | None, found: _Survey | None) -> LoopSummary:
        """Accounts for the end; the summary of the loop.

        ``said`` is the summary that the file has, of a recorder that had seen all of the loop.
        """
        seen, status = self._seen, None
        complete = None if said is None else LoopSummary.from_dict(said)
        if self._ring is not None:
            status = self._ring.status()
            if not _fits(status, seen):
                name = seen.metadata.loop
                self.notes.append(f"loop {name}: what its ring counted is damaged, and not used")
                status = None
        elif complete is not None:
            missing = complete.executed - seen.executed - seen.lost
            if missing > 0:
                self._write(replace(_nothing(seen.metadata), lost=missing))
        elif found is not None and not found.whole:
            # Nobody says how the loop went on after what is left of the file.
            self.result.lost_is_known = False
        self.result.lost = seen.lost
        if complete is not None and self._ring is None:
            return replace(complete, records_lost=seen.lost)
        return seen.summary(status=status)

    def _fill(self, before_cycle: int | None) -> int:
        """Writes the ring's cycles between the last one written and ``before_cycle`` (or the end).

        Returns how many there were.
        """
        if self._ring is None:
            return 0
        before = self.result.from_ring
        begin = _first_newer(self._ring, self._seen.last_cycle)
        self._ring.seek(begin)
        # What the ring overwrote, less what had been written down (or noted as lost) before.
        lost = max(0, begin - self._seen.executed - self._seen.lost)
        while len(batch := self._ring.read(_BATCH)) or batch.lost:
            if before_cycle is None:
                if self._seen.last_cycle >= 0 and len(batch):
                    lost = min(lost, _gap(batch, self._seen.last_cycle))
                self._write(replace(batch, lost=lost + batch.lost))
                self.result.from_ring += len(batch)
                lost = 0
                continue
            missing = batch.select(batch.records["cycle"] < before_cycle)
            for part in _parts(replace(missing, lost=0), self._seen.last_cycle):
                self._write(part)
            self.result.from_ring += len(missing)
            if len(missing) < len(batch):
                break
        return self.result.from_ring - before

    def _write(self, batch: Batch) -> None:
        self._seen.update(batch.records, batch.lost)
        self._writer.write(self._seen.metadata.loop, batch)


def _first_newer(ring: Ring, last_cycle: int) -> int:
    """The number of the ring's first record after ``last_cycle``, of those that it still holds."""
    high = int(ring.status()["head"])
    low = max(0, high - ring.capacity + 1)
    while low < high:
        middle = (low + high) // 2
        ring.seek(middle)
        batch = ring.read(1)
        if len(batch) == 0 or int(batch.records["cycle"][0]) > last_cycle:
            high = middle
        else:
            low = ring.position
    return low


def _parts(batch: Batch, last_cycle: int) -> Iterator[Batch]:
    """The batch, cut wherever cycles are missing; ``lost`` says how many before each part.

    Where the recorder noted a loss that is exact; otherwise every release counts that neither a
    record nor a skip accounts for.
    """
    if len(batch) == 0:
        return
    cycles, skipped = batch.records["cycle"], batch.records["skipped"].astype(np.int64)
    gaps = np.diff(cycles) - 1 - skipped[1:]
    begin = 0
    for end in [*(np.flatnonzero(gaps > 0) + 1).tolist(), len(batch)]:
        keep = np.zeros(len(batch), bool)
        keep[begin:end] = True
        part = batch.select(keep)
        noted = batch.lost if begin == 0 else 0
        yield replace(part, lost=noted or _gap(part, last_cycle))
        last_cycle = int(cycles[end - 1])
        begin = end


def _gap(batch: Batch, last_cycle: int) -> int:
    """Releases right before these cycles that neither a record nor a skip accounts for."""
    first = batch.records[0]
    return max(0, int(first["cycle"]) - last_cycle - 1 - int(first["skipped"]))


def _nothing(metadata: LoopMetadata) -> Batch:
    return Batch(
        empty_records(),
        np.empty((0, len(metadata.sources)), INPUT_RECORD_DTYPE),
        np.empty((0, len(metadata.inputs)), np.float32),
        np.empty((0, len(metadata.outputs)), np.float32),
    )


def _fits(status: dict[str, Any], seen: LoopStatistics) -> bool:
    """Whether what the writer counted fits its records; each count rests on another one."""
    executed, skipped = int(status["executed"]), int(status["skipped"])
    if executed == 0 == skipped:
        return True  # it counted nothing, and is not asked
    return (
        abs(executed - int(status["head"])) <= 1
        and abs(int(status["elapsed_periods"]) - executed - skipped) <= 1
        and seen.misses - 1 <= int(status["misses"]) <= executed
        and (seen.lost > 0 or abs(int(status["misses"]) - (seen.misses - seen.unfinished)) <= 1)
    )


def _keep_copy(recording: Path) -> Path:
    """A second name for the file as it was found: ``RUN.cut.mcap``, then ``RUN.cut-2.mcap``."""
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        copy = recording.with_name(f"{recording.stem}.cut{suffix}.mcap")
        try:
            os.link(recording, copy, follow_symlinks=False)
        except FileExistsError:
            if copy.samefile(recording):
                return copy  # an interrupted recovery came this far
            number += 1
            continue
        except OSError:
            with recording.open("rb") as cut, open(new_file(copy), "wb") as file:
                shutil.copyfileobj(cut, file)  # no hard links on this file system
        return copy
