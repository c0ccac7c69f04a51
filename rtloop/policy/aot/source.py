"""A model as the generator gets it, and the C that gives its function the form that the core calls."""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import rtloop.core
from rtloop.policy.aot.layout import FLOATS
from rtloop.policy.composed import ModelStep, TensorSpec
from rtloop.policy.model_file import inner_graphs, walk_graphs
from rtloop.policy.onnx_file import value_info

if TYPE_CHECKING:
    import onnx

#: ``TensorProto.BOOL``.
BOOL = 9
#: Of operators that read or write where a value says, or as much as it says: which of their inputs that is.
INDICES = {
    "Gather": (1,), "GatherElements": (1,), "GatherND": (1,), "Scatter": (1,), "ScatterElements": (1,),
    "ScatterND": (1,), "TensorScatter": (2,), "ArrayFeatureExtractor": (1,), "ReverseSequence": (1,),
    "Slice": (1, 2, 3, 4), "Pad": (1, 3), "Tile": (1,), "Expand": (1,), "Range": (0, 1, 2),
    "ConstantOfShape": (0,), "Reshape": (1,), "Resize": (2, 3), "Compress": (1,), "Split": (1,),
    "TopK": (1,), "OneHot": (1,), "MaxUnpool": (1, 2), "SequenceAt": (1,), "RoiAlign": (2,),
    "LSTM": (4,), "GRU": (4,), "RNN": (4,), "Attention": (6,), "RotaryEmbedding": (3,),
    "CenterCropPad": (1,), "Trilu": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
}  # fmt: skip
#: What makes a plausible number of NaN in C, or another one than in onnxruntime.
DROP_NAN = frozenset(
    (
        "Relu",
        "ReduceMax",
        "ReduceMin",
        "ArgMax",
        "ArgMin",
        "TopK",
        "Hardmax",
        "MaxPool",
        "GlobalMaxPool",
    )
)
#: It is found beside the core, as the core was built with it.
HEADER = Path(rtloop.core.__file__).parent / "graph" / "compiled_model.h"
_WRAPPER = """
{header}
static void rtloop_run(const void *const *inputs, void *const *outputs) {{
    model({arguments});
}}
static const uint64_t rtloop_bytes[] = {{{sizes}}};
__attribute__((visibility("default")))
const struct rtloop_compiled_model rtloop_compiled_model = {{
    RTLOOP_COMPILED_MODEL_ABI, {n_inputs}u, {n_outputs}u, rtloop_bytes, rtloop_run
}};
"""


def model_of(step: ModelStep, tensors: Mapping[str, TensorSpec]) -> bytes:
    """The model of a step, serialised: its inputs and outputs in the order of the step, and their shapes.

    What says nothing about the numbers is left out, so that the same numbers have one sha256.
    """
    import onnx
    from onnx import inliner

    model = onnx.ModelProto()
    model.CopyFrom(step.model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    _replace(model.graph.input, step.inputs, tensors)
    _replace(model.graph.output, step.outputs, tensors)
    return bytes(model.SerializeToString(deterministic=True))


def _replace(
    infos: onnx.ValueInfoProto, names: Mapping[str, str], tensors: Mapping[str, TensorSpec]
) -> None:
    del infos[:]
    for inner, outer in names.items():
        spec = tensors[outer]
        infos.append(value_info(TensorSpec(inner, spec.shape, spec.dtype)))


def wrapper_of(step: ModelStep, tensors: Mapping[str, TensorSpec]) -> str:
    """C that exports what ``compiled_model.h`` says. It comes after the function ``model``."""
    import numpy as np

    specs = [tensors[name] for name in (*step.inputs.values(), *step.outputs.values())]
    arguments = [f"inputs[{index}]" for index in range(len(step.inputs))]
    arguments += [f"outputs[{index}]" for index in range(len(step.outputs))]
    return _WRAPPER.format(
        header=header(),
        arguments=", ".join(arguments),
        sizes=", ".join(f"{spec.size * np.dtype(spec.dtype).itemsize}u" for spec in specs),
        n_inputs=len(step.inputs),
        n_outputs=len(step.outputs),
    )


def unchecked(model: bytes) -> str:
    """Why what a model reads and writes might not be its own; empty where it is.

    onnxruntime refuses an index that is out of range, when it runs. The C reads what is there.
    """
    import onnx

    proto = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model))
    fixed: set[str] = set()
    types = _types(proto.graph)
    told = ""
    for graph in walk_graphs(proto.graph):
        fixed |= {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            places = INDICES.get(node.op_type, ())
            read = [node.input[place] for place in places if place < len(node.input)]
            if not set(filter(None, read)) <= fixed:
                return (
                    f"'{node.op_type}' takes an index or a size that is computed, which compiled C "
                    "does not check"
                )
            if node.domain not in ("", "ai.onnx"):
                return f"'{node.op_type}' is no operator of ONNX itself, but of {node.domain}"
            if _is_fixed(node, fixed):
                fixed |= set(node.output)
            else:
                told = told or _undefined(node, fixed, types)
    return told


def _undefined(node: onnx.NodeProto, fixed: Set[str], types: Mapping[str, int]) -> str:
    """What C leaves undefined for some numbers: a division by 0, or a cast of what is out of range."""
    if node.op_type in ("Div", "Mod"):
        if node.input[1] in fixed or types.get(node.input[1]) in FLOATS:
            return ""
        return f"'{node.op_type}' divides whole numbers by what is computed, perhaps 0"
    if node.op_type in ("Cast", "CastLike"):
        from_whole = types.get(node.input[0]) not in (None, *FLOATS)
        if from_whole or types.get(node.output[0]) in (*FLOATS, BOOL):
            return ""
        return f"'{node.op_type}' makes whole numbers of others, which may be out of their range"
    return ""


def dropped(generated: bytes) -> str:
    """Why NaN may end as a plausible number in a model as it is compiled; empty where it does not."""
    import onnx

    model = onnx.ModelProto.FromString(generated)
    for graph in walk_graphs(model.graph):
        for node in graph.node:
            if node.op_type in DROP_NAN:
                return f"'{node.op_type}' may hide NaN in compiled C"
    return ""


def _types(graph: onnx.GraphProto) -> dict[str, int]:
    """``TensorProto`` types by name, of inner graphs, too."""
    return {
        info.name: info.type.tensor_type.elem_type
        for each in walk_graphs(graph)
        for info in (*each.input, *each.value_info, *each.output)
    } | {
        tensor.name: tensor.data_type for each in walk_graphs(graph) for tensor in each.initializer
    }


def _is_fixed(node: onnx.NodeProto, fixed: set[str]) -> bool:
    """It computes the same in every run, from what is fixed, or from a shape. Random numbers have no inputs."""
    if node.op_type in ("Shape", "Size", "Constant"):
        return True
    read = set(filter(None, node.input))
    return bool(read) and read <= fixed and not any(True for _ in inner_graphs(node))


@cache
def header() -> str:
    """The text of ``compiled_model.h``."""
    return HEADER.read_text(encoding="utf-8")
