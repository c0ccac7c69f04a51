"""The graph runner: ONNX Runtime's own numbers, through its C API."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from rtloop import core
from rtloop.policy.library import onnxruntime_library
from tests.core.conftest import identity_graph, model_bytes


def mlp(n: int, hidden: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)

    def constant(name: str, *shape: int) -> object:
        values = rng.normal(0, 0.5, shape).astype(np.float32)
        return helper.make_tensor(name, TensorProto.FLOAT, shape, values.ravel())

    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h0"]),
        helper.make_node("Tanh", ["h0"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w1", "b1"], ["y"]),
    ]
    weights = [
        constant("w0", n, hidden),
        constant("b0", hidden),
        constant("w1", hidden, n),
        constant("b1", n),
    ]
    return model_bytes(nodes, n, weights)


def test_outputs_equal_the_python_api_bit_for_bit() -> None:
    model = mlp(12, 64, seed=3)
    graph = core.Graph(onnxruntime_library(), model, [("x", [1, 12])], ("y", [1, 12]), [])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(4)
    for _ in range(100):
        x = rng.normal(0, 2, 12).astype(np.float32)
        expected = session.run(["y"], {"x": x[None]})[0][0]
        assert graph.run([x]).tobytes() == expected.tobytes()


def accumulator() -> core.Graph:
    """y = state + x; the state is fed back."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "s_in"], ["y"]),
            helper.make_node("Identity", ["y"], ["s_out"]),
        ],
        "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "s_in")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("y", "s_out")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return core.Graph(
        onnxruntime_library(),
        model.SerializeToString(),
        [("x", [1, 2])],
        ("y", [1, 2]),
        [("s_in", ("s_out", [1, 2]))],
    )


def test_state_is_fed_back_and_reset() -> None:
    graph = accumulator()
    one = np.array([1, 10], np.float32)
    assert [graph.run([one]).tolist() for _ in range(3)] == [[1, 10], [2, 20], [3, 30]]
    graph.reset()
    assert graph.run([one]).tolist() == [1, 10]


def test_warming_up_measures_and_leaves_no_state_behind() -> None:
    graph = accumulator()
    first_ns, run_ns = graph.warm_up(50)
    assert first_ns > 0
    assert len(run_ns) == 50
    assert graph.run([np.array([1, 10], np.float32)]).tolist() == [1, 10]


def test_what_the_graph_refuses_is_refused_at_configure_time() -> None:
    model = model_bytes([helper.make_node("Identity", ["x"], ["y"])], 3)
    with pytest.raises(RuntimeError, match="cannot run the graph: .*[Dd]imension"):
        core.Graph(onnxruntime_library(), model, [("x", [1, 4])], ("y", [1, 3]), [])
    with pytest.raises(RuntimeError, match="nope"):
        core.Graph(onnxruntime_library(), model, [("nope", [1, 3])], ("y", [1, 3]), [])
    with pytest.raises(RuntimeError, match="not fixed"):
        core.Graph(onnxruntime_library(), model, [("x", [0, 3])], ("y", [1, 3]), [])
    with pytest.raises(RuntimeError, match="cannot load the graph"):
        core.Graph(onnxruntime_library(), b"no model", [("x", [1, 3])], ("y", [1, 3]), [])


def test_a_library_that_is_none_is_named() -> None:
    with pytest.raises(RuntimeError, match="cannot load ONNX Runtime: .*nothere"):
        core.Graph("/nothere.so", b"", [], ("y", [1]), [])
    with pytest.raises(RuntimeError, match="OrtGetApiBase"):
        core.Graph("libm.so.6", b"", [], ("y", [1]), [])


def test_wrong_sizes_are_refused() -> None:
    graph = identity_graph(3)
    with pytest.raises(ValueError, match="got 2 values, expected 3"):
        graph.run([np.zeros(2, np.float32)])
    with pytest.raises(ValueError, match="got 0 inputs, expected 1"):
        graph.run([])


def test_state_can_be_read_and_set_so_that_a_replay_starts_anywhere() -> None:
    graph, replayed = accumulator(), accumulator()
    one = np.array([1, 10], np.float32)
    for _ in range(3):
        graph.run([one])
    state = graph.state()
    assert {name: values.tolist() for name, values in state.items()} == {"s_in": [[3, 30]]}
    replayed.set_state(state)
    assert replayed.run([one]).tobytes() == graph.run([one]).tobytes()
    with pytest.raises(ValueError, match="no state 'x'; it has: s_in"):
        graph.set_state({"x": one})
    with pytest.raises(ValueError, match="has 2 values, got 3"):
        graph.set_state({"s_in": np.zeros(3, np.float32)})
    assert identity_graph(1).state() == {}


def table(*values: float) -> core.Graph:
    """y = values[x]: an index that the table lacks is an error of ONNX Runtime, while it runs."""
    rows = helper.make_tensor("rows", TensorProto.FLOAT, [len(values)], values)
    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["rows", "index"], ["y"]),
    ]
    model = model_bytes(nodes, 1, [rows])
    return core.Graph(onnxruntime_library(), model, [("x", [1, 1])], ("y", [1, 1]), [])


def test_what_onnx_runtime_says_of_a_run_is_kept_until_the_graph_is_reset() -> None:
    graph = table(5.0, 6.0)
    assert graph.run([np.array([1.0], np.float32)]).tolist() == [6.0]
    assert graph.error == ""
    for index in (7.0, 8.0):  # the first says what went wrong, the others follow from it
        with pytest.raises(RuntimeError, match="refused to run the graph: .*idx=7"):
            graph.run([np.array([index], np.float32)])
    assert "idx=7" in graph.error
    graph.reset()
    assert graph.error == ""
