"""What terms, histories and chains cost: a composed policy against its models alone, in the same core.

The policies are those of examples/policies; their models are in the folder that $RTLOOP_POLICIES names,
or are made up, of the same sizes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks import command_line
from benchmarks.measured_loop import Rights, thread_setup, what_was_denied
from benchmarks.policies import Network
from benchmarks.result import Result, Table, Target
from rtloop import core
from rtloop.assembly import assemble
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import load
from rtloop.policy.bench.bursts import alternate, of_graph
from rtloop.policy.bench.distribution import Distribution, noise_floor
from rtloop.policy.composed import ComposedGraph, ModelStep, TensorSpec
from rtloop.policy.library import onnxruntime_library

EXAMPLES = Path(__file__).parents[1] / "examples" / "policies"
LARGEST_RATIO = 1.15


@dataclass(frozen=True)
class MadeUp:
    """A model in place of one that is not here: its sizes, and the names of its input and output."""

    sizes: tuple[int, ...]
    activation: str
    observation: str
    action: str


#: As the real ones are; by file.
POLICIES: dict[str, Mapping[str, MadeUp]] = {
    "go1_joystick": {
        "policy.onnx": MadeUp((48, 512, 256, 128, 12), "Elu", "obs", "continuous_actions")
    },
    "tron1_pointfoot": {
        "encoder.onnx": MadeUp((300, 256, 128, 3), "Elu", "mlp_input", "mlp_output"),
        "policy.onnx": MadeUp((36, 512, 256, 128, 6), "Elu", "mlp_input", "mlp_output"),
    },
    "unitree_g1_velocity": {
        "policy.onnx": MadeUp((480, 512, 256, 128, 29), "Elu", "obs", "actions")
    },
}


def measure(options: argparse.Namespace, result: Result) -> None:
    rights = Rights()
    granted = core.apply_to_this_thread(thread_setup("inference", [options.cpu], options.priority))
    result.denied = rights.denied() + what_was_denied(granted)
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority}, CPU {options.cpu}, bursts of both in turn",
    )
    result.tables.append(table)
    made_up = []
    for name in POLICIES:
        command_line.progress(name)
        composed, graph, is_real = example(name)
        made_up += [] if is_real else [name]
        graphs = (composed, _bare(graph), _as_one_model(graph))
        measured = alternate([of_graph(each) for each in graphs], options.seconds / len(POLICIES))
        theirs = measured[1]
        b, a, one = (Distribution.of(np.concatenate(times)) for times in measured)
        steps = len(graph.steps)
        table.add(f"{name}: composed, {steps} steps / its models", *b.over(a), *b.us())
        table.add("  all of it as one model in onnxruntime", *one.over(a), *one.us())
        table.add("  its models, one after the other", 1, 1, 1, *a.us())
        table.add("  noise floor: the models / themselves", *noise_floor(theirs), *[None] * 4)
        ratio = b.over(a)[0]
        result.targets.append(Target(f"{name}: p50, composed / models", ratio, "≤", LARGEST_RATIO))
    if made_up:
        result.notes.append(f"models made up, of the real ones' sizes: {', '.join(made_up)}")


def _model(made_up: MadeUp) -> bytes:
    model = onnx.load_from_string(Network(made_up.sizes, made_up.activation).model())
    names = {"obs": made_up.observation, "action": made_up.action}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    return bytes(model.SerializeToString())


def example(name: str) -> tuple[core.Graph, ComposedGraph, bool]:
    """The composed graph of an example, ready to run, and whether its models are the real ones."""
    shared = Path(os.environ.get("RTLOOP_POLICIES", ""), name)
    is_real = all((shared / file).is_file() for file in POLICIES[name])
    with tempfile.TemporaryDirectory() as folder:
        for file, sizes in POLICIES[name].items():
            data = (shared / file).read_bytes() if is_real else _model(sizes)
            Path(folder, file).write_bytes(data)
        path = Path(folder, f"{name}.yaml")
        path.write_text((EXAMPLES / f"{name}.yaml").read_text())
        config = load(path)
        ((loop_name, loop),) = config.loops.items()
        policy = loop.policy.load(lambda *keys: config.where("loops", loop_name, "policy", *keys))
        inputs = assumed_inputs(config, loop_name, policy)
        assembled = assemble(config, loop_name, inputs, assumed_outputs(loop, policy), policy)
    return assembled.runner, assembled.graph, is_real


def _bare(graph: ComposedGraph) -> core.Graph:
    models = [step for step in graph.steps if isinstance(step, ModelStep)]
    names = [n for step in models for n in (*step.inputs.values(), *step.outputs.values())]
    numbers = {tensor: number for number, tensor in enumerate(dict.fromkeys(names))}
    specs = [graph.tensors[tensor] for tensor in numbers]
    return core.Graph.of_steps(
        onnxruntime_library(),
        tensors=[(spec.name, spec.dtype, list(spec.shape)) for spec in specs],
        constants={},
        steps=[
            core.ModelRun(
                step.model.SerializeToString(),
                [(inner, numbers[outer]) for inner, outer in step.inputs.items()],
                [(inner, numbers[outer]) for inner, outer in step.outputs.items()],
            )
            for step in models
        ],
        inputs=[numbers[outer] for step in models for outer in step.inputs.values()],
        command=numbers[next(iter(models[-1].outputs.values()))],
        feedback=[],
        checked=[],
        last_command=None,
    )


def _as_one_model(graph: ComposedGraph) -> core.Graph:
    """The same, rtloop's own nodes in onnxruntime, too."""
    fed_back = [(item.input_name, item.output_name) for item in graph.feedback]
    names = [spec.name for spec in graph.inputs]
    names += [name for pair in fed_back for name in pair]
    specs = [*(graph.tensors[name] for name in names), TensorSpec("action", graph.action.shape)]
    numbers = {spec.name: number for number, spec in enumerate(specs)}
    given = [*(spec.name for spec in graph.inputs), *(before for before, _ in fed_back)]
    answered = ["action", *(after for _, after in fed_back)]
    return core.Graph.of_steps(
        onnxruntime_library(),
        tensors=[(spec.name, spec.dtype, list(spec.shape)) for spec in specs],
        constants={
            numbers[before]: graph.constants[before]
            for before, _ in fed_back
            if before in graph.constants
        },
        steps=[
            core.ModelRun(
                graph.model,
                [(name, numbers[name]) for name in given],
                [(name, numbers[name]) for name in answered],
            )
        ],
        inputs=[numbers[spec.name] for spec in graph.inputs],
        command=numbers["action"],
        feedback=[
            (numbers[item.input_name], numbers[item.output_name], item.of_applied)
            for item in graph.feedback
        ],
        checked=[],
        last_command=None,
    )


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30)
    title = "A composed policy against its models alone"
    return command_line.run("composition", title, parser, measure)


if __name__ == "__main__":
    sys.exit(main())
