"""A graph may say that its loop is to end: what the cycle makes of it, on virtual time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rtloop import core
from tests.core.conftest import MS, Rig, stall
from tests.core.steps import Steps, vector

MakeRig = Callable[..., Rig]
REASON, OUTCOME, EVENT = core.FAULT_REASONS, core.OUTCOMES, core.EVENTS


def guarded_graph(limit: float = 2.0, clips: bool = False) -> core.Graph:
    """Commands what it reads, or at most 1, and ends above the limit, or below its negative."""
    steps = Steps()
    x = steps.input("x", 1)
    above = steps.node("Greater", [x, steps.constant("high", vector(limit)[None])], 1, "bool")
    below = steps.node("Less", [x, steps.constant("low", vector(-limit)[None])], 1, "bool")
    steps.terminations = steps.node("Concat", [above, below], 2, "bool")
    steps.checked = [x]
    if clips:
        x = steps.node("Min", [x, steps.constant("one", vector(1)[None])], 1)
    return steps.graph(steps.node("Identity", [x], 1, name="y"))


@pytest.mark.parametrize("loop_class", ["hard", "firm", "soft"])
@pytest.mark.parametrize("value", [2.5, -2.5])
def test_a_termination_sends_the_safe_command_and_latches(
    make_rig: MakeRig, loop_class: str, value: float
) -> None:
    rig = make_rig(graph=guarded_graph(), loop_class=core.LoopClass[loop_class])
    rig.start(1.5)
    assert rig.loop.step()
    assert rig.command() == 1.5
    rig.put(value)
    assert not rig.loop.step()
    assert rig.safe_in_force()
    assert rig.command() == -1.0
    record = rig.records()[1]
    assert record["outcome"] == OUTCOME["safe"]
    assert record["events"] == EVENT["fault"]
    assert rig.loop.status()["fault_reason"] == REASON["terminated"]
    assert rig.loop.status()["state"] == "fault"
    rig.put(0.0)
    assert not rig.loop.step(), "FAULT is latched"
    assert len(rig.records()) == 2


def test_the_next_activation_is_judged_anew(make_rig: MakeRig) -> None:
    rig = make_rig(graph=guarded_graph())
    rig.run(2, value=3.0)
    rig.loop.end()
    assert rig.loop.status()["fault_reason"] == REASON["terminated"]
    rig.start(0.25)
    assert rig.loop.step()
    assert rig.loop.status()["fault_reason"] == REASON["none"]
    assert rig.command() == 0.25


def test_a_termination_in_a_late_result_counts(make_rig: MakeRig) -> None:
    rig = make_rig(
        graph=guarded_graph(), loop_class=core.LoopClass.firm, stalls=[stall("infer", 0, 2 * MS)]
    )
    rig.start(2.5)
    assert not rig.loop.step()
    assert rig.safe_in_force()
    assert rig.loop.status()["fault_reason"] == REASON["terminated"]


def test_a_value_that_is_none_is_no_termination(make_rig: MakeRig) -> None:
    rig = make_rig(graph=guarded_graph(clips=True))
    rig.start(float("nan"))
    assert not rig.loop.step()
    assert rig.loop.status()["fault_reason"] == REASON["non_finite"]
    assert rig.safe_in_force()


def test_which_one_it_was_can_be_read(make_rig: MakeRig) -> None:
    steps = Steps()
    x = steps.input("x", 1)
    zero = steps.constant("zero", vector(0)[None])
    steps.terminations = steps.node("Greater", [x, zero], 1, "bool")
    graph = steps.graph(steps.node("Identity", [x], 1))
    rig = make_rig(graph=graph)
    rig.run(1, value=1.0)
    assert rig.loop.status()["fault_reason"] == REASON["terminated"]
    assert graph.tensor(steps.terminations).tolist() == [[True]]


def test_terminations_are_bool_and_are_computed() -> None:
    steps = Steps()
    x = steps.input("x", 1)
    y = steps.node("Identity", [x], 1)
    steps.terminations = y
    with pytest.raises(ValueError, match="is the terminations: they are bool"):
        steps.graph(y)
    steps.terminations = steps.tensor("nothing", 1, "bool")
    with pytest.raises(ValueError, match="is the terminations, but nothing before that yields it"):
        steps.graph(y)
    steps.terminations = 99
    with pytest.raises(ValueError, match="tensor 99 is the terminations, but there are"):
        steps.graph(y)


def test_a_graph_that_ran_by_itself_ends_nothing() -> None:
    """Whoever steps a graph decides what a termination is to him."""
    graph = guarded_graph()
    assert graph.run([np.array([5.0], np.float32)]).tolist() == [5.0]
