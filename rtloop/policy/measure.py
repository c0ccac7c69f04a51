"""How long a composed graph takes in onnxruntime's Python API: the core is compared against it."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from rtloop.policy.composed import ComposedGraph
from rtloop.policy.library import import_onnxruntime

#: After fewer runs, allocations and frequency scaling still show in the tail.
WARM_UP_RUNS = 200


@dataclass(frozen=True)
class Measurement:
    """Nanoseconds per run over ``runs`` runs. The high-water mark is the largest value observed,
    not a worst case. The first run, reported apart, is not among them."""

    runs: int
    warm_up_runs: int
    first_run_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p99_9_ns: int
    high_water_ns: int


def measure(
    graph: ComposedGraph, runs: int = 5000, warm_up_runs: int = WARM_UP_RUNS, seed: int = 0
) -> Measurement:
    """Times ``run_with_iobinding`` with all buffers bound: one thread, sequential, no spinning.

    Inputs are standard normal values from ``seed``; state is fed back between runs, outside the
    measured time. Raises ValueError for fewer than 100 runs or 200 warm-up runs.
    """
    import numpy as np

    onnxruntime = import_onnxruntime()

    if runs < 100 or warm_up_runs < WARM_UP_RUNS:
        raise ValueError(f"{runs} runs and {warm_up_runs} warm-up runs; at least 100 and 200")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed)
    binding = session.io_binding()
    buffers = {}
    for spec in graph.inputs:
        first = random.standard_normal(spec.shape).astype(np.float32)
        buffers[spec.name] = onnxruntime.OrtValue.ortvalue_from_numpy(first)
    outputs = [("action", graph.action.shape, "float32")]
    for feedback in graph.feedback:
        zeros = np.zeros(feedback.shape, feedback.dtype)
        first = graph.constants.get(feedback.input_name, zeros)
        buffers[feedback.input_name] = onnxruntime.OrtValue.ortvalue_from_numpy(first)
        outputs.append((feedback.output_name, feedback.shape, feedback.dtype))
    if graph.last_command:
        zeros = np.zeros(graph.action.shape, np.float32)
        buffers[graph.last_command] = onnxruntime.OrtValue.ortvalue_from_numpy(zeros)
    if graph.cycles_since_due:
        first = np.zeros((1, 1), np.float32)
        buffers[graph.cycles_since_due] = onnxruntime.OrtValue.ortvalue_from_numpy(first)
    for name, buffer in buffers.items():
        binding.bind_ortvalue_input(name, buffer)
    for name, shape, dtype in outputs:
        buffers[name] = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype))
        binding.bind_ortvalue_output(name, buffers[name])

    times_ns = np.zeros(1 + warm_up_runs + runs, np.int64)
    collecting = gc.isenabled()
    gc.disable()  # a collection inside a run is not the graph's time
    try:
        for run in range(times_ns.size):
            started = time.perf_counter_ns()
            session.run_with_iobinding(binding)
            times_ns[run] = time.perf_counter_ns() - started
            for feedback in graph.feedback:
                value = buffers[feedback.output_name].numpy()
                buffers[feedback.input_name].update_inplace(value)
    finally:
        if collecting:
            gc.enable()
    steady = times_ns[1 + warm_up_runs :]
    p50, p90, p99, p99_9 = (int(np.percentile(steady, q)) for q in (50, 90, 99, 99.9))
    return Measurement(
        runs=runs,
        warm_up_runs=warm_up_runs,
        first_run_ns=int(times_ns[0]),
        p50_ns=p50,
        p90_ns=p90,
        p99_ns=p99,
        p99_9_ns=p99_9,
        high_water_ns=int(steady.max()),
    )
