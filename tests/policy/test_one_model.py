"""All of a composed graph as one ONNX file, whatever the user's models are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.config import load
from rtloop.policy import compose
from rtloop.policy.opened import opened
from tests.policy.models import Runner, Value, linear, save
from tests.policy.test_wild import folder_of

_FLOAT = TensorProto.FLOAT
_OBS: list[Value] = [("obs", _FLOAT, [1, 2])]
_ACTION: list[Value] = [("action", _FLOAT, [1, 2])]
_TWO = {"two": np.full((1, 2), 2, np.float32), "zero": np.zeros((1, 1), np.float32)}


def _graph(
    name: str, nodes: list[onnx.NodeProto], inputs: list[Value], outputs: list[Value]
) -> onnx.GraphProto:
    given, made = ([helper.make_tensor_value_info(*v) for v in vs] for vs in (inputs, outputs))
    return helper.make_graph(nodes, name, given, made)


def _branches() -> bytes:
    """obs * 2 where obs[0] > 0, else -obs; the branches read what lies outside, also one in another."""
    double = _graph(
        "double",
        [helper.make_node("Mul", ["obs", "two"], ["doubled"])],
        [],
        [("doubled", _FLOAT, [1, 2])],
    )
    outer = _graph(
        "outer",
        [
            helper.make_node("Identity", ["less"], ["negative"]),
            helper.make_node(
                "If",
                ["is_more"],
                ["inside"],
                then_branch=double,
                else_branch=_graph(
                    "negated",
                    [helper.make_node("Identity", ["negative"], ["given"])],
                    [],
                    [("given", _FLOAT, [1, 2])],
                ),
            ),
        ],
        [],
        [("inside", _FLOAT, [1, 2])],
    )
    last = _graph(
        "last",
        [helper.make_node("Neg", ["obs"], ["minus"])],
        [],
        [("minus", _FLOAT, [1, 2])],
    )
    nodes = [
        helper.make_node("Neg", ["obs"], ["less"]),
        helper.make_node("ReduceSum", ["obs"], ["sum"], keepdims=0),
        helper.make_node("Squeeze", ["zero"], ["nought"]),
        helper.make_node("Greater", ["sum", "nought"], ["is_more"]),
        helper.make_node("If", ["is_more"], ["action"], then_branch=outer, else_branch=last),
    ]
    return save(nodes, _OBS, _ACTION, _TWO)


def _loop() -> bytes:
    """obs * 2, three times over."""
    body = _graph(
        "body",
        [
            helper.make_node("Mul", ["value", "two"], ["next_value"]),
            helper.make_node("Identity", ["going"], ["goes_on"]),
        ],
        [
            ("turn", TensorProto.INT64, []),
            ("going", TensorProto.BOOL, []),
            ("value", _FLOAT, [1, 2]),
        ],
        [("goes_on", TensorProto.BOOL, []), ("next_value", _FLOAT, [1, 2])],
    )
    nodes = [helper.make_node("Loop", ["three", "", "obs"], ["action"], body=body)]
    return save(nodes, _OBS, _ACTION, {**_TWO, "three": np.array(3, np.int64)})


def _function() -> bytes:
    """obs * 2 by a function called Neg, in a branch and outside of it: -2 * obs."""
    opset = helper.make_opsetid("", 17)
    function = helper.make_function(
        "own", "Neg", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [opset]
    )
    branch = _graph(
        "branch",
        [helper.make_node("Neg", ["obs"], ["twice"], domain="own")],
        [],
        [("twice", _FLOAT, [1, 2])],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["doubled"], then_branch=branch, else_branch=branch),
        helper.make_node("Neg", ["doubled"], ["action"]),
    ]
    model = onnx.load_from_string(save(nodes, _OBS, _ACTION, {"yes": np.array(True)}))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "expected"),
    [(_branches(), [2, 6]), (_loop(), [8, 24]), (_function(), [-2, -6])],
    ids=["branches", "loop", "function"],
)
def test_what_lies_in_branches_loops_and_functions_keeps_its_meaning(
    model: bytes, expected: list[float]
) -> None:
    graph = compose(model, {"a": 2})
    onnx.checker.check_model(graph.model, full_check=True)
    assert Runner(graph).step([1, 3]).tolist() == expected


def test_a_recurrent_network_with_branches_is_one_valid_file(tmp_path: Path) -> None:
    folder = folder_of("silero_vad", tmp_path)
    graph = opened(load(folder / "silero_vad.yaml"), "ear").assembled.graph
    runner = Runner(graph)
    sound = np.random.default_rng(1).normal(size=512).astype(np.float32)
    assert all(np.isfinite(runner.step(sound)).all() for _ in range(3))


@pytest.mark.parametrize("opset", [8, 9, 11, 12, 16, 18, 21])
def test_a_model_of_any_opset_is_one_valid_file_with_what_is_around_it(
    tmp_path: Path, opset: int
) -> None:
    """Terms need operators that opset 11 does not have, or has otherwise."""
    (tmp_path / "policy.onnx").write_bytes(linear(np.eye(4, dtype=np.float32), opset=opset))
    (tmp_path / "a.yaml").write_text(
        "loops: {a: {class: soft, rate_hz: 50, inputs: {q: {mailbox: [0, 0]}}, policy: {model: policy.onnx, "
        "observation: [{input: q, wrap: [-1, 1], history: 2, clip: [-0.5, 0.5]}], "
        "action: {select: [0, 1], smooth: 0.5, start: {ramp_s: 1, from: q, to: 0}}}, "
        "outputs: {t: {mailbox: true, size: 2, safe: 0}}}}"
    )
    graph = opened(load(tmp_path / "a.yaml"), "a").assembled.graph
    onnx.checker.check_model(graph.model, full_check=True)
    runner = Runner(graph)
    assert all(np.isfinite(runner.step([0.3, -2])).all() for _ in range(3))
