"""A composed graph stepped through given inputs, in the core and in closed loop, as a loop runs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtloop import core
from rtloop.policy.composed import ComposedGraph, NodeStep
from rtloop.policy.runner import terminated_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: By so much, as ``apart_by`` has it, rounding moves what does the same in a closed loop, whatever its range.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Trace:
    """What every run of the policy gave, float32 [runs, n], and every step, [steps, n]."""

    observations: Mapping[str, Array]
    """By model and input, as ``policy.obs``."""
    raw: Array
    """Of every run of the policy."""
    targets: Array
    """Of every step."""
    terminated: Array
    """[steps, 1]: 1 where a termination was true, else 0."""
    terminations: tuple[tuple[int, str], ...] = ()
    """The first step that each termination was true in, and its sentence."""
    watched: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Of every run of the policy: tensors that were asked for, in their own type, [runs, n]."""


def trace(
    graph: ComposedGraph,
    runner: core.Graph,
    inputs: Mapping[str, Array],
    first_command: Array,
    *,
    steps: int | None = None,
    raw: Array | None = None,
    targets: Array | None = None,
    begins: Collection[int] = (),
    in_cycles: bool = False,
    watched: Collection[str] = (),
) -> Trace:
    """Steps the graph from its reset. ``inputs`` are [steps, n], in the order of the loop's.

    A step is a run of the policy; ``in_cycles``, a cycle of the loop, in some of which it runs. ``steps`` is
    how many there are, where the loop has no inputs to tell.
    ``first_command`` is what was commanded before the first step. ``raw`` and ``targets`` stand in for what the
    policy answers and what is commanded where the next step remembers it: what follows of a difference is told
    from its cause. It is reset again before each of the steps ``begins``. ``watched`` are further tensors.
    Raises RuntimeError in ONNX Runtime's words.
    """
    import numpy as np

    numbers = {name: number for number, name in enumerate(graph.tensors)}
    remembered = [] if raw is None else _remembering_raw(graph)
    seen: dict[str, list[Array]] = {name: [] for name in graph.observations}
    others: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in watched}
    answers: list[Array] = []
    commands: list[Array] = []
    ended: list[list[float]] = []
    terminations: dict[str, int] = {}
    command = first_command
    runner.reset()
    for step in range(len(next(iter(inputs.values()))) if steps is None else steps):
        if step in begins:
            runner.reset()
            command = first_command
        last = command if graph.last_command else None
        sample = [array[step] for array in inputs.values()]
        command = runner.run(sample, True, last, step if in_cycles else None)
        if runner.policy_ran:
            for name, tensor in graph.observations.items():
                seen[name].append(runner.tensor(numbers[tensor]).reshape(-1))
            for name, rows in others.items():
                rows.append(runner.tensor(numbers[name]).reshape(-1))
            answers.append(runner.tensor(numbers[graph.raw_action]).reshape(-1))
        commands.append(command)
        sentences = terminated_by(graph, runner)
        ended.append([float(bool(sentences))])
        for told in sentences:
            terminations.setdefault(told, step)
        if raw is not None:
            runner.set_state(dict.fromkeys(remembered, raw[len(answers) - 1]))
        if targets is not None:
            command = targets[step]
    runner.reset()
    return Trace(
        {name: np.stack(rows) for name, rows in seen.items()},
        np.stack(answers),
        np.stack(commands),
        np.array(ended, np.float32),
        tuple((step, told) for told, step in terminations.items()),
        {name: np.stack(rows) for name, rows in others.items()},
    )


def _remembering_raw(graph: ComposedGraph) -> list[str]:
    """States that hold the raw action of the step before, as it was answered."""
    copies = {
        step.output
        for step in graph.steps
        if isinstance(step, NodeStep)
        and (step.operator, step.inputs) == ("Identity", (graph.raw_action,))
    }
    return [item.input_name for item in graph.feedback if item.output_name in copies]


def apart_by(got: Array, expected: Array) -> Array:
    """How far values are apart: absolute up to 1, relative above; infinite where one is not finite."""
    import numpy as np

    apart = np.abs(got - expected) / np.maximum(1.0, np.abs(expected))
    return np.where(np.isfinite(apart), apart, np.inf).astype(np.float32)


def allowed(expected: Array, tolerance: float) -> Array:
    """How far apart from each expected value, as ``apart_by`` has it, one may be: by the tolerance, or, of an
    element that ranges over less than 1 in all steps, by the tolerance times its range.

    Of one step no range is known. Steps are rows.
    """
    import numpy as np

    most = np.full(expected.shape, tolerance)
    if len(expected) > 1:
        over = np.ptp(expected, axis=0)
        size = np.maximum(1.0, np.abs(expected))
        most = ROUNDING + tolerance * np.where(over < 1, over / size, 1.0)
    return most.astype(np.float32)


def differing(got: Array, expected: Array, tolerance: float) -> npt.NDArray[np.bool_]:
    """Which values are farther apart than is ``allowed``."""
    import numpy as np

    return np.asarray(apart_by(got, expected) > allowed(expected, tolerance))
