"""The files of one recording: split by size or time, the oldest deleted where so many are not kept."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rtloop.telemetry.mcap.part_names import part_path
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.ring import Batch
from rtloop.telemetry.recorder.split import Split


class SplitRecording:
    """Where a recorder writes: one file at a time. Every method may raise OSError: ``abandon`` then.

    ``describe`` is given each new file, and says what every one of them says.
    """

    def __init__(
        self, out: Path, split: Split, describe: Callable[[RecordingWriter], None]
    ) -> None:
        self._out, self._split, self._describe = out, split, describe
        self._parts: list[Path] = []
        """Those made here, and not deleted since: never the files of another run."""
        self._number = -1
        self._bytes_before = 0
        self._records_before: dict[str, int] = {}
        self._writer = self._begin({})

    def _begin(self, before: dict[str, Any]) -> RecordingWriter:
        number = self._number + 1
        path = part_path(self._out, number)
        writer = RecordingWriter(path, part=number)
        try:
            self._describe(writer)
            if number:
                writer.describe_before(before)
            writer.flush()
        except OSError:
            writer.abandon()
            if number:
                with suppress(OSError):
                    path.unlink()
            raise
        self._number = number
        self._parts.append(path)
        self._began_s = time.monotonic()
        return writer

    def write(self, loop: str, batch: Batch) -> None:
        """Consecutive cycles of a loop."""
        self._writer.write(loop, batch)

    def write_events(self, loop: str, events: PortEvents) -> None:
        """What the ports of a loop reported."""
        self._writer.write_events(loop, events)

    def flush(self) -> None:
        """Everything to the kernel: safe from ``kill -9``."""
        self._writer.flush()

    @property
    def is_due(self) -> bool:
        """Whether the file in progress is as large, or as old, as one may be."""
        split = self._split
        large = split.size_bytes is not None and self._writer.size_bytes >= split.size_bytes
        age_s = time.monotonic() - self._began_s
        return large or (split.seconds is not None and age_s >= split.seconds)

    def go_on(self, before: dict[str, Any], summaries: dict[str, Any]) -> None:
        """Begin the next file, finish this one with the summaries so far, delete what is not kept.

        ``before`` says of each loop what came before the next file (``LoopStatistics.so_far``).
        """
        # In this order: whenever it is interrupted, no cycle that was kept is gone.
        following, records = self._begin(before), self.records()
        finished, self._writer, self._records_before = self._writer, following, records
        end = {"complete": "true", "continued": "true", "loops": summaries}
        # A slow disk may take longer for a gigabyte than a ring holds of its loop.
        self._finish(finished, end, sync=False)
        self._bytes_before += finished.size_bytes
        keep = self._split.keep
        while keep is not None and len(self._parts) > keep:
            self._parts.pop(0).unlink(missing_ok=True)

    def _finish(self, writer: RecordingWriter, summary: dict[str, Any], *, sync: bool) -> None:
        try:
            writer.finish(summary, sync=sync)
        except OSError:
            writer.abandon()
            raise

    def finish(self, summaries: dict[str, Any], problems: Sequence[str] | None = None) -> None:
        """The end of the run; ``problems`` of it in sentences, None where they are not known."""
        end: dict[str, Any] = {"complete": "true", "loops": summaries}
        self._finish(
            self._writer, end if problems is None else {**end, "problems": problems}, sync=True
        )

    def abandon(self) -> None:
        """Give up after an error: what was flushed stays."""
        self._writer.abandon()

    @property
    def size_bytes(self) -> int:
        """Bytes written; in files deleted since, too."""
        return self._bytes_before + self._writer.size_bytes

    def records(self) -> dict[str, int]:
        """Cycles written, by loop; in files deleted since, too."""
        before = self._records_before
        return {name: before.get(name, 0) + n for name, n in self._writer.records().items()}
