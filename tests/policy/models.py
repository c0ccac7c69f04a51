"""Small policies made on the spot, and a runner that feeds state back as the core does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from rtloop import core
from rtloop.policy import ComposedGraph
from rtloop.policy.aot import backends
from rtloop.policy.runner import runner

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
    """Runs a composed graph cycle by cycle, in the core, and beside it as one ONNX model: they must agree.

    With RTLOOP_TEST_AOT set, its models are compiled ahead of time, too, which takes a second or two each.
    """

    def __init__(self, graph: ComposedGraph) -> None:
        self.graph = graph
        self.core = runner(graph)
        self._compiled: core.Graph | None = None
        if os.environ.get("RTLOOP_TEST_AOT"):
            chosen = backends(graph)
            for note in chosen.notes:
                print(note)
            self._compiled = runner(graph, chosen.objects) if chosen.objects else None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph.model, options, providers=["CPUExecutionProvider"]
        )
        self.reset()

    def reset(self) -> None:
        """As a loop does when it is activated: what it remembers is what it began with."""
        self.core.reset()
        if self._compiled is not None:
            self._compiled.reset()
        self._state = {
            item.input_name: self.graph.constants.get(
                item.input_name, np.zeros(item.shape, item.dtype)
            )
            for item in self.graph.feedback
        }

    def step(
        self,
        *samples: npt.ArrayLike,
        applied: bool = True,
        last_command: npt.ArrayLike | None = None,
    ) -> npt.NDArray[np.float32]:
        """One cycle: a sample per loop input in, the command [m] out."""
        flat = [np.asarray(sample, np.float32).reshape(-1) for sample in samples]
        last = None if last_command is None else np.asarray(last_command, np.float32)
        command = self.core.run(flat, applied, last)
        # One session optimises across what are several steps: the last bits may differ.
        halves = any(tensor.dtype == "float16" for tensor in self.graph.tensors.values())
        rtol, atol = (2e-2, 2e-3) if halves else (2e-4, 2e-5)
        beside = self._as_one_model(flat, applied, last)
        np.testing.assert_allclose(command, beside, rtol=rtol, atol=atol)
        if self._compiled is not None:
            compiled = self._compiled.run(flat, applied, last)
            np.testing.assert_allclose(compiled, command, rtol=rtol, atol=atol)
        return command

    def _as_one_model(
        self,
        samples: Sequence[npt.NDArray[np.float32]],
        applied: bool,
        last_command: npt.NDArray[np.float32] | None,
    ) -> npt.NDArray[np.float32]:
        graph = self.graph
        feed = dict(self._state)
        for spec, sample in zip(graph.inputs, samples, strict=True):
            feed[spec.name] = sample.reshape(spec.shape)
        if last_command is not None:
            feed[graph.last_command] = last_command.reshape(1, -1)
        outputs = ["action", *(item.output_name for item in graph.feedback)]
        action, *state = self._session.run(outputs, feed)
        for item, value in zip(graph.feedback, state, strict=True):
            assert value.shape == item.shape
            assert value.dtype == item.dtype
            if applied or not item.of_applied:
                self._state[item.input_name] = value
        assert action.shape == graph.action.shape
        assert action.dtype == np.float32
        return np.asarray(action[0])
