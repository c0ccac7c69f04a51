"""Whether a policy does here what it did where it was trained, element by named element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config import Config
from rtloop.config.problem import written
from rtloop.errors import ConfigError
from rtloop.policy.cases import Cases, CasesFile
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.mistakes import Mistakes
from rtloop.policy.opened import opened
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import Trace, apart_by, trace
from rtloop.ports.command import first_standing
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Two builds of one network differ by rounding, which a closed loop may amplify; mistakes are larger.
TOLERANCE = 1e-3
#: Elements that are told of one array.
LISTED = 10


@dataclass(frozen=True)
class Difference:
    """One element at one step."""

    array: str
    index: int
    element: str
    step: int
    got: float
    expected: float

    def __str__(self) -> str:
        at = f"step {self.step}, {self.array}[{self.index}] {self.element}"
        return f"{at}: got {self.got:.6g}, expected {self.expected:.6g}"


@dataclass(frozen=True)
class ElementApart:
    """One element over all steps: where it is most apart."""

    largest: Difference
    apart: float
    first_step: int
    steps: int
    """That differ by more than the tolerance."""


@dataclass(frozen=True)
class Compared:
    """One array of the cases."""

    name: str
    elements: int
    largest_apart: float
    differing: int
    """Elements that differ."""
    first: Difference | None
    """None where all is within the tolerance."""
    worst: tuple[ElementApart, ...]
    """Of them, the worst first."""
    earliest: tuple[ElementApart, ...]
    """Of them, those that differ first; of one step, the worst first. What comes later may follow."""


@dataclass(frozen=True)
class Verification:
    """What came of the comparison."""

    loop: str
    steps: int
    tolerance: float
    compared: tuple[Compared, ...]
    """In the order of cause: what models observe, what the policy answers, what is commanded."""
    hints: tuple[str, ...]
    """What would explain the differences; tried on the data."""
    ignored: tuple[str, ...]
    """Arrays of the file that nothing was compared with."""
    left_out: tuple[str, ...]
    """Keys that had no effect here."""
    terminations: tuple[tuple[int, str], ...]
    """The steps in which a run would have gone to FAULT, and why; compared was what follows all the same."""

    @property
    def agrees(self) -> bool:
        return self.first is None

    @property
    def first(self) -> Difference | None:
        """The earliest step that differs; within it, the first in the order of cause."""
        firsts = [array.first for array in self.compared if array.first is not None]
        return min(firsts, key=lambda first: first.step, default=None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "loop": self.loop,
            "agrees": self.agrees,
            "steps": self.steps,
            "tolerance": self.tolerance,
            "first": None if self.first is None else asdict(self.first),
            "compared": {array.name: asdict(array) for array in self.compared},
            "hints": list(self.hints),
            "ignored": list(self.ignored),
            "left_out": list(self.left_out),
            "terminations": [{"step": step, "reason": told} for step, told in self.terminations],
        }


def verify(config: Config, name: str, path: Path, tolerance: float = TOLERANCE) -> Verification:
    """Steps the policy of the loop ``name`` through the cases of a file, in closed loop, in the core.

    A value agrees that is apart from the expected one by at most ``tolerance``, absolute up to 1 and
    relative above. The policy acts from the first step on: ``start`` and ``fade_in_s`` are left out.
    Raises ConfigError, RtloopError.
    """
    file = CasesFile(path)
    config, left_out = _acting_at_once(config, name, file.is_in_cycles)
    loop = config.loops[name]
    told = {key: file.names_of(f"in_{key}") for key in loop.inputs}
    signals = {key: tuple(map(Signal, names)) for key, names in told.items() if names}
    policy = opened(config, name, signals)
    graph, known = policy.assembled.graph, policy.table
    cases = file.cases(
        {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()},
        {key: graph.tensors[tensor].size for key, tensor in graph.observations.items()},
        policy.policy.action.size,
        _target_names(policy.outputs),
        loop.policy.every,
    )
    import numpy as np

    names = {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()}
    measured = np.concatenate([cases.inputs[key][0] for key in names]).tolist() if names else []
    safe = [
        value
        for key, signals in policy.outputs.items()
        for value in first_standing(
            loop.outputs[key].vectors, [signal.name for signal in signals], names, measured
        )
    ]
    run = partial(
        trace,
        graph,
        policy.assembled.runner,
        first_command=np.asarray(safe, np.float32),
        in_cycles=cases.in_cycles,
    )
    try:
        got = run(inputs=cases.inputs)
        compared = _compared(graph, known, cases, got, tolerance)
        hints: tuple[str, ...] = ()
        if any(array.first is not None for array in compared):
            forced = got if cases.raw is None else run(inputs=cases.inputs, raw=cases.raw)
            mistakes = Mistakes(known, cases, forced, partial(run, raw=cases.raw), tolerance)
            hints = tuple(mistakes.hints())
    except RuntimeError as error:
        raise ConfigError(f"loop '{name}' cannot be stepped: {error}") from error
    return Verification(
        loop=name,
        steps=cases.steps,
        tolerance=tolerance,
        compared=compared,
        hints=hints,
        ignored=cases.ignored,
        left_out=left_out,
        terminations=got.terminations,
    )


def _acting_at_once(config: Config, name: str, in_cycles: bool) -> tuple[Config, tuple[str, ...]]:
    """The same, but for what a machine does until its policy acts, and between its runs where the cases have
    only those: no training has it. And those keys."""
    loop = config.loops[name]
    left_out: list[str] = []
    changed = {}
    for keys, action in loop.policy.action_terms.items():
        update: dict[str, Any] = {}
        if action.fade_in_s is not None:
            update["fade_in_s"] = None
        if action.start is not None:
            update["start"] = None
            if action.relative and action.measured is None:
                update["measured"] = action.start.measured  # what its first target adds to
        left_out += [written((*keys, key)) for key in update if key != "measured"]
        changed[keys] = action.model_copy(update=update)
    of_policy: dict[str, Any] = {}
    if left_out:
        terms = tuple(changed.values())
        of_policy = {"actions": terms} if loop.policy.actions else {"action": terms[0]}
    if loop.policy.between != "hold" and not in_cycles:
        of_policy["between"] = "hold"
        left_out.append("between")
    if not left_out:
        return config, ()
    policy = loop.policy.model_copy(update=of_policy)
    loops = {**config.loops, name: loop.model_copy(update={"policy": policy})}
    return config.model_copy(update={"loops": loops}), tuple(left_out)


def _target_names(outputs: Mapping[str, Sequence[Signal]]) -> list[str]:
    """Bare where there is one output, else with the output's name before it."""
    if len(outputs) == 1:
        return [signal.name for signals in outputs.values() for signal in signals]
    return [f"{key}.{signal.name}" for key, signals in outputs.items() for signal in signals]


def _compared(
    graph: ComposedGraph, known: PolicyTable, cases: Cases, got: Trace, tolerance: float
) -> tuple[Compared, ...]:
    pairs: list[tuple[str, Array, Array | None, Sequence[str]]] = [
        (
            f"obs_{name}",
            seen,
            cases.observations.get(name),
            [e.label for e in known.observations[name]],
        )
        for name, seen in got.observations.items()
    ]
    pairs.append(("raw", got.raw, cases.raw, known.raw))
    pairs.append(("targets", got.targets, cases.targets, [e.name for e in known.command]))
    if graph.terminations or cases.terminated.any():
        pairs.append(("terminated", got.terminated, cases.terminated, ["a termination is true"]))
    return tuple(
        _compare(name, mine, expected, elements, tolerance)
        for name, mine, expected, elements in pairs
        if expected is not None
    )


def _compare(
    name: str, got: Array, expected: Array, elements: Sequence[str], tolerance: float
) -> Compared:
    import numpy as np

    apart = apart_by(got, expected)
    differs = apart > tolerance

    def difference(step: int, index: int) -> Difference:
        values = float(got[step, index]), float(expected[step, index])
        return Difference(name, index, elements[index], step, *values)

    first = None
    if differs.any():
        step, index = (int(i) for i in np.argwhere(differs)[0])
        first = difference(step, index)
    elements_apart = [
        ElementApart(
            difference(int(apart[:, index].argmax()), int(index)),
            float(apart[:, index].max()),
            int(differs[:, index].argmax()),
            int(differs[:, index].sum()),
        )
        for index in np.flatnonzero(differs.any(axis=0))
    ]
    worst = sorted(elements_apart, key=lambda element: -element.apart)
    earliest = sorted(worst, key=lambda element: element.first_step)
    return Compared(
        name=name,
        elements=got.shape[1],
        largest_apart=float(apart.max()),
        differing=len(elements_apart),
        first=first,
        worst=tuple(worst[:LISTED]),
        earliest=tuple(earliest[:LISTED]),
    )
