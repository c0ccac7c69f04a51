"""What DESIGN.md §2 asks of a loop, as a program: written from the text, without a look at the core.

Slow and plain: one job after the other, every instant an integer, no threads. A job is one release. What the
core decides by a gate, a guard and a pacer follows here from when things happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

SAFE, DEFAULT = -1.0, -2.0


@dataclass(frozen=True)
class Task:
    """A loop of one input and one output, which commands what it reads."""

    loop_class: Literal["hard", "firm", "soft"] = "soft"
    period_ns: int = 1_000_000
    deadline_ns: int = 1_000_000
    on_overrun: Literal["skip", "catch_up", "slip"] = "skip"
    max_catch_up: int = 3
    output: Literal["asap", "at_deadline"] = "asap"
    lead_ns: int = 0
    """With ``at_deadline`` a command leaves so long before its deadline."""
    timeout_ns: int = 0
    """Of a loop that is paced by its input: without a sample for so long it is released all the same."""
    on_miss: Literal["hold", "default"] = "hold"
    max_misses: int = 0
    window: int = 0
    """0: no limit on the jobs lost in a window."""
    max_consecutive: int = 0
    """0: no limit on the jobs lost in a row."""
    on_broken: Literal["warn", "fault"] = "warn"
    max_age_ns: int = 0
    """0: never stale."""
    on_stale: Literal["hold", "fault", "use"] = "hold"
    stand_in: float | None = None
    """With ``use``: what is read in place of a stale sample, or of one that never came; None: the sample."""
    budget_ns: int = 0
    hang_limit_ns: int = 100_000_000
    low: float = -100.0
    high: float = 100.0
    max_rate_per_s: float = 1e9


@dataclass(frozen=True)
class Job:
    """What happens to the job of one release, were it executed."""

    oversleep_ns: int = 0
    """Of every wake-up."""
    release_ns: int = 1
    read_ns: int = 0
    infer_ns: int = 0
    write_ns: int = 0
    sample: float | None = 1.0
    """Taken when the job before was over; None: no new one."""

    @property
    def stages(self) -> dict[str, int]:
        return {
            "release": self.release_ns,
            "read": self.read_ns,
            "infer": self.infer_ns,
            "write": self.write_ns,
        }


class Arrival(NamedTuple):
    """A sample that comes at an instant, whatever the loop does."""

    at_ns: int
    taken_ns: int
    value: float


class Record(NamedTuple):
    """What is told of an executed job; times are relative to the first release."""

    cycle: int
    release_ns: int
    skipped: int
    start_ns: int
    infer_ns: int
    finish_ns: int
    outcome: str
    events: frozenset[str]
    consecutive: int
    in_window: int
    sent: float
    """What stands at the output afterwards; of a job that ended the loop: what it sent, or the safe command."""


@dataclass
class Told:
    """What became of a loop."""

    records: list[Record] = field(default_factory=list)
    fault: str = "none"
    elapsed: int = 0
    skipped: int = 0
    misses: int = 0


class _Lost:
    """The jobs that were lost, up to now."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.in_a_row = 0
        self.window: deque[bool] = deque(maxlen=task.window)

    def take(self, lost: bool) -> bool:
        """One more job; whether the limit is broken by it."""
        self.in_a_row = self.in_a_row + 1 if lost else 0
        self.window.append(lost)
        too_many = self.task.window > 0 and sum(self.window) > self.task.max_misses
        too_long = 0 < self.task.max_consecutive < self.in_a_row
        return lost and (too_many or too_long)

    def with_next(self) -> Iterator[bool]:
        """Were all from here on lost: of each whether the limit is broken by it."""
        later = _Lost(self.task)
        later.in_a_row = self.in_a_row
        later.window.extend(self.window)
        while True:
            yield later.take(True)


class _Release(NamedTuple):
    """One that is executed."""

    cycle: int
    time: int
    skipped: int
    """Releases right before it that are not."""
    woke: int
    waited: bool
    """Whether the loop slept before it."""
    timed_out: bool = False
    is_judged: bool = False
    """It was late before anybody knew that it is the next one."""


class _Grid:
    """r0 + kT, and which release comes next."""

    def __init__(self, task: Task, jobs: Sequence[Job]) -> None:
        self.task = task
        self.jobs = jobs
        self.origin = 0
        self.cycle = self.skipped = 0

    def next(self, now: int) -> _Release:
        release = self.release(self.cycle)
        waits = now < release
        woke = release + self.jobs[self.cycle].oversleep_ns if waits else now
        return _Release(self.cycle, release, self.skipped, woke, waits)

    def sample(self, now: int, start: int) -> tuple[int, float] | None:
        """When what is read at ``start`` was taken, and what it is; None: nothing new. The job before was over
        at ``now``."""
        value = self.jobs[self.cycle].sample
        return None if value is None else (now, value)

    def after(self, now: int) -> tuple[int, int]:
        """The job is over: the releases up to now, and those among them that are never executed."""
        self.skipped = self.skipped_after(self.cycle, now)
        self.cycle += 1 + self.skipped
        return self.cycle, self.skipped

    def release(self, cycle: int) -> int:
        return self.origin + cycle * self.task.period_ns

    def skipped_after(self, cycle: int, now: int) -> int:
        """How many releases after ``cycle``, which is over now, are never executed."""
        following = cycle + 1
        if self.task.on_overrun == "slip":
            self.origin += max(0, now - self.release(following))
            return 0
        skipped = 0
        while self._is_lost(following + skipped, now):
            skipped += 1
        return skipped

    def _is_lost(self, cycle: int, now: int) -> bool:
        return now >= self.lost_at(cycle)

    def lost_at(self, cycle: int) -> int:
        """From when on this release is skipped, if a job before it still runs."""
        if self.task.on_overrun == "skip":
            return self.release(cycle) + 1  # a release at this very instant is not past
        return self.release(cycle + self.task.max_catch_up)  # so many are made up for at most


class _Samples(_Grid):
    """Releases that come with samples; all jobs have one ``oversleep_ns``."""

    def __init__(self, task: Task, jobs: Sequence[Job], arrivals: Sequence[Arrival]) -> None:
        super().__init__(task, jobs)
        self.arrivals = arrivals
        self.seen = -1
        """Up to when the loop knows what came."""
        self.last = 0
        self.expected = 0
        """When the next sample is in time, were there no release until then."""
        self.since = 0
        """Releases since the last sample, executed or not."""
        self.earliest = -task.period_ns
        """Before, a sample releases nothing."""
        self.latest = task.timeout_ns
        self.has_begun = False

    def next(self, now: int) -> _Release:
        came, woke, waits = self._came(now)
        is_judged = waits and woke > self.latest + self.task.deadline_ns
        period, skipped, time = self.task.period_ns, 0, self.latest
        if came is None and not is_judged:
            while time + period <= woke:
                time, skipped = time + period, skipped + 1
        elif came is not None and not is_judged:
            time = max(min(came.taken_ns, woke), self.last)
            late = time - self.expected - self.since * period if self.has_begun else 0
            while 4 * late >= 3 * period:  # whole periods, or nearly: these samples never came
                late, skipped = late - period, skipped + 1
        self.last = time
        if came is None or is_judged:
            self.since += 1 + skipped
        else:
            in_time = time - late + late // 8 if late > 0 else time
            self.expected, self.since, self.has_begun = in_time + period, 0, True
        if came is None:
            self.latest = time + period
        else:
            self.earliest = max(woke, self.earliest + period) - period // 20
            self.latest = woke + self.task.timeout_ns
        self.cycle += skipped
        return _Release(self.cycle, time, skipped, woke, waits, came is None, is_judged)

    def _came(self, now: int) -> tuple[Arrival | None, int, bool]:
        """The sample that releases, if one does; when the loop woke up, and whether it slept."""
        oversleep = self.jobs[0].oversleep_ns
        news = self._newest(now)
        if news is not None and now >= self.earliest:
            return news, now, False
        if now >= self.latest:
            return None, now, False
        for at in sorted({a.at_ns for a in self.arrivals if now < a.at_ns <= self.latest}):
            news = self._newest(at)
            if at >= self.earliest:
                return news, at + oversleep, True
        woke = self.latest + oversleep
        news = self._newest(woke)
        return (news if woke >= self.earliest else None), woke, True

    def _newest(self, until: int) -> Arrival | None:
        """The newest of those that came and were not known of."""
        news = [a for a in self.arrivals if self.seen < a.at_ns <= until]
        self.seen = until
        return news[-1] if news else None

    def sample(self, now: int, start: int) -> tuple[int, float] | None:
        there = [a for a in self.arrivals if a.at_ns <= start]
        self.seen = max(self.seen, start)
        return (there[-1].taken_ns, there[-1].value) if there else None

    def after(self, now: int) -> tuple[int, int]:
        self.cycle += 1
        return self.cycle, 0

    def lost_at(self, cycle: int) -> int:
        return self.last + (cycle - self.cycle + 1) * self.task.period_ns


def told_of(task: Task, jobs: Sequence[Job], arrivals: Sequence[Arrival] | None = None) -> Told:
    """What becomes of a loop, whose job of release k is ``jobs[k]``, until it ends or these are over.

    With ``arrivals`` it is paced by its input.
    """
    told, lost = Told(), _Lost(task)
    grid = _Grid(task, jobs) if arrivals is None else _Samples(task, jobs, arrivals)
    now = 0
    standing, sample = SAFE, 0.0
    taken_at: int | None = None
    started_at: int | None = None
    while grid.cycle < len(jobs):
        cycle, release, skipped, woke, waits, timed_out, is_judged = grid.next(now)
        if arrivals is not None:
            told.skipped += skipped
            told.elapsed += skipped
        job = jobs[cycle] if cycle < len(jobs) else Job(oversleep_ns=jobs[0].oversleep_ns)
        deadline = release + task.deadline_ns
        events: set[str] = set()
        faults: list[tuple[int, str]] = []  # by when they happened; the first one counts
        if timed_out:
            events.add("timed_out")

        broken = [lost.take(True) for _ in range(skipped)]
        guarded = _ends_by_itself(task, lost, any(broken), grid, cycle, deadline)
        if arrivals is not None and not is_judged:  # and nobody knew of its deadline before
            guarded = [(max(at, woke + 1), why) for at, why in guarded]
        if waits and any(at <= woke for at, _ in guarded):
            told.fault = guarded[0][1]  # at its instant, and the job never began
            return told

        # The jobs that were skipped, then this one.
        if any(broken):
            events.add("limit_broken")
            if task.on_broken == "fault" and task.loop_class != "hard":
                faults.append((woke, "limit_broken"))
        if skipped and task.loop_class == "hard":
            faults.append((woke - 1, "deadline_miss"))
        start = woke + job.release_ns
        if (new := grid.sample(now, start)) is not None:
            taken_at, sample = new
        is_stale = taken_at is None or 0 < task.max_age_ns < start - taken_at
        is_stale |= timed_out or (taken_at is not None and taken_at > start)
        if is_stale:
            events.add("stale_input")
            if task.on_stale == "fault":
                faults.append((start, "stale_input"))
        stands_in = is_stale and task.stand_in is not None
        usable = not is_stale or (task.on_stale == "use" and (stands_in or taken_at is not None))
        inferred = start + job.read_ns + (job.infer_ns if usable else 0)
        leaves = inferred
        is_ended = bool(faults) or any(at <= inferred for at, _ in guarded)
        if task.output == "at_deadline" and not is_ended:
            at = deadline - task.lead_ns
            leaves = inferred if inferred >= at else at + job.oversleep_ns
        in_time = leaves <= deadline
        finish = leaves + job.write_ns
        missed = finish > deadline
        if missed:
            events.add("miss")
            faults = [(at, why) for at, why in guarded if at <= finish] + faults
        if 0 < task.budget_ns < finish - start:
            events.add("budget_overrun")

        # What leaves.
        read = sample if task.stand_in is None or not stands_in else task.stand_in
        share = 1.0
        if arrivals is not None and started_at is not None:
            share = min(start - started_at, task.period_ns) / task.period_ns
        started_at = start
        command, of_limits = _limited(task, read, standing, share)
        if usable:
            events |= of_limits
        is_allowed = usable and not any(at <= leaves for at, _ in faults)
        outcome = "held"
        if in_time:
            outcome = "written" if is_allowed else "held"
        elif task.loop_class == "soft" and is_allowed:
            outcome = "written_late"
        elif task.loop_class == "firm" and task.on_miss == "default":
            outcome = "default"
            command, _ = _limited(task, DEFAULT, standing)
        if outcome == "written" and missed:
            outcome = "written_late"
        if outcome != "held":
            standing = command

        # What is counted.
        if lost.take(missed):
            events.add("limit_broken")
        if any(why == "limit_broken" and at <= finish for at, why in guarded) and missed:
            events.add("limit_broken")
        if faults:
            told.fault = min(faults, key=_when)[1]
            events.add("fault")
            if outcome == "held":
                outcome, standing = "safe", SAFE
        told.records.append(
            Record(
                cycle, release, skipped, start, inferred, finish, outcome, frozenset(events),
                lost.in_a_row, sum(lost.window), standing,
            )
        )  # fmt: skip
        told.misses += missed
        now = finish
        told.elapsed, skipped = grid.after(now)
        told.skipped += skipped
        if faults:
            break
    return told


def _ends_by_itself(
    task: Task, lost: _Lost, is_broken: bool, grid: _Grid, cycle: int, deadline: int
) -> list[tuple[int, str]]:
    """What the class makes of a job that is not over by then: the instants, and the reasons.

    ``lost`` knows the jobs before this one; ``is_broken``: by those that were skipped before it.
    """
    if task.loop_class == "hard":
        return [(deadline + 1, "deadline_miss")]
    found = [(deadline + task.hang_limit_ns, "hang")]
    if task.on_broken == "fault" and (task.window or task.max_consecutive):
        # It is lost at its deadline, those after it as soon as they are skipped.
        most = 1 if task.on_overrun == "slip" else task.window + task.max_consecutive + 1
        breaks = (True,) if is_broken else tuple(islice(lost.with_next(), most))
        if any(breaks):
            n = breaks.index(True)
            at = grid.lost_at(cycle + n) if n else deadline + 1
            found.insert(0, (at, "limit_broken"))
    return sorted(found, key=_when)


def _when(fault: tuple[int, str]) -> int:
    return fault[0]


def _limited(
    task: Task, value: float, standing: float, share: float = 1.0
) -> tuple[float, set[str]]:
    """In float32, as commands are; ``share`` of a period is over since the one that stands."""
    step = np.float32(task.max_rate_per_s) * np.float32(task.period_ns / 1e9) * np.float32(share)
    events = set()
    clamped = min(max(np.float32(value), np.float32(task.low)), np.float32(task.high))
    slewed = min(max(clamped, np.float32(standing) - step), np.float32(standing) + step)
    if clamped != value:
        events.add("clamped")
    if slewed != clamped:
        events.add("slew_limited")
    return float(slewed), events
