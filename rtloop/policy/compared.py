"""Arrays of cases against what was got: what differs, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtloop.policy.cases import Cases
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.show import CommandedElement, PolicyTable
from rtloop.policy.trace import Trace, apart_by, differing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: The array of what leaves for the outputs, compared with what is commanded.
SENT = "sent"
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
    steps: int
    """Steps in which one of them does."""
    first: Difference | None
    """None where all is within the tolerance."""
    worst: tuple[ElementApart, ...]
    """Of them, the worst first."""
    earliest: tuple[ElementApart, ...]
    """Of them, those that differ first; of one step, the worst first. What comes later may follow."""


def sent_of(targets: Array, command: Sequence[CommandedElement], period_s: float) -> Array | None:
    """What leaves of targets, as the core limits them; None without limits. No rate limits the first: where a
    machine starts from, no training knows."""
    import numpy as np

    low, high, rate = (
        np.array([none if limit is None else limit for limit in limits], np.float32)
        for none, limits in (
            (-np.inf, [element.min for element in command]),
            (np.inf, [element.max for element in command]),
            (np.inf, [element.max_rate_per_s for element in command]),
        )
    )
    if np.isinf(low).all() and np.isinf(high).all() and np.isinf(rate).all():
        return None
    sent = np.clip(targets, low, high)
    for step in range(1, len(sent)):
        before, most = sent[step - 1], rate * np.float32(period_s)
        sent[step] = np.clip(sent[step], before - most, before + most)
    return sent


def compare(
    graph: ComposedGraph,
    known: PolicyTable,
    cases: Cases,
    got: Trace,
    sent: Array | None,
    tolerance: float,
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
    commanded = [element.name for element in known.command]
    pairs.append(("targets", got.targets, cases.targets, commanded))
    if sent is not None:
        pairs.append((SENT, sent, got.targets, commanded))
    if graph.terminations or cases.terminated.any():
        pairs.append(("terminated", got.terminated, cases.terminated, ["a termination is true"]))
    return tuple(
        _of_array(name, mine, expected, elements, tolerance)
        for name, mine, expected, elements in pairs
        if expected is not None
    )


def _of_array(
    name: str, got: Array, expected: Array, elements: Sequence[str], tolerance: float
) -> Compared:
    import numpy as np

    apart = apart_by(got, expected)
    differs = differing(got, expected, tolerance)

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
        steps=int(differs.any(axis=1).sum()),
        first=first,
        worst=tuple(worst[:LISTED]),
        earliest=tuple(earliest[:LISTED]),
    )
