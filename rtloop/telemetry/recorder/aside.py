"""A recording that somebody starts and stops while the loops run, beside that of the run itself."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtloop.errors import RecordingError
from rtloop.telemetry.recorder.start import READY_S, RecorderProcess, RecordingResult

_LONGEST_S = 15.0
_LOOK_S = 0.01


@dataclass
class _Recording:
    """One, from its start until somebody has seen its end."""

    recorder: RecorderProcess
    is_ready: bool = False
    """Whether whoever started it was told so: of any other nothing is a problem."""
    is_told: bool = False
    """To end."""
    is_over: bool = False
    error: str = ""

    @property
    def out(self) -> Path:
        return self.recorder.out


class Aside:
    """Of one activation: one recording at a time, which ends with the loops at the latest.

    From any threads at once: whoever waits for a recorder holds nothing up, so that an end of the loops
    does not wait for somebody's start. Every error is a RecordingError.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: _Recording | None = None
        self._is_closed = False
        self.error = ""
        """Why the newest ended by itself, until it is stopped or another one is started; else empty."""
        self.problems: list[str] = []
        """What recordings lack, in sentences."""
        self._left_behind: list[RecorderProcess] = []

    @property
    def left_behind(self) -> dict[int, Path]:
        """Files that nobody waits for any more and that are still being written, by process."""
        return {left.pid: left.out for left in self._left_behind if left.is_running}

    def start(self, rings: Sequence[Path], out: Path, avoid_cpus: Sequence[int]) -> Path:
        """Returns when everything from now on, and what the rings still hold, will be in the file."""
        with self._lock:
            if self._is_closed:
                raise RecordingError("the loops are being ended: there is nothing left to record")
            self._look()
            if self._now is not None:
                raise RecordingError(f"{self._now.out} is being recorded already: stop that first")
            started = _Recording(
                RecorderProcess.start(rings, out, aside=True, avoid_cpus=avoid_cpus)
            )
            self._now, self.error = started, ""
        end_s = time.monotonic() + READY_S
        try:
            while not self._is_ready(started):
                if time.monotonic() >= end_s:
                    raise RecordingError(f"the recorder did not get ready within {READY_S:g} s")
                time.sleep(_LOOK_S)
        except BaseException:  # Ctrl-C, too
            with self._lock:
                if not started.is_over:
                    self._tell_end(started)
                    self._leave(started)
            raise
        return out

    def stop(self, leave_after_s: float | None) -> Path:
        """Returns when the file is whole; with ``leave_after_s`` it may be left behind, still being written."""
        with self._lock:
            self._look()
            stopped, error = self._now, self.error
            self.error = ""
            if stopped is None:
                raise RecordingError(error or "no recording was started, or it was stopped already")
            if not stopped.is_ready:
                raise RecordingError(f"{stopped.out} is just being started: stop it after that")
            self._tell_end(stopped)
        self._wait(stopped, leave_after_s)
        if stopped.error:
            raise RecordingError(stopped.error)
        return stopped.out

    def look(self) -> None:
        """Whether one has ended by itself. Never waits."""
        with self._lock:
            self._look()

    def tell(self, problems: Sequence[str]) -> None:
        """What went wrong in the run: its recording says so, too."""
        with self._lock:
            if self._now is not None and not self._now.is_told:
                self._now.recorder.tell(problems)

    def close(self) -> None:
        """From now on none is started: the loops are about to end."""
        with self._lock:
            self._is_closed = True

    def end(self) -> None:
        """The loops have ended. Returns at once."""
        with self._lock:
            self._is_closed = True
            if self._now is not None:
                self._tell_end(self._now)

    def finish(self, leave_after_s: float | None) -> None:
        """After :meth:`end`: returns when the file is whole, or was left behind, or, without a limit, when a
        recorder that does not come to an end was ended."""
        with self._lock:
            finished = self._now
        if finished is not None:
            self._wait(finished, leave_after_s)

    # --- inside; the lock is held where nothing else is said ---

    def _is_ready(self, started: _Recording) -> bool:
        """Takes the lock."""
        with self._lock:
            if started.is_over or started.is_told:
                raise RecordingError(f"the loops ended before {started.out} was begun")
            started.is_ready = started.recorder.is_ready()
            return started.is_ready

    def _wait(self, recording: _Recording, leave_after_s: float | None) -> None:
        """For the end of one that was told to. Takes the lock, for moments."""
        end_s = time.monotonic() + (_LONGEST_S if leave_after_s is None else leave_after_s)
        while True:
            with self._lock:
                is_late = time.monotonic() >= end_s
                if recording.is_over:  # another thread saw it
                    return
                if (result := recording.recorder.ended()) is not None:
                    self._note(recording, result)
                elif is_late and leave_after_s is None:
                    self._note(recording, recording.recorder.wait(0.0))
                elif is_late:
                    self._leave(recording)
            time.sleep(_LOOK_S)

    def _look(self) -> None:
        """Nobody asked it to end: then it should still be there."""
        found = self._now
        if found is None or found.is_told or not found.is_ready:
            return
        if (why := found.recorder.poll()) is not None:
            found.recorder.ended()
            found.error = self.error = why
            self.problems.append(why)
            self._set_over(found)

    def _tell_end(self, recording: _Recording) -> None:
        if not recording.is_told:
            recording.is_told = True
            recording.recorder.end()

    def _note(self, recording: _Recording, result: RecordingResult) -> None:
        self._set_over(recording)
        if not recording.is_ready:
            return
        recording.error = result.error or ""
        self.problems += [recording.error] if recording.error else []
        self.problems += [
            f"{recording.out.name} lacks {n} cycles of loop '{name}': its ring was full before the recorder "
            "came to them. Leave the recorder a CPU, or raise ring_seconds"
            for name, n in result.lost.items()
            if n
        ]

    def _leave(self, recording: _Recording) -> None:
        """Nobody waits for it any more; it has been told to end."""
        if recording.recorder.wait_or_leave(0.0) is None:
            self._left_behind.append(recording.recorder)
        self._set_over(recording)

    def _set_over(self, recording: _Recording) -> None:
        recording.is_over = True
        if self._now is recording:
            self._now = None
