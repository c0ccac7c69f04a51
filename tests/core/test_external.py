"""A step that is answered outside the cycle: which answer a job commands, and when one is late."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from rtloop.policy.library import onnxruntime_library
from tests.core.conftest import MS, Rig, identity_graph
from tests.core.steps import Steps, vector

MakeRig = Callable[..., Rig]
FIRM, SOFT = core.LoopClass.firm, core.LoopClass.soft
OUTCOME, EVENT, STAGE = core.OUTCOMES, core.EVENTS, core.STAGES
AGE = "age_ns"


def asking(every: int = 1, checked: bool = False) -> core.Graph:
    """Commands what somebody outside answers to the one value that it reads."""
    steps = Steps()
    seen, answer = steps.input("seen", 1), steps.tensor("answer", 1)
    steps.steps.append(core.ExternalRun(core.External(1, 1), seen, answer))
    command = steps.node("Identity", [answer], 1)
    graph = core.Graph.of_steps(
        onnxruntime_library(),
        steps.tensors,
        steps.constants,
        steps.steps,
        steps.inputs,
        command,
        [],
        [answer] if checked else [],
        None,
        None,
        every,
        [1] if every > 1 else [],
    )
    external_of(graph).open()
    return graph


def external_of(graph: core.Graph) -> core.External:
    assert graph.external is not None
    return graph.external


class Asked:
    """A rig whose question is answered with its negative, when somebody says so."""

    def __init__(self, make_rig: MakeRig, every: int = 1, **changes: Any) -> None:
        self.graph = asking(every, checked=True)
        self.external = external_of(self.graph)
        self.rig = make_rig(graph=self.graph, **changes)
        self.jobs = 0

    def answer(self) -> None:
        question = self.external.next(0)
        if question is not None:
            self.external.answer(-question[0])

    def step(self, answered: bool = True) -> bool:
        """A job that observes its number, and the answer to it, or none so far."""
        self.jobs += 1
        self.rig.put(float(self.jobs))
        if self.jobs == 1:
            self.rig.loop.begin()
        went_on = self.rig.loop.step()
        if answered:
            self.answer()
        return went_on

    def steps(self, *answered: bool) -> np.ndarray[Any, Any]:
        for is_answered in answered:
            self.step(is_answered)
        return self.rig.records()


def missed(records: np.ndarray[Any, Any]) -> list[bool]:
    """Whether each was a miss: by its event, which is by its lateness."""
    by_event = (records["events"] & EVENT["miss"]) != 0
    by_time = records["finish_ns"] > records["deadline_ns"]
    assert (by_event == by_time).all()
    return [bool(one) for one in by_event]


@pytest.mark.parametrize("loop_class", [FIRM, SOFT])
def test_a_job_commands_what_was_answered_to_the_observation_of_the_one_before(
    make_rig: MakeRig, loop_class: core.LoopClass
) -> None:
    asked = Asked(make_rig, loop_class=loop_class)
    records = asked.steps(True, True, True, True)
    assert asked.rig.sent().tolist() == [-1.0, -1.0, -2.0, -3.0], "safe, then -1, -2, -3"
    assert records["outcome"].tolist() == [OUTCOME["none"]] + [OUTCOME["written"]] * 3
    assert not any(missed(records)), "of the first job no answer can be there"
    assert asked.rig.sources()[AGE][:, 1].tolist() == [-1, MS, MS, MS]
    assert asked.rig.sources()["gap"][:, 1].tolist() == [0, 0, 0, 0]


def test_when_it_is_answered_within_the_period_does_not_matter(make_rig: MakeRig) -> None:
    sent = []
    for spent in (0, MS // 2, MS - 1):
        asked = Asked(make_rig, loop_class=FIRM)
        for _ in range(5):
            asked.step(answered=False)
            asked.rig.clock.spend(spent)
            asked.answer()
        assert not any(missed(asked.rig.records()))
        sent.append(asked.rig.sent().tolist())
    assert sent[0] == sent[1] == sent[2]


def test_a_late_answer_of_a_firm_loop_is_a_miss_and_is_discarded(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=FIRM)
    records = asked.steps(True, True, False, True, True)
    late = records[3]
    assert missed(records) == [False, False, False, True, False]
    assert late["outcome"] == OUTCOME["held"]
    assert late["longest_stage"] == STAGE["infer"]
    assert late["finish_ns"] == late["infer_ns"] == late["deadline_ns"] + 1
    assert late["consecutive_misses"] == 1
    assert asked.rig.sent().tolist() == [-1, -1, -2, -2, -4], "-3 was not there in job 4"
    assert records["skipped"].sum() == 0, "the cycle itself was in time"
    assert asked.rig.sources()["gap"][:, 1].tolist() == [0, 0, 0, 0, 1], "3 was never answered"
    assert asked.rig.sources()[AGE][:, 1].tolist() == [-1, MS, MS, 2 * MS, MS]


def test_late_by_two_is_two_misses_in_a_row(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=FIRM)
    records = asked.steps(True, False, False, True, True)
    assert missed(records) == [False, False, True, True, False]
    assert records["consecutive_misses"].tolist() == [0, 0, 1, 2, 0]
    assert asked.rig.loop.status()["misses"] == 2


def test_a_firm_loop_sends_its_default_in_place_of_a_late_answer(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=FIRM, default_on_miss=True)
    records = asked.steps(True, False, True, True)
    assert records["outcome"].tolist()[1:] == [
        OUTCOME["written"], OUTCOME["default"], OUTCOME["written"],
    ]  # fmt: skip
    assert asked.rig.sent().tolist() == [-1, -1, -2, -3]


def test_a_soft_loop_writes_the_newest_older_answer_late(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=SOFT)
    records = asked.steps(True, True, False, False, True)
    assert missed(records) == [False, False, False, True, True]
    assert records["outcome"].tolist()[3:] == [OUTCOME["written_late"]] * 2
    assert asked.rig.sent().tolist() == [-1, -1, -2, -2, -2]
    assert asked.rig.sources()[AGE][3:, 1].tolist() == [2 * MS, 3 * MS]


def test_without_any_answer_a_soft_loop_has_nothing_to_write(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=SOFT)
    records = asked.steps(False, False, False)
    assert missed(records) == [False, True, True]
    assert records["outcome"].tolist() == [OUTCOME["none"], OUTCOME["held"], OUTCOME["held"]]
    assert asked.rig.sent().tolist() == [-1.0] * 3
    assert asked.rig.sources()[AGE][:, 1].tolist() == [-1] * 3


def test_late_answers_count_in_the_limit_of_lost_jobs(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=SOFT, max_misses=1, window=10, fault_on_broken_limit=True)
    asked.steps(True, False, False)
    assert not asked.step(), "the second miss breaks the limit"
    records = asked.rig.records()
    assert records["window_misses"].tolist() == [0, 0, 1, 2]
    assert records["events"][-1] & EVENT["limit_broken"]
    assert asked.rig.loop.status()["fault_reason"] == core.FAULT_REASONS["limit_broken"]
    asked.rig.loop.end()
    assert asked.rig.safe_in_force()


def test_a_hard_loop_that_were_given_one_would_fault(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=core.LoopClass.hard)
    asked.steps(True, False)
    assert not asked.step()
    assert asked.rig.loop.status()["fault_reason"] == core.FAULT_REASONS["deadline_miss"]
    assert asked.rig.safe_in_force()


def test_with_at_deadline_an_answer_in_time_leaves_at_the_deadline(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=FIRM, output_at_deadline=True, deadline_ns=MS // 2)
    records = asked.steps(True, True, False, True)
    assert missed(records) == [False, False, False, True]
    assert asked.rig.sent().tolist() == [-1, -1, -2, -2]
    written = records[2]
    lead_ns = core.output_lead_ns(MS, MS // 2)
    assert written["finish_ns"] == written["deadline_ns"] - lead_ns


def test_between_the_runs_of_the_policy_its_answer_stands_and_is_awaited_a_whole_period(
    make_rig: MakeRig,
) -> None:
    asked = Asked(make_rig, every=3, loop_class=FIRM)
    for job in range(12):
        asked.step(answered=job in (2, 5, 9))
    records = asked.rig.records()
    assert np.flatnonzero(missed(records)).tolist() == [9], "that to 7 came in job 9, one too late"
    assert asked.rig.sent().tolist() == [-1.0] * 3 + [-1.0] * 3 + [-4.0] * 6
    ages = (asked.rig.sources()[AGE][:, 1] // MS).tolist()
    assert ages == [-1] * 3 + [3, 4, 5] + [3, 4, 5] + [6, 7, 8]


def test_what_fails_outside_is_a_fault_and_the_safe_command_goes_out_last(
    make_rig: MakeRig,
) -> None:
    asked = Asked(make_rig, loop_class=FIRM)
    asked.step()
    asked.external.fail("the battery is flat")
    assert not asked.step()
    assert asked.graph.error == "the battery is flat"
    assert asked.rig.loop.status()["fault_reason"] == core.FAULT_REASONS["infer_error"]
    asked.rig.loop.end()
    assert asked.rig.safe_in_force()


def test_an_answer_that_is_not_finite_is_a_fault(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=FIRM)
    asked.step(answered=False)
    assert asked.external.next(0) is not None
    asked.external.answer(vector(float("nan")))
    assert not asked.step()
    assert asked.rig.loop.status()["fault_reason"] == core.FAULT_REASONS["non_finite"]


def test_a_new_activation_knows_nothing_of_what_was_answered_before(make_rig: MakeRig) -> None:
    asked = Asked(make_rig, loop_class=SOFT)
    asked.steps(True, True, False)
    asked.rig.loop.end()
    asked.answer()
    asked.jobs = 0
    records = asked.steps(False, True, True)[3:]
    assert records["outcome"].tolist() == [OUTCOME["none"], OUTCOME["held"], OUTCOME["written"]]
    assert asked.rig.sent().tolist()[3:] == [-1.0, -1.0, -2.0]


def test_until_it_is_opened_nobody_is_asked_and_the_answer_is_zeros() -> None:
    steps = Steps()
    seen, answer = steps.input("seen", 2), steps.tensor("answer", 3)
    external = core.External(2, 3)
    steps.steps.append(core.ExternalRun(external, seen, answer))
    graph = steps.graph(steps.node("Identity", [answer], 3))
    assert graph.run([vector(1, 2)]).tolist() == [0, 0, 0]
    assert external.next(0) is None


def test_one_who_runs_the_graph_may_answer_at_once() -> None:
    graph, begun = asking(), []
    external = external_of(graph)
    external.answer_at_once(lambda seen: seen + 1, lambda: begun.append(1))
    graph.reset()
    assert begun == [1]
    assert [float(graph.run([vector(v)])[0]) for v in (1, 2, 3)] == [2, 3, 4]
    external.answer_at_once(lambda seen: seen * (1 // 0))
    with pytest.raises(RuntimeError, match="by zero$"):
        graph.run([vector(1)])


@pytest.mark.parametrize(
    ("asked", "answered", "told"),
    [(2, 1, "what is asked, that has 2"), (1, 2, "the answer, that has 2")],
)
def test_tensors_of_another_size_are_refused(asked: int, answered: int, told: str) -> None:
    steps = Steps()
    seen, answer = steps.input("seen", 1), steps.tensor("answer", 1)
    steps.steps.append(core.ExternalRun(core.External(asked, answered), seen, answer))
    with pytest.raises(ValueError, match=told.replace(", ", ".*")):
        steps.graph(steps.node("Identity", [answer], 1))


def test_a_graph_has_one_such_step_at_most() -> None:
    steps = Steps()
    seen = steps.input("seen", 1)
    for name in "ab":
        steps.steps.append(core.ExternalRun(core.External(1, 1), seen, steps.tensor(name, 1)))
    with pytest.raises(ValueError, match="one external step at most"):
        steps.graph(steps.node("Identity", [1], 1))


def model(took: list[int]) -> tuple[list[float], list[bool]]:
    """What stands at the output of a soft loop after each job, and which were missed. ``took``: how many jobs
    pass, this one included, until the answer is there to the question that is taken then."""
    free_at = 0  # the job before which who answers takes the next question
    done: list[tuple[int, int]] = []  # (before which job, the answer to which)
    sent, late, standing = [], [], -1.0
    for job in range(1, len(took) + 1):
        there = [question for before, question in done if before <= job]
        newest = max(there, default=0)
        late.append(job > 1 and newest != job - 1)
        standing = -float(newest) if newest else standing
        sent.append(standing)
        if free_at <= job:
            free_at = job + took[job - 1]
            done.append((free_at, job))
    return sent, late


@settings(max_examples=60, deadline=None)
@given(took=st.lists(st.integers(1, 4), min_size=2, max_size=30))
def test_whatever_answers_take_the_jobs_are_judged_as_a_model_judges_them(took: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asked = Asked(lambda **keys: Rig(Path(folder) / "ring", **keys), loop_class=SOFT)
        busy, question = 0, None
        for jobs in took:
            asked.step(answered=False)
            if busy == 0:
                question = asked.external.next(0)
                busy = jobs
            busy -= 1
            if busy == 0 and question is not None:
                asked.external.answer(-question[0])
        sent, late = model(took)
        records = asked.rig.records()
        assert missed(records) == late
        assert asked.rig.sent().tolist() == sent
        status = asked.rig.loop.status()
        assert status["executed"] == len(took)
        assert status["misses"] == sum(late)


def test_a_policy_that_is_answered_outside_is_none_of_several() -> None:
    graphs = [identity_graph(1), asking()]
    with pytest.raises(ValueError, match="policy 1 is answered outside the cycle"):
        core.Switch(graphs, 0, 0, 0, [[1], [0]])
