"""What compiling would gain: the time of a graph with compiled models against that with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

from rtloop import core
from rtloop.policy.aot.choice import backends
from rtloop.policy.aot.tools import NotCompiledError, find_tools
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.runner import model_steps, runner

#: Of the weights of all models: generating and compiling the C of more takes longer than ten seconds.
LARGEST_BYTES = 8 << 20
#: Both are timed in turn, so often and so long: what else this machine does meets both alike.
TURNS = 5
TURN_S = 0.02


@dataclass(frozen=True)
class Gain:
    """Medians, in microseconds."""

    aot_us: float
    ort_us: float

    def __str__(self) -> str:
        return (
            f"`backend: aot` takes {self.aot_us / self.ort_us:.2g} × the time here "
            f"({self.aot_us:.3g} µs, {self.ort_us:.3g} µs with onnxruntime)"
        )


def gain(graph: ComposedGraph) -> Gain | None:
    """Compiles, and times both. None where nothing compiles the models here, or not soon, or not all of them.

    Raises StoppedError.
    """
    steps = model_steps(graph).values()
    if sum(step.model.ByteSize() for step in steps) > LARGEST_BYTES:
        return None
    try:
        find_tools()
    except NotCompiledError:
        return None
    found = backends(graph)
    if found.reasons or not found.objects:
        return None
    compiled, reference = runner(graph, found.objects), runner(graph)
    return Gain(*(p50_ns / 1000 for p50_ns in _medians(compiled, reference)))


def _medians(*graphs: core.Graph) -> list[float]:
    """Of each, in nanoseconds."""
    import numpy as np

    counts = []
    for graph in graphs:
        graph.warm_up(20)
        once_ns = int(np.median(graph.warm_up(20)[1]))
        counts.append(max(20, int(TURN_S * 1e9 / max(1, once_ns))))
    turns = [
        [graph.warm_up(count)[1] for graph, count in zip(graphs, counts, strict=True)]
        for _ in range(TURNS)
    ]
    return [float(np.median(np.concatenate(times))) for times in zip(*turns, strict=True)]
