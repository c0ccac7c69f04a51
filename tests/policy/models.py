"""Small policies made on the spot, and a runner that feeds state back as the core does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rtloop.policy import ComposedGraph

Dimension = int | str | None
Value = tuple[str, int, Sequence[Dimension]]


def save(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Mapping[str, npt.NDArray[Any]],
    *,
    opset: int = 17,
    ir_version: int = 8,
) -> bytes:
    """A serialised model. A dimension may be a number, a name, or None (unnamed)."""
    graph = helper.make_graph(
        list(nodes),
        "policy",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version
    )
    return bytes(model.SerializeToString())


def linear(
    weight: npt.NDArray[Any], shape: Sequence[Dimension] | None = None, **options: int
) -> bytes:
    """obs [1, n] (or ``shape``) -> action [1, m] = obs @ weight, in the type of ``weight``."""
    n, m = weight.shape
    element = helper.np_dtype_to_tensor_dtype(weight.dtype)
    shape = [1, n] if shape is None else shape
    out = [1, m] if len(shape) > 1 else [m]
    return save(
        [helper.make_node("MatMul", ["obs", "weight"], ["action"])],
        [("obs", element, shape)],
        [("action", element, [shape[0], *out[1:]] if len(shape) > 1 else out)],
        {"weight": weight},
        **options,
    )


def passthrough(n: int) -> bytes:
    """obs [1, n] -> action [1, n], unchanged: shows the observation as the policy sees it."""
    element = TensorProto.FLOAT
    return save(
        [helper.make_node("Identity", ["obs"], ["action"])],
        [("obs", element, [1, n])],
        [("action", element, [1, n])],
        {},
    )


def recurrent(
    n: int, hidden: int, m: int, dtype: str = "float32"
) -> tuple[bytes, dict[str, npt.NDArray[Any]]]:
    """obs [1, n], h_in [1, 1, hidden] -> action [1, m], h_out: tanh(obs Wx + h Wh), times Wy."""
    random = np.random.default_rng(3)
    weights = {
        "Wx": random.normal(size=(n, hidden)).astype(dtype),
        "Wh": random.normal(size=(hidden, hidden)).astype(dtype) / hidden,
        "Wy": random.normal(size=(hidden, m)).astype(dtype),
    }
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        helper.make_node("MatMul", ["obs", "Wx"], ["a"]),
        helper.make_node("MatMul", ["h_in", "Wh"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["h_out"]),
        helper.make_node("MatMul", ["h_out", "Wy"], ["d"]),
        helper.make_node("Constant", [], ["flat"], value_ints=[1, m]),
        helper.make_node("Reshape", ["d", "flat"], ["action"]),
    ]
    model = save(
        nodes,
        [("obs", element, [1, n]), ("h_in", element, [1, 1, hidden])],
        [("action", element, [1, m]), ("h_out", element, [1, 1, hidden])],
        weights,
    )
    return model, weights


class Runner:
    """Runs a composed graph cycle by cycle; feedback starts at zero."""

    def __init__(self, graph: ComposedGraph) -> None:
        self._graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph.model, options, providers=["CPUExecutionProvider"]
        )
        self._state = {item.input_name: np.zeros(item.shape, np.float32) for item in graph.feedback}

    def step(self, *samples: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """One cycle: a sample per loop input in, the command [m] out."""
        feed = dict(self._state)
        for spec, sample in zip(self._graph.inputs, samples, strict=True):
            feed[spec.name] = np.asarray(sample, np.float32).reshape(spec.shape)
        outputs = [self._graph.action.name, *(item.output_name for item in self._graph.feedback)]
        action, *state = self._session.run(outputs, feed)
        for item, value in zip(self._graph.feedback, state, strict=True):
            assert value.shape == item.shape
            assert value.dtype == np.float32
            self._state[item.input_name] = value
        assert action.shape == self._graph.action.shape
        assert action.dtype == np.float32
        return np.asarray(action[0])
