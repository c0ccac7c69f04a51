"""A graph of steps, written down one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from rtloop import core
from rtloop.policy.library import onnxruntime_library

ONNX_TYPES = {
    "float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11,
}  # fmt: skip


class Steps:
    """Its methods return the index of the tensor that they add."""

    def __init__(self) -> None:
        self.tensors: list[tuple[str, str, list[int]]] = []
        self.constants: dict[int, NDArray[Any]] = {}
        self.steps: list[core.Node | core.ModelRun | core.CompiledRun | core.ExternalRun] = []
        self.inputs: list[int] = []
        self.feedback: list[tuple[int, int, bool]] = []
        self.checked: list[int] = []
        self.last_command: int | None = None
        self.terminations: int | None = None

    def tensor(self, name: str, size: int | Sequence[int], dtype: str = "float32") -> int:
        shape = [1, size] if isinstance(size, int) else list(size)
        self.tensors.append((name, dtype, shape))
        return len(self.tensors) - 1

    def input(self, name: str, size: int) -> int:
        self.inputs.append(self.tensor(name, size))
        return self.inputs[-1]

    def constant(self, name: str, values: NDArray[Any]) -> int:
        index = self.tensor(name, values.shape, values.dtype.name)
        self.constants[index] = values
        return index

    def node(
        self,
        operator: str,
        inputs: Sequence[int],
        size: int,
        dtype: str = "float32",
        name: str = "",
    ) -> int:
        output = self.tensor(name or f"{operator}_{len(self.tensors)}", size, dtype)
        self.steps.append(core.Node(operator, inputs, output))
        return output

    def model(self, model: bytes, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        self.steps.append(core.ModelRun(model, list(inputs.items()), list(outputs.items())))

    def compiled(self, code: bytes, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self.steps.append(core.CompiledRun("test", code, inputs, outputs))

    def graph(self, command: int) -> core.Graph:
        return core.Graph.of_steps(
            onnxruntime_library(),
            self.tensors,
            self.constants,
            self.steps,
            self.inputs,
            command,
            self.feedback,
            self.checked,
            self.last_command,
            self.terminations,
        )


def typed_model(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[str, Sequence[int]]],
    outputs: Mapping[str, tuple[str, Sequence[int] | None]],
    initializers: Sequence[Any] = (),
) -> bytes:
    """An ONNX model between tensors of any dtype and shape."""

    def infos(sides: Mapping[str, tuple[str, Any]]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape)
            for name, (dtype, shape) in sides.items()
        ]

    graph = helper.make_graph(
        list(nodes), "test", infos(inputs), infos(outputs), list(initializers)
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def vector(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)
