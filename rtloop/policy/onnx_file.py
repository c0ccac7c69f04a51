"""A composed graph as one ONNX model: to look at, to keep, and to compile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rtloop.config.problem import printable
from rtloop.errors import ConfigError
from rtloop.policy.composed import ComposedGraph, ModelStep, NodeStep, TensorSpec
from rtloop.policy.model_file import inner_graphs, walk_graphs
from rtloop.policy.node_types import OPSET

if TYPE_CHECKING:
    import onnx


def one_model(graph: ComposedGraph) -> onnx.ModelProto:
    """All steps in one model, those of the models under names of their own.

    It ends with what the core does beside the steps: where a checked tensor is not finite, the action is
    NaN. The opset is that of the models, so that they stay as they are, or OPSET where it lacks what rtloop's
    own nodes need. Raises ConfigError where models cannot be brought to one opset, or ONNX has no such model.
    """
    import onnx

    if graph.call is not None:
        raise ConfigError(
            f"the Python function '{graph.call.function.name}' is in no ONNX file: export what it computes as "
            "a model, and name that under `model`"
        )
    models = [step.model for step in graph.steps if isinstance(step, ModelStep)]
    newest = max([_opset(model) for model in models] or [OPSET])
    for opset in dict.fromkeys((newest, max(newest, OPSET))):
        model = _in_opset(graph, models, opset)
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            why = error
        else:
            return model
    text = printable(" ".join(str(why).split()))
    raise ConfigError(f"ONNX has no one file of this policy with all around it ({text})")


def _in_opset(
    graph: ComposedGraph, models: Sequence[onnx.ModelProto], opset: int
) -> onnx.ModelProto:
    import onnx

    nodes: list[onnx.NodeProto] = []
    weights: dict[str, onnx.TensorProto] = {}
    domains: dict[str, int] = {"": opset}
    fed = {feedback.input_name for feedback in graph.feedback}
    for name, value in graph.constants.items():
        if name not in fed:
            weights[name] = onnx.numpy_helper.from_array(value, name)
    n_runs = 0
    functions: list[onnx.FunctionProto] = []
    sparse: list[onnx.SparseTensorProto] = []
    for step in graph.steps:
        if isinstance(step, NodeStep):
            nodes.append(_node(step))
            continue
        if not isinstance(step, ModelStep):
            continue
        n_runs += 1
        model = _renamed(_brought_to(step.model, opset, step.label), f"{step.label}_{n_runs}//")
        prefix = f"{step.label}_{n_runs}//"
        for inner, outer in step.inputs.items():
            nodes.append(_copy(outer, prefix + inner))
        nodes.extend(model.graph.node)
        for inner, outer in step.outputs.items():
            nodes.append(_copy(prefix + inner, outer))
        weights |= {tensor.name: tensor for tensor in model.graph.initializer}
        sparse += model.graph.sparse_initializer
        functions.extend(model.functions)
        domains |= {
            o.domain: o.version for o in model.opset_import if o.domain not in ("", "ai.onnx")
        }
    action = TensorSpec("action", graph.action.shape)
    nodes.extend(_guarded(graph, action.name, weights))
    inputs = [*graph.inputs, *(graph.tensors[f.input_name] for f in graph.feedback)]
    if graph.last_command:
        inputs.append(graph.tensors[graph.last_command])
    if graph.cycles_since_due:
        inputs.append(graph.tensors[graph.cycles_since_due])
    outputs = [action, *(graph.tensors[f.output_name] for f in graph.feedback)]
    if graph.terminations:
        outputs.append(graph.tensors[graph.terminations])
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            "rtloop",
            [value_info(s) for s in inputs],
            [value_info(s) for s in outputs],
            list(weights.values()),
            sparse_initializer=sparse,
        ),
        opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in domains.items()],
        ir_version=max([4, *(model.ir_version for model in models)]),
        functions=functions,
    )


def with_feedback(graph: ComposedGraph, first_command: Sequence[float]) -> bytes:
    """The same model, serialised, for others to run: its metadata say what is fed back.

    ``rtloop.feedback`` is JSON, {input: output}, after each run; ``rtloop.initial`` is JSON too, the values,
    row by row, of those inputs that do not begin with zeros. What left last is the action, as nothing
    limits it here, and ``first_command`` before the first. Raises ConfigError.
    """
    import json

    import onnx

    model = onnx.ModelProto.FromString(graph.model)
    fed = {item.input_name: item.output_name for item in graph.feedback}
    initial = {
        name: graph.constants[name].reshape(-1).tolist() for name in fed if name in graph.constants
    }
    if graph.last_command:
        fed[graph.last_command] = "action"
        initial[graph.last_command] = list(first_command)
    onnx.helper.set_model_props(
        model, {"rtloop.feedback": json.dumps(fed), "rtloop.initial": json.dumps(initial)}
    )
    return bytes(model.SerializeToString(deterministic=True))


def _guarded(
    graph: ComposedGraph, action: str, weights: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """action = command + sum over the checked of sum(0 * x), which is NaN where one is not finite."""
    import numpy as np
    import onnx

    nodes, value = [], graph.action.name
    for index, name in enumerate(graph.checked):
        spec = graph.tensors[name]
        flat, zeros, guarded = (
            f"rtloop/guard/{what}{index}" for what in ("flat", "zeros", "command")
        )
        shape = f"rtloop/guard/shape{index}"
        weights[shape] = onnx.numpy_helper.from_array(np.array([1, spec.size], np.int64), shape)
        matrix = np.zeros((spec.size, graph.action.size), np.float32)
        weights[zeros] = onnx.numpy_helper.from_array(matrix, zeros)
        nodes.append(onnx.helper.make_node("Reshape", [name, shape], [flat]))
        nodes.append(onnx.helper.make_node("Gemm", [flat, zeros, value], [guarded]))
        value = guarded
    return [*nodes, _copy(value, action)]


def _node(step: NodeStep) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node(
        step.operator, step.inputs, [step.output], name=f"node/{step.output}", **step.attributes
    )


def _copy(source: str, target: str) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("Identity", [source], [target], name=f"node/{target}")


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    import numpy as np
    import onnx

    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return onnx.helper.make_tensor_value_info(spec.name, element, spec.shape)


def _opset(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def _brought_to(model: onnx.ModelProto, opset: int, label: str) -> onnx.ModelProto:
    from onnx import version_converter

    if _opset(model) == opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # of many types
        text = printable(" ".join(str(error).split()))
        raise ConfigError(
            f"one ONNX file of all models needs one opset, and '{label}' cannot be brought from opset "
            f"{_opset(model)} to {opset} ({text}); export its models with one opset_version"
        ) from error


def _renamed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy whose values, nodes and functions have the prefix, inside branches and loops as well.

    There a name may be that of a value outside, which ``onnx.compose.add_prefix`` leaves as it was.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    functions = {(function.domain, function.name) for function in copy.functions}
    for graph in walk_graphs(copy.graph):
        _rename_values(graph, prefix)
        _rename_calls(graph.node, functions, prefix)
    for function in copy.functions:  # the names of their values are their own
        _rename_calls(function.node, functions, prefix)
        for node in function.node:
            for inner in inner_graphs(node):
                for graph in walk_graphs(inner):
                    _rename_calls(graph.node, functions, prefix)
        function.name = prefix + function.name
    return copy


def _rename_values(graph: onnx.GraphProto, prefix: str) -> None:
    named = [*graph.input, *graph.output, *graph.initializer, *graph.value_info]
    for sparse in graph.sparse_initializer:
        named += (sparse.values, sparse.indices)
    for item in named:
        item.name = prefix + item.name
    for node in graph.node:
        if node.name:
            node.name = prefix + node.name
        for values in (node.input, node.output):
            values[:] = [prefix + name if name else name for name in values]  # "" is left out


def _rename_calls(
    nodes: Iterable[onnx.NodeProto], functions: set[tuple[str, str]], prefix: str
) -> None:
    for node in nodes:
        if (node.domain, node.op_type) in functions:
            node.op_type = prefix + node.op_type
