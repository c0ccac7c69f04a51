"""The core does what its specification says, for schedules that nobody has thought of."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from rtloop.telemetry.observe import records as rec
from tests.core.conftest import identity_graph, stall
from tests.core.specification import DEFAULT, SAFE, Arrival, Job, Record, Task, Told, told_of

US = 1_000
EPOCH_NS = 1_000_000_000
#: Told in a record, and not a matter of the specification: how a miss was found, and that it was injected.
BESIDE = core.EVENTS["guard"] | core.EVENTS["injected"]
#: What schedules must have led to, each more than once or twice.
REACHED = {
    *("written", "written_late", "held", "default", "safe"),
    *("miss", "stale_input", "limit_broken", "budget_overrun", "clamped", "slew_limited", "fault"),
    *("none", "deadline_miss", "stale_input", "hang"),
}

_T = TypeVar("_T")
Class = Literal["hard", "firm", "soft"]
Output = Literal["asap", "at_deadline"]
Stale = Literal["hold", "fault", "use"]


class Core:
    """The real thing on virtual time, asked as the specification is."""

    def __init__(self, directory: Path) -> None:
        path = str(directory / "ring")
        self._ring = core.RingWriter(path, 1024, 1, 1, 1, b"{}")
        self._reader = core.RingReader(path)
        self._graph = identity_graph(1)

    def told_of(
        self, task: Task, jobs: Sequence[Job], arrivals: Sequence[Arrival] | None = None
    ) -> Told:
        clock = core.VirtualClock(EPOCH_NS)
        source = core.Port("mailbox", {"inputs": 1})
        ports = [source, core.Port("mailbox", {"safe": [SAFE]})]
        loop = core.Loop(_config(task, jobs), ports, self._graph, self._ring, clock)
        deliveries = core.Deliveries(clock)
        for at_ns, taken_ns, value in arrivals or ():
            deliveries.add(source, [value], EPOCH_NS + taken_ns, EPOCH_NS + at_ns)
        cycle, goes_on = 0, True
        while goes_on and cycle < len(jobs):
            sample = jobs[cycle].sample
            if sample is not None and arrivals is None:
                source.put(np.array([sample], np.float32), clock.now())
            if cycle == 0:
                loop.begin()
            clock.oversleep_ns = jobs[0 if arrivals is not None else cycle].oversleep_ns
            goes_on = loop.step()
            status = loop.status()
            cycle = status["elapsed_periods"]
        return Told(
            records=self._new_records(),
            fault=rec.FAULT_REASON_NAMES[status["fault_reason"]],
            elapsed=status["elapsed_periods"],
            skipped=status["skipped"],
            misses=status["misses"],
        )

    def _new_records(self) -> list[Record]:
        rows, lost = self._reader.read(1024)
        assert lost == 0
        return _records(np.ascontiguousarray(rows))


def _config(task: Task, jobs: Sequence[Job]) -> core.LoopConfig:
    config = core.LoopConfig()
    config.name = "specified"
    config.loop_class = core.LoopClass[task.loop_class]
    config.period_ns, config.deadline_ns = task.period_ns, task.deadline_ns
    config.on_overrun, config.max_catch_up = core.Overrun[task.on_overrun], task.max_catch_up
    config.output_at_deadline = task.output == "at_deadline"
    config.default_on_miss = task.on_miss == "default"
    config.max_misses, config.window = task.max_misses, task.window
    config.max_consecutive = task.max_consecutive
    config.fault_on_broken_limit = task.on_broken == "fault"
    config.budget_ns, config.hang_limit_ns = task.budget_ns, task.hang_limit_ns
    stand_in = [] if task.stand_in is None else [task.stand_in]
    on_stale = core.OnStale[task.on_stale]
    config.inputs = [core.InputConfig(0, task.max_age_ns, on_stale, stand_in)]
    if task.timeout_ns:
        config.paced_by, config.timeout_ns = 0, task.timeout_ns
    rate = [task.max_rate_per_s]
    config.outputs = [core.OutputConfig(1, [task.low], [task.high], rate, [SAFE], [DEFAULT])]
    config.stalls = [
        stall(stage, cycle, duration)
        for cycle, job in enumerate(jobs)
        for stage, duration in job.stages.items()
        if duration
    ]
    config.stalls += [stall("release", len(jobs), 1, every=1)]
    return config


def _records(rows: npt.NDArray[np.uint8]) -> list[Record]:
    cycles = np.ascontiguousarray(rows[:, : core.RECORD_SIZE]).view(rec.RECORD_DTYPE)[:, 0]
    sent = np.ascontiguousarray(rows[:, -4:]).view("<f4")[:, 0]
    return [
        Record(
            cycle=int(r["cycle"]),
            release_ns=int(r["release_ns"]) - EPOCH_NS,
            skipped=int(r["skipped"]),
            start_ns=int(r["start_ns"]) - EPOCH_NS,
            infer_ns=int(r["infer_ns"]) - EPOCH_NS,
            finish_ns=int(r["finish_ns"]) - EPOCH_NS,
            outcome=rec.OUTCOME_NAMES[r["outcome"]],
            events=frozenset(
                name for name, bit in core.EVENTS.items() if int(r["events"]) & bit & ~BESIDE
            ),
            consecutive=int(r["consecutive_misses"]),
            in_window=int(r["window_misses"]),
            sent=float(command),
        )
        for r, command in zip(cycles, sent, strict=True)
    ]


def made_up(random: np.random.Generator) -> tuple[Task, list[Job]]:
    """A loop and what happens to it: mostly in time, now and then around an edge, or far beyond."""

    def one_of(*values: _T) -> _T:
        return values[int(random.integers(len(values)))]

    period = one_of(1_000, 2_000, 5_000) * US
    output: Output = one_of("asap", "asap", "at_deadline")
    deadline = one_of(period, period, period // 2)
    if output == "at_deadline":
        deadline = period - core.output_lead_ns(period, period)
    loop_class: Class = one_of("hard", "firm", "soft", "firm", "soft")
    has_limit = loop_class != "hard"
    on_stale: Stale = one_of("hold", "fault", "use", "use")
    task = Task(
        loop_class=loop_class,
        period_ns=period,
        deadline_ns=deadline,
        on_overrun=one_of("skip", "skip", "catch_up", "slip"),
        max_catch_up=one_of(1, 2, 3),
        output=output,
        lead_ns=core.output_lead_ns(period, deadline),
        on_miss=one_of("hold", "default") if loop_class == "firm" else "hold",
        max_misses=one_of(0, 1, 2, 4),
        window=one_of(0, 0, 5, 10) if has_limit else 0,
        max_consecutive=one_of(0, 0, 1, 2, 3) if has_limit else 0,
        on_broken=one_of("warn", "fault"),
        max_age_ns=one_of(0, 0, period, 2 * period + period // 2),
        on_stale=on_stale,
        stand_in=one_of(None, 0.0, -1.5) if on_stale == "use" else None,
        budget_ns=one_of(0, 0, deadline // 2),
        hang_limit_ns=one_of(4, 12, 100) * period,
        low=one_of(-100.0, -2.0),
        high=one_of(100.0, 2.0),
        max_rate_per_s=one_of(1e9, 1.3e9 / period),
    )
    trouble = one_of(0.05, 0.2, 0.5)
    jobs = [_made_up_job(random, task, trouble) for _ in range(int(random.integers(4, 16)))]
    first = one_of(0.5, 0.5, 0.5, None)
    return task, [dataclasses.replace(jobs[0], sample=first), *jobs[1:]]


def _made_up_job(random: np.random.Generator, task: Task, trouble: float) -> Job:
    def duration(usual_ns: int) -> int:
        if random.random() > trouble:
            return usual_ns
        edges = (task.deadline_ns, task.period_ns, 2 * task.period_ns, 4 * task.period_ns)
        edge_ns = edges[int(random.integers(len(edges)))]
        before_ns = usual_ns if random.random() < 0.5 else 0
        return max(0, edge_ns + int(random.integers(-2, 3)) - before_ns)

    def rarely() -> int:
        return duration(0) if random.random() < 0.3 else 0

    return Job(
        oversleep_ns=rarely() or int(random.integers(0, 40 * US)),
        release_ns=max(1, rarely()),
        read_ns=rarely(),
        infer_ns=max(1, duration(task.deadline_ns // 4)),
        write_ns=rarely(),
        sample=None if random.random() < trouble else float(random.integers(-24, 25)) / 8,
    )


def test_the_core_agrees_with_the_specification(tmp_path: Path) -> None:
    real = Core(tmp_path)
    seen: Counter[str] = Counter()
    for seed in range(int(os.environ.get("RTLOOP_SCHEDULES", "10000"))):
        task, jobs = made_up(np.random.default_rng(seed))
        expected, found = told_of(task, jobs), real.told_of(task, jobs)
        assert found == expected, f"seed {seed}: {task}, {jobs}"
        assert found.elapsed == len(found.records) + found.skipped
        seen.update({found.fault, *(r.outcome for r in found.records)})
        seen.update(event for r in found.records for event in r.events)
    assert {name for name, n in seen.items() if n > 5} >= REACHED


def made_up_arrivals(random: np.random.Generator, task: Task, until_ns: int) -> list[Arrival]:
    """Samples of a sensor: too fast or too slow, late, in bursts, silent, or with a clock that jumps."""
    pace = task.period_ns * (0.33, 0.5, 0.97, 1.0, 1.0, 1.0, 1.03, 2.1)[random.integers(8)]
    trouble = (0.0, 0.1, 0.4)[random.integers(3)]
    arrivals, taken, at, jump = [], 0.0, 0, 0
    while taken < until_ns:
        taken += pace
        if random.random() < trouble / 3:
            taken += random.integers(1, 6) * task.period_ns  # silent
        if random.random() < trouble / 3:
            jump = int(random.integers(-3, 4)) * task.period_ns // 2
        delay = int(random.integers(1, task.period_ns // 10))
        if random.random() < trouble:
            delay = int(random.integers(1, 3 * task.period_ns))
        at = max(at, int(taken) + delay)
        arrivals.append(Arrival(at, int(taken) + jump, float(random.integers(-24, 25)) / 8))
    return arrivals


def test_a_loop_that_is_paced_by_its_input_agrees_with_the_specification(tmp_path: Path) -> None:
    real = Core(tmp_path)
    seen: Counter[str] = Counter()
    for seed in range(int(os.environ.get("RTLOOP_SCHEDULES", "10000")) // 2):
        random = np.random.default_rng(seed)
        task, jobs = made_up(random)
        timeout_ns = int((1.2, 1.5, 2.5, 4)[random.integers(4)] * task.period_ns)
        task = dataclasses.replace(task, on_overrun="skip", timeout_ns=timeout_ns)
        late_ns = int(random.integers(0, 40 * US)) if random.random() < 0.9 else 2 * task.period_ns
        jobs = [dataclasses.replace(job, oversleep_ns=late_ns) for job in jobs]
        arrivals = made_up_arrivals(random, task, (len(jobs) + 8) * task.period_ns)
        expected, found = told_of(task, jobs, arrivals), real.told_of(task, jobs, arrivals)
        assert found == expected, f"seed {seed}: {task}, {jobs}, {arrivals}"
        assert found.elapsed == len(found.records) + found.skipped
        seen.update({found.fault, *(r.outcome for r in found.records)})
        seen.update(event for r in found.records for event in r.events)
        seen["skipped"] += found.skipped
    assert {name for name, n in seen.items() if n > 5} >= REACHED | {"timed_out", "skipped"}


@pytest.mark.parametrize(
    ("rate", "late", "lost", "skipped"),
    [
        (1.0, 0.0, False, 0),
        (1.0, 0.6, False, 0),  # of a period, one in seven
        (1.0, 0.6, True, 19),  # one in twenty
        (0.97, 0.0, False, 0),
        (0.97, 0.45, False, 0),
        (0.97, 0.0, True, 19),
        (1.03, 0.6, True, 19),
        (0.48, 0.0, False, 399),
    ],
)
def test_samples_that_are_late_are_there_and_those_that_are_lost_are_skipped(
    tmp_path: Path, rate: float, late: float, lost: bool, skipped: int
) -> None:
    period_ns = 2_000 * US
    task = Task(period_ns=period_ns, deadline_ns=period_ns, timeout_ns=10 * period_ns)
    arrivals = []
    for n in range(1, 401):
        if lost and n % 20 == 10 and n > 20:
            continue
        at_ns = int(n * period_ns / rate) + (int(late * period_ns) if n % 7 == 0 else 0)
        arrivals.append(Arrival(at_ns, at_ns, 0.0))
    releases = len(arrivals) + skipped
    found = Core(tmp_path).told_of(task, [Job()] * releases, arrivals)
    assert (len(found.records), found.skipped) == (len(arrivals), skipped)
    assert found == told_of(task, [Job()] * releases, arrivals)


def test_a_release_that_is_left_out_as_its_sample_came_too_early_is_skipped(
    tmp_path: Path,
) -> None:
    period_ns = 2_000 * US
    task = Task(period_ns=period_ns, deadline_ns=period_ns, timeout_ns=10 * period_ns)
    times = [n * period_ns * 10 // 11 for n in range(1, 41)]
    arrivals = [Arrival(at_ns, at_ns, 0.0) for at_ns in times]
    found = Core(tmp_path).told_of(task, [Job()] * 40, arrivals)
    assert (len(found.records), found.skipped) == (39, 1)
    assert found == told_of(task, [Job()] * 40, arrivals)


def test_a_sample_that_comes_when_the_guard_has_judged_hides_no_lost_period(tmp_path: Path) -> None:
    """The job is that of the time-out; the periods before it count with the next sample."""
    task = Task(timeout_ns=4_000 * US)
    jobs = [Job(oversleep_ns=2_000 * US)] * 9
    at_us = (1_000, 6_500, 9_200)  # woken up at 8500 µs, for a deadline at 8000
    arrivals = [Arrival(at * US, at * US, 0.0) for at in at_us]
    found = Core(tmp_path).told_of(task, jobs, arrivals)
    assert [(r.cycle, r.release_ns // US) for r in found.records] == [
        (0, 1_000), (1, 7_000), (8, 9_200)
    ]  # fmt: skip
    assert found == told_of(task, jobs, arrivals)


def test_the_first_release_is_that_of_all_loops_not_the_time_out_after_it(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "ring"), 8, 1, 1, 1, b"{}")
    ports = [core.Port("mailbox", {"inputs": 1}), core.Port("mailbox", {"safe": [SAFE]})]
    config = _config(Task(timeout_ns=4_000 * US), [])
    clock = core.VirtualClock(EPOCH_NS)
    loop = core.Loop(config, ports, identity_graph(1), ring, clock)
    loop.begin()
    assert loop.status()["first_release_ns"] == EPOCH_NS
    assert loop.step()
    assert clock.now() > EPOCH_NS + 4_000 * US


durations = st.one_of(st.just(0), st.integers(1, 5_000 * US))


@settings(deadline=None)
@given(
    task=st.builds(
        Task,
        loop_class=st.sampled_from(["firm", "soft"]),
        on_overrun=st.sampled_from(["skip", "catch_up", "slip"]),
        on_broken=st.sampled_from(["warn", "fault"]),
        max_misses=st.integers(0, 3),
        window=st.integers(0, 6),
        max_consecutive=st.integers(0, 3),
        max_catch_up=st.integers(1, 4),
        max_age_ns=st.sampled_from([0, 1_000 * US]),
        on_stale=st.sampled_from(["hold", "fault", "use"]),
    ),
    stand_in=st.sampled_from([None, 0.0]),
    jobs=st.lists(
        st.builds(
            Job,
            oversleep_ns=durations,
            release_ns=durations.map(lambda ns: max(1, ns)),
            read_ns=durations,
            infer_ns=durations.map(lambda ns: max(1, ns)),
            write_ns=durations,
            sample=st.sampled_from([1.0, 1.0, None]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_whatever_happens_to_the_jobs_of_a_loop(
    tmp_path_factory: pytest.TempPathFactory, task: Task, stand_in: float | None, jobs: list[Job]
) -> None:
    if task.on_stale == "use":
        task = dataclasses.replace(task, stand_in=stand_in)
    real = Core(tmp_path_factory.mktemp("specified"))
    assert real.told_of(task, jobs) == told_of(task, jobs)


@settings(deadline=None)
@given(
    task=st.builds(
        Task,
        loop_class=st.sampled_from(["hard", "firm", "soft"]),
        on_broken=st.sampled_from(["warn", "fault"]),
        max_misses=st.integers(0, 3),
        max_consecutive=st.integers(0, 3),
        timeout_ns=st.integers(1_001 * US, 4_000 * US),
        max_age_ns=st.sampled_from([0, 1_000 * US]),
        on_stale=st.sampled_from(["hold", "fault", "use"]),
    ),
    jobs=st.lists(
        st.builds(Job, infer_ns=durations.map(lambda ns: max(1, ns))), min_size=1, max_size=8
    ),
    samples=st.lists(
        st.tuples(st.integers(1, 3_000 * US), st.integers(-3_000 * US, 3_000 * US)), max_size=12
    ),
)
def test_whatever_comes_to_a_loop_that_is_paced_by_it(
    tmp_path_factory: pytest.TempPathFactory,
    task: Task,
    jobs: list[Job],
    samples: list[tuple[int, int]],
) -> None:
    if task.loop_class == "hard":  # which has no limit
        task = dataclasses.replace(task, max_misses=0, max_consecutive=0)
    at_ns, arrivals = 0, []
    for value, (after_ns, late_ns) in enumerate(samples):
        at_ns += after_ns
        arrivals.append(Arrival(at_ns, at_ns - late_ns, float(value)))
    real = Core(tmp_path_factory.mktemp("paced"))
    found = real.told_of(task, jobs, arrivals)
    assert found == told_of(task, jobs, arrivals)
    assert found.elapsed == len(found.records) + found.skipped
