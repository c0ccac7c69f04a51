"""A loop as its news have it: each miss once, none that was not, what was lost is told."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from rtloop.telemetry.live.followed import COUNT_NAMES, INTERVAL_NAMES, Followed, Miss
from rtloop.telemetry.mcap.messages import MissMessage
from rtloop.telemetry.observe.records import EVENT_BITS, UNFINISHED
from rtloop.telemetry.observe.ring import Ring
from tests.telemetry.loops import PERIOD_NS, append, batch_of, cycles, metadata, new_ring

UNLIMITED = 1e9


def follow(ring: core.RingWriter, misses_per_s: float = UNLIMITED) -> Followed:
    return Followed(Ring(Path(ring.path)), misses_per_s)


def numbers(misses: list[Miss]) -> list[int]:
    return [miss.number for miss in misses]


def statistics_of(followed: Followed) -> dict[str, float]:
    return dict(zip(followed.statistics_names, followed.take_statistics(), strict=True))


def test_every_miss_is_told_once_in_order(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring)
    assert followed.look() == []
    append(ring, batch_of(cycles(100, miss_every=10), metadata()))
    told = followed.look()
    assert [int(miss.record["cycle"][0]) for miss in told] == list(range(9, 100, 10))
    assert numbers(told) == list(range(1, 11))
    assert followed.look() == []
    append(ring, batch_of(cycles(100, first=100, miss_every=50), metadata()))
    assert numbers(followed.look()) == [11, 12]
    assert followed.finish() == []
    assert followed.misses == followed.summary().misses == 12


def test_a_miss_has_the_fields_of_the_recording(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring)
    append(ring, batch_of(cycles(5, miss_every=5), metadata()))
    (miss,) = followed.look()
    recorded = MissMessage()
    message = np.zeros(1, recorded.dtype)
    recorded.fill(message, miss.record, 0)
    told = miss.values()
    for name in (recorded.dtype.names or ())[3:]:  # after encapsulation and stamp
        assert told[name] == int(message[name][0]), name
    assert set(told) == {*(recorded.dtype.names or ())[3:], *recorded._words}
    assert (told["longest_stage"], told["outcome"]) == ("infer", "held")
    assert told["event_names"] == "miss"
    assert told["tardiness_ns"] == miss.tardiness_ns > 0


def test_misses_beyond_the_limit_are_counted_and_the_newest_is_told_in_the_end(
    ring_directory: Path,
) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring, misses_per_s=2)
    append(ring, batch_of(cycles(50, miss_every=1), metadata()))
    told = followed.look()
    assert [(miss.number, miss.suppressed) for miss in told] == [(1, 0), (2, 0)]
    told += followed.finish()
    assert (told[-1].number, told[-1].suppressed) == (50, 47)
    assert len(told) + followed.suppressed == 50 == followed.misses


def test_what_was_overwritten_while_it_followed_is_lost_and_what_was_before_is_not(
    ring_directory: Path,
) -> None:
    ring = new_ring(ring_directory, metadata(), capacity=64)
    append(ring, batch_of(cycles(100), metadata()))
    followed = follow(ring)
    followed.look()
    assert followed.statistics.missed_the_beginning > 0
    assert followed.records_lost == 0
    append(ring, batch_of(cycles(200, first=100, miss_every=1), metadata()))
    told = followed.look()
    assert followed.records_lost == 200 - len(told) > 100
    assert statistics_of(followed)["records_lost"] == followed.records_lost


def _judged(ring: core.RingWriter, cycle: int, outcome: str) -> None:
    deadline_ns = time.monotonic_ns() - PERIOD_NS
    ring.set_expired(cycle, deadline_ns, core.OUTCOMES[outcome])


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_hard_cycle_that_hangs_is_told_before_it_comes_back_and_never_twice(
    ring_directory: Path, comes_back: bool
) -> None:
    loop = metadata(loop_class="hard")
    ring = new_ring(ring_directory, loop)
    followed = follow(ring)
    append(ring, batch_of(cycles(10, loop_class="hard"), loop))
    _judged(ring, 10, "safe")
    assert followed.look() == [], "most come back soon"
    time.sleep(0.03)
    (miss,) = followed.look()
    assert miss.values()["outcome"] == "safe"
    assert int(miss.record["events"][0]) & UNFINISHED
    assert followed.look() == []
    if comes_back:
        append(ring, batch_of(cycles(1, first=10, loop_class="hard", miss_every=1), loop))
    ring.set_state("fault")
    assert followed.finish() == []
    assert followed.misses == followed.summary().misses == 1


def test_a_cycle_in_whose_stead_nothing_was_sent_is_told_when_it_is_known_to_be_a_miss(
    ring_directory: Path,
) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring)
    append(ring, batch_of(cycles(10), metadata()))
    _judged(ring, 10, "none")
    time.sleep(0.03)
    assert followed.look() == []
    ring.set_state("inactive")
    assert followed.finish() == [], "it had not begun when the loop ended"


def test_of_a_loop_that_goes_on_the_last_look_judges_no_cycle(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring, misses_per_s=1)
    append(ring, batch_of(cycles(4, miss_every=1), metadata()))
    _judged(ring, 4, "held")
    followed.look()
    assert [(miss.number, miss.suppressed) for miss in followed.finish()] == [(4, 2)]
    assert followed.misses == 4


def test_statistics_are_of_the_interval_and_counts_of_the_activation(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring)
    names = followed.statistics_names
    assert names[: len(INTERVAL_NAMES)] == INTERVAL_NAMES
    assert names[len(INTERVAL_NAMES) :][: len(COUNT_NAMES)] == COUNT_NAMES
    assert names[-4:] == ("cart.age_max_ms", "cart.gaps", "imu.age_max_ms", "imu.gaps")
    nothing = statistics_of(followed)
    assert math.isnan(nothing["rate_hz"])
    assert math.isnan(nothing["cart.age_max_ms"])
    assert nothing["executed"] == 0

    first = batch_of(cycles(100, miss_every=10), metadata())
    append(ring, first)
    followed.look()
    told = statistics_of(followed)
    assert told["rate_hz"] == pytest.approx(1e9 / PERIOD_NS, rel=0.01)
    assert told["period_min_us"] <= told["period_average_us"] <= told["period_max_us"]
    assert (told["executed"], told["misses"], told["held"]) == (100, 10, 10)
    assert told["state"] == core.STATES["active"]
    assert told["fault_reason"] == core.FAULT_REASONS["none"]
    assert told["imu.gaps"] == first.sources["gap"][:, 1].sum()
    assert told["cart.age_max_ms"] == first.sources["age_ns"][:, 0].max() / 1e6

    append(ring, batch_of(cycles(1, first=100), metadata()))
    followed.look()
    told = statistics_of(followed)
    assert told["executed"] == 101
    assert told["response_max_us"] < first.records["finish_ns"].max()
    assert not math.isnan(told["rate_hz"]), "the period since the cycle before it"
    followed.look()
    assert math.isnan(statistics_of(followed)["response_p50_us"])


def test_an_input_that_is_stale_is_counted(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata())
    followed = follow(ring)
    records = cycles(20)
    records["events"][5:8] |= EVENT_BITS["stale_input"]
    append(ring, batch_of(records, metadata()))
    followed.look()
    assert statistics_of(followed)["stale_inputs"] == 3


def test_the_documentation_has_the_statistics_in_their_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "ros2.md").read_text()
    table = text[text.index("| index | name | over |") :]
    names: list[str] = []
    places: list[int] = []
    for line in table[: table.index("| from ")].splitlines()[2:]:
        index, told, _ = line.strip("|").split("|")
        first, *last = map(int, re.findall(r"\d+", index))
        places += range(first, (last or [first])[0] + 1)
        names += re.findall(r"`(\w+)`", told)
    assert tuple(names) == (*INTERVAL_NAMES, *COUNT_NAMES)
    assert places == list(range(len(names)))
    assert f"| from {len(names)} |" in table
