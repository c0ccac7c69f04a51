"""Restores a recording after loop and recorder died: the cut file, plus what only the rings still
hold.

Nothing is taken away before its content is safe in the new file, so an interrupted recovery is
simply run again. A ring whose writer lives, and a file whose recorder lives, are never touched.
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import RUN_FILE, first_path, parts_there
from rtloop.telemetry.mcap.parts import Parts, find_parts
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.mcap.writer import sync_directory
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.private import (
    BusyError,
    ForeignError,
    check_own_file,
    locked,
    make_private_directory,
    new_file,
    pinned,
    printable,
)
from rtloop.telemetry.recorder.left_behind import (
    DeadRun,
    directory_of,
    opened,
    run_directories,
)
from rtloop.telemetry.recorder.process import cause_and_cure
from rtloop.telemetry.recorder.recovered import LoopRecovery, Recovered
from rtloop.telemetry.recorder.restorer import (
    Survey,
    holds_more,
    missing_before,
    survey,
    write_restored,
)

_T = TypeVar("_T")

_PINNED = re.compile(r"/proc/self/fd/\d+")
RUNS_DIRECTORY = Path("rtloop-runs")


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
    directories = run_directories(ring_directory)
    if target is None:
        results = (_attempt(directory, runs_directory) for directory in directories)
        return [result for result in results if result is not None]
    recording = _first_part(target)
    try:
        with opened(directory_of(recording, directories), alone=True) as run:
            living = run.who_lives()
            if living is not None:
                raise RecordingError(
                    f"{recording} cannot be recovered yet: {living}. Stop it first."
                )
            if run.is_of_another_file(recording):
                return [_recover_run(DeadRun(None), recording)]
            run.settle()
            return [_recover_run(run, recording)]
    except BusyError as error:
        raise RecordingError(f"{recording} is not recovered: {error}") from None
    except OSError as error:
        raise RecordingError(f"{recording} cannot be recovered: {error}") from None


def _first_part(target: Path) -> Path:
    """The name that stands for a recording, by its folder or any file of it."""
    if target.is_dir():
        target = target / RUN_FILE
    if not os.path.lexists(target):
        return first_path(target)
    check_own_file(target)
    reader = RecordingReader(target, signals=False)
    reader.read_head()
    # Files of their own may have such names, too.
    return target if reader.run_id and reader.part == 0 else first_path(target)


def _attempt(directory: Path, runs_directory: Path) -> Recovered | None:
    """One of all runs; None when somebody works on it, or nothing is left of it."""
    result = Recovered(printable(directory.name), None)
    try:
        with opened(directory, alone=True) as run:
            result.notes = run.notes
            if run.who_lives() is not None:
                return None
            if run.is_nothing:
                run.remove_folder()
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


def _recover_run(run: DeadRun, recording: Path) -> Recovered:
    """Raises RecordingError, OSError; what was not restored until then is as it was."""
    result = Recovered(run.run_id, recording, notes=run.notes)
    with ExitStack() as held:
        there = _enter(recording.parent, held)
        parts = Parts([], [])
        if there is not None:
            parts = _in_words(recording, partial(_parts, there / recording.name))
        files = parts.paths if parts.heads else []
        if not files and not any(ring.backlog() for ring in run.rings):
            result.recording = None
            if run.doubtful:
                result.error = "what its rings hold cannot be read"
                return result
            run.remove_rings()
            if there is not None and recording.parent.name == run.run_id:
                with suppress(OSError):  # there is something else in it
                    recording.parent.rmdir()
            result.notes.append("the run was never recorded and executed no cycle")
            return result
        if files:
            result.recording = recording.with_name(files[0].name)
            result.notes += parts.others
            _in_words(recording, partial(_recover_parts, run, parts, result))
        else:
            folder = there or _make(recording.parent, held)
            said = Parts([], [])
            restore = partial(_restore, run, said, None, folder / recording.name, result, {}, None)
            _in_words(recording, restore)
            result.changed = True
    run.remove_rings()
    return result


def _parts(first: Path) -> Parts:
    """The files of the recording; only the caller's own are looked into."""
    for file in parts_there(first):
        check_own_file(file)
    return find_parts(first)


def _recover_parts(run: DeadRun, parts: Parts, result: Recovered) -> None:
    """Each part that is not whole; what only the rings hold goes into the last."""
    before: dict[str, LoopStatistics] = {}
    described = {**parts.described, **run.described}
    result.run_id = parts.run_id or run.run_id
    for n, file in enumerate(parts.paths):
        following = parts.heads[n + 1] if n + 1 < len(parts.heads) else None
        result.notes += _missing(before, parts.heads[n])
        found = survey(file, described, before)
        result.run_id = result.run_id or found.run_id
        if found.whole and (following is not None or not holds_more(run.rings, found)):
            for loop, seen in found.statistics.items():
                recovery = result.loops.setdefault(loop, LoopRecovery())
                recovery.from_file += found.cycles.get(loop, 0)
                recovery.lost = seen.lost
            before = found.statistics
            if following is None and found.reader.continued:
                result.notes.append("the run went on in a file that is not there")
            continue
        if not found.says_anything:
            result.notes.append(
                f"{file.name} ends before it says anything: of its cycles only what a ring held is there"
            )
        then = None if following is None else following.before
        before = _restore(run, parts, found, file, result, before, then)
        result.changed = True


def _missing(before: dict[str, LoopStatistics], head: RecordingReader) -> list[str]:
    """What a file says came before it, and no file has, in words."""
    return [
        f"{n} cycles of {loop} before {head.path.name} were in a file that is not there: they are lost"
        for loop, said in head.before.items()
        if loop in before and (n := missing_before(before[loop], said)) > 0
    ]


def _enter(directory: Path, held: ExitStack) -> Path | None:
    """A name for the folder of a recording that goes on to mean it; None when there is none."""
    try:
        there = held.enter_context(pinned(directory, shared=True))
    except FileNotFoundError:
        return None
    held.enter_context(locked(there))
    return there


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


def _restore(
    run: DeadRun,
    parts: Parts,
    found: Survey | None,
    recording: Path,
    result: Recovered,
    before: dict[str, LoopStatistics],
    then: dict[str, Any] | None,
) -> dict[str, LoopStatistics]:
    """Writes what the file and the rings hold under the name of the file."""
    shown = (result.recording or recording).with_name(recording.name)
    restored = recording.with_name(f"{recording.stem}.recovered.mcap")
    try:
        # Left by an interrupted recovery: everything in it is still in the cut file and the rings.
        restored.unlink(missing_ok=True)
        seen = write_restored(run, parts, found, restored, result, before, then)
        if found is not None:
            result.cut_copy = shown.with_name(_keep_copy(recording).name)
        os.replace(restored, recording)
        sync_directory(recording.parent)
        return seen
    except OSError as error:
        restored.unlink(missing_ok=True)
        what, cure = cause_and_cure(error)
        again = (
            "rtloop recover" if found is None else f"rtloop recover {quote(str(result.recording))}"
        )
        raise RecordingError(
            f"{shown} cannot be restored: {what}. What was found is as it was. "
            f"To try again, {cure} and run `{again}`"
        ) from None
    except Exception:
        restored.unlink(missing_ok=True)
        raise


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
