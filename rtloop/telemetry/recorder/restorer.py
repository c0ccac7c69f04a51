"""The restored recording: cycles of the cut file, and from the rings those that it lacks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.errors import RecordingError
from rtloop.telemetry.mcap.part_names import part_number
from rtloop.telemetry.mcap.parts import Parts
from rtloop.telemetry.mcap.stream import RecordingReader
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe.records import (
    INPUT_RECORD_DTYPE,
    PORT_EVENT_DTYPE,
    PortEvents,
    empty_records,
)
from rtloop.telemetry.observe.ring import Batch, LoopMetadata, Ring, unfinished_cycle
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.private import check_own_file
from rtloop.telemetry.recorder.left_behind import DeadRun
from rtloop.telemetry.recorder.recovered import LoopRecovery, Recovered

_BATCH = 8192


@dataclass
class Survey:
    """What a first pass over the file found."""

    reader: RecordingReader
    statistics: dict[str, LoopStatistics]
    """Of the run up to the end of the file."""
    cycles: dict[str, int]
    """In the file, by loop."""

    @property
    def whole(self) -> bool:
        return self.reader.whole

    @property
    def run_id(self) -> str:
        return self.reader.run_id

    @property
    def says_anything(self) -> bool:
        """Whether the file itself names its run, or has a cycle in it."""
        return bool(self.run_id or self.cycles)


def survey(
    recording: Path, described: Mapping[str, LoopMetadata], before: Mapping[str, LoopStatistics]
) -> Survey:
    """Reads a file; ``before`` is what was counted in the parts before it."""
    check_own_file(recording)
    reader = RecordingReader(recording, signals=False, events=True, metadata=described)
    statistics: dict[str, LoopStatistics] = {}
    cycles: dict[str, int] = defaultdict(int)

    def of(loop: str) -> LoopStatistics:
        if loop not in statistics:
            statistics[loop] = _begun(reader, loop, before)
        return statistics[loop]

    def count_events() -> None:
        for loop, events in reader.take_events().items():
            if loop in reader.metadata:
                of(loop).devices.update(events)

    for loop, batch in reader:
        of(loop).update(batch.records, batch.lost, batch.inputs)
        cycles[loop] += len(batch)
        count_events()
    count_events()
    for loop in reader.before.keys() | before.keys():
        of(loop)
    if reader.whole and not reader.metadata:
        raise RecordingError(f"{recording} was not recorded by rtloop: it has no loop in it")
    return Survey(reader, statistics, cycles)


def _begun(
    reader: RecordingReader, loop: str, before: Mapping[str, LoopStatistics]
) -> LoopStatistics:
    """The loop as it was where a file begins: by the parts before it, or, where these are gone, by
    what the file says of them."""
    said = reader.before.get(loop)
    if loop not in before:
        metadata = reader.metadata[loop]
        return LoopStatistics(metadata) if said is None else LoopStatistics.resumed(metadata, said)
    seen = before[loop]
    is_behind = said is not None and missing_before(seen, said) > 0
    return seen.after(said) if said is not None and is_behind else deepcopy(seen)


def missing_before(seen: LoopStatistics, said: Mapping[str, Any]) -> int:
    """Cycles that came before a file, by what it says, and are in none of those before it."""
    summary = LoopSummary.from_dict(dict(said["summary"]))
    return summary.executed - seen.executed - seen.lost


def holds_more(rings: list[Ring], found: Survey) -> bool:
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


def write_restored(
    run: DeadRun,
    parts: Parts,
    found: Survey | None,
    restored: Path,
    result: Recovered,
    before: Mapping[str, LoopStatistics],
    then: Mapping[str, Any] | None,
) -> dict[str, LoopStatistics]:
    """Write file and rings as one new recording; what was counted up to its end, by loop.

    ``parts`` are all files of the recording: what a cut one does not say, the others may.
    ``before`` is what was counted in the parts before it, and ``then`` what the next part says
    (``LoopStatistics.so_far``); None for the last part.
    """
    rings = {ring.metadata.loop: ring for ring in run.rings}
    metadata: dict[str, LoopMetadata] = {name: ring.metadata for name, ring in rings.items()}
    facts = parts.run or next((dict(ring.metadata.run) for ring in run.rings), {})
    result.run_id = parts.run_id or run.run_id
    part = 0
    if found is not None:
        metadata = {**metadata, **found.reader.metadata}
        facts = found.reader.run or facts
        result.run_id = found.run_id or result.run_id
        result.notes += _damage(found.reader)
        if not metadata:
            raise RecordingError(
                f"{found.reader.path} ends before it says anything, no other file of its run says it, "
                "and no ring of it is left: nothing to restore"
            )
        part = found.reader.part if found.run_id else part_number(found.reader.path)
    writer = RecordingWriter(restored, part=part)
    loops = {}
    for name, loop in metadata.items():
        seen = LoopStatistics(loop) if found is None else _begun(found.reader, name, before)
        recovery = result.loops.setdefault(name, LoopRecovery())
        loops[name] = LoopRestorer(seen, rings.get(name), writer, recovery)
    try:
        writer.describe_run(result.run_id, facts)
        for loop in metadata.values():
            writer.add_loop(loop)
        if part:
            writer.describe_before({name: loop.seen.so_far() for name, loop in loops.items()})
        if found is not None:
            again = RecordingReader(found.reader.path, metadata=metadata, events=True)
            for name, batch in again:
                loops[name].add_from_file(batch)
                _add_events(loops, again)
            _add_events(loops, again)
        summaries = {}
        for name, loop_restorer in loops.items():
            if then is not None:
                summary = loop_restorer.go_on_to(then.get(name))
            else:
                loop_restorer.add_from_ring()
                said = None if found is None else found.reader.summary.get(name)
                summary = loop_restorer.finish(said, found)
            summaries[name] = summary.as_dict()
            result.notes += loop_restorer.notes
        end = {"complete": "true", "recovered": "true", "loops": summaries}
        if found is not None and found.reader.problems:
            end["problems"] = found.reader.problems
        writer.finish(end if then is None else {**end, "continued": "true"})
    except BaseException:
        writer.abandon()
        raise
    return {name: loop.seen for name, loop in loops.items()}


def _add_events(loops: Mapping[str, "LoopRestorer"], reader: RecordingReader) -> None:
    for name, events in reader.take_events().items():
        if name in loops:
            loops[name].add_events_from_file(events)


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


class LoopRestorer:
    """One loop of the restored file: cycles of the cut file, and from the ring those it lacks."""

    def __init__(
        self,
        seen: LoopStatistics,
        ring: Ring | None,
        writer: RecordingWriter,
        result: LoopRecovery,
    ) -> None:
        """``seen`` is what was counted before this file, and goes on being counted."""
        self.seen = seen
        self.result = result
        self.notes: list[str] = []
        self._ring = ring
        self._writer = writer
        held = np.empty(0, PORT_EVENT_DTYPE) if ring is None else ring.held_events()
        seen.devices.accounts = {} if ring is None else ring.accounts()
        self._rung: PortEvents = held[held["number"] > seen.devices.highest]

    def add_from_file(self, batch: Batch) -> None:
        """Consecutive cycles of the file. What is missing before or among them, a ring may hold."""
        for part in _parts(batch, self.seen.last_cycle):
            lost = part.lost
            if lost and self._fill(int(part.records["cycle"][0])):
                lost = _gap(part, self.seen.last_cycle)
            self._write(replace(part, lost=lost))
            self.result.from_file += len(part)

    def add_events_from_file(self, events: PortEvents) -> None:
        """Port events of the file. The ring may hold the same ones, and others."""
        self._rung = self._rung[~np.isin(self._rung["number"], events["number"])]
        self._write_events(events)

    def go_on_to(self, following: Mapping[str, Any] | None) -> LoopSummary:
        """The cycles up to those of the next part; the summary until there.

        Where the next part does not say (None), what is missing is found when it is restored.
        """
        if following is None:
            return self.seen.summary()
        then = LoopStatistics.resumed(self.seen.metadata, following)
        self._fill(then.last_cycle + 1)
        self._write_events(self._rung[self._rung["number"] <= then.devices.highest])
        missing = then.executed + then.lost - self.seen.executed - self.seen.lost
        if missing > 0:
            self._write(replace(_nothing(self.seen.metadata), lost=missing))
        self.result.lost = self.seen.lost
        return self.seen.summary()

    def add_from_ring(self) -> None:
        """The cycles that are newer than what the file had, and the one that never returned; port
        events that the file lacks."""
        self._write_events(self._rung)
        if self._ring is None:
            return
        self._fill(None)
        seen = self.seen
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

    def finish(self, said: dict[str, Any] | None, found: Survey | None) -> LoopSummary:
        """Accounts for the end; the summary of the loop.

        ``said`` is the summary that the file has, of a recorder that had seen all of the loop.
        """
        seen, status = self.seen, None
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
            missing = max(complete.port_events_lost, seen.devices.lost())
            return replace(complete, records_lost=seen.lost, port_events_lost=missing)
        # Of port events and of a grid that slipped it is the records, which have checksums, that are
        # believed.
        believed = None if status is None else {**status, "port_events": 0, "slipped_ns": 0}
        return seen.summary(status=believed)

    def _fill(self, before_cycle: int | None) -> int:
        """Writes the ring's cycles between the last one written and ``before_cycle`` (or the end).

        Returns how many there were.
        """
        if self._ring is None:
            return 0
        before = self.result.from_ring
        begin = _first_newer(self._ring, self.seen.last_cycle)
        self._ring.seek(begin)
        # What the ring overwrote, less what had been written down (or noted as lost) before.
        lost = max(0, begin - self.seen.executed - self.seen.lost)
        while len(batch := self._ring.read(_BATCH)) or batch.lost:
            if before_cycle is None:
                if self.seen.last_cycle >= 0 and len(batch):
                    lost = min(lost, _gap(batch, self.seen.last_cycle))
                self._write(replace(batch, lost=lost + batch.lost))
                self.result.from_ring += len(batch)
                lost = 0
                continue
            missing = batch.select(batch.records["cycle"] < before_cycle)
            for part in _parts(replace(missing, lost=0), self.seen.last_cycle):
                self._write(part)
            self.result.from_ring += len(missing)
            if len(missing) < len(batch):
                break
        return self.result.from_ring - before

    def _write_events(self, events: PortEvents) -> None:
        self.seen.devices.update(events)
        self._writer.write_events(self.seen.metadata.loop, events)

    def _write(self, batch: Batch) -> None:
        self.seen.update(batch.records, batch.lost, batch.inputs)
        self._writer.write(self.seen.metadata.loop, batch)


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
