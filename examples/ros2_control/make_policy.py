"""Writes policy.onnx: joint positions and velocities in, positions out that go gently to zero.

A policy of your own takes its place; this one is a product with a matrix: the example needs no training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main() -> None:
    # action = 0.98 position - 0.01 velocity, for each of two joints
    gains = np.vstack([0.98 * np.eye(2), -0.01 * np.eye(2)]).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "gains"], ["action"])],
        "go_to_zero",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(gains, "gains")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, Path(__file__).with_name("policy.onnx"))


if __name__ == "__main__":
    main()
