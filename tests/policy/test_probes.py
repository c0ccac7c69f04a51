"""What `rtloop check` finds by trying a policy: randomness, NaN and infinity, elements that do not count."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import Field

from rtloop.cli.check import Check, check
from rtloop.config.values import Name
from rtloop.policy import probes
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm
from tests.policy.models import linear, save

TEXT = """\
recording: {directory: runs}
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs:
      gyro: {mailbox: [0, 0, 0]}
      q: {mailbox: [0, 0], names: [hip, knee]}
    policy:
      model: policy.onnx
      observation:
        - {input: gyro, history: 2}
        - {input: q}
    outputs: {t: {mailbox: true, size: 2, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""
WEIGHT = np.random.default_rng(4).normal(size=(8, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def checked(folder: Path, model: bytes, text: str = TEXT) -> Check:
    (folder / "policy.onnx").write_bytes(model)
    (folder / "arm.yaml").write_text(text)
    found = check(folder / "arm.yaml")
    assert found.exit_code == 0, found.error
    return found


def told(found: Check) -> list[tuple[str, str]]:
    """Key and sentence of every warning about the policy, in their order."""
    return [(w.place.key.removeprefix("loops.arm."), w.message) for w in found.warnings]


def behind(operator: str, factor: float = 1.0) -> bytes:
    """obs [1, 8] -> action [1, 2] = operator(factor * obs @ weight)."""
    nodes = [
        helper.make_node("MatMul", ["obs", "weight"], ["sum"]),
        helper.make_node(operator, ["sum"], ["action"]),
    ]
    element = TensorProto.FLOAT
    return save(
        nodes,
        [("obs", element, [1, 8])],
        [("action", element, [1, 2])],
        {"weight": factor * WEIGHT},
    )


def test_of_a_policy_that_is_as_it_should_be_nothing_is_said(folder: Path) -> None:
    assert told(checked(folder, linear(WEIGHT))) == []


def test_a_policy_of_a_loop_without_inputs_is_tried(folder: Path) -> None:
    text = TEXT[: TEXT.index("    inputs:")] + TEXT[TEXT.index("    policy:") :]
    text = text.replace("{input: gyro, history: 2}", "last_action: true")
    text = text.replace("{input: q}", "is_first_step: true")
    assert told(checked(folder, linear(WEIGHT[:3] * 0.1), text)) == []


def test_a_policy_that_draws_its_action_is_told_of(folder: Path) -> None:
    """Exported with its distribution: a stochastic policy."""
    ((key, message),) = told(checked(folder, behind("RandomNormalLike")))
    assert key == "policy.model"
    assert "another command where it reads the same again" in message
    assert "mean action" in message


def test_nan_on_usual_values_is_told_of(folder: Path) -> None:
    ((key, message), *_) = told(checked(folder, behind("Sqrt")))
    assert key == "policy.model"
    assert "NaN or infinity in its answer for values within ±3" in message


def test_infinity_on_extreme_values_is_told_of(folder: Path) -> None:
    ((key, message),) = told(checked(folder, behind("Exp", 2.0)))
    assert key == "policy.model"
    assert "NaN or infinity in its answer for extreme values within ±30" in message


def test_a_model_that_fails_on_extreme_values_is_told_of(folder: Path) -> None:
    """It looks the first value up in a table, without bounding it."""
    element = TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["obs", "weight"], ["sum"]),
        helper.make_node("Gather", ["obs", "first"], ["value"], axis=1),
        helper.make_node("Cast", ["value"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["looked_up"]),
        helper.make_node("Add", ["sum", "looked_up"], ["action"]),
    ]
    weights = {"weight": WEIGHT, "first": np.array([0]), "table": np.arange(8, dtype=np.float32)}
    model = save(nodes, [("obs", element, [1, 8])], [("action", element, [1, 2])], weights)
    ((key, message), *_) = told(checked(folder, model))
    assert key == "policy.model"
    assert "extreme values within ±30" in message
    assert "out of data bounds" in message


def test_an_observation_that_is_not_finite_is_named(folder: Path) -> None:
    """A quaternion of which a group leaves nothing: its length is 0."""
    text = TEXT.replace(
        "      observation:\n",
        "      groups: {quat: [{input: gyro, scale: 0, history: {steps: [0]}}, {constant: [0]}]}\n"
        "      observation:\n",
    ).replace("{input: gyro, history: 2}", "{projected_gravity: quat, history: 2}")
    ((key, message), *_) = told(checked(folder, linear(WEIGHT), text))
    assert key == "policy.observation[0]"
    assert "'projected_gravity.x, 1 step ago'" in message


def test_elements_that_change_nothing_are_named_at_their_term(folder: Path) -> None:
    weight = WEIGHT.copy()
    weight[[1, 7]] = 0
    found = checked(folder, linear(weight))
    (first, second) = told(found)
    assert first[0] == "policy.observation[0]"
    assert "changes nothing in model 'policy': 'gyro.1, 1 step ago'" in first[1]
    assert second[0] == "policy.observation[1]"
    assert "'q.knee'" in second[1]
    place = found.warnings[0].place
    line = TEXT.splitlines().index("        - {input: gyro, history: 2}") + 1
    assert (place.file, place.line) == (str(folder / "arm.yaml"), line)


def test_an_element_that_counts_in_the_state_alone_counts(folder: Path) -> None:
    """action = h_in, h_out = obs @ weight."""
    element = TensorProto.FLOAT
    model = save(
        [
            helper.make_node("Identity", ["h_in"], ["action"]),
            helper.make_node("MatMul", ["obs", "weight"], ["h_out"]),
        ],
        [("obs", element, [1, 8]), ("h_in", element, [1, 2])],
        [("action", element, [1, 2]), ("h_out", element, [1, 2])],
        {"weight": WEIGHT},
    )
    assert told(checked(folder, model)) == []


def test_an_element_that_counts_behind_a_dead_unit_counts(folder: Path) -> None:
    """One point is not enough: a ReLU is flat on one side."""
    assert told(checked(folder, behind("Relu"))) == []


@pytest.mark.parametrize(("operator", "factor"), [("Sign", 1.0), ("Tanh", 1e4)])
def test_an_element_counts_where_the_answer_is_at_its_bounds(
    folder: Path, operator: str, factor: float
) -> None:
    """Bang-bang, or saturated: a small change of one element moves nothing."""
    assert told(checked(folder, behind(operator, factor))) == []


def test_an_observation_of_bools_may_be_false(folder: Path) -> None:
    """Usual values are all true: no random number is 0."""
    nodes = [
        helper.make_node("Cast", ["obs"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "weight"], ["action"]),
    ]
    inputs = [("obs", TensorProto.BOOL, [1, 8])]
    model = save(nodes, inputs, [("action", TensorProto.FLOAT, [1, 2])], {"weight": WEIGHT})
    warnings = told(checked(folder, model))
    assert not any("depends on nothing" in message for _, message in warnings), warnings


def test_an_action_that_nothing_moves_is_named(folder: Path) -> None:
    weight = WEIGHT.copy()
    weight[:, 1] = 0
    ((key, message),) = told(checked(folder, linear(weight)))
    assert key == "policy.model"
    assert "depends on nothing that is observed, in element '1'" in message


class MovesTerm(ObservationTerm):
    """1 where the first element of an input is above 0.1, else 0: a NaN is nothing to it."""

    kind = "moves"

    moves: Name = Field(description="name of an input")

    def elements(self, scope: Scope) -> Elements:
        return Vector(1)

    def emit(self, builder: GraphBuilder) -> str:
        first = builder.constant(np.array([0]), "first")
        limit = builder.constant(np.full((1, 1), 0.1, np.float32), "limit")
        value = builder.node("Gather", [builder.input(self.moves), first], "value", axis=1)
        return builder.cast(builder.node("Less", [limit, value], "moves"), "float32")


@pytest.fixture
def moves_term() -> Iterator[None]:
    TERMS.register(MovesTerm)
    yield
    TERMS.unregister("moves")


def test_a_nan_that_a_term_loses_is_told_of(folder: Path, moves_term: None) -> None:
    text = TEXT.replace("{input: gyro, history: 2}", "{moves: gyro, history: 6}")
    ((key, message),) = told(checked(folder, linear(WEIGHT), text))
    assert key == "inputs.gyro"
    assert "a NaN in input 'gyro' (element 0) that leaves as a plausible command" in message


def test_an_element_that_nothing_reads_may_be_nan(folder: Path) -> None:
    text = TEXT.replace("{mailbox: [0, 0, 0]}", "{mailbox: [0, 0, 0, 0, 0]}").replace(
        "{input: gyro, history", "{input: gyro, select: [0, 2, 4], history"
    )
    assert told(checked(folder, linear(WEIGHT), text)) == []


def test_a_nan_that_only_a_history_reads_is_waited_for(folder: Path) -> None:
    text = TEXT.replace("history: 2", "history: {steps: [5, 3]}")
    assert told(checked(folder, linear(WEIGHT), text)) == []


@pytest.mark.parametrize(
    ("rate", "said"), [("50", False), ("50.0", False), ("", False), ("100", True)]
)
def test_another_rate_than_the_metadata_say_is_told_of(folder: Path, rate: str, said: bool) -> None:
    model = onnx.ModelProto.FromString(linear(WEIGHT))
    onnx.helper.set_model_props(model, {"update_rate": rate})
    warnings = told(checked(folder, model.SerializeToString()))
    if said:
        ((key, message),) = warnings
        assert key == "rate_hz"
        assert message == (
            "found a policy that runs at 50 Hz; expected 100 Hz, as the metadata of its model say"
        )
    else:
        assert warnings == []


@pytest.mark.parametrize("rate", ["100 Hz", '"100"', "x", "-50"])
def test_a_rate_that_cannot_be_read_is_told_of(folder: Path, rate: str) -> None:
    model = onnx.ModelProto.FromString(linear(WEIGHT))
    onnx.helper.set_model_props(model, {"update_rate": rate})
    ((key, message),) = told(checked(folder, model.SerializeToString()))
    assert key == "policy.model"
    assert f"'update_rate' in the metadata of its model, which cannot be read: {rate};" in message


def test_a_state_that_grows_without_bound_is_told_of(folder: Path) -> None:
    """action = h_out = 2 h_in + obs @ weight: finite for two seconds, then a FAULT."""
    element = TensorProto.FLOAT
    model = save(
        [
            helper.make_node("Add", ["h_in", "h_in"], ["twice"]),
            helper.make_node("MatMul", ["obs", "weight"], ["sum"]),
            helper.make_node("Add", ["sum", "twice"], ["h_out"]),
            helper.make_node("Identity", ["h_out"], ["action"]),
        ],
        [("obs", element, [1, 8]), ("h_in", element, [1, 2])],
        [("action", element, [1, 2]), ("h_out", element, [1, 2])],
        {"weight": WEIGHT},
    )
    ((key, message),) = [w for w in told(checked(folder, model)) if "±30" not in w[1]]
    assert key == "policy.model"
    assert "NaN or infinity in its answer for values within ±3, in step 12" in message


def test_what_there_was_no_time_for_is_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = checked(folder, linear(WEIGHT)).loops[0].notes  # of its mailboxes
    assert not any("tried" in note for note in others)
    monkeypatch.setattr(probes, "BUDGET_S", -1.0)
    every = checked(folder, linear(WEIGHT)).loops[0].notes
    notes = [note for note in every if note not in others]
    assert [note.partition(":")[0] for note in notes] == [
        "not every element was tried with a NaN",
        "not every observed element was tried for whether it counts",
    ]


def test_two_checks_say_the_same(folder: Path) -> None:
    weight = WEIGHT.copy()
    weight[[0, 5]] = 0
    first = json.dumps([w.as_dict() for w in checked(folder, linear(weight)).warnings])
    assert first == json.dumps([w.as_dict() for w in checked(folder, linear(weight)).warnings])


def test_an_observation_of_bytes_is_tried_within_its_type(folder: Path) -> None:
    """NumPy would warn of a cast, or of a 255 that is made one more."""
    uint8 = TensorProto.UINT8
    nodes = [
        helper.make_node("Cast", ["obs"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["wide", "W"], ["act"]),
    ]
    outputs = [("act", TensorProto.FLOAT, [1, 2])]
    model = save(nodes, [("obs", uint8, [1, 8])], outputs, {"W": WEIGHT})
    text = TEXT.replace("{input: gyro, history: 2}", "{input: gyro, history: 2, offset: -300}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(folder, model, text)
        checked(folder, model, text.replace("-300", "300"))
