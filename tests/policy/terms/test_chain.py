"""Models in a chain, and types at their borders: whose answer is read, of which cycle, as what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.policy.models import Runner, passthrough, save
from tests.policy.terms.harness import composed

FLOAT = TensorProto.FLOAT


def _plus_one(n: int, out: str = "action") -> bytes:
    """obs [1, n] -> obs + 1."""
    nodes = [helper.make_node("Add", ["obs", "one"], [out])]
    value = [1, n]
    return save(
        nodes, [("obs", FLOAT, value)], [(out, FLOAT, value)], {"one": np.ones((1, 1), np.float32)}
    )


def test_an_answer_is_of_this_cycle_behind_its_model_and_of_the_one_before_ahead_of_it(
    tmp_path: Path,
) -> None:
    """Whoever reads it first, as a term or in a group."""
    latent = {"output": "encoder.latent"}
    section = {
        "groups": {"frame": [latent, {"input": "a"}], "outer": [{"group": "frame", "history": 2}]},
        "models": {
            "encoder": {
                "model": "encoder.onnx",
                "observation": [
                    {"input": "a"},
                    {"group": "frame", "select": [1], "scale": 0},
                    {**latent, "select": [0], "scale": 10},
                ],
            },
            "policy": {"model": "policy.onnx", "observation": [latent, {"group": "outer"}]},
        },
    }
    files = {"encoder.onnx": _plus_one(3, "latent"), "policy.onnx": passthrough(3 + 8)}
    runner = Runner(composed(tmp_path, section, {"a": 1}, files))

    def latents(a: float, before: float) -> list[float]:
        return [a + 1, 1, 10 * before + 1]

    first, second = latents(5, 0), latents(7, 6)
    assert runner.step([5]).tolist() == [*first, *first, 5, *first, 5]
    assert runner.step([7]).tolist() == [*second, *first, 5, *second, 7]


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int32", "bool"])
def test_a_chain_passes_values_through_any_type(tmp_path: Path, dtype: str) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Identity", ["obs"], ["latent"])]
    model = save(nodes, [("obs", element, [1, 3])], [("latent", element, [1, 3])], {})
    section = {
        "models": {
            "encoder": {"model": "encoder.onnx", "observation": [{"input": "a"}]},
            "policy": {
                "model": "policy.onnx",
                "observation": [{"output": "encoder.latent", "scale": 2.0}],
            },
        }
    }
    files = {"encoder.onnx": model, "policy.onnx": passthrough(3)}
    sample = np.array([1.75, -2.0, 0.0], np.float32)
    command = Runner(composed(tmp_path, section, {"a": 3}, files)).step(sample)
    assert command.tolist() == (sample.astype(dtype).astype(np.float32) * 2).tolist()


def test_several_inputs_constants_counters_and_state_of_their_own_types(tmp_path: Path) -> None:
    """action = obs + float(flag) + 10 count + 100 memory; memory counts the runs in float64."""
    nodes = [
        helper.make_node("Cast", ["flag"], ["flag_f"], to=FLOAT),
        helper.make_node("Cast", ["count"], ["count_f"], to=FLOAT),
        helper.make_node("Cast", ["memory_in"], ["memory_f"], to=FLOAT),
        helper.make_node("Mul", ["count_f", "ten"], ["tens"]),
        helper.make_node("Mul", ["memory_f", "hundred"], ["hundreds"]),
        helper.make_node("Sum", ["obs", "flag_f", "tens", "hundreds", "other"], ["action"]),
        helper.make_node("Add", ["memory_in", "step"], ["memory_out"]),
    ]
    weights: dict[str, Any] = {
        "ten": np.array([10], np.float32),
        "hundred": np.array([100], np.float32),
        "step": np.ones(1),
    }
    model = save(
        nodes,
        [("obs", FLOAT, ["batch", 2]), ("other", FLOAT, [2]), ("flag", TensorProto.BOOL, [1]),
         ("count", TensorProto.INT64, [1, 1]), ("memory_in", TensorProto.DOUBLE, [1])],
        [("action", FLOAT, ["batch", 2]), ("memory_out", TensorProto.DOUBLE, [1])],
        weights,
    )  # fmt: skip
    section: dict[str, Any] = {
        "model": "p.onnx",
        "observations": {
            "obs": [{"input": "a", "select": [0, 1]}],
            "other": [{"input": "a", "select": [2, 1]}],
        },
        "constants": {"flag": True},
        "counters": {"count": 3},
    }  # fmt: skip
    runner = Runner(composed(tmp_path, section, {"a": 3}, {"p.onnx": model}))
    for run in range(4):
        fixed = 1 + 10 * (3 + run) + 100 * run
        assert runner.step([1, 2, 4]).tolist() == [1 + 4 + fixed, 2 + 2 + fixed]
    runner.reset()
    assert runner.step([1, 2, 4]).tolist() == [1 + 4 + 31, 2 + 2 + 31]


def test_weights_in_a_file_beside_the_model(tmp_path: Path) -> None:
    weight = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "w"], ["action"])],
        "p",
        [helper.make_tensor_value_info("obs", FLOAT, [1, 3])],
        [helper.make_tensor_value_info("action", FLOAT, [1, 1000])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "p.onnx", save_as_external_data=True, location="p.bin")
    assert (tmp_path / "p.bin").exists()
    section = {"model": "p.onnx", "observation": [{"input": "a"}]}
    command = Runner(composed(tmp_path, section, {"a": 3})).step([1, 10, 100])
    np.testing.assert_allclose(command, np.array([1, 10, 100], np.float32) @ weight, rtol=1e-6)
