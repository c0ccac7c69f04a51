"""The versions of a policy that are compared: onnxruntime, compiled, float16, int8; or why one is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop import core
from rtloop.errors import ConfigError
from rtloop.policy.aot import backends
from rtloop.policy.bench.cost import weight_bytes
from rtloop.policy.composed import ComposedGraph, ModelStep, NodeStep, TensorSpec
from rtloop.policy.quantize.convert import Kind, NotQuantizedError, converted, watched_for
from rtloop.policy.runner import model_steps, runner
from rtloop.policy.trace import trace
from rtloop.progress import tell

if TYPE_CHECKING:
    from rtloop.policy.model_file import ModelFile

#: What the others are compared with comes first.
VERSIONS = ("ort", "aot", "float16", "int8")
#: Runs on made-up inputs that int8 takes its ranges from here: what is measured is time alone.
MADE_UP_RUNS = 64


@dataclass(frozen=True)
class Version:
    """A graph that runs, and its first run, before any other."""

    graph: core.Graph
    first_run_ns: int
    weight_bytes: int
    note: str = ""


def bare(model: ModelFile) -> ComposedGraph:
    """A model alone, on made-up finite inputs: seeded normal values, zeros where they are no numbers of a
    float type. Raises ConfigError where it answers no float32.
    """
    import numpy as np

    random = np.random.default_rng(0)
    inputs = {name: f"input/{name}" for name in model.inputs}
    outputs = {name: f"output/{name}" for name in model.outputs}
    tensors = {
        made[t.name]: TensorSpec(made[t.name], t.shape, t.dtype)
        for made, side in ((inputs, model.inputs), (outputs, model.outputs))
        for t in side.values()
    }
    constants = {}
    for name, tensor in model.inputs.items():
        value = np.zeros(tensor.shape, tensor.dtype)
        if value.dtype.kind == "f":
            value = random.standard_normal(tensor.shape).astype(tensor.dtype)
        constants[inputs[name]] = value
    answer = next((t for t in model.outputs.values() if t.dtype == "float32"), None)
    if answer is None:
        listed = ", ".join(map(str, model.outputs.values()))
        raise ConfigError(f"found outputs {listed}; expected one of float32, which a command is")
    command = TensorSpec("command", (1, answer.size))
    tensors[command.name] = command
    shape = np.array(command.shape, np.int64)
    tensors["shape"], constants["shape"] = TensorSpec("shape", (2,), "int64"), shape
    read = (outputs[answer.name], "shape")
    return ComposedGraph(
        tensors=tensors,
        constants=constants,
        steps=(
            ModelStep("model", model.model, inputs, outputs),
            NodeStep("Reshape", read, command.name),
        ),
        inputs=(),
        action=command,
        feedback=(),
        checked=(),
        last_command="",
        sha256=model.sha256,
        observation_size=0,
        models_sha256={"model": model.sha256},
        raw_action=outputs[answer.name],
    )


def made(
    graph: ComposedGraph, wanted: Sequence[str], aot_cache: Path | None = None
) -> dict[str, Version | str]:
    """By name, in the order of VERSIONS: the version, or why there is none.

    Raises StoppedError, and RuntimeError or ValueError where onnxruntime cannot run the graph itself.
    """
    makers: dict[str, Callable[[], Version | str]] = {
        "ort": partial(_timed, graph),
        "aot": partial(_compiled, graph, aot_cache),
        "float16": partial(_converted, graph, "float16"),
        "int8": partial(_converted, graph, "int8"),
    }
    found: dict[str, Version | str] = {}
    for name in VERSIONS:
        if name not in wanted:
            continue
        tell(f"making {name} …")
        try:
            found[name] = makers[name]()
        except NotQuantizedError as error:
            found[name] = str(error)
        except (RuntimeError, ValueError) as error:
            if name == "ort":
                raise
            found[name] = " ".join(str(error).split())
    return found


def _timed(graph: ComposedGraph, note: str = "") -> Version:
    made = runner(graph)
    return Version(made, made.warm_up(0)[0], weight_bytes(graph), note)


def _compiled(graph: ComposedGraph, folder: Path | None) -> Version | str:
    found = backends(graph, folder)
    reasons = "; ".join(dict.fromkeys(found.reasons.values()))
    if not found.objects:
        return reasons or "it has no models that could be compiled"
    made = runner(graph, found.objects)
    part = f"{len(found.objects)} of {len(model_steps(graph))} models compiled: {reasons}"
    return Version(made, made.warm_up(0)[0], weight_bytes(graph), part if reasons else "")


def _converted(graph: ComposedGraph, kind: Kind) -> Version:
    import numpy as np

    seen = None
    if kind == "int8":
        random = np.random.default_rng(0)
        seen = trace(
            graph,
            runner(graph),
            {
                spec.name: random.standard_normal((MADE_UP_RUNS, spec.size)).astype(np.float32)
                for spec in graph.inputs
            },
            np.zeros(graph.action.size, np.float32),
            steps=MADE_UP_RUNS,
            watched=watched_for(graph),
        )
    return _timed(converted(graph, kind, seen))
