"""The release grid under any delay: elapsed = executed + skipped."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from tests.core.conftest import MS, Rig, stall

SKIP, CATCH_UP, SLIP = core.Overrun.skip, core.Overrun.catch_up, core.Overrun.slip
delays = st.dictionaries(st.integers(0, 60), st.integers(0, 8 * MS), max_size=12)


def ran(overrun: core.Overrun, stalls: dict[int, int], max_catch_up: int = 3) -> Rig:
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(
            Path(folder) / "ring",
            loop_class=core.LoopClass.soft,
            on_overrun=overrun,
            max_catch_up=max_catch_up,
            stalls=[stall("infer", cycle, ns) for cycle, ns in stalls.items()],
        )
        rig.run(60)
    return rig


@settings(max_examples=60, deadline=None)
@given(stalls=delays, overrun=st.sampled_from([SKIP, CATCH_UP, SLIP]))
def test_elapsed_periods_are_executed_plus_skipped(
    stalls: dict[int, int], overrun: core.Overrun
) -> None:
    status = ran(overrun, stalls).loop.status()
    assert status["elapsed_periods"] == status["executed"] + status["skipped"]
    assert status["executed"] == 60


@settings(max_examples=60, deadline=None)
@given(stalls=delays)
def test_skipping_never_starts_a_cycle_before_its_release_or_off_the_grid(
    stalls: dict[int, int],
) -> None:
    rig = ran(SKIP, stalls)
    status = rig.loop.status()
    origin = status["first_release_ns"]
    now = rig.clock.now()
    # The next release is the first slot that is not past.
    next_release = origin + status["open_cycle"] * MS
    assert now <= next_release <= now + MS


def records_of(tmp_path: Path, overrun: core.Overrun, stalled_ns: int, **changes: int) -> list[int]:
    rig = Rig(
        tmp_path / "ring",
        loop_class=core.LoopClass.soft,
        on_overrun=overrun,
        stalls=[stall("infer", 2, stalled_ns)],
        **changes,
    )
    records = rig.run(6)
    grid = (records["release_ns"] - records["release_ns"][0]) / MS
    assert (grid == records["cycle"]).all() or overrun is SLIP
    return [int(cycle) for cycle in records["cycle"]]


def test_skip_goes_on_with_the_next_slot_of_the_grid(tmp_path: Path) -> None:
    assert records_of(tmp_path, SKIP, 3 * MS + 1) == [0, 1, 2, 6, 7, 8]


def test_a_cycle_that_ends_exactly_at_a_release_skips_nothing(tmp_path: Path) -> None:
    assert records_of(tmp_path, SKIP, MS) == [0, 1, 2, 3, 4, 5]


def test_catch_up_runs_what_is_due_at_once(tmp_path: Path) -> None:
    assert records_of(tmp_path, CATCH_UP, 3 * MS + 1, max_catch_up=5) == [0, 1, 2, 3, 4, 5]


def test_catch_up_is_bounded(tmp_path: Path) -> None:
    # At 5.5 periods: releases 3, 4 and 5 … are due; only the newest two are made up for.
    assert records_of(tmp_path, CATCH_UP, 5 * MS + MS // 2, max_catch_up=2) == [0, 1, 2, 6, 7, 8]


def test_slip_moves_the_grid_and_says_by_how_much(tmp_path: Path) -> None:
    rig = Rig(
        tmp_path / "ring",
        loop_class=core.LoopClass.soft,
        on_overrun=SLIP,
        stalls=[stall("infer", 2, 3 * MS + 7)],
    )
    records = rig.run(6)
    assert records["cycle"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rig.loop.status()["slipped_ns"] == 2 * MS + 7
    gaps = records["release_ns"][1:] - records["release_ns"][:-1]
    assert gaps.tolist() == [MS, MS, 3 * MS + 7, MS, MS]


@pytest.mark.parametrize("period_ns", [33_333_333, 50_000, 123_456_789])
def test_the_grid_does_not_drift(tmp_path: Path, period_ns: int) -> None:
    rig = Rig(tmp_path / "ring", period_ns=period_ns, deadline_ns=period_ns)
    records = rig.run(500)
    assert records["release_ns"][-1] - records["release_ns"][0] == 499 * period_ns
