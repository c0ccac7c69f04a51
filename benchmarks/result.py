"""What a benchmark found: percentiles, tables, targets, and the machine it ran on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A cell: text, a number (NaN and None are printed as a dash), or a verdict.
Cell = str | float | int | None
FRACTIONS = (0.5, 0.99, 0.999)


class UnavailableError(Exception):
    """This benchmark cannot run here. The message says what is missing and how to get it."""


@dataclass(frozen=True)
class Distribution:
    """Percentiles of durations, ns. None where nothing was measured."""

    p50: float | None
    p99: float | None
    p99_9: float | None
    n: int

    @classmethod
    def of(cls, values: NDArray[Any]) -> Distribution:
        """Of values [n]: each percentile is the smallest value that so many do not exceed."""
        if len(values) == 0:
            return cls(None, None, None, 0)
        p50, p99, p99_9 = np.quantile(values, FRACTIONS, method="inverted_cdf")
        return cls(float(p50), float(p99), float(p99_9), len(values))

    def over(self, other: Distribution) -> tuple[float | None, float | None, float | None]:
        """Ratios of p50, p99 and p99.9 to ``other``'s."""
        return (
            ratio(self.p50, other.p50),
            ratio(self.p99, other.p99),
            ratio(self.p99_9, other.p99_9),
        )

    def us(self) -> tuple[float | None, float | None, float | None, int]:
        """p50, p99, p99.9 in µs, and n."""
        p50, p99, p99_9 = (None if p is None else p / 1e3 for p in (self.p50, self.p99, self.p99_9))
        return p50, p99, p99_9, self.n


def ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def noise_floor(
    segments: Sequence[NDArray[Any]],
) -> tuple[float | None, float | None, float | None]:
    """The same thing against itself: percentiles of every second segment over the others'."""
    if len(segments) < 2:
        return None, None, None
    odd, even = np.concatenate(segments[1::2]), np.concatenate(segments[::2])
    return Distribution.of(odd).over(Distribution.of(even))


def chance_of_so_many(events: int, reference: int, share: float) -> float:
    """How likely ``events`` or more are when they happen as often as the ``reference`` ones do.

    ``share``: of the time in which both were counted, that of ``events``. An exact test of two
    Poisson rates.
    """
    total = events + reference
    return sum(
        math.comb(total, k) * share**k * (1 - share) ** (total - k)
        for k in range(events, total + 1)
    )


@dataclass
class Table:
    """``rows`` of cells under ``columns``."""

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    title: str = ""

    def add(self, *cells: Cell) -> None:
        assert len(cells) == len(self.columns)
        self.rows.append(list(cells))


@dataclass(frozen=True)
class Target:
    """What must hold. ``value`` None: not measured, which is no pass."""

    text: str
    value: float | None
    relation: str  # one of RELATIONS
    limit: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        return self.value is not None and RELATIONS[self.relation](self.value, self.limit)


RELATIONS = {
    "≤": lambda a, b: a <= b,
    "≥": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "=": lambda a, b: a == b,
}


@dataclass
class Result:
    """All that a benchmark has to say. ``denied`` rights make its numbers unfit to be judged."""

    benchmark: str
    title: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    unavailable: str = ""

    @property
    def passed(self) -> bool:
        return (
            not self.unavailable
            and not self.denied
            and all(target.passed for target in self.targets)
        )

    def to_json(self) -> str:
        raw = asdict(self)
        for target, plain in zip(self.targets, raw["targets"], strict=True):
            plain["passed"] = target.passed
        return json.dumps({**raw, "passed": self.passed}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Result:
        raw = json.loads(text)
        del raw["passed"]
        raw["tables"] = [Table(**table) for table in raw["tables"]]
        raw["targets"] = [
            Target(**{key: value for key, value in target.items() if key != "passed"})
            for target in raw["targets"]
        ]
        return cls(**raw)
