"""A network of dense layers as an ONNX file: what the trained policies of the demos are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]
"""Weight [n, m] and bias [n], None without one: y = weight x + bias."""


def write_mlp(
    path: Path, name: str, layers: Sequence[Layer], activation: str, limit: float | None = None
) -> None:
    """``observation`` [1, n] -> ``action`` [1, m], both float32, within ± ``limit`` where there is one.

    ``activation`` is the ONNX operator behind every layer but the last. The same layers give the same bytes.
    """
    initializers, nodes = [], []
    value = "observation"
    for number, (weight, bias) in enumerate(layers):
        is_last = number == len(layers) - 1
        inputs = [value]
        for kind, array in (("weight", weight), ("bias", bias)):
            if array is not None:
                initializers.append(numpy_helper.from_array(array, f"{kind}_{number}"))
                inputs.append(f"{kind}_{number}")
        value = "action" if is_last and limit is None else f"linear_{number}"
        nodes.append(helper.make_node("Gemm", inputs, [value], transB=1))
        if not is_last:
            nodes.append(helper.make_node(activation, [value], [f"hidden_{number}"]))
            value = f"hidden_{number}"
    if limit is not None:
        for end, bound in (("low", -limit), ("high", limit)):
            initializers.append(numpy_helper.from_array(np.float32(bound).reshape(()), end))
        nodes.append(helper.make_node("Clip", [value, "low", "high"], ["action"]))
    n_in, n_out = layers[0][0].shape[1], layers[-1][0].shape[0]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, [1, n_in])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, n_out])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="rtloop", ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
