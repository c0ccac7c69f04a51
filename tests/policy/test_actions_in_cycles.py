"""Actions in a loop on virtual time: what leaves when results are late, limited, or never sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.policy.runner import runner
from tests.core.conftest import MS, Rig, stall
from tests.policy.models import passthrough
from tests.policy.test_actions import of_actions

OUTCOME = core.OUTCOMES
LATE = (0, 2, 5, 9, 11, 17, 23, 25, 27, 31)  # each also skips the release after it


def rig_of(folder: Path, action: Mapping[str, Any], late: Sequence[int] = LATE, **keys: Any) -> Rig:
    """A firm loop whose action is what it reads, some cycles of which are late."""
    graph = of_actions(passthrough(1), {"seen": 1}, action)
    output = core.OutputConfig(1, min=[-3.0], max=[3.0], safe=[-1.0], default_value=[-2.0])
    return Rig(
        folder / "ring",
        graph=runner(graph),
        loop_class=core.LoopClass.firm,
        outputs=[output],
        stalls=[stall("infer", cycle, MS + 1) for cycle in late],
        **keys,
    )


def stepped(rig: Rig, values: Sequence[float]) -> tuple[list[str], list[float]]:
    """What became of each cycle, and what stood at the output after it."""
    rig.start(values[0])
    for value in values:
        rig.put(value)
        assert rig.loop.step()
    words = {number: word for word, number in OUTCOME.items()}
    return [words[number] for number in rig.records()["outcome"]], rig.sent().tolist()


@pytest.mark.parametrize("default_on_miss", [False, True])
def test_a_relative_target_goes_on_from_what_left(tmp_path: Path, default_on_miss: bool) -> None:
    action = {"relative": True, "from": "seen", "scale": 0.5, "clip": [-4, 4]}
    rig = rig_of(tmp_path, action, default_on_miss=default_on_miss)
    values = np.random.default_rng(6).normal(0.3, 1.5, 40).astype(np.float32)
    outcomes, sent = stepped(rig, values.tolist())
    standing, acted = -1.0, False
    for value, outcome, left in zip(values.tolist(), outcomes, sent, strict=True):
        target = np.clip((standing if acted else value) + 0.5 * value, -4, 4)
        if outcome == "written":
            standing, acted = float(np.clip(target, -3, 3)), True
        elif outcome == "default":
            standing = -2.0
        assert left == pytest.approx(standing, abs=1e-5)
    assert outcomes.count("default" if default_on_miss else "held") > 5
    assert outcomes[0] != "written", "the first result was late"
    assert 3.0 in np.abs(sent), "the limit of the output was not exercised"


def test_a_line_is_never_left_in_leaps_however_many_results_are_late(tmp_path: Path) -> None:
    action = {"start": {"ramp_s": 0.2, "from": "seen", "to": [2.0]}, "scale": 0.0, "offset": 2.0}
    rig = rig_of(tmp_path, action)
    outcomes, sent = stepped(rig, [-2.5, -1.5, -2.0, *[9.0] * 37])
    line = [float(x) for x in sent if x != -1.0]
    assert outcomes[:2] == ["held", "held"]
    assert sent[0] == sent[1] == -1.0, "the command before stands"
    assert line[0] == pytest.approx(-2.0 + 4.0 / 10), "from where it was measured in the first step"
    steps = np.diff(line)
    assert steps.max() == pytest.approx(4.0 / 10, abs=1e-5)
    assert (steps >= 0).all()
    assert line[-1] == 2.0
    assert sum(steps == 0) > 5, "results were late on the way"


def test_a_second_activation_starts_where_the_machine_is_then(tmp_path: Path) -> None:
    action = {"start": {"ramp_s": 0.08, "from": "seen", "to": [0.0]}, "offset": 1.0, "scale": 0.0}
    rig = rig_of(tmp_path, action, late=())
    _, first = stepped(rig, [2.0] * 6)
    assert first == [1.5, 1.0, 0.5, 0.0, 1.0, 1.0]
    rig.loop.end()
    rig.start(-2.0)
    again = []
    for _ in range(6):
        assert rig.loop.step()
        again.append(rig.command())
    assert again == [-1.5, -1.0, -0.5, 0.0, 1.0, 1.0]


def test_a_warm_up_is_no_step_of_the_start(tmp_path: Path) -> None:
    graph = runner(
        of_actions(passthrough(1), {"seen": 1}, {"smooth": 0.5, "fade_in_s": 0.04, "offset": 1.0})
    )
    graph.warm_up(50)
    seen = np.array([4.0], np.float32)
    assert [float(graph.run([seen])[0]) for _ in range(3)] == [2.0, 4.0, 4.5]
