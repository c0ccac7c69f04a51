"""Weights in the order in which the C reads them: a compiler makes nothing of loops over columns.

The generator sums ``x[k] * W[k][j]`` over k as it stands there, which jumps from row to row of W. Of the
transpose, each sum runs along a row: for a vector of observations that is an order of magnitude.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

#: ``TensorProto.FLOAT``, ``FLOAT16``, ``DOUBLE``.
FLOATS = (1, 10, 11)


def along_rows(model: bytes) -> bytes:
    """The same model, whose products with constant matrices are ``Gemm`` with ``transB``."""
    import onnx

    proto = onnx.ModelProto.FromString(model)
    graph = proto.graph
    weights = _weights(graph)
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    _relus_as_maxima(proto, inferred)
    shapes = _shapes(inferred)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        matrix = weights.get(node.input[1]) if len(node.input) > 1 else None
        if matrix is None or matrix.ndim != 2 or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
        elif node.op_type == "Gemm" and not _is_set(node, "transB"):
            node.input[1] = _transposed(graph, node.input[1], matrix)
            kept = [attribute for attribute in node.attribute if attribute.name != "transB"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("transB", 1)])
            nodes.append(node)
        elif node.op_type == "MatMul" and (shape := shapes.get(node.input[0])):
            nodes += _product(graph, node, shape, matrix)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _forget_unused(graph)
    return bytes(proto.SerializeToString(deterministic=True))


def _relus_as_maxima(proto: onnx.ModelProto, inferred: onnx.GraphProto) -> None:
    """The generator's ``Relu`` makes 0 of NaN; its ``Max``, as it is compiled here, keeps it."""
    import numpy as np
    import onnx

    if all(entry.version < 8 for entry in proto.opset_import if entry.domain in ("", "ai.onnx")):
        return  # no broadcasting
    infos = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    for node in proto.graph.node:
        element = types.get(node.input[0]) if node.op_type == "Relu" else None
        if element not in FLOATS:
            continue
        zero = f"{node.output[0]}/zero"
        value = np.zeros((), onnx.helper.tensor_dtype_to_np_dtype(element))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, zero))
        node.op_type = "Max"
        node.input.append(zero)


def _product(
    graph: onnx.GraphProto, node: onnx.NodeProto, shape: tuple[int, ...], matrix: npt.NDArray[Any]
) -> list[onnx.NodeProto]:
    """A product of the last axis of a tensor with a matrix."""
    import numpy as np
    import onnx

    rows = math.prod(shape[:-1])
    name = node.output[0]
    sizes = {
        f"{name}/rows": np.array([rows, shape[-1]]),
        f"{name}/shape": np.array([*shape[:-1], matrix.shape[1]]),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in sizes.items())
    flat, product = f"{name}/flat", f"{name}/product"
    make = onnx.helper.make_node
    return [
        make("Reshape", [node.input[0], f"{name}/rows"], [flat]),
        make("Gemm", [flat, _transposed(graph, node.input[1], matrix)], [product], transB=1),
        make("Reshape", [product, f"{name}/shape"], [name]),
    ]


def _transposed(graph: onnx.GraphProto, name: str, matrix: npt.NDArray[Any]) -> str:
    """The name of the transpose of a constant, which is added where it is not there."""
    import numpy as np
    import onnx

    called = f"{name}/transposed"
    if all(tensor.name != called for tensor in graph.initializer):
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(matrix.T), called)
        graph.initializer.append(tensor)
    return called


def _weights(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    """Constants of a float type, by name."""
    import onnx

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Of tensors whose shape is known and of no dimension 0, by name."""
    found = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        dimensions = info.type.tensor_type.shape.dim
        if dimensions and all(dimension.dim_value > 0 for dimension in dimensions):
            found[info.name] = tuple(dimension.dim_value for dimension in dimensions)
    return found


def _is_set(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)


def _forget_unused(graph: onnx.GraphProto) -> None:
    """Constants that nothing reads any more; those that inner graphs read are kept by their names."""
    text = {name for node in graph.node for name in _names_in(node)}
    text |= {info.name for info in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in text]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = [n for n in graph.node if n.op_type != "Constant" or n.output[0] in text]
    del graph.node[:]
    graph.node.extend(nodes)


def _names_in(node: onnx.NodeProto) -> set[str]:
    from rtloop.policy.model_file import inner_graphs, walk_graphs

    names = set(node.input)
    for inner in inner_graphs(node):
        for graph in walk_graphs(inner):
            names |= {name for other in graph.node for name in other.input}
            names |= {info.name for info in graph.output}
    return names
