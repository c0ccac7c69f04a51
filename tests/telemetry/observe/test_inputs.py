"""Rate, age and gaps of inputs, counted from batches of cycles as a ring gives them."""

from __future__ import annotations

import numpy as np

from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.inputs import InputWindows
from rtloop.telemetry.observe.ring import Batch

MS = 1_000_000


def batch(first: int, ages_ms: list[float], gaps: list[int], stale: list[bool]) -> Batch:
    """Cycles of 1 ms, from the one of that number, with one input."""
    n = len(ages_ms)
    records = rec.empty_records(n)
    records["start_ns"] = (np.arange(n) + first + 1000) * MS
    sources = np.zeros((n, 1), rec.INPUT_RECORD_DTYPE)
    sources["age_ns"][:, 0] = [age if age < 0 else round(age * MS) for age in ages_ms]
    sources["gap"][:, 0] = gaps
    sources["events"][:, 0] = np.array(stale) * rec.EVENT_BITS["stale_input"]
    nothing = np.zeros((n, 0), np.float32)
    return Batch(records, sources, nothing, nothing)


def test_a_sample_that_is_read_twice_is_new_once_also_across_batches() -> None:
    windows = InputWindows(["imu"])
    windows.update(batch(0, [-1, 0.5, 1.5, 0.5], [0] * 4, [False] * 4))
    windows.update(batch(4, [1.5, 0.5], [0, 2], [True, False]))
    (imu,) = windows.take()
    assert (imu.cycles, imu.fresh, imu.stale, imu.gaps) == (6, 3, 1, 2)
    assert (imu.age_ns, imu.age_max_ns) == (0.5 * MS, 1.5 * MS)
    assert imu.seconds == 5e-3
    assert imu.rate_hz == 600


def test_a_look_begins_anew_where_the_one_before_ended() -> None:
    windows = InputWindows(["imu"])
    windows.update(batch(0, [0.1] * 10, [1] * 10, [True] * 10))
    windows.take()
    (idle,) = windows.take()
    assert (idle.cycles, idle.fresh, idle.stale, idle.gaps, idle.rate_hz) == (0, 0, 0, 0, None)
    assert idle.age_ns == 0.1 * MS, "of the newest sample there was"
    windows.update(batch(10, [0.1] * 10, [0] * 10, [False] * 10))
    (again,) = windows.take()
    assert (again.cycles, again.fresh, again.stale, again.gaps) == (10, 10, 0, 0)
    assert again.rate_hz == 1000


def test_an_input_without_a_sample_has_no_age_and_no_rate() -> None:
    windows = InputWindows(["imu"])
    windows.update(batch(0, [-1, -1], [0, 0], [True, True]))
    (imu,) = windows.take()
    assert (imu.age_ns, imu.age_max_ns, imu.fresh, imu.rate_hz) == (-1, -1, 0, 0)
