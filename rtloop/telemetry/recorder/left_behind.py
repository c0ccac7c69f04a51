"""What a dead run left behind: its rings, and where it was being recorded.

Rings lie where every user may write, and recovery is often run as root: only what belongs to the
caller is believed, and what a ring says never becomes a path.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import first_there, parts_there
from rtloop.telemetry.mcap.parts import find_parts
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.ring import RING_SUFFIX, LoopMetadata, Ring, UnpublishedError
from rtloop.telemetry.private import check_own_file, locked, pinned, printable
from rtloop.telemetry.recorder.pointer import Pointer, read_pointer
from rtloop.telemetry.recorder.process import remove_rings_of

# A folder with nothing in it may be of a run that is just being claimed.
_CLAIMED_WITHIN_S = 60.0


@dataclass
class DeadRun:
    """The rings of one run that outlived it, and the file they were being recorded in."""

    directory: Path | None
    rings: list[Ring] = field(default_factory=list)
    unpublished: dict[str, ProcessIdentity] = field(default_factory=dict)
    """Who made them, by name of the file: rings of loops that never came to their first cycle."""
    notes: list[str] = field(default_factory=list)
    """Rings that cannot be read, and what is doubtful about the others."""
    doubtful: bool = False
    """A ring cannot be read, or is damaged: that nothing is in it is not known."""
    pointer: Pointer | None = None

    @property
    def run_id(self) -> str:
        # Not what a ring says: the name makes a path.
        return self.directory.name if self.directory else ""

    @property
    def recording(self) -> Path | None:
        return None if self.pointer is None else self.pointer.recording

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing in its folder."""
        return not (self.rings or self.unpublished or self.notes or self.pointer)

    @property
    def described(self) -> dict[str, LoopMetadata]:
        return {ring.metadata.loop: ring.metadata for ring in self.rings}

    def who_lives(self) -> str | None:
        """Who still works on this run, in words; None when nobody does."""
        for ring in self.rings:
            if not ring.finished():
                return f"loop {ring.metadata.loop} is still running (process {ring.writer.pid})"
        for name, writer in self.unpublished.items():
            if writer.alive():
                return f"loop {name.removesuffix(RING_SUFFIX)} is starting (process {writer.pid})"
        if self.pointer is not None and self.pointer.process.alive():
            return f"process {self.pointer.process.pid} is still writing it"
        return None

    def is_of_another_file(self, recording: Path) -> bool:
        """Whether its rings are for another file, which is there, and not for what was written aside."""
        own = self.recording
        return own is not None and own != recording.resolve() and first_there(own).exists()

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
            names = [*(ring.path.name for ring in self.rings), *self.unpublished]
            remove_rings_of(self.directory, names)

    def remove_folder(self) -> None:
        """Of a run of which nothing else is left."""
        if self.directory is not None:
            with suppress(OSError):
                if time.time() - self.directory.stat().st_mtime > _CLAIMED_WITHIN_S:
                    self.directory.rmdir()


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
def opened(directory: Path | None, *, alone: bool = False) -> Iterator[DeadRun]:
    """The run in a folder of rings, which must be the caller's own; of a folder that has gone, nothing.

    ``alone``: for one recovery at a time. Raises BusyError while another is at work, RecordingError, OSError.
    """
    with ExitStack() as held:
        try:
            here = None if directory is None else held.enter_context(pinned(directory))
        except FileNotFoundError:  # another recovery was quicker
            here = None
        if directory is None or here is None:
            yield DeadRun(None)
            return
        if alone:
            held.enter_context(locked(here))
        run = DeadRun(directory)
        for path in sorted(here.glob(f"*{RING_SUFFIX}")):
            try:
                run.rings.append(own_ring(path, directory.name))
            except UnpublishedError as error:
                run.unpublished[path.name] = error.writer
            except RecordingError as error:
                why = printable(str(error).replace(str(here), str(directory)))
                run.notes.append(f"{why}; delete it by hand when nothing runs any more")
                run.doubtful = True
        try:
            run.pointer = read_pointer(here)
        except ValueError as error:
            run.notes.append(f"where it was recorded is not known ({error})")
        yield run


def own_ring(path: Path, run_id: str) -> Ring:
    """A ring of the folder of that run. Raises UnpublishedError, RecordingError."""
    ring = Ring(path)
    said = (ring.metadata.run_id, ring.metadata.loop)
    if said != (run_id, path.stem):
        run, loop = map(printable, said)
        raise RecordingError(f"ring {path} is not of this run: it says loop {loop} of run {run}")
    return ring


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
    if not first_there(recording).exists():
        raise RecordingError(f"there is no recording {recording}")
    for file in parts_there(recording):
        check_own_file(file)
    said = find_parts(recording).run_id
    for directory, run_id, _ in own:
        if said and run_id == said:
            return directory
    return None
