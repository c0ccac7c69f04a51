"""One loop as an observer sees it, however much there is to see."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rtloop.telemetry.observe.observed import BATCH, Observed
from rtloop.telemetry.observe.ring import Batch
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring


def test_a_loop_that_is_faster_than_its_observer_does_not_hold_it_up(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = new_ring(ring_directory, metadata(), capacity=2 * BATCH)
    append(ring, batch_of(cycles(BATCH), metadata()))
    observed = Observed(ring_directory / "balance.ring")
    read = observed.ring.read

    def endless(max_records: int) -> Batch:
        observed.ring.seek(0)
        return read(max_records)

    monkeypatch.setattr(observed.ring, "read", endless)
    began_s = time.monotonic()
    observed.update()
    assert time.monotonic() - began_s < 5
    seen = observed.statistics.executed
    assert seen >= BATCH, "it counts something each time"
    observed.update()
    assert observed.statistics.executed > seen


def test_the_last_look_sees_everything(ring_directory: Path) -> None:
    ring = new_ring(ring_directory, metadata(), capacity=8 * BATCH)
    append(ring, batch_of(cycles(5 * BATCH), metadata()))
    observed = Observed(ring_directory / "balance.ring")
    observed.update(limit_s=0)
    assert observed.statistics.executed == BATCH
    assert observed.finish().executed == 5 * BATCH
