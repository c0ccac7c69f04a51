from __future__ import annotations

import gc

import pytest

from rtloop.policy import compose, measure
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import PreviousActionTerm
from tests.policy.models import recurrent


def test_a_graph_with_state_is_measured() -> None:
    model, _ = recurrent(n=4, hidden=8, m=2)
    terms = [InputTerm(input="a"), PreviousActionTerm(previous_action=True)]
    graph = compose(model, {"a": 2}, terms, None, {"h_in": "h_out"})
    found = measure(graph, runs=300)
    assert found.runs == 300
    assert found.warm_up_runs == 200
    assert 0 < found.p50_ns <= found.p90_ns <= found.p99_ns <= found.p99_9_ns
    assert found.p99_9_ns <= found.high_water_ns
    assert found.first_run_ns > 0
    assert gc.isenabled()


@pytest.mark.parametrize(("runs", "warm_up"), [(99, 200), (1000, 199)])
def test_too_few_runs_are_not_a_measurement(runs: int, warm_up: int) -> None:
    graph = compose(recurrent(2, 2, 1)[0], {"a": 2}, state={"h_in": "h_out"})
    with pytest.raises(ValueError, match=f"{runs} runs and {warm_up} warm-up"):
        measure(graph, runs=runs, warm_up_runs=warm_up)
