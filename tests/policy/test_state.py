"""Previous action and recurrent state, fed back over many cycles, against loops in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper

from rtloop.errors import ConfigError, Place
from rtloop.policy import ActionTerm, Policy, PolicyConfig, compose
from rtloop.policy.roles import action_of, read_stage
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import FirstStepTerm, PreviousActionTerm
from rtloop.policy.terms.term import ObservationTerm
from tests.policy.models import Runner, Value, linear, recurrent, save

_FLOAT = onnx.TensorProto.FLOAT


def test_the_previous_action_is_the_raw_output_of_the_cycle_before() -> None:
    random = np.random.default_rng(1)
    weight = (random.normal(size=(5, 2)) / 3).astype(np.float32)
    terms = [
        InputTerm(input="a"),
        PreviousActionTerm(previous_action=True, scale=(0.5, -2.0), offset=0.1, clip=(-0.6, 0.6)),
    ]
    action = ActionTerm(scale=10.0, offset=3.0, clip=(-5.0, 5.0))
    graph = compose(linear(weight), {"a": 3}, terms, action)
    assert [item.shape for item in graph.feedback] == [(1, 2)]

    runner = Runner(graph)
    previous = np.zeros(2, np.float32)
    clipped = 0
    for _ in range(20):
        sample = random.normal(size=3).astype(np.float32)
        seen = np.clip(previous * np.array([0.5, -2.0], np.float32) + np.float32(0.1), -0.6, 0.6)
        raw = np.concatenate([sample, seen]) @ weight
        expected = np.clip(raw * 10 + 3, -5, 5)
        np.testing.assert_allclose(runner.step(sample), expected, rtol=1e-5, atol=1e-5)
        clipped += int((np.abs(expected) == 5).sum())
        previous = raw
    assert clipped > 0, "the difference between raw output and command was not exercised"


@pytest.mark.parametrize(("dtype", "shape"), [("float32", [1, 2]), ("float64", [2])])
def test_elements_of_the_previous_action_can_be_selected(dtype: str, shape: list[int]) -> None:
    weight = np.array([[1.0, 2.0], [0.0, 1.0]], dtype)
    terms = [InputTerm(input="a"), PreviousActionTerm(previous_action=True, select=(1,))]
    runner = Runner(compose(linear(weight, shape), {"a": 1}, terms))
    assert [runner.step([1.0]).tolist() for _ in range(3)] == [[1, 2], [1, 4], [1, 6]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_recurrent_state_follows_a_python_loop(dtype: str) -> None:
    model, weights = recurrent(n=3, hidden=4, m=2, dtype=dtype)
    graph = compose(model, {"a": 3}, (), ActionTerm(scale=2.0), {"h_in": "h_out"})
    assert [item.shape for item in graph.feedback] == [(1, 1, 4)]

    runner = Runner(graph)
    random = np.random.default_rng(2)
    hidden = np.zeros(4, dtype)
    tolerance = 2e-2 if dtype == "float16" else 1e-5
    for _ in range(20):
        sample = random.normal(size=3).astype(np.float32)
        hidden = np.tanh(sample.astype(dtype) @ weights["Wx"] + hidden @ weights["Wh"])
        expected = 2 * (hidden @ weights["Wy"])
        np.testing.assert_allclose(runner.step(sample), expected, rtol=tolerance, atol=tolerance)


def test_recurrent_state_and_previous_action_live_together() -> None:
    model, weights = recurrent(n=4, hidden=4, m=2)
    terms = [InputTerm(input="a"), PreviousActionTerm(previous_action=True)]
    graph = compose(model, {"a": 2}, terms, ActionTerm(scale=7.0), {"h_in": "h_out"})
    assert [item.size for item in graph.feedback] == [2, 4]

    runner = Runner(graph)
    hidden, previous = np.zeros(4, np.float32), np.zeros(2, np.float32)
    for cycle in range(10):
        sample = np.array([np.sin(cycle), 1.0], np.float32)
        observation = np.concatenate([sample, previous])
        hidden = np.tanh(observation @ weights["Wx"] + hidden @ weights["Wh"])
        previous = hidden @ weights["Wy"]
        np.testing.assert_allclose(runner.step(sample), 7 * previous, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("element", [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE])
def test_a_policy_may_take_its_own_previous_action(element: int) -> None:
    nodes = [helper.make_node("Add", ["obs", "last"], ["action"])]
    inputs = [("obs", element, [1, 1]), ("last", element, [1, 1])]
    model = save(nodes, inputs, [("action", element, [1, 1])], {})
    graph = compose(model, {"a": 1}, (), ActionTerm(scale=10.0), {"last": "action"})
    runner = Runner(graph)
    assert [float(runner.step([1.0])[0]) for _ in range(3)] == [10.0, 20.0, 30.0]


def test_an_lstm_exported_as_sequence_with_two_states_runs() -> None:
    """The shape that recurrent policies are exported in: [layers, batch, hidden]."""
    random = np.random.default_rng(4)
    weights: dict[str, npt.NDArray[Any]] = {
        "W": random.normal(size=(1, 8, 3)).astype(np.float32),
        "R": random.normal(size=(1, 8, 2)).astype(np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node(
            "LSTM",
            ["obs", "W", "R", "", "", "h_in", "c_in"],
            ["y", "h_out", "c_out"],
            hidden_size=2,
        ),
        helper.make_node("Squeeze", ["y", "axis"], ["action"]),
    ]
    states: list[Value] = [
        (name, _FLOAT, [1, "batch", 2]) for name in ("h_in", "c_in", "h_out", "c_out")
    ]
    model = save(
        nodes,
        [("obs", _FLOAT, [1, "batch", 3]), *states[:2]],
        [("action", _FLOAT, [1, "batch", 2]), *states[2:]],
        weights,
    )
    state = {"h_in": "h_out", "c_in": "c_out"}
    runner = Runner(compose(model, {"a": 3}, (), None, state, {"batch": 1}))
    commands = [runner.step([0.1, 0.2, 0.3]) for _ in range(3)]

    def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-x)))

    hidden, cell = np.zeros(2), np.zeros(2)
    for command in commands:
        gates = weights["W"][0] @ [0.1, 0.2, 0.3] + weights["R"][0] @ hidden
        i, o, f, c = gates.reshape(4, 2)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        np.testing.assert_allclose(command, hidden, rtol=1e-5)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"h": "h_out"},
            "state names input 'h', which the policy does not have; its inputs: 'obs'",
        ),
        ({"h_in": "h"}, "state names output 'h', which the policy does not have; its outputs"),
        ({"h_in": "action"}, "cannot be fed from 'action'"),
        ({"h_in": "h_out", "obs": "action"}, "cannot be fed from|exactly one input"),
    ],
)
def test_wrong_state_is_explained(state: dict[str, str], message: str) -> None:
    model, _ = recurrent(n=3, hidden=4, m=2)
    with pytest.raises(ConfigError, match=message):
        compose(model, {"a": 3}, (), None, state)


def test_a_model_is_told_its_first_step_after_every_activation() -> None:
    """As policies with a flag of their own for it want it, which may be a truth value."""
    nodes = [
        helper.make_node("Cast", ["is_init"], ["first"], to=_FLOAT),
        helper.make_node("Add", ["obs", "first"], ["action"]),
    ]
    inputs = [("obs", _FLOAT, [1, 1]), ("is_init", onnx.TensorProto.BOOL, [1, 1])]
    model = save(nodes, inputs, [("action", _FLOAT, [1, 1])], {})
    terms: dict[str, tuple[ObservationTerm, ...]] = {
        "obs": (InputTerm(input="a"),),
        "is_init": (FirstStepTerm(is_first_step=True),),
    }
    section = PolicyConfig(model=Path("policy"), observations=terms)
    policy = Policy(
        (stage := read_stage("policy", model, section, tuple(terms)),), action_of(stage, None)
    )
    runner = Runner(section.compose({"a": ["0"]}, lambda *_: Place(), policy))
    for _ in range(2):
        assert [float(runner.step([10.0])[0]) for _ in range(3)] == [11.0, 10.0, 10.0]
        runner.reset()
