"""Models compiled ahead of time against onnxruntime, both in the core: p50, and how far outputs are apart.

go1 is examples/policies/go1_joystick.yaml with all its terms; its model is in the folder that $RTLOOP_POLICIES
names, or is made up, of the same sizes.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from benchmarks import command_line
from benchmarks.composition import example
from benchmarks.measured_loop import Rights, thread_setup, what_was_denied
from benchmarks.policies import LARGE, SMALL
from benchmarks.result import Result, Table, Target, UnavailableError
from rtloop import core
from rtloop.policy import compose
from rtloop.policy.aot import backends
from rtloop.policy.bench.bursts import alternate, of_graph
from rtloop.policy.bench.distribution import Distribution, noise_floor
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.runner import runner

GO1 = "go1_joystick"
#: Largest ratio of the medians, by what is measured.
LARGEST_RATIOS = {SMALL.name: 0.4, LARGE.name: 0.7, GO1: 0.7}
LARGEST_MILLIONTHS = 10.0
#: Random inputs on which both are compared.
COMPARED = 2000


def measure(options: argparse.Namespace, result: Result) -> None:
    graphs: dict[str, ComposedGraph] = {
        network.name: compose(network.model(), {"obs": network.n_inputs})
        for network in (SMALL, LARGE)
    }
    _, graphs[GO1], is_real = example(GO1)
    objects = {}
    for name, graph in graphs.items():
        command_line.progress(f"compiling {name}")
        made = backends(graph)
        if made.reasons:
            raise UnavailableError("; ".join(made.notes))
        objects[name] = made.objects
        result.notes += [f"{name}: {note}" for note in made.notes]
    if not is_real:
        result.notes.append(f"the model of {GO1} is made up, of the real one's sizes")
    rights = Rights()
    granted = core.apply_to_this_thread(thread_setup("inference", [options.cpu], options.priority))
    result.denied = rights.denied() + what_was_denied(granted)
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority}, CPU {options.cpu}, bursts of both in turn",
    )
    result.tables.append(table)
    for name, graph in graphs.items():
        command_line.progress(name)
        compiled, reference = runner(graph, objects[name]), runner(graph)
        bursts = (of_graph(compiled), of_graph(reference))
        ours, theirs = alternate(bursts, options.seconds / len(graphs))
        a, b = Distribution.of(np.concatenate(theirs)), Distribution.of(np.concatenate(ours))
        table.add(f"{name}: aot / ort", *b.over(a), *b.us())
        table.add("  onnxruntime in the core", 1, 1, 1, *a.us())
        table.add("  noise floor: aot / itself", *noise_floor(ours), *[None] * 4)
        table.add("  noise floor: ort / itself", *noise_floor(theirs), *[None] * 4)
        ratio = b.over(a)[0]
        result.targets += [
            Target(f"{name}: p50, aot / ort", ratio, "≤", LARGEST_RATIOS[name]),
            Target(
                f"{name}: largest difference in {COMPARED} runs, in millionths, relative above 1",
                1e6 * _largest_difference(graph, compiled, reference),
                "≤",
                LARGEST_MILLIONTHS,
            ),
        ]


def _largest_difference(graph: ComposedGraph, compiled: core.Graph, reference: core.Graph) -> float:
    """Of commands to the same random inputs, in closed loop."""
    random = np.random.default_rng(1)
    compiled.reset()
    reference.reset()
    largest = 0.0
    for _ in range(COMPARED):
        inputs = [random.standard_normal(spec.size, np.float32) for spec in graph.inputs]
        a, b = compiled.run(inputs), reference.run(inputs)
        largest = max(largest, float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)))))
    return largest


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30)
    title = "Compiled ahead of time against onnxruntime"
    return command_line.run("aot", title, parser, measure)


if __name__ == "__main__":
    sys.exit(main())
