"""Whether a compiled model computes what onnxruntime computes, in its place in the graph."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rtloop import core
from rtloop.policy.composed import ComposedGraph, ModelStep
from rtloop.policy.runner import runner

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Of values up to 1 absolute, above relative; times the scale of the inputs, where that is more than 1: both
#: compute in float32, in another order, and what sums were rounded to goes with their largest summand.
TOLERANCE = 1e-5
#: Runs in closed loop, each from the state that onnxruntime left: a compiled model is a pure function, and
#: small differences must not grow by being fed back.
RUNS = 60
#: What inputs are multiplied with in turn. Between zeros, what a policy remembers is seen alone.
SCALES = (0.0, 1.0, 0.1, 1.0, 10.0, 1.0)
#: Of runs after those, each from the beginning: what overflows inside must not end as a plausible number.
HUGE = (0.0, 1e20, 3e38)
#: Of a model so slow that this passes first, fewer runs are compared, but never less than those of SCALES.
ENOUGH_S = 2.0


def difference(
    graph: ComposedGraph,
    reference: core.Graph,
    objects: Mapping[int, bytes],
    index: int,
    step: ModelStep,
) -> str:
    """How the compiled step ``index`` differs from that of ``reference``; empty where it agrees.

    ``objects`` are those of the graph that is compared, this one among them. All others computed the same.
    """
    import numpy as np

    try:
        other = runner(graph, objects)
    except RuntimeError as error:
        return " ".join(str(error).split())
    numbers = {name: number for number, name in enumerate(graph.tensors)}
    random = np.random.default_rng(0)
    compared = 0
    end_s = time.monotonic() + ENOUGH_S
    last = np.zeros(graph.action.size, np.float32) if graph.last_command else None
    reference.reset()
    for run in range(RUNS):
        if run >= len(SCALES) and time.monotonic() > end_s:
            break
        scale = np.float32(SCALES[run % len(SCALES)])
        inputs = [scale * random.standard_normal(i.size, np.float32) for i in graph.inputs]
        other.set_state(reference.state())
        try:
            command = reference.run(inputs, last_command=last)
        except RuntimeError:  # it may refuse values that are none of an observation
            reference.reset()
            continue
        other.run(inputs, last_command=last)
        if not all(_is_finite(reference.tensor(numbers[name])) for name in step.inputs.values()):
            reference.reset()  # nothing is computed from it, which is no difference
            continue
        for name, tensor in step.outputs.items():
            expected, got = (each.tensor(numbers[tensor]) for each in (reference, other))
            if told := _apart(name, expected, got, TOLERANCE * max(1.0, float(scale))):
                return f"{told}, in run {run}"
        compared += 1
        if last is not None and _is_finite(command):
            last = command
    for huge in HUGE:
        scale = np.float32(huge)
        reference.reset()
        inputs = [scale * (2 * random.random(i.size, np.float32) - 1) for i in graph.inputs]
        zeros = None if last is None else np.zeros_like(last)
        other.set_state(reference.state())
        try:
            reference.run(inputs, last_command=zeros)
        except RuntimeError:
            continue
        other.run(inputs, last_command=zeros)
        if not all(_is_finite(reference.tensor(numbers[name])) for name in step.inputs.values()):
            continue
        for name, tensor in step.outputs.items():
            expected, got = (each.tensor(numbers[tensor]) for each in (reference, other))
            if told := _hidden(name, expected, got):
                return f"{told}, of inputs around {scale:g}"
    return "" if compared else "it cannot be compared: nothing made up gives it finite inputs"


def _apart(name: str, expected: npt.NDArray[Any], got: npt.NDArray[Any], tolerance: float) -> str:
    import numpy as np

    if expected.dtype.kind != "f":
        wrong = np.flatnonzero(expected != got)
        if not wrong.size:
            return ""
        place = wrong[0]
        return f"'{name}[{place}]' is {got.flat[place]}, {expected.flat[place]} in onnxruntime"
    a, b = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
    apart = np.where(np.isnan(apart), np.inf, apart)
    place = int(np.argmax(apart))
    if apart[place] <= tolerance:
        return ""
    return f"'{name}[{place}]' is {a[place]:.9g}, {b[place]:.9g} in onnxruntime"


def _hidden(name: str, expected: npt.NDArray[Any], got: npt.NDArray[Any]) -> str:
    """Where a number is finite that is not in onnxruntime. A sum in another order may overflow later, or never:
    what is as large as that is none of a command, and none is compared."""
    import numpy as np

    if expected.dtype.kind != "f":
        return ""
    wrong = np.flatnonzero(~np.isfinite(expected) & np.isfinite(got))
    if not wrong.size:
        return ""
    place = wrong[0]
    return f"'{name}[{place}]' is {got.flat[place]:.9g}, {expected.flat[place]} in onnxruntime"


def _is_finite(values: npt.NDArray[np.generic]) -> bool:
    import numpy as np

    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
