"""Elements that are judged together, and when a mistake that was tried on them explains what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.trace import differing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """Elements of one name before the dot, in one array: what is done to one of them is done to all."""

    elements: tuple[tuple[str, int], ...]
    """Name and steps ago of each."""
    got: Array
    expected: Array
    scale: tuple[float, ...]
    tolerance: float

    def agrees(self, got: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
        """Whether these are within the tolerance."""
        import numpy as np

        return not differing(np.asarray(got), np.asarray(expected), self.tolerance).any()


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def listed(values: Sequence[tuple[str, float]], neutral: float = 0.0) -> str:
    """One number where all are the same, else the first few by name."""
    if len({rounded(value) for _, value in values}) == 1:
        return number(rounded(values[0][1]))
    other = [(name, value) for name, value in values if abs(value - neutral) > 1e-4]
    told = ", ".join(f"{name} {number(rounded(value))}" for name, value in other[:4])
    return told + (f" and {len(other) - 4} more" if len(other) > 4 else "")
