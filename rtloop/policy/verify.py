"""Whether a policy does here what it did where it was trained, element by named element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config import Config, per_element
from rtloop.errors import ConfigError
from rtloop.policy.cases import Cases, CasesFile
from rtloop.policy.mistakes import Mistakes
from rtloop.policy.opened import opened
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import Trace, apart_by, trace
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Two builds of one network differ by rounding, which a closed loop may amplify; mistakes are larger.
TOLERANCE = 1e-3
#: Elements in the table of the worst.
WORST = 10


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
        }


def verify(config: Config, name: str, path: Path, tolerance: float = TOLERANCE) -> Verification:
    """Steps the policy of the loop ``name`` through the cases of a file, in closed loop, in the core.

    A value agrees that is apart from the expected one by at most ``tolerance``, absolute up to 1 and
    relative above. Raises ConfigError, RtloopError.
    """
    loop = config.loops[name]
    file = CasesFile(path)
    told = {key: file.names_of(f"in_{key}") for key in loop.inputs}
    signals = {key: tuple(map(Signal, names)) for key, names in told.items() if names}
    policy = opened(config, name, signals)
    graph, known = policy.assembled.graph, policy.table
    cases = file.cases(
        {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()},
        {key: graph.tensors[tensor].size for key, tensor in graph.observations.items()},
        policy.policy.action.size,
        _target_names(policy.outputs),
    )
    safe = [
        value
        for key, signals in policy.outputs.items()
        for value in per_element(loop.outputs[key].safe, len(signals))
    ]
    import numpy as np

    run = partial(trace, graph, policy.assembled.runner, first_command=np.asarray(safe, np.float32))
    try:
        got = run(inputs=cases.inputs)
        compared = _compared(known, cases, got, tolerance)
        hints: tuple[str, ...] = ()
        if any(array.first is not None for array in compared):
            forced = got if cases.raw is None else run(inputs=cases.inputs, raw=cases.raw)
            mistakes = Mistakes(known, cases, forced, partial(run, raw=cases.raw), tolerance)
            hints = tuple(mistakes.hints())
    except RuntimeError as error:
        raise ConfigError(f"loop '{name}' cannot be stepped: {error}") from error
    return Verification(name, cases.steps, tolerance, compared, hints, cases.ignored)


def _target_names(outputs: Mapping[str, Sequence[Signal]]) -> list[str]:
    """Bare where there is one output, else with the output's name before it."""
    if len(outputs) == 1:
        return [signal.name for signals in outputs.values() for signal in signals]
    return [f"{key}.{signal.name}" for key, signals in outputs.items() for signal in signals]


def _compared(
    known: PolicyTable, cases: Cases, got: Trace, tolerance: float
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
    order = np.argsort(-apart.max(axis=0), kind="stable")
    worst = tuple(
        ElementApart(
            difference(int(apart[:, index].argmax()), int(index)),
            float(apart[:, index].max()),
            int(differs[:, index].argmax()),
            int(differs[:, index].sum()),
        )
        for index in order[:WORST]
        if differs[:, index].any()
    )
    return Compared(
        name, got.shape[1], float(apart.max()), int(differs.any(axis=0).sum()), first, worst
    )
