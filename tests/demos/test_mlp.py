"""The files of the demos' policies are what their layers are written as, to the last byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import rtloop.demos
from rtloop.demos.mlp import write_mlp

DEMOS = Path(rtloop.demos.__file__).parent


@pytest.mark.parametrize(
    ("demo", "activation", "limit"), [("cartpole", "Tanh", 1.0), ("quadruped", "Elu", None)]
)
def test_the_policy_of_a_demo_is_written_again_bit_for_bit(
    demo: str, activation: str, limit: float | None, tmp_path: Path
) -> None:
    committed = DEMOS / demo / "policy.onnx"
    arrays = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(committed).graph.initializer
    }
    layers = [(arrays[f"weight_{n}"], arrays.get(f"bias_{n}")) for n in range(3)]
    write_mlp(tmp_path / "again.onnx", f"{demo}_policy", layers, activation, limit)
    assert (tmp_path / "again.onnx").read_bytes() == committed.read_bytes()


def test_it_computes_the_layers(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    first, second = (random.normal(size=s).astype(np.float32) for s in ((5, 2), (3, 5)))
    bias = random.normal(size=3).astype(np.float32)
    write_mlp(tmp_path / "p.onnx", "p", [(first, None), (second, bias)], "Tanh", 0.5)
    session = onnxruntime.InferenceSession(str(tmp_path / "p.onnx"))
    for _ in range(10):
        observed = random.normal(size=(1, 2)).astype(np.float32)
        (action,) = session.run(["action"], {"observation": observed})
        wanted = np.clip(np.tanh(observed @ first.T) @ second.T + bias, -0.5, 0.5)
        np.testing.assert_allclose(action, wanted, atol=1e-6)
