"""Loops that feed loops, on virtual time: which command counts depends on the grid, and on which jobs met.

Each loop has a clock of its own, as on a CPU of its own: how late one of them is, is nothing to the other.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from rtloop.telemetry.observe.records import GUARD, INPUT_RECORD_DTYPE, MISS
from tests.core.conftest import MS, identity_graph, read_records, stall

HARD, FIRM, SOFT = core.LoopClass.hard, core.LoopClass.firm, core.LoopClass.soft
SAFE, DEFAULT = -1.0, -2.0
S = 1_000_000_000


class Stepped:
    """A loop with one value in and one out, on a clock of its own; it commands what it reads."""

    def __init__(
        self,
        path: Path,
        source: core.Port,
        relay: core.Relay | None = None,
        output: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        config = core.LoopConfig()
        config.loop_class = SOFT
        config.hang_limit_ns = 100 * S
        config.inputs = [core.InputConfig(0)]
        sink = {"safe": [SAFE], "default_value": [DEFAULT], **(output or {})}
        config.outputs = [core.OutputConfig(1, relay=relay, **sink)]
        for name, value in changes.items():
            assert hasattr(config, name), name
            setattr(config, name, value)
        self.period_ns = config.period_ns
        self.deadline_ns = config.deadline_ns
        self.clock = core.VirtualClock(1_000 * MS)
        self.input = source
        self.output = core.Port("mailbox", {"safe": sink["safe"]})
        self.path = str(path)
        self.ring = core.RingWriter(self.path, 4096, 1, 1, 1, b"{}")
        ports = [source, self.output]
        self.loop = core.Loop(config, ports, identity_graph(1), self.ring, self.clock)
        self.goes_on = True

    @property
    def next_release_ns(self) -> float:
        """Infinite once it has ended."""
        status = self.loop.status()
        release: int = status["first_release_ns"] + status["open_cycle"] * self.period_ns
        return release if self.goes_on else math.inf

    def step(self) -> None:
        self.goes_on = self.loop.step()

    def records(self) -> np.ndarray[Any, Any]:
        return read_records(self.path)

    def seen(self) -> tuple[list[float], list[int]]:
        """The value and the age of the input in each cycle."""
        raw, _ = core.RingReader(self.path).read(1 << 20)
        at, end = core.RECORD_SIZE, core.RECORD_SIZE + core.INPUT_RECORD_SIZE
        inputs = np.ascontiguousarray(raw[:, at:end]).view(INPUT_RECORD_DTYPE)[:, 0]
        assert not inputs["gap"].any()
        values = np.ascontiguousarray(raw[:, end:]).view("<f4")[:, 0]
        return values.tolist(), inputs["age_ns"].tolist()


class Producer(Stepped):
    """Commands the number of each job."""

    def __init__(self, path: Path, relay: core.Relay, **changes: Any) -> None:
        super().__init__(path, core.Port("mailbox", {"inputs": 1}), relay, **changes)

    def step(self) -> None:
        number = np.array([self.loop.status()["open_cycle"]], np.float32)
        self.input.put(number, self.clock.now())
        super().step()


def capacity(reads_ns: int, writes_ns: int) -> int:
    return -(-reads_ns // writes_ns) + 3


class Pair:
    """A producer and a consumer with one first release."""

    def __init__(
        self,
        folder: Path,
        writes: dict[str, Any],
        reads: dict[str, Any],
        room: int | None = None,
    ) -> None:
        room = room or capacity(reads["period_ns"], writes["period_ns"])
        self.relay = core.Relay(1, room, writes.get("output_at_deadline", False))
        oversleeps = [settings.pop("oversleep_ns", 0) for settings in (writes, reads)]
        self.producer = Producer(folder / "producer", self.relay, **writes)
        self.consumer = Stepped(folder / "consumer", self.relay.reader(), **reads)
        for loop, oversleep_ns in zip(self.loops, oversleeps, strict=True):
            loop.clock.oversleep_ns = oversleep_ns
        self.producer.input.put(np.zeros(1, np.float32), self.producer.clock.now())
        for loop in self.loops:
            loop.loop.rearm()
        for loop in self.loops:
            assert loop.loop.missing_input() is None
        for loop in self.loops:
            loop.loop.begin(MS)

    @property
    def loops(self) -> tuple[Stepped, Stepped]:
        return self.producer, self.consumer

    def run(self, cycles: int, ahead: Sequence[bool] = (False,)) -> None:
        """So many cycles of the consumer. ``ahead``: where it is late by a period, and the producer is not."""
        for cycle in range(cycles):
            assert self.consumer.goes_on
            late_ns = self.consumer.period_ns if ahead[cycle % len(ahead)] else 0
            while self.producer.next_release_ns <= self.consumer.next_release_ns + late_ns:
                self.producer.step()
            self.consumer.step()


Counts = list[tuple[float, int]]


def expected(consumer: Stepped, producer: Stepped) -> Counts:
    """The model: of the commands with the time from which each counts, the newest at each release."""
    releases = consumer.records()["release_ns"].tolist()
    commands = [(SAFE, releases[0])]
    armed_ns = 0  # of a cycle that catches up, after its deadline
    for record in producer.records():
        outcome = record["outcome"]
        if outcome == core.OUTCOMES["written"]:
            commands.append((float(record["cycle"]), int(record["deadline_ns"])))
        elif outcome == core.OUTCOMES["written_late"]:
            commands.append((float(record["cycle"]), int(record["finish_ns"])))
        elif outcome == core.OUTCOMES["default"]:
            by_guard = record["events"] & GUARD
            guard_ns = max(int(record["deadline_ns"]) + 1, armed_ns)
            commands.append((DEFAULT, guard_ns if by_guard else int(record["finish_ns"])))
        armed_ns = int(record["finish_ns"])
    return [max(c for c in enumerate(commands) if c[1][1] <= release)[1] for release in releases]


def counted(consumer: Stepped) -> Counts:
    """What it took: each value, and since when it counts."""
    values, ages_ns = consumer.seen()
    starts_ns = consumer.records()["start_ns"].tolist()
    since = [start - age for start, age in zip(starts_ns, ages_ns, strict=True)]
    return list(zip(values, since, strict=True))


RATES = {
    "50 Hz feeds 1 kHz": (20 * MS, MS),
    "30 Hz feeds 1 kHz": (33_333_333, MS),
    "7 Hz feeds 3 Hz": (S // 7, S // 3),
    "3 Hz feeds 7 Hz": (S // 3, S // 7),
    "1 kHz feeds 50 Hz": (MS, 20 * MS),
    "one rate": (5 * MS, 5 * MS),
}
share = st.floats(0, 1)
stages = st.sampled_from(["release", "read", "infer"])


def stalls_of(shares: dict[int, tuple[str, float]], most_ns: int) -> list[core.Stall]:
    return [stall(stage, k, int(part * most_ns)) for k, (stage, part) in shares.items()]


@settings(max_examples=80, deadline=None)
@given(
    rates=st.sampled_from(sorted(RATES)),
    loop_class=st.sampled_from([FIRM, SOFT]),
    default_on_miss=st.booleans(),
    deadline=st.sampled_from([0.3, 0.75, 0.9]),
    works=st.dictionaries(st.integers(0, 40), st.tuples(stages, st.floats(0, 2.5)), max_size=20),
    reads=st.dictionaries(st.integers(0, 60), st.tuples(stages, st.floats(0, 2.5)), max_size=20),
    oversleeps=st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)),
    overruns=st.tuples(*[st.sampled_from([core.Overrun.skip, core.Overrun.catch_up])] * 2),
    ahead=st.lists(st.booleans(), min_size=1, max_size=8),
)
def test_what_a_loop_reads_follows_from_the_grid_and_from_which_jobs_met(
    rates: str,
    loop_class: core.LoopClass,
    default_on_miss: bool,
    deadline: float,
    works: dict[int, tuple[str, float]],
    reads: dict[int, tuple[str, float]],
    oversleeps: tuple[int, int],
    overruns: tuple[core.Overrun, core.Overrun],
    ahead: list[bool],
) -> None:
    writes_ns, reads_ns = RATES[rates]
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(
            Path(folder),
            {
                "loop_class": loop_class,
                "period_ns": writes_ns,
                "deadline_ns": int(deadline * writes_ns),
                "default_on_miss": default_on_miss,
                "output_at_deadline": True,
                "on_overrun": overruns[0],
                "max_catch_up": 3,
                "stalls": stalls_of(works, int(deadline * writes_ns)),
                "oversleep_ns": min(oversleeps[0], writes_ns // 4),
            },
            {
                "period_ns": reads_ns,
                "deadline_ns": reads_ns,
                "on_overrun": overruns[1],
                "max_catch_up": 3,
                "stalls": stalls_of(reads, reads_ns),
                "oversleep_ns": min(oversleeps[1], reads_ns // 4),
            },
            room=capacity(4 * reads_ns, writes_ns) + 3,
        )
        pair.run(60, ahead)
        assert counted(pair.consumer) == expected(pair.consumer, pair.producer)
        for loop in pair.loops:
            status = loop.loop.status()
            assert status["elapsed_periods"] == status["executed"] + status["skipped"]
            loop.loop.end()


def read_at(folder: Path, at_deadline: bool, shares: Sequence[float]) -> Counts:
    """What a 1 kHz loop reads of a 50 Hz one, whose jobs take these shares of their deadline."""
    folder.mkdir()
    works = {k: ("infer", part) for k, part in enumerate(shares)}
    pair = Pair(
        folder,
        {
            "loop_class": FIRM,
            "period_ns": 20 * MS,
            "deadline_ns": 15 * MS,
            "output_at_deadline": at_deadline,
            "stalls": stalls_of(works, 14 * MS),
        },
        {"period_ns": MS, "deadline_ns": MS},
    )
    pair.run(200)
    assert not (pair.producer.records()["events"] & MISS).any()
    return counted(pair.consumer)


@settings(max_examples=15, deadline=None)
@given(shares=st.lists(share, min_size=10, max_size=10))
def test_a_50_hz_policy_over_a_1_khz_pd_is_read_alike_whatever_its_time(
    shares: list[float],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        counts = read_at(Path(folder) / "at deadline", True, shares)
    first = counts[0][1]
    # Each command from the 15th ms after its release to the 15th after the next, to the nanosecond.
    told = [(SAFE, first)] * 15
    told += [(float(k // 20), first + (k // 20 * 20 + 15) * MS) for k in range(185)]
    assert counts == told


def test_without_at_deadline_what_is_read_depends_on_execution_times(tmp_path: Path) -> None:
    quick = read_at(tmp_path / "quick", False, [0.1] * 10)
    slow = read_at(tmp_path / "slow", False, [0.9] * 10)
    assert quick[:10] != slow[:10]
    assert quick[5][0] == 0.0
    assert slow[5][0] == SAFE
    # What is read was written before the cycle that read it began.
    assert quick[20][1] - quick[0][1] == int(0.1 * 14 * MS)


def test_a_command_counts_at_its_deadline_and_not_a_nanosecond_before(tmp_path: Path) -> None:
    writes = {"period_ns": 20 * MS, "deadline_ns": 15 * MS, "output_at_deadline": True}
    for name, deadline_ns, at_15_ms in (("at", 15 * MS, 0.0), ("after", 15 * MS + 1, SAFE)):
        (tmp_path / name).mkdir()
        pair = Pair(
            tmp_path / name,
            {**writes, "deadline_ns": deadline_ns},
            {"period_ns": MS, "deadline_ns": MS},
        )
        pair.run(17)
        values, _ = pair.consumer.seen()
        assert values[14:] == [SAFE, at_15_ms, 0.0]


@pytest.mark.parametrize("loop_class", [HARD, FIRM, SOFT])
def test_what_counts_last_is_the_safe_command_of_a_producer_that_ended(
    tmp_path: Path, loop_class: core.LoopClass
) -> None:
    works = [stall("infer", 3, 400 * MS)]
    changes: dict[str, Any] = {"stalls": works} if loop_class is HARD else {}
    pair = Pair(
        tmp_path,
        {
            "loop_class": loop_class,
            "period_ns": 20 * MS,
            "deadline_ns": 15 * MS,
            "output_at_deadline": True,
            **changes,
        },
        {"period_ns": MS, "deadline_ns": MS, "inputs": [core.InputConfig(0, 45 * MS)]},
    )
    pair.run(71)
    if loop_class is not HARD:  # at 80 ms, with a command on its way that counts at 75 ms
        pair.producer.loop.end()
        pair.producer.goes_on = False
    pair.run(100)
    values, ages_ns = pair.consumer.seen()
    # The guard of a hard loop sends it right after its deadline.
    since = 76 if loop_class is HARD else 75
    assert values[since - 2] == 2.0
    assert values[since] == SAFE
    assert set(values[since:]) == {SAFE}
    # It is judged by its age: nothing new will come.
    ages = np.array(ages_ns[since:])
    assert (np.diff(ages) == MS).all()
    assert ages[0] < MS
    stale = (pair.consumer.records()["events"] & core.EVENTS["stale_input"]) != 0
    assert stale[since:].tolist() == (ages > 45 * MS).tolist()
    assert stale.any()


def test_a_command_that_is_discarded_or_refused_is_read_by_nobody(tmp_path: Path) -> None:
    pair = Pair(
        tmp_path,
        {
            "loop_class": FIRM,
            "period_ns": 20 * MS,
            "deadline_ns": 15 * MS,
            "output_at_deadline": True,
            "stalls": [stall("infer", 2, 16 * MS)],
        },
        {"period_ns": MS, "deadline_ns": MS},
    )
    pair.run(100)
    values, ages_ns = pair.consumer.seen()
    assert 2.0 not in values
    assert values[56] == 1.0
    assert max(ages_ns) == 39 * MS  # a period, and another one, but for a cycle


def test_a_loop_that_cannot_find_its_command_any_more_keeps_the_one_it_had(tmp_path: Path) -> None:
    pair = Pair(
        tmp_path,
        {"period_ns": MS, "deadline_ns": MS // 2, "output_at_deadline": True},
        {"period_ns": 5 * MS, "deadline_ns": 5 * MS},
        room=3,
    )
    pair.run(3, ahead=[False, False, True])  # the relay has room for three, and five came
    values, ages_ns = pair.consumer.seen()
    assert values == [SAFE, 4.0, 4.0]
    assert ages_ns[2] - ages_ns[1] == 5 * MS


def test_each_activation_begins_with_the_safe_command(tmp_path: Path) -> None:
    pair = Pair(
        tmp_path,
        {"period_ns": 2 * MS, "deadline_ns": MS, "output_at_deadline": True},
        {"period_ns": MS, "deadline_ns": MS},
    )
    pair.run(6)
    for loop in pair.loops:
        loop.loop.end()
    start_ns = max(loop.clock.now() for loop in pair.loops) + MS
    for loop in pair.loops:
        loop.clock.spend(start_ns - loop.clock.now())
        loop.loop.rearm()
    for loop in pair.loops:
        assert loop.loop.missing_input() is None
        loop.loop.begin(MS)
    pair.run(3)
    values, ages_ns = pair.consumer.seen()
    assert values[-3:] == [SAFE, 0.0, 0.0]
    assert ages_ns[-3:] == [0, 0, MS]


def test_what_is_held_is_read_before_the_first_command_once_it_was_measured(
    tmp_path: Path,
) -> None:
    nan = math.nan
    pair = Pair(
        tmp_path,
        {
            "period_ns": 2 * MS,
            "deadline_ns": MS,
            "output_at_deadline": True,
            "output": {"safe": [nan], "default_value": [nan], "hold": [0]},
        },
        {"period_ns": MS, "deadline_ns": MS},
    )
    pair.run(1)
    assert pair.consumer.seen() == ([0.0], [0])


def test_loops_may_read_each_other(tmp_path: Path) -> None:
    relays = [core.Relay(1, 5, True) for _ in range(2)]
    timing: dict[str, Any] = {"period_ns": 2 * MS, "deadline_ns": MS, "output_at_deadline": True}
    one = Stepped(tmp_path / "one", relays[1].reader(), relays[0], **timing)
    two = Stepped(tmp_path / "two", relays[0].reader(), relays[1], {"safe": [-7.0]}, **timing)
    for loop in (one, two):
        loop.loop.rearm()
    for loop in (one, two):
        assert loop.loop.missing_input() is None, "none waits for the other"
        loop.loop.begin(MS)
    for _ in range(4):
        for loop in (two, one):
            loop.step()
    # Each commands what the other had commanded the cycle before.
    assert one.seen()[0] == [-7.0, -1.0, -7.0, -1.0]
    assert two.seen()[0] == [-1.0, -7.0, -1.0, -7.0]
    assert one.seen()[1] == [0, MS, MS, MS]


def test_any_number_of_loops_read_one_output(tmp_path: Path) -> None:
    relay = core.Relay(1, 25, True)
    producer = Producer(
        tmp_path / "producer", relay, period_ns=2 * MS, deadline_ns=MS, output_at_deadline=True
    )
    periods = (MS, 3 * MS, 7 * MS)
    readers = [
        Stepped(tmp_path / str(n), relay.reader(), period_ns=n, deadline_ns=n) for n in periods
    ]
    loops = [producer, *readers]
    for loop in loops:
        loop.loop.rearm()
    for loop in loops:
        loop.loop.begin(MS)
    for _ in range(60):
        min(loops, key=lambda loop: loop.next_release_ns).step()
    for reader in readers:
        assert counted(reader) == expected(reader, producer)
        assert len(reader.records()) > 4


def test_a_relay_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the relay of port 1 has another size than its command"):
        Stepped(tmp_path / "ring", core.Port("mailbox", {"inputs": 1}), core.Relay(2, 4, True))
    with pytest.raises(ValueError, match="keeps two commands at least"):
        core.Relay(1, 1, True)
