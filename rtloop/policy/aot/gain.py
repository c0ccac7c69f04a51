"""What compiling would gain: the time of a graph with compiled models against that with onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

from rtloop.policy.aot.choice import backends
from rtloop.policy.aot.tools import NotCompiledError, find_tools
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.runner import model_steps, runner

#: Of the weights of all models: generating and compiling the C of more takes longer than ten seconds.
LARGEST_BYTES = 8 << 20
#: In which both are timed in turn.
SECONDS = 0.2


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
    import numpy as np

    from rtloop.policy.bench.bursts import alternate, of_graph

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
    both = (runner(graph, found.objects), runner(graph))
    times = alternate([of_graph(each) for each in both], SECONDS)
    return Gain(*(float(np.median(np.concatenate(own))) / 1000 for own in times))
