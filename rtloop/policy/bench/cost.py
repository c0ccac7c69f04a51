"""What the models of a graph have to compute and to read, counted from their shapes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtloop.policy.composed import CallStep, ComposedGraph, ModelStep, NodeStep
from rtloop.policy.model_file import walk_graphs

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

#: Operators that move values, and compute none.
MOVES = frozenset(
    (
        "Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements",
        "Identity", "Pad", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Of one run of the policy: every model once."""

    flops: int
    """Of the operators ``counted``; a multiplication and an addition are two."""
    counted: Mapping[str, int]
    """FLOPs by operator."""
    not_counted: Mapping[str, int]
    """Operators that compute something else, or whose shapes are not known: how many nodes."""
    weight_bytes: int
    tensor_bytes: int
    """Of all that is no weight of a model: inputs, outputs, what is between, state, constants of terms."""
    unsized: int
    """Tensors whose shape the model does not tell; they are not in ``tensor_bytes``."""

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.tensor_bytes


def cost(graph: ComposedGraph) -> Cost:
    """Counts the models and the terms around them."""
    import onnx

    flops: Counter[str] = Counter()
    others: Counter[str] = Counter()
    own_shapes = {name: spec.shape for name, spec in graph.tensors.items()}
    tensor_bytes = sum(spec.size * _item_bytes(spec.dtype) for spec in graph.tensors.values())
    unsized = 0
    for step in graph.steps:
        if isinstance(step, NodeStep):
            made = onnx.helper.make_node(step.operator, step.inputs, [step.output])
            nodes, shapes = [made], own_shapes
        elif isinstance(step, CallStep):
            continue  # nobody knows what a Python function costs
        else:
            shapes, inner_bytes = _shapes(step, own_shapes)
            nodes = list(step.model.graph.node)
            tensor_bytes += inner_bytes
        for node in nodes:
            unsized += sum(name not in shapes for name in node.output if name)
            if node.op_type in MOVES:
                continue
            counted = _FLOPS.get(node.op_type, _unknown)(node, shapes)
            if counted is None:
                others[node.op_type] += 1
            else:
                flops[node.op_type] += counted
    return Cost(
        sum(flops.values()),
        dict(flops.most_common()),
        dict(others.most_common()),
        weight_bytes(graph),
        tensor_bytes,
        unsized,
    )


def weight_bytes(graph: ComposedGraph) -> int:
    """Of the initializers and constants of all models, those inside branches and loops too."""
    return sum(
        math.prod(tensor.dims) * _item_bytes_of(tensor.data_type)
        for step in graph.steps
        if isinstance(step, ModelStep)
        for inner in walk_graphs(step.model.graph)
        for tensor in (*inner.initializer, *_constants(inner))
    )


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _shapes(step: ModelStep, around: Shapes) -> tuple[dict[str, Shape], int]:
    """Of every tensor of a model that tells its own, of its inputs and outputs as ``around`` has them; and the
    bytes of what is neither a weight nor one of these."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(step.model, data_prop=True).graph
    except Exception:  # of onnx, of many types: what is not known is counted as that
        graph = step.model.graph
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in graph.initializer}
    for own, outer in (*step.inputs.items(), *step.outputs.items()):
        shapes[own] = around[outer]
    inner = 0
    for info in (*graph.input, *graph.output, *graph.value_info):
        dims = info.type.tensor_type.shape.dim
        sized = info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape")
        if not sized or not all(dim.HasField("dim_value") for dim in dims):
            continue
        if info.name not in shapes:
            shapes[info.name] = tuple(dim.dim_value for dim in dims)
            inner += math.prod(shapes[info.name]) * _item_bytes_of(info.type.tensor_type.elem_type)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes, inner


def _item_bytes(dtype: str) -> int:
    import numpy as np

    return int(np.dtype(dtype).itemsize)


def _item_bytes_of(element_type: int) -> int:
    import onnx

    try:
        return int(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)
    except KeyError:
        return 0


# --- FLOPs by operator; None where a shape is not known ---


def _unknown(_node: onnx.NodeProto, _shapes: Shapes) -> int | None:
    return None


def _when_known(
    count: Callable[[onnx.NodeProto, Shapes], int],
) -> Callable[[onnx.NodeProto, Shapes], int | None]:
    def counted(node: onnx.NodeProto, shapes: Shapes) -> int | None:
        try:
            return count(node, shapes)
        except (KeyError, IndexError):
            return None

    return counted


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    is_transposed = any(a.name == "transA" and a.i for a in node.attribute)
    depth = shapes[node.input[0]][0 if is_transposed else 1]
    return 2 * math.prod(shapes[node.output[0]]) * depth


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """A product for each combination of the indices of both; more operands may be taken in any order."""
    (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        raise KeyError(equation)
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        sizes |= zip(term, shapes[name], strict=True)
    return 2 * math.prod(sizes.values())


def _convolution(weight: int) -> Callable[[onnx.NodeProto, Shapes], int]:
    """Each output is a sum over the kernel and the input channels of its group."""

    def count(node: onnx.NodeProto, shapes: Shapes) -> int:
        kernel = shapes[node.input[weight]]
        return 2 * math.prod(shapes[node.output[0]]) * math.prod(kernel[1:])

    return count


def _transposed_convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input goes to all of the kernel, for each output channel of its group."""
    return 2 * math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every weight of the input and of the state once, for each step and each row of a batch. What the gates
    do element by element is not in it."""
    steps, batch = shapes[node.input[0]][:2]
    return 2 * steps * batch * sum(math.prod(shapes[node.input[index]]) for index in (1, 2))


_FLOPS = {
    name: _when_known(count)
    for name, count in {
        "MatMul": _matmul,
        "MatMulInteger": _matmul,
        "QLinearMatMul": _matmul,
        "Gemm": _gemm,
        "Einsum": _einsum,
        "Conv": _convolution(1),
        "ConvInteger": _convolution(1),
        "QLinearConv": _convolution(3),
        "ConvTranspose": _transposed_convolution,
        "LSTM": _recurrent,
        "GRU": _recurrent,
        "RNN": _recurrent,
    }.items()
}
