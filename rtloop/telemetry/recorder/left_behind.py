"""What a dead run left behind: its rings, and where it was being recorded.

Rings lie where every user may write, and recovery is often run as root: only what belongs to the
caller is believed, and what a ring says never becomes a path.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import first_there
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.ring import RING_SUFFIX, LoopMetadata, Ring
from rtloop.telemetry.private import pinned, printable, read_own_file
from rtloop.telemetry.recorder.process import POINTER_NAME, remove_rings

_POINTER_BYTES = 1 << 16


@dataclass
class DeadRun:
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


def run_directories(ring_directory: Path) -> list[Path]:
    try:
        return sorted(
            path for path in ring_directory.iterdir() if path.is_dir() and not path.is_symlink()
        )
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordingError(f"cannot look for rings in {ring_directory}: {error}") from None


@contextmanager
def opened(directory: Path | None) -> Iterator[DeadRun]:
    """The run in a folder of rings, which must be the caller's own."""
    if directory is None:
        yield DeadRun(None)
        return
    with pinned(directory) as here:
        run = DeadRun(directory)
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


def _read_pointer(run: DeadRun, path: Path) -> None:
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


def directory_of(recording: Path, directories: list[Path]) -> Path | None:
    """The rings that belong to a recording, if any are left."""
    own: list[tuple[Path, str, Path | None]] = []
    for directory in directories:
        try:
            with opened(directory) as run:
                own.append((directory, run.run_id, run.recording))
        except (RecordingError, OSError):
            continue
    for directory, _, recorded in own:
        if recorded is not None and recorded == recording.resolve():
            return directory
    there = first_there(recording)
    if not there.exists():
        raise RecordingError(f"there is no recording {recording}")
    reader = RecordingReader(there, signals=False)
    reader.read_head()
    for directory, run_id, _ in own:
        if reader.run_id and run_id == reader.run_id:
            return directory
    return None
