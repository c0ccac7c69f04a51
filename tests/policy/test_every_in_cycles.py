"""A policy in every so-many-th cycle of a loop on virtual time: its grid, what is lost, what is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.policy.runner import runner
from tests.core.conftest import MS, Rig, stall
from tests.policy.models import passthrough
from tests.policy.terms.harness import composed

OUTCOME, EVENT = core.OUTCOMES, core.EVENTS
EVERY = 5


def rig_of(folder: Path, stalls: Sequence[core.Stall] = (), **keys: Any) -> Rig:
    """Commands what the policy read, at 1 kHz; the policy runs at 200 Hz."""
    between = keys.pop("between", "hold")
    section: Mapping[str, Any] = {
        "model": "p.onnx",
        "every": EVERY,
        "between": between,
        "observation": [{"input": "seen"}],
    }
    graph = composed(folder, section, {"seen": 1}, {"p.onnx": passthrough(1)}, Fraction(1, 1000))
    output = core.OutputConfig(1, min=[-900.0], max=[900.0], safe=[0.0])
    return Rig(folder / "ring", graph=runner(graph), outputs=[output], stalls=list(stalls), **keys)


def stepped(rig: Rig, n: int, first: float = 1.0) -> Any:
    """In each cycle another value; the records."""
    rig.start(first)
    for number in range(n):
        rig.put(first + number)
        assert rig.loop.step()
    return rig.records()


def test_it_runs_once_in_each_of_its_periods_and_every_record_says_so(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, loop_class=core.LoopClass.soft)
    records = stepped(rig, 20)
    ran = (records["events"] & EVENT["policy"]) != 0
    assert np.flatnonzero(ran).tolist() == [0, 5, 10, 15]
    assert rig.sent().tolist() == [1] * 5 + [6] * 5 + [11] * 5 + [16] * 5


def test_what_is_skipped_moves_neither_grid(tmp_path: Path) -> None:
    """Cycle 4 takes so long that 5 and 6 are skipped: the policy runs in 7, then in 10 again."""
    late = [stall("infer", 4, 2 * MS + MS // 2), stall("infer", 12, 6 * MS)]
    rig = rig_of(tmp_path, late, loop_class=core.LoopClass.soft)
    records = stepped(rig, 18)
    executed = records["cycle"].tolist()
    assert executed == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, *range(18, 25)]
    ran = records["cycle"][(records["events"] & EVENT["policy"]) != 0].tolist()
    assert ran == [0, 7, 10, 18, 20]
    status = rig.loop.status()
    assert status["elapsed_periods"] == status["executed"] + status["skipped"]
    periods = {cycle // EVERY for cycle in executed}
    assert len(ran) == len(periods), "once in each period that had a cycle"


def test_a_late_result_is_lost_for_its_cycle_and_commanded_in_the_next(tmp_path: Path) -> None:
    late = [stall("infer", 5, MS + MS // 4)]
    rig = rig_of(tmp_path, late, loop_class=core.LoopClass.firm)
    records = stepped(rig, 9)
    assert records["cycle"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert records["outcome"][5] == OUTCOME["held"]
    assert rig.sent().tolist() == [1] * 5 + [1, 6, 6, 6], "the policy ran in 5, and stands"
    assert not records["events"][6] & EVENT["policy"]


def test_a_stale_input_leaves_the_policy_due(tmp_path: Path) -> None:
    rig = rig_of(
        tmp_path,
        loop_class=core.LoopClass.soft,
        inputs=[core.InputConfig(0, MS + MS // 2, core.OnStale.hold)],
    )
    rig.start(1.0)
    for number in range(8):
        if number not in (5, 6):
            rig.put(number + 1.0)
        assert rig.loop.step()
    records = rig.records()
    ran = records["cycle"][(records["events"] & EVENT["policy"]) != 0].tolist()
    held = records["cycle"][records["outcome"] == OUTCOME["held"]].tolist()
    assert (ran, held) == ([0, 7], [5, 6])


@pytest.mark.parametrize("between", ["hold", "interpolate"])
def test_a_second_activation_begins_anew(tmp_path: Path, between: str) -> None:
    rig = rig_of(tmp_path, loop_class=core.LoopClass.soft, between=between)
    stepped(rig, 7)
    rig.loop.end()
    rig.start(100.0)
    commands = []
    for _ in range(6):
        assert rig.loop.step()
        commands.append(rig.command())
    assert commands == [100.0] * 6


def test_a_line_is_never_left_in_leaps_however_many_cycles_are_late(tmp_path: Path) -> None:
    late = [stall("infer", cycle, MS + 1) for cycle in (6, 9, 14, 20, 23, 31)]
    rig = rig_of(tmp_path, late, loop_class=core.LoopClass.firm, between="interpolate")
    stepped(rig, 40)
    steps = np.diff(rig.sent())
    assert steps.max() <= 5.0
    assert steps.min() >= 0.0
    assert (steps > 0).sum() > 20


def test_a_policy_in_each_cycle_is_no_event(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [{"input": "seen"}]}
    graph = composed(tmp_path, section, {"seen": 1}, {"p.onnx": passthrough(1)})
    rig = Rig(tmp_path / "ring", graph=runner(graph))
    assert not (stepped(rig, 3, 0.1)["events"] & EVENT["policy"]).any()
