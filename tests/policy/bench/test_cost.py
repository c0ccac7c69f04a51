"""FLOPs and bytes of models, against what a person counts by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.policy import compose
from rtloop.policy.bench.cost import Cost, cost, weight_bytes
from rtloop.policy.bench.versions import bare
from rtloop.policy.model_file import read_model
from rtloop.policy.terms.action import ActionTerm
from tests.policy.models import linear, save

FLOAT = TensorProto.FLOAT


def cost_of(
    node: onnx.NodeProto, shape: list[int], out: list[int], weights: Mapping[str, npt.NDArray[Any]]
) -> Cost:
    model = save([node], [("x", FLOAT, shape)], [("y", FLOAT, out)], weights)
    return cost(bare(read_model(model)))


def ones(*shape: int) -> npt.NDArray[np.float32]:
    return np.full(shape, 0.01, np.float32)


def test_products_of_matrices() -> None:
    made = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert cost_of(made, [3, 5], [3, 7], {"w": ones(5, 7)}).flops == 2 * 3 * 5 * 7
    made = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    assert cost_of(made, [3, 5], [3, 7], {"w": ones(7, 5)}).flops == 2 * 3 * 5 * 7
    made = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)
    assert cost_of(made, [5, 3], [3, 7], {"w": ones(5, 7)}).flops == 2 * 3 * 5 * 7
    made = helper.make_node("Einsum", ["x", "w"], ["y"], equation="bi, ij -> bj")
    assert cost_of(made, [3, 5], [3, 7], {"w": ones(5, 7)}).flops == 2 * 3 * 5 * 7
    made = helper.make_node("Einsum", ["x", "w", "v"], ["y"], equation="bi,ij,jk->bk")
    found = cost_of(made, [3, 5], [3, 2], {"w": ones(5, 7), "v": ones(7, 2)})
    assert (found.flops, found.not_counted) == (0, {"Einsum": 1})


def test_convolutions() -> None:
    made = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    found = cost_of(made, [1, 4, 8, 8], [1, 6, 6, 6], {"w": ones(6, 2, 3, 3)})
    assert found.flops == 2 * (6 * 6 * 6) * (2 * 3 * 3)
    made = helper.make_node("ConvTranspose", ["x", "w"], ["y"])
    found = cost_of(made, [1, 4, 8], [1, 5, 10], {"w": ones(4, 5, 3)})
    assert found.flops == 2 * (4 * 8) * (5 * 3)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_networks(operator: str, gates: int) -> None:
    made = helper.make_node(operator, ["x", "w", "r"], ["y"], hidden_size=6)
    weights = {"w": ones(1, gates * 6, 5), "r": ones(1, gates * 6, 6)}
    found = cost_of(made, [2, 1, 5], [2, 1, 1, 6], weights)
    assert found.flops == 2 * 2 * (gates * 6 * 5 + gates * 6 * 6)
    assert found.counted == {operator: found.flops}


def test_what_is_not_counted_is_named() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Tanh", ["b"], ["y"]),
    ]
    model = save(nodes, [("x", FLOAT, [1, 4])], [("y", FLOAT, [1, 2])], {"w": ones(4, 2)})
    found = cost(bare(read_model(model)))
    assert (found.flops, found.counted) == (16, {"MatMul": 16})
    assert found.not_counted == {"Tanh": 2}
    assert found.weight_bytes == 4 * 8
    assert found.unsized == 0
    # x, a, b, y and the command: 4 + 4 * 2 values, and the shape of the command.
    assert found.tensor_bytes == 4 * (4 + 4 * 2) + 16


def test_a_product_of_unknown_shape_is_not_counted_as_nothing() -> None:
    nodes = [
        helper.make_node("Gelu", ["x"], ["a"], domain="com.microsoft"),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    values = [("x", FLOAT, [1, 4])], [("y", FLOAT, [1, 2])]
    model = onnx.load_from_string(save(nodes, *values, {"w": ones(4, 2)}))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = cost(bare(read_model(model.SerializeToString())))
    assert found.flops == 0
    assert found.not_counted == {"Gelu": 1, "MatMul": 1}
    assert found.unsized == 1


def test_constants_are_weights_too() -> None:
    value = onnx.numpy_helper.from_array(ones(4, 2), "value")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model = save(nodes, [("x", FLOAT, [1, 4])], [("y", FLOAT, [1, 2])], {})
    found = cost(bare(read_model(model)))
    assert (found.flops, found.weight_bytes) == (16, 32)


def test_terms_are_counted_with_the_models() -> None:
    graph = compose(linear(ones(4, 2)), {"x": 4}, action=ActionTerm(scale=2.0))
    found = cost(graph)
    assert found.flops == 2 * 4 * 2
    assert found.not_counted == {"Mul": 1}
    assert weight_bytes(graph) == 4 * 8
