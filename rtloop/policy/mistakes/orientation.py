"""A quaternion that is read in another order, or is the rotation the other way round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rtloop.policy.mistakes.part import Part

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


def turned(
    part: Part, inputs: Mapping[str, Array], observed: Callable[[Mapping[str, Array]], Array]
) -> str | None:
    """An orientation is read in another order, or is that of the world in the body."""
    import numpy as np

    changes: Mapping[str, tuple[Callable[[Array], Array], str]] = {
        "xyzw": (lambda q: np.roll(q, 1, axis=1), "is read with w first; `order: xyzw` fits"),
        "wxyz": (lambda q: np.roll(q, -1, axis=1), "is read with w last; `order: wxyz` fits"),
        "inverse": (
            lambda q: q * np.array([1, -1, -1, -1], np.float32),
            "is inverted: with the rotation from the world to the body it fits",
        ),
        "inverse, w last": (
            lambda q: q * np.array([-1, -1, -1, 1], np.float32),
            "is inverted: with the rotation from the world to the body it fits",
        ),
    }  # fmt: skip
    for key, quaternion in inputs.items():
        if quaternion.shape[1] != 4:
            continue
        for change, told in changes.values():
            others = {**inputs, key: np.ascontiguousarray(change(quaternion))}
            if part.agrees(observed(others), part.expected):
                return f"'{key}' {told}"
    return None
