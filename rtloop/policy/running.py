"""A model in the graph: what feeds each of its inputs, its run, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.roles import Stage, largest_count


def run_stage(
    builder: GraphBuilder,
    stage: Stage,
    observed: Mapping[str, str],
    ran: dict[str, str] | None = None,
) -> dict[str, Callable[[], str]]:
    """Runs a model. ``observed`` are tensors [1, n] by the names of the inputs that they fill.

    ``ran`` are the outputs of the models that ran before, as ``MODEL.OUTPUT``, in their own shape and type:
    wires of a bundle lead from there. Those of this model are added.

    Returns, by the names of its outputs that are no state, what makes the tensor of each: float32 [1, n].
    """
    import numpy as np

    if stage.file.function is not None:
        (taken,), (answer,) = observed.values(), stage.answers
        given = builder.call(stage.name, stage.file.function, taken)
        return {answer: lambda: given}
    feeds = {}
    for name, value in observed.items():
        tensor = stage.observed[name]
        feeds[name] = builder.reshaped(builder.cast(value, tensor.dtype), tensor.shape)
    for name, fixed in stage.constants.items():
        feeds[name] = builder.constant(fixed, name)
    for name, first in stage.counters.items():
        tensor = stage.file.inputs[name]
        one = builder.constant(np.ones((1, 1), np.int64), "one")
        most = builder.constant(np.array([[largest_count(tensor.dtype)]], np.int64), "most")
        count = builder.feedback(
            f"counter/{stage.name}/{name}",
            (),
            _one_more(builder, one, most),
            initial=np.array([[first]], np.int64),
        )
        feeds[name] = builder.reshaped(builder.cast(count, tensor.dtype), tensor.shape)
    answered: dict[str, str] = {}
    for before, after in stage.state:
        feeds[before.name] = builder.feedback(
            f"{stage.name}/{before.name}",
            before.shape,
            partial(lambda name, _: answered[name], after.name),
            dtype=before.dtype,
        )
    ran = {} if ran is None else ran
    for name, wire in stage.wires.items():
        tensor = stage.file.inputs[name]
        feeds[name] = ran.get(wire.source) or builder.feedback(
            f"{stage.name}/{name}",
            tensor.shape,
            partial(lambda source, _: ran[source], wire.source),
            initial=wire.initial,
            dtype=tensor.dtype,
        )
    outputs = list(stage.file.outputs.values())
    answered |= builder.run_model(stage.name, stage.file.model, feeds, outputs)
    ran |= {f"{stage.name}.{name}": tensor for name, tensor in answered.items()}
    return {
        name: partial(_flat, builder, answered[name], tensor.size)
        for name, tensor in stage.answers.items()
    }


def _one_more(builder: GraphBuilder, one: str, most: str) -> Callable[[str], str]:
    """Counts, and stands still at the largest number that the model's type holds."""

    def counted(count: str) -> str:
        less = builder.node("Less", [count, most], "counts")
        more = builder.node("Add", [count, one], "one_more")
        return builder.node("Where", [less, more, count], "counted")

    return counted


def _flat(builder: GraphBuilder, value: str, size: int) -> str:
    return builder.reshaped(builder.cast(value, "float32"), (1, size))
