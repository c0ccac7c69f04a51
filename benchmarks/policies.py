"""The networks that are measured, with random weights: what they compute does not matter here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Network:
    """A perceptron, float32 [1, sizes[0]] → [1, sizes[-1]]; tensors ``obs`` and ``action``."""

    sizes: Sequence[int]
    activation: str  # an ONNX operator

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} {self.activation.lower()}"

    @property
    def n_inputs(self) -> int:
        return self.sizes[0]

    @property
    def n_outputs(self) -> int:
        return self.sizes[-1]

    def model(self) -> bytes:
        """As ONNX. The weights keep the signal's size from layer to layer; the seed is fixed."""
        random = np.random.default_rng(0)
        nodes, weights, value = [], [], "obs"
        last = len(self.sizes) - 2
        for i, (n, m) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            weight = random.standard_normal((m, n)).astype(np.float32) / np.float32(np.sqrt(n))
            bias = random.standard_normal(m).astype(np.float32) * np.float32(0.1)
            weights += [
                numpy_helper.from_array(weight, f"w{i}"),
                numpy_helper.from_array(bias, f"b{i}"),
            ]
            linear = "action" if i == last else f"z{i}"
            nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [linear], transB=1))
            if i != last:
                nodes.append(helper.make_node(self.activation, [linear], [f"h{i}"]))
                value = f"h{i}"
        graph = helper.make_graph(
            nodes,
            "mlp",
            [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, self.n_inputs])],
            [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, self.n_outputs])],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return bytes(model.SerializeToString())


SMALL = Network((12, 64, 64, 4), "Tanh")
LARGE = Network((48, 512, 256, 128, 12), "Elu")
