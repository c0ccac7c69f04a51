"""A composed graph in the core, as a loop runs it."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop import core
from rtloop.policy.composed import (
    CallStep,
    ComposedGraph,
    ModelStep,
    NodeStep,
    Step,
    TensorSpec,
)
from rtloop.policy.library import onnxruntime_library
from rtloop.policy.node_types import OPSET


def runner(graph: ComposedGraph, compiled: Mapping[int, bytes] | None = None) -> core.Graph:
    """The graph, ready to run: nodes in the core itself where it has the operator, models in onnxruntime.

    ``compiled`` are shared objects of models that were compiled ahead of time, by the index of their step.
    Raises RuntimeError, ValueError.
    """
    numbers = {name: number for number, name in enumerate(graph.tensors)}
    return core.Graph.of_steps(
        onnxruntime_library(),
        # Only the shape of no axes has no elements, and the core needs no shapes.
        tensors=[
            (t.name, t.dtype, list(t.shape) if t.size else [1]) for t in graph.tensors.values()
        ],
        constants={numbers[name]: value for name, value in graph.constants.items() if value.size},
        steps=[
            _step(graph, step, numbers, (compiled or {}).get(index))
            for index, step in enumerate(graph.steps)
        ],
        inputs=[numbers[spec.name] for spec in graph.inputs],
        command=numbers[graph.action.name],
        feedback=[
            (numbers[item.input_name], numbers[item.output_name], item.of_applied)
            for item in graph.feedback
        ],
        checked=[numbers[name] for name in graph.checked],
        last_command=numbers[graph.last_command] if graph.last_command else None,
        terminations=numbers[graph.terminations] if graph.terminations else None,
        every=graph.every,
        each_cycle=[place for place, step in enumerate(graph.steps) if step.each_cycle],
        cycles_since_due=numbers[graph.cycles_since_due] if graph.cycles_since_due else None,
    )


def model_steps(graph: ComposedGraph) -> dict[int, ModelStep]:
    """The steps that the core does not compute itself, by their index: models, and nodes as models."""
    return {
        index: step if isinstance(step, ModelStep) else _model_of(graph, step)
        for index, step in enumerate(graph.steps)
        if isinstance(step, ModelStep)
        or (isinstance(step, NodeStep) and step.operator not in core.OPERATORS)
    }


def terminated_by(graph: ComposedGraph, run: core.Graph) -> list[str]:
    """Which terminations were true in the last run, a sentence each. While nothing runs."""
    if not graph.terminations:
        return []
    flags = run.tensor(list(graph.tensors).index(graph.terminations)).reshape(-1)
    return [told for told, flag in zip(graph.termination_sentences, flags, strict=True) if flag]


def _step(
    graph: ComposedGraph, step: Step, numbers: dict[str, int], compiled: bytes | None
) -> core.Node | core.ModelRun | core.CompiledRun | core.ExternalRun:
    if isinstance(step, CallStep):
        asked, answered = graph.tensors[step.input].size, graph.tensors[step.output].size
        external = core.External(asked, answered)
        return core.ExternalRun(external, numbers[step.input], numbers[step.output])
    if isinstance(step, NodeStep):
        if step.operator in core.OPERATORS:
            read = [numbers[name] for name in step.inputs]
            if step.operator == "Reshape":
                read = read[:1]
            return core.Node(step.operator, read, numbers[step.output])
        step = _model_of(graph, step)
    inputs = [(name, numbers[tensor]) for name, tensor in step.inputs.items()]
    outputs = [(name, numbers[tensor]) for name, tensor in step.outputs.items()]
    if compiled is None:
        return core.ModelRun(step.model.SerializeToString(), inputs, outputs)
    sides = ([tensor for _, tensor in side] for side in (inputs, outputs))
    return core.CompiledRun(step.label, compiled, *sides)


def _model_of(graph: ComposedGraph, step: NodeStep) -> ModelStep:
    """A node that the core has no operator for: a model of its own."""
    import onnx

    from rtloop.policy.onnx_file import value_info

    names = list(dict.fromkeys(step.inputs))
    fixed = [name for name in names if name in graph.constants]
    given = [name for name in names if name not in fixed]
    node = onnx.helper.make_node(step.operator, step.inputs, [step.output], **step.attributes)
    specs: list[TensorSpec] = [graph.tensors[name] for name in given]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            step.operator,
            [value_info(spec) for spec in specs],
            [value_info(graph.tensors[step.output])],
            [onnx.numpy_helper.from_array(graph.constants[name], name) for name in fixed],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    return ModelStep(step.operator, model, {n: n for n in given}, {step.output: step.output})
