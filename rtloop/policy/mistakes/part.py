"""Elements that are judged together, and when a mistake that was tried on them explains what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.trace import ROUNDING, allowed, apart_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]

#: What moves by less may be rounding.
STILL = 10 * ROUNDING
#: Elements that are listed by name.
LISTED = 4


@dataclass(frozen=True, eq=False)
class Part:
    """Elements of one term, or all of an array: what is done to one of them is done to all."""

    elements: tuple[tuple[str, int], ...]
    """Name and steps ago of each."""
    got: Array
    expected: Array
    scale: tuple[float, ...]
    tolerance: float

    def fits(self, tried: Array, rows: slice | Bools = slice(None)) -> bool:
        """Whether these values, [steps, n], are the expected ones within the tolerance, in these rows."""
        import numpy as np

        return bool(np.all((apart_by(tried, self.expected) <= self.allowed)[rows]))

    def fits_got(self, tried: Array) -> bool:
        """The same of what is done to the expected values."""
        return bool((apart_by(tried, self.got) <= self.allowed).all())

    @cached_property
    def allowed(self) -> Array:
        """How far apart a value may be, [steps, n], in terms of ``apart_by``."""
        return allowed(self.expected, self.tolerance)

    @cached_property
    def margin(self) -> Array:
        """The same as a difference."""
        import numpy as np

        return self.allowed * np.maximum(1.0, np.abs(self.expected))

    @cached_property
    def wrong(self) -> Bools:
        """The elements that differ, [n]."""
        import numpy as np

        return np.asarray((apart_by(self.got, self.expected) > self.allowed).any(axis=0))

    @cached_property
    def moves(self) -> Bools:
        """The elements that do not stand still here, [n]."""
        return _moves(self.got)

    @cached_property
    def is_to_move(self) -> Bools:
        """The elements of which no constant is expected, [n]."""
        return _moves(self.expected)


def _moves(values: Array) -> Bools:
    import numpy as np

    bound = STILL * np.maximum(1.0, np.abs(values).max(axis=0))
    return np.asarray(np.ptp(values, axis=0) > bound)


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def listed(values: Sequence[tuple[str, float]], neutral: float = 0.0) -> str:
    """One number where all are the same, else the first few by name, each once."""
    if len({rounded(value) for _, value in values}) == 1:
        return number(rounded(values[0][1]))
    other = [(name, value) for name, value in values if abs(value - neutral) > 1e-4]
    return first_of([f"{name} {number(rounded(value))}" for name, value in other])


def first_of(texts: Sequence[str]) -> str:
    """The first few, each once: a history has an element once for each step."""
    once = list(dict.fromkeys(texts))
    more = f" and {len(once) - LISTED} more" if len(once) > LISTED else ""
    return ", ".join(once[:LISTED]) + more
