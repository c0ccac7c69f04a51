"""A quaternion that is read in another order, or is the rotation the other way round."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from rtloop.policy.mistakes.part import Part

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Of quaternions that sensors round.
OF_LENGTH_1 = 0.05


def turned(
    part: Part, inputs: Mapping[str, Array], observed: Callable[[Mapping[str, Array]], Array]
) -> str | None:
    """An orientation of ``inputs`` is read in another order, or is that of the world in the body."""
    import numpy as np

    inverted = "is inverted: with the rotation from the world to the body it fits"
    changes: tuple[tuple[Callable[[Array], Array], str], ...] = (
        (lambda q: np.roll(q, 1, axis=1), "is read with w first; `order: xyzw` fits"),
        (lambda q: np.roll(q, -1, axis=1), "is read with w last; `order: wxyz` fits"),
        (lambda q: q * np.array([1, -1, -1, -1], np.float32), inverted),
        (lambda q: q * np.array([-1, -1, -1, 1], np.float32), inverted),
    )
    for key, quaternion in inputs.items():
        for change, told in changes:
            if part.fits(observed({key: np.ascontiguousarray(change(quaternion))})):
                return f"'{key}' {told}"
    return None


def orientations(inputs: Mapping[str, Array], read: Collection[str]) -> dict[str, Array]:
    """Those of the inputs that are ``read`` and hold quaternions: of four elements, and of length 1."""
    import numpy as np

    return {
        key: values
        for key, values in inputs.items()
        if key in read
        and values.shape[1] == 4
        and np.allclose(np.linalg.norm(values, axis=1), 1, atol=OF_LENGTH_1)
    }
