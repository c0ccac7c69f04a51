"""What a page says about a recording, read in memory that does not grow with the recording.

It is read twice: only the end of a run tells what range its figures show.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from rtloop.report.devices import DevicesOutline
from rtloop.report.figures import Distribution, Slices
from rtloop.telemetry.mcap.parts import PartsReader
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.records import Records, empty_records
from rtloop.telemetry.observe.ring import LoopMetadata
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.observe.switches import PolicySwitch

# numpy calls have a fixed price, and a chunk holds some hundred cycles.
_BATCH: Final = 1 << 14
_WORST: Final = 10


@dataclass
class LoopFigures:
    """The drawings of a loop that has cycles which returned."""

    response: Distribution
    release_latency: Distribution
    lateness: Slices


@dataclass
class LoopOutline:
    """One loop: what it came to, its worst cycles, its figures."""

    metadata: LoopMetadata
    summary: LoopSummary
    n: int
    """Cycles in the recording."""
    span_s: float
    """From the first release to the end of the last period."""
    first_release_ns: int
    worst: Records
    """At most ten: those that never returned, then those of the largest lateness."""
    devices: DevicesOutline
    figures: LoopFigures | None = None


@dataclass
class Outline:
    """A recording but for its single cycles."""

    path: Path
    run_id: str
    run: dict[str, Any]
    loops: dict[str, LoopOutline]
    size_bytes: int
    messages: dict[str, int]
    """Messages by topic."""
    chunks: int
    library: str
    lost: int
    """Cycles that were overwritten before they could be written, or damaged; of all loops."""
    parts: list[int]
    """Numbers of the files it was read from."""
    others: list[str]
    """What is called like one of them and is none, in words."""
    alone: bool
    """Whether it is one file of several, which was asked for by its name."""
    continued: bool
    """Whether the run went on in a file that is not part of this."""
    before: int
    """Cycles of the run, of all loops, in files before these."""
    problems: tuple[str, ...]
    """What went wrong in the run, in sentences."""


@dataclass
class _Survey:
    """The first look at a loop."""

    statistics: LoopStatistics
    first_release_ns: int = 0
    last_release_ns: int = 0
    returned: int = 0
    returned_from_ns: int = 0
    returned_to_ns: int = 0
    smallest_ns: dict[str, int] = field(default_factory=dict)
    worst: Records = field(default_factory=empty_records)
    devices: DevicesOutline = field(default_factory=DevicesOutline)

    def add(self, records: Records) -> None:
        if self.statistics.executed == 0:
            self.first_release_ns = int(records["release_ns"][0])
        self.last_release_ns = int(records["release_ns"][-1])
        self.statistics.update(records)
        self.worst = _worst(np.concatenate([self.worst, records]))
        returned = records[~rec.unfinished(records)]
        if len(returned) == 0:
            return
        if self.returned == 0:
            self.returned_from_ns = int(returned["release_ns"][0])
        self.returned_to_ns = int(returned["release_ns"][-1])
        self.returned += len(returned)
        for name, values in (
            ("response", rec.response_ns(returned)),
            ("release_latency", rec.release_latency_ns(returned)),
        ):
            smallest = int(values.min())
            self.smallest_ns[name] = min(self.smallest_ns.get(name, smallest), smallest)

    def figures(self) -> LoopFigures:
        """Empty ones, for the second look."""
        seen = self.statistics
        return LoopFigures(
            response=Distribution(
                seen.response,
                self.smallest_ns["response"] / 1e3,
                (seen.response.max or 0) / 1e3,
                seen.metadata.deadline_ns / 1e3,
            ),
            release_latency=Distribution(
                seen.release_latency,
                self.smallest_ns["release_latency"] / 1e3,
                (seen.release_latency.max or 0) / 1e3,
                None,
            ),
            lateness=Slices(self.returned_from_ns, self.returned_to_ns, self.returned),
        )

    def outline(self, name: str, reader: PartsReader) -> LoopOutline:
        seen = self.statistics
        seen.lost = reader.lost.get(name, 0)
        if reader.alone and name in reader.before:
            seen.devices.begin_after(reader.before[name].get("devices"))
        said = reader.summary.get(name)
        summary = LoopSummary.from_dict(said) if said else seen.summary()
        if reader.continued:
            summary = seen.summary()
        elif reader.alone:
            # The summary is that of the run; how the run ended is true of its last file, too.
            state, reason = summary.state, summary.fault_reason
            seen.devices.accounts = {
                port: device.account
                for port, device in summary.devices.items()
                if device.account is not None
            }
            summary = replace(seen.summary(), state=state, fault_reason=reason)
        # What selects a policy is among the signals, which are not read here: whoever recorded them knows.
        told = {switch.cycle: switch for switch in _switches(said)}
        switches = tuple(told.get(switch.cycle, switch) for switch in summary.switches)
        summary = replace(summary, switches=switches)
        period_ns = seen.metadata.period_ns
        span_ns = self.last_release_ns - self.first_release_ns + period_ns if seen.executed else 0
        return LoopOutline(
            metadata=seen.metadata,
            summary=summary,
            n=seen.executed,
            span_s=span_ns / 1e9,
            first_release_ns=self.first_release_ns,
            worst=self.worst,
            devices=self.devices,
        )


def outline(path: Path) -> Outline:
    """Read a recording: of several files all, by their folder or the first of them.

    ``RecordingError``, with what to do, when one is cut or not rtloop's.
    """
    reader = PartsReader(path, signals=False, events=True)
    surveys: dict[str, _Survey] = {}
    for loop, records in _batches(reader):
        if loop not in surveys:
            surveys[loop] = _Survey(LoopStatistics(reader.metadata[loop]))
        surveys[loop].add(records)
        _take_events(reader, surveys)
    for loop, metadata in reader.metadata.items():
        surveys.setdefault(loop, _Survey(LoopStatistics(metadata)))
    _take_events(reader, surveys)
    loops = {name: survey.outline(name, reader) for name, survey in surveys.items()}
    _draw(path, surveys, loops)
    return Outline(
        path=reader.paths[0],
        run_id=reader.run_id,
        run=reader.run,
        loops=loops,
        size_bytes=reader.size_bytes,
        messages=reader.messages,
        chunks=reader.chunks,
        library=reader.library,
        lost=sum(reader.lost.values()),
        parts=reader.numbers,
        others=reader.others,
        alone=reader.alone,
        continued=reader.continued,
        before=sum(int(said["summary"]["executed"]) for said in reader.before.values()),
        problems=reader.problems,
    )


def _switches(said: dict[str, Any] | None) -> tuple[PolicySwitch, ...]:
    return LoopSummary.from_dict(said).switches if said else ()


def _take_events(reader: PartsReader, surveys: dict[str, _Survey]) -> None:
    for name, events in reader.take_events().items():
        if name in reader.metadata:
            survey = surveys.setdefault(name, _Survey(LoopStatistics(reader.metadata[name])))
            survey.statistics.devices.update(events)
            survey.devices.add(events)


def _draw(path: Path, surveys: dict[str, _Survey], loops: dict[str, LoopOutline]) -> None:
    """The second look."""
    for name, survey in surveys.items():
        if survey.returned:
            loops[name].figures = survey.figures()
    for name, records in _batches(PartsReader(path, signals=False)):
        figures = loops[name].figures
        returned = records[~rec.unfinished(records)]
        if figures is not None and len(returned):
            figures.response.add(rec.response_ns(returned) / 1e3)
            figures.release_latency.add(rec.release_latency_ns(returned) / 1e3)
            figures.lateness.add(returned)
    for loop in loops.values():
        if loop.figures is not None:
            loop.figures.lateness.finish()


def _batches(reader: PartsReader) -> Iterator[tuple[str, Records]]:
    """Consecutive cycles of a loop, many at a time."""
    waiting: dict[str, list[Records]] = defaultdict(list)
    for loop, batch in reader:
        waiting[loop].append(batch.records)
        if sum(map(len, waiting[loop])) >= _BATCH:
            yield loop, np.concatenate(waiting.pop(loop))
    for loop, parts in waiting.items():
        yield loop, np.concatenate(parts)


def _worst(records: Records) -> Records:
    returned = ~rec.unfinished(records)
    order = np.lexsort((records["cycle"], -rec.lateness_ns(records), returned))
    worst: Records = records[order[:_WORST]]
    return worst
