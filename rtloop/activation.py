"""What one activation of a run leaves behind: rings, observers, a recording."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from shlex import quote

from rtloop.errors import ConfigError, RecordingError, RtloopError
from rtloop.realtime.rights import RightReport
from rtloop.telemetry.mcap.part_names import RUN_FILE, first_there
from rtloop.telemetry.observe.observed import Observed
from rtloop.telemetry.observe.ring import RING_DIRECTORY, RING_SUFFIX, make_ring_directory
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.private import make_private_directory
from rtloop.telemetry.recorder.aside import Aside
from rtloop.telemetry.recorder.pointer import write_pointer
from rtloop.telemetry.recorder.split import Split
from rtloop.telemetry.recorder.start import RecorderProcess

REPORT_NAME = "report.html"
_NAME_BYTES_MAX = 200


def checked_name(name: str) -> str:
    """A run's name, which is part of the names of its folders. Raises ConfigError for one that cannot be."""
    is_text = isinstance(name, str) and name.isprintable() and "/" not in name
    if is_text and 0 < len(name.encode()) <= _NAME_BYTES_MAX:
        return name
    raise ConfigError(
        f"found {name!r:.100} as the name of a run; expected part of a file's name: printable, without "
        f"'/', at most {_NAME_BYTES_MAX} bytes"
    )


@dataclass
class Activation:
    """One activation: its names, who watches it, and what was noticed of it."""

    run_id: str
    directory: Path
    """Of recording and report."""
    ring_directory: Path
    rights: list[RightReport] = field(default_factory=list)
    """The kernel's and every loop's; each once."""
    observed: dict[str, Observed] = field(default_factory=dict)
    recording_error: str = ""
    """Why the recording is incomplete; empty when it is not."""
    recorder: RecorderProcess | None = None
    aside: Aside = field(default_factory=Aside)
    """What is recorded beside it, when somebody wants it."""
    group: str | None = None
    """Who may read it beside its owner."""
    not_recorded: dict[str, int] = field(default_factory=dict)
    """Cycles that a recording lacks, by loop, once it was finished: overwritten before they were recorded."""
    missing: dict[str, int] = field(default_factory=dict)
    """Those that nobody says anything of, though the loop has executed them."""
    still_writing: int | None = None
    """The process of a recorder that was left behind; None: there is none."""
    made: list[Path] = field(default_factory=list)
    """The folders for the recording that were not there before, outermost first."""

    @classmethod
    def claim(
        cls, name: str, directory: Path, *, record: bool, group: str | None = None
    ) -> Activation:
        """With names of its own: by the time, by ``name``, and by a number where these are taken.

        A run id belongs to whoever makes its folders, of which none was there before.
        Raises RtloopError when one cannot be made.
        """
        stamp = _stamp()
        for n in count(1):
            run_id = f"{stamp}-{name}" + (f"-{n}" if n > 1 else "")
            claimed = cls(run_id, directory / run_id, RING_DIRECTORY / run_id, group=group)
            try:
                claimed._make_folders(record)
            except FileExistsError:
                continue
            return claimed
        raise AssertionError

    @property
    def recording(self) -> Path:
        """The first file of it that there is."""
        return first_there(self.directory / RUN_FILE)

    @property
    def report(self) -> Path:
        return self.directory / REPORT_NAME

    def ring_path(self, loop: str) -> Path:
        return self.ring_directory / f"{loop}{RING_SUFFIX}"

    def add_rights(self, rights: Iterable[RightReport]) -> None:
        self.rights += [right for right in rights if right not in self.rights]

    def observe_rings(self, loops: Iterable[str]) -> None:
        """From now on; their metadata is published. Raises RecordingError."""
        for loop in loops:
            self.observed[loop] = Observed(self.ring_path(loop))

    def start_recorder(self, avoid_cpus: Sequence[int], split: Split | None = None) -> None:
        """Returns when everything that the observed loops do will be recorded.

        Raises RecordingError, RtloopError.
        """
        self.recorder = RecorderProcess.start(
            self._rings(), self.recording, split=split, avoid_cpus=avoid_cpus
        )
        self.recorder.wait_ready()

    def dump(self, avoid_cpus: Sequence[int]) -> Path:
        """What the rings hold now, as a file of its own beside the recording, which goes on.

        Raises RecordingError, OSError.
        """
        rings, out = self._rings(), self._new_file("dump")
        recorder = RecorderProcess.start(rings, out, aside=True, avoid_cpus=avoid_cpus)
        recorder.end()
        if error := recorder.wait().error:
            raise RecordingError(error)
        return out

    def start_recording(self, avoid_cpus: Sequence[int]) -> Path:
        """From what the rings hold now, until :meth:`Aside.stop` or the end of the loops: the same beside it.

        Raises RecordingError, OSError.
        """
        return self.aside.start(self._rings(), self._new_file("recording"), avoid_cpus)

    def update(self) -> None:
        """Counts what the loops have done since, and looks after the recorders."""
        # The loops go on without a recorder: a robot must not drop its arm because a disk is full.
        if self.recorder is not None and not self.recording_error:
            self.recording_error = self.recorder.poll() or ""
        self.aside.look()
        for observed in self.observed.values():
            observed.update()

    def summarise_loops(self) -> dict[str, LoopSummary]:
        """The last look at the rings of loops that have ended."""
        summaries = {name: observed.finish() for name, observed in self.observed.items()}
        self.observed.clear()
        return summaries

    def tell_recorders(self, problems: Sequence[str]) -> None:
        """What went wrong in the run, so that its recordings say it; before its rings are finalized."""
        self.aside.tell(problems)
        if self.recorder is not None:
            self.recorder.tell(problems)

    def finish(self, loops: Mapping[str, LoopSummary], leave_after_s: float | None = None) -> None:
        """Waits for the recordings to be whole, or removes rings that nobody records.

        Recorders that are not ready ``leave_after_s`` are left behind; None: each is ended after a while.

        The loops, of these summaries, must have ended. Where recording has failed their rings stay, for
        ``rtloop recover``.
        """
        began_s = time.monotonic()
        # A cycle that hangs keeps its ring from being finalized.
        self.aside.end()
        if self.recorder is not None:
            self.recorder.end()
        self.aside.finish(leave_after_s)
        if self.recorder is None:
            self._remove_rings()
            return
        if leave_after_s is None:
            result = self.recorder.wait()
        else:
            left_s = max(0.0, began_s + leave_after_s - time.monotonic())
            if (ended := self.recorder.wait_or_leave(left_s)) is None:
                self.still_writing = self.recorder.pid
                return
            result = ended
        if result.error and not self.recording_error:
            self.recording_error = result.error
        self.not_recorded = {name: n for name, n in result.lost.items() if n}
        self.missing = {
            name: n
            for name, loop in loops.items()
            if (n := loop.executed - result.records.get(name, 0) - result.lost.get(name, 0)) > 0
        }

    def recording_problems(self) -> list[str]:
        """Why the recording is not all of the run, and what those beside it lack, in sentences."""
        problems = [self.recording_error] if self.recording_error else []
        if not problems:
            problems = [
                f"the recording lacks {n} cycles of loop '{name}' at its end. "
                f"Run `rtloop recover {quote(str(self.recording))}`, which restores what the ring still holds"
                for name, n in self.missing.items()
            ]
        problems += [
            f"the recording lacks {n} cycles of loop '{name}': its ring was full before the recorder "
            "came to them. Leave the recorder a CPU, or raise ring_seconds"
            for name, n in self.not_recorded.items()
        ]
        return problems + self.aside.problems

    def undo(self) -> None:
        """Removes every trace of an activation that failed before its first cycle."""
        self.observed.clear()
        if self.recorder is not None:
            self.recorder.end()
            self.recorder.wait()
            with suppress(OSError):
                self.recording.unlink(missing_ok=True)
        self._remove_recording_folders()
        self._remove_rings()

    def _rings(self) -> list[Path]:
        # Another thread may be ending the loops.
        if not (rings := [observed.ring.path for observed in list(self.observed.values())]):
            raise RecordingError("the loops have ended: there is nothing left to record")
        return rings

    def _new_file(self, kind: str) -> Path:
        """The name of a recording beside that of the run, whose folder is there then."""
        make_private_directory(self.directory, self.group)
        return self.directory / f"{kind}-{_stamp()}.mcap"

    def _make_folders(self, record: bool) -> None:
        """Raises FileExistsError when the run id is taken, RtloopError; then none of them is left."""
        try:
            make_ring_directory(self.ring_directory, self.group, exclusively=True)
            self._claim_rings(record)
        except FileExistsError:
            raise
        except OSError as error:
            raise RtloopError(
                f"cannot create {self.ring_directory} for the rings: {error.strerror}"
            ) from error
        if not record:
            return
        try:
            try:
                self._make_recording_folders()
            except FileNotFoundError:  # another run made one, failed, and removed it again
                self._make_recording_folders()
        except (OSError, RtloopError) as error:
            self._remove_recording_folders()
            self._remove_rings()
            if not isinstance(error, OSError) or isinstance(error, FileExistsError):
                raise
            raise RtloopError(
                f"cannot create a folder in {self.directory.parent} for the recording: "
                f"{error.strerror}. Name another recording.directory, or switch recording off"
            ) from error

    def _claim_rings(self, record: bool) -> None:
        """So that ``rtloop recover`` knows whose they are while the run is being set up."""
        try:
            write_pointer(self.ring_directory, self.recording if record else None)
        except OSError:
            self._remove_rings()
            raise

    def _make_recording_folders(self) -> None:
        missing = [path for path in self.directory.parents if not path.exists()]
        for path in reversed(missing):
            with suppress(FileExistsError):  # another run needs it too
                path.mkdir()
                self.made.append(path)
        make_private_directory(self.directory, self.group, exclusively=True)
        self.made.append(self.directory)

    def _remove_recording_folders(self) -> None:
        with suppress(OSError):  # somebody else keeps something in it
            while self.made:
                self.made.pop().rmdir()

    def _remove_rings(self) -> None:
        shutil.rmtree(self.ring_directory, ignore_errors=True)


def _stamp() -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S_%f")[:-3]
