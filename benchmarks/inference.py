"""Inference in the core against `run_with_iobinding` of onnxruntime's Python API, one thread each."""

from __future__ import annotations

import argparse
import gc
import sys
import time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks import command_line
from benchmarks.measured_loop import Rights, graph_of, thread_setup, what_was_denied
from benchmarks.policies import LARGE, SMALL, Network
from benchmarks.result import Result, Table, Target
from rtloop import core
from rtloop.policy.bench.bursts import alternate, of_graph
from rtloop.policy.bench.distribution import Distribution, noise_floor

#: Random inputs on which both must agree in every bit.
COMPARED = 2000


class PythonSession:
    """onnxruntime as a careful Python programmer uses it: buffers bound once, one thread."""

    def __init__(self, network: Network) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            network.model(), options, providers=["CPUExecutionProvider"]
        )
        self.observation = np.zeros((1, network.n_inputs), np.float32)
        self.action = np.zeros((1, network.n_outputs), np.float32)
        self.binding = self.session.io_binding()
        for bind, name, array in (
            (self.binding.bind_input, "obs", self.observation),
            (self.binding.bind_output, "action", self.action),
        ):
            bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        """From ``observation`` to ``action``."""
        self.session.run_with_iobinding(self.binding)

    def burst(self, n: int) -> NDArray[np.int64]:
        """Time of each of ``n`` runs, ns."""
        times = np.empty(n, np.int64)
        run, binding, now = self.session.run_with_iobinding, self.binding, time.perf_counter_ns
        for i in range(n):
            began = now()
            run(binding)
            times[i] = now() - began
        return times


def measure(options: argparse.Namespace, result: Result) -> None:
    rights = Rights()
    # This thread measures both; what it starts does not inherit it.
    granted = core.apply_to_this_thread(thread_setup("inference", [options.cpu], options.priority))
    result.denied = rights.denied() + what_was_denied(granted)
    clock_ns = _clock_cost_ns()
    table = Table(
        ["", "ratio p50", "p99", "p99.9", "p50 µs", "p99 µs", "p99.9 µs", "N"],
        title=f"FIFO {options.priority}, CPU {options.cpu}, bursts of both in turn",
    )
    result.tables.append(table)
    gc.disable()  # a collection is not the session's time
    for network in (SMALL, LARGE):
        command_line.progress(network.name)
        bursts = (of_graph(graph_of(network)), PythonSession(network).burst)
        ours, theirs = alternate(bursts, options.seconds / 2)
        # What reading the clock costs Python is no part of its inference.
        theirs = [times - clock_ns for times in theirs]
        a, b = Distribution.of(np.concatenate(theirs)), Distribution.of(np.concatenate(ours))
        table.add(f"{network.name}: core / Python", *b.over(a), *b.us())
        table.add("  run_with_iobinding", 1, 1, 1, *a.us())
        table.add("  noise floor: core / itself", *noise_floor(ours), *[None] * 4)
        table.add("  noise floor: Python / itself", *noise_floor(theirs), *[None] * 4)
        result.targets.append(Target(f"{network.name}: p50, core / Python", b.over(a)[0], "<", 1.0))
        result.targets.append(
            Target(
                f"{network.name}: outputs that differ in any bit, of {COMPARED}",
                _differing(network),
                "=",
                0,
            )
        )
    gc.enable()
    result.notes.append(
        f"{clock_ns} ns, what two clock reads with nothing between them show, are taken off "
        "Python's times"
    )


def _clock_cost_ns() -> int:
    now = time.perf_counter_ns
    return int(np.median([now() * -1 + now() for _ in range(2000)]))


def _differing(network: Network) -> int:
    graph, session = graph_of(network), PythonSession(network)
    random = np.random.default_rng(1)
    differing = 0
    for i in range(COMPARED):
        # All magnitudes that a sensor could have, and some that it could not.
        scale = np.float32(10.0 ** (i % 7 - 3))
        session.observation[:] = random.standard_normal(session.observation.shape) * scale
        session.run()
        ours = graph.run([session.observation[0]])
        differing += ours.tobytes() != session.action.tobytes()
    return differing


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30)
    return command_line.run(
        "inference", "Inference in the core against run_with_iobinding", parser, measure
    )


if __name__ == "__main__":
    sys.exit(main())
