"""The recorder: a process of its own that drains the rings of a run into MCAP files.

``start.py`` starts it. It outlives the process it records: it ends when every ring is finalized or
its writer is dead, and everything was written. No signal but SIGKILL ends it before that: whoever
stops a run (`systemctl stop`) sends SIGTERM to both, and the end of the loops is still to come. Who
started it says on its stdin what went wrong in the run (``start.PROBLEMS``), before the rings are
finalized, and that the loops have ended (``start.END``), though a ring may not be finalized.

A recorder *aside* writes what somebody wants beside the recording of the run: from what the rings hold
when it comes until ``start.END``, or the end of the loops. The rings, and what is beside them, are another's.

It says two lines of JSON on stdout: ``{"ready": true}`` once the file and the rings are open, and
its result (see ``start.RecordingResult``) at the end. Exit code 0 when the recording is
whole, else 1.
"""

import argparse
import contextlib
import errno
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Final

from rtloop import child
from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.ring import RING_SUFFIX, Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.private import pinned
from rtloop.telemetry.recorder.parts import SplitRecording
from rtloop.telemetry.recorder.pointer import POINTER_NAME, write_pointer
from rtloop.telemetry.recorder.split import Split
from rtloop.telemetry.recorder.start import END, PROBLEMS

# Often enough for a ring of any sensible size and for the flushes, seldom enough to cost nothing:
# numpy calls have a fixed price, which a batch pays once.
_LONGEST_PAUSE_S: Final = 0.1
_SHORTEST_PAUSE_S: Final = 0.001
# A pause may fill this share of a ring.
_PAUSE_SHARE_OF_RING: Final = 1 / 8
_FLUSH_INTERVAL_S: Final = 0.25
_BATCH: Final = 4096
_NICE: Final = 5
_STDIN: Final = 0
_PIPE_BYTES: Final = 65536


@dataclass
class _Source:
    ring: Ring
    statistics: LoopStatistics
    pidfd: int | None
    done: bool = False
    max_backlog: int = 0
    summary: LoopSummary | None = None
    """Once it is done."""

    @property
    def name(self) -> str:
        return self.ring.metadata.loop


class Recorder:
    """Drains rings into a file until their writers are done."""

    def __init__(
        self,
        rings: Sequence[Path],
        out: Path,
        split: Split | None = None,
        told_by: int | None = None,
        *,
        aside: bool = False,
    ) -> None:
        """Open the rings and create the file. Raises ``RecordingError`` and ``OSError``.

        On the descriptor ``told_by`` somebody may say that the loops have ended, or, to one that records
        ``aside``, that it is enough. That one is not what a run is recovered into.
        """
        self._sources = [self._open(path) for path in rings]
        names = [source.name for source in self._sources]
        if not names:
            raise RecordingError("no ring to record: name at least one")
        if len(set(names)) != len(names):
            raise RecordingError(f"two rings hold loops of the same name: {', '.join(names)}")
        self.out = out
        self._aside = aside
        self._has_been_told = False
        """That the loops have ended, or that what is there is all that is wanted."""
        self._told_by = told_by
        self._heard = b""
        """On that descriptor, behind the last whole line."""
        self._problems: list[str] | None = None
        """What went wrong in the run; None where nobody has said."""
        self.error: str | None = None
        self._writer = SplitRecording(out, split or Split(), self._describe)
        try:
            if not aside:
                self._point_to_file()
        except OSError:
            self._writer.abandon()
            raise
        self._flush_at_s = time.monotonic() + _FLUSH_INTERVAL_S
        self._pause_s = min(map(_pause_s, (source.ring for source in self._sources)))

    @staticmethod
    def _open(path: Path) -> _Source:
        ring = Ring(path)
        return _Source(ring, LoopStatistics(ring.metadata), ring.writer.open_pidfd())

    def _describe(self, writer: RecordingWriter) -> None:
        metadata = self._sources[0].ring.metadata
        writer.describe_run(metadata.run_id, metadata.run)
        for source in self._sources:
            writer.add_loop(source.ring.metadata)

    def _point_to_file(self) -> None:
        for directory in {source.ring.path.parent for source in self._sources}:
            write_pointer(directory, self.out)

    def run(self) -> None:
        """Record until the end. Afterwards ``error`` is None or says why the recording is cut."""
        try:
            self._drain_until_done()
            self._hear_the_rest()
            self._writer.finish(self._summaries(), self._problems)
        except OSError as error:
            self.error = self._explain(error)
            self._writer.abandon()

    def _drain_until_done(self) -> None:
        while True:
            for source in self._sources:
                if not source.done:
                    self._drain(source)
            if all(source.done for source in self._sources):
                return
            self._look_after_file()
            self._pause()

    def _look_after_file(self) -> None:
        """Flush it when that is due, and go on to the next where one file is not to hold it all."""
        now_s = time.monotonic()
        if now_s >= self._flush_at_s:
            self._writer.flush()
            self._flush_at_s = now_s + _FLUSH_INTERVAL_S
        if self._writer.is_due:
            before = {source.name: source.statistics.so_far() for source in self._sources}
            self._writer.go_on(before, {name: said["summary"] for name, said in before.items()})

    def _drain(self, source: _Source) -> None:
        # Asked before reading: whatever was appended until then is read below.
        finished = self._has_been_told or source.ring.finished()
        status = source.ring.status()
        while True:
            batch = source.ring.read(_BATCH)
            if len(batch) or batch.lost:
                source.statistics.update(batch.records, batch.lost, batch.inputs)
                self._writer.write(source.name, batch)
            events = source.ring.read_events()
            source.statistics.devices.update(events)
            self._writer.write_events(source.name, events)
            if len(batch) < _BATCH:
                break
            # A ring full of cycles, after a disk that stalled, must not become a memory full.
            self._look_after_file()
        if finished:
            self._close(source, status)

    def _close(self, source: _Source, before: dict[str, Any]) -> None:
        """``before``: its status, as it was before it was read to its end."""
        seen = source.statistics
        if self._aside and before["state"] == "active" and not source.ring.finished():
            # The loop goes on: counts that fit the last cycle which is in the file.
            counts = {"executed": seen.executed + seen.lost, "skipped": seen.skipped}
            seen.devices.accounts = source.ring.accounts()
            source.summary = seen.summary(status={**before, **counts})
            source.done = True
            return
        status = source.ring.status()
        last = unfinished_cycle(
            status, source.ring.metadata, seen.last_cycle, seen.consecutive_misses
        )
        if last is not None:
            seen.update(last.records)
            self._writer.write(source.name, last)
        seen.devices.accounts = source.ring.accounts()
        source.summary = seen.summary(status=status)
        source.done = True

    def _pause(self) -> None:
        """Wait for the next look; the death of a writer, or a word of the parent, ends the wait."""
        poller = select.poll()
        if self._told_by is not None:
            poller.register(self._told_by, select.POLLIN)
        for source in self._sources:
            if source.pidfd is not None and not source.done:
                poller.register(source.pidfd, select.POLLIN)
        for descriptor, _ in poller.poll(max(1, int(self._pause_s * 1e3))):
            if descriptor == self._told_by:
                self._listen(descriptor)

    def _listen(self, descriptor: int) -> None:
        try:
            said = os.read(descriptor, _PIPE_BYTES)
        except OSError:
            said = b""
        if said == b"":
            self._told_by = None  # the parent has gone, which ends no recording
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            self._has_been_told |= line == END.rstrip()
            if line.startswith(PROBLEMS):
                self._problems = json.loads(line.removeprefix(PROBLEMS))

    def _hear_the_rest(self) -> None:
        """What was said before the rings were finalized is here by now."""
        while self._told_by is not None and select.select([self._told_by], [], [], 0)[0]:
            self._listen(self._told_by)

    def _explain(self, error: OSError) -> str:
        what, cure = cause_and_cure(error)
        recover = f"{cure} and run `rtloop recover {quote(str(self.out))}` after the run."
        if self._aside:
            return f"recording to {self.out} stopped: {what}. To read what is in it, {recover}"
        return (
            f"recording to {self.out} stopped: {what}. The loop goes on, and its ring keeps the "
            f"newest cycles. To keep them, {recover}"
        )

    def remove_rings(self) -> None:
        """Delete the rings, their pointer, and their directory when it is empty then."""
        remove_rings(source.ring.path for source in self._sources)

    @property
    def reaches_the_end(self) -> bool:
        """Whether nothing came after what is in the file, or counted as lost in it."""
        return self.error is None and all(
            source.summary is not None
            and source.summary.executed <= source.statistics.executed + source.statistics.lost
            for source in self._sources
        )

    @property
    def is_whole(self) -> bool:
        """Whether every cycle of every loop is in the file; of one aside, since it came."""
        return self.reaches_the_end and not any(map(self._lost, self._sources))

    def _lost(self, source: _Source) -> int:
        seen = source.statistics
        return seen.lost - seen.missed_the_beginning if self._aside else seen.lost

    def result(self) -> dict[str, Any]:
        """What the last line on stdout says."""
        return {
            "recording": str(self.out),
            "records": self._writer.records(),
            "lost": {source.name: self._lost(source) for source in self._sources},
            "bytes": self._writer.size_bytes,
            "error": self.error,
            "loops": self._summaries(),
        }

    def _summaries(self) -> dict[str, Any]:
        return {s.name: s.summary.as_dict() for s in self._sources if s.summary is not None}


def remove_rings(rings: Iterable[Path]) -> None:
    """Delete the caller's rings, whose content is safe elsewhere, and what was left beside them."""
    by_directory: dict[Path, list[str]] = {}
    for ring in rings:
        by_directory.setdefault(ring.parent, []).append(ring.name)
    for directory, names in by_directory.items():
        remove_rings_of(directory, names)


def remove_rings_of(directory: Path, names: Iterable[str]) -> None:
    """The same, of one folder, which goes when nothing is left in it."""
    with contextlib.suppress(RecordingError, OSError), pinned(directory) as here:
        for name in names:
            (here / name).unlink(missing_ok=True)
        if not any(here.glob(f"*{RING_SUFFIX}")):
            (here / POINTER_NAME).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else keeps something in it
        directory.rmdir()


def _pause_s(ring: Ring) -> float:
    span_s = ring.capacity * ring.metadata.period_ns / 1e9 * _PAUSE_SHARE_OF_RING
    return min(max(span_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)


def cause_and_cure(error: OSError) -> tuple[str, str]:
    """Why writing failed, and what to do about it."""
    what = os.strerror(error.errno) if error.errno else str(error)
    cure = {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some of your quota there",
        errno.EFBIG: "raise the file size limit (ulimit -f)",
        errno.EIO: "check the disk",
    }.get(error.errno or 0, "correct that")
    return what.lower(), cure


def _say(line: dict[str, Any]) -> None:
    try:
        print(json.dumps(line), flush=True)
    except OSError:
        # The parent is gone, which is what a recorder is for. Keep the interpreter from trying
        # again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(message: str) -> None:
    try:
        print(f"rtloop recorder: {message}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """The recorder's command line."""
    parser = argparse.ArgumentParser(
        prog="child_entry.py recorder",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("rings", nargs="+", type=Path, metavar="RING")
    parser.add_argument("--out", required=True, type=Path, metavar="RUN.mcap")
    parser.add_argument("--split-bytes", type=int, help="begin a new file at this size")
    parser.add_argument("--split-seconds", type=float, help="begin a new file after this time")
    parser.add_argument("--keep", type=int, help="delete the oldest of more files than these")
    parser.add_argument("--keep-rings", action="store_true", help="do not delete the rings")
    parser.add_argument(
        "--aside", action="store_true", help="beside another recorder, whose the rings are"
    )
    parser.add_argument(
        "--avoid-cpu", type=int, action="append", default=[], help="leave this CPU to the loop"
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they go to the loop; its end ends this
    child.become_ordinary(options.avoid_cpu, nice=_NICE)

    try:
        split = Split(options.split_bytes, options.split_seconds, options.keep)
        recorder = Recorder(options.rings, options.out, split, told_by=_STDIN, aside=options.aside)
    except (OSError, RecordingError) as error:
        message = (
            f"cannot record to {options.out}: {os.strerror(error.errno or 0).lower()}"
            if isinstance(error, OSError)
            else str(error)
        )
        _complain(message)
        _say({"recording": str(options.out), "error": message})
        return 1

    _say({"ready": True})
    recorder.run()
    if recorder.error is not None:
        _complain(recorder.error)
    elif recorder.reaches_the_end and not (options.keep_rings or options.aside):
        recorder.remove_rings()
    _say(recorder.result())
    return 0 if recorder.is_whole else 1
