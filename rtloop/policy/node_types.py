"""What a node of rtloop's own yields: its type and shape, as ONNX infers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rtloop.policy.composed import NodeStep, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

#: Of rtloop's own nodes.
OPSET = 17


def inferred(
    step: NodeStep, tensors: Mapping[str, TensorSpec], constants: Mapping[str, npt.NDArray[Any]]
) -> tuple[str, list[int | str]]:
    """Type and shape of what a node yields; "?" is a size that varies. Raises what onnx raises, ValueError."""
    import numpy as np
    import onnx

    _refuse_unknown(step.operator)

    def described(name: str) -> onnx.ValueInfoProto:
        spec = tensors[name]
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return onnx.helper.make_tensor_value_info(name, element, spec.shape)

    node = onnx.helper.make_node(step.operator, step.inputs, [step.output], **step.attributes)
    names = list(dict.fromkeys(step.inputs))
    fixed = [name for name in names if name in constants]
    given = [described(name) for name in names if name not in fixed]
    weights = [onnx.numpy_helper.from_array(constants[name], name) for name in fixed]
    output = onnx.ValueInfoProto(name=step.output)
    graph = onnx.helper.make_graph([node], "term", given, [output], weights)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8
    )
    known = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    onnx.checker.check_model(known)
    found = known.graph.output[0].type.tensor_type
    if not found.HasField("shape"):
        return _dtype(found.elem_type), ["?"]
    shape = [d.dim_value if d.HasField("dim_value") else "?" for d in found.shape.dim]
    return _dtype(found.elem_type), shape


def _refuse_unknown(operator: str) -> None:
    """Raises ValueError for an operator that ONNX does not have, or not in ``OPSET``."""
    import onnx

    try:
        onnx.defs.get_schema(operator, OPSET, "")
    except onnx.defs.SchemaError:
        schemas = onnx.defs.get_all_schemas_with_history()
        versions = [s.since_version for s in schemas if (s.name, s.domain) == (operator, "")]
        if not versions:
            raise ValueError(f"ONNX has no operator {operator}") from None
        raise ValueError(
            f"opset {OPSET} of rtloop's nodes has no operator {operator}, which came with opset "
            f"{min(versions)}"
        ) from None


def _dtype(element_type: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(element_type))
