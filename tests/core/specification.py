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


class _Grid:
    """r0 + kT, and which release comes next."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.origin = 0

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


def told_of(task: Task, jobs: Sequence[Job]) -> Told:
    """What becomes of a loop, whose job of release k is ``jobs[k]``, until it ends or these are over."""
    told, lost, grid = Told(), _Lost(task), _Grid(task)
    now = cycle = skipped = 0
    standing, sample = SAFE, 0.0
    taken_at: int | None = None
    while cycle < len(jobs):
        job = jobs[cycle]
        if job.sample is not None:
            taken_at, sample = now, job.sample
        release = grid.release(cycle)
        deadline = release + task.deadline_ns
        events: set[str] = set()
        faults: list[tuple[int, str]] = []  # by when they happened; the first one counts

        waits = now < release
        woke = release + job.oversleep_ns if waits else now
        broken = [lost.take(True) for _ in range(skipped)]
        guarded = _ends_by_itself(task, lost, any(broken), grid, cycle, deadline)
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
        is_stale = taken_at is None or 0 < task.max_age_ns < start - taken_at
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
        command, of_limits = _limited(task, read, standing)
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
        skipped = grid.skipped_after(cycle, now)
        told.skipped += skipped
        cycle += 1 + skipped
        told.elapsed = cycle
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


def _limited(task: Task, value: float, standing: float) -> tuple[float, set[str]]:
    """In float32, as commands are."""
    step = np.float32(task.max_rate_per_s) * np.float32(task.period_ns / 1e9)
    events = set()
    clamped = min(max(np.float32(value), np.float32(task.low)), np.float32(task.high))
    slewed = min(max(clamped, np.float32(standing) - step), np.float32(standing) + step)
    if clamped != value:
        events.add("clamped")
    if slewed != clamped:
        events.add("slew_limited")
    return float(slewed), events
