"""What a benchmark found: tables, targets, and the machine it ran on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

#: A cell: text, a number (NaN and None are printed as a dash), or a verdict.
Cell = str | float | int | None


class UnavailableError(Exception):
    """This benchmark cannot run here. The message says what is missing and how to get it."""


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
