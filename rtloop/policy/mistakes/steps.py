"""Values of other steps than those that are expected, or mixed with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.mistakes.part import Part, rounded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


def begun(part: Part) -> str | None:
    """Only what stands for steps before the first one differs."""
    import numpy as np

    ago = np.array([steps for _, steps in part.elements])
    steps = np.arange(len(part.got))[:, None]
    early = steps < ago[None, :]
    if len(steps) <= ago.max() + 1 or not part.fits(part.got, steps > ago[None, :]):
        return None
    if not part.fits(part.got, ~early):
        return "only what the first step remembers differs: cases begin where an episode begins, after a reset"
    if part.fits(np.zeros_like(part.got), early):
        return "0 is expected before there were so many steps: `start: zero`"
    first = np.stack([part.got[a, i] for i, a in enumerate(ago)])
    if part.fits(np.broadcast_to(first, part.got.shape), early):
        return "the first value is expected before there were so many steps: `start: first`"
    return (
        "only what stands for steps before the first one differs: `start` of its history, or cases that "
        "do not begin where an episode begins"
    )


def late(part: Part) -> str | None:
    import numpy as np

    if len(part.got) < 4:
        return None
    if part.fits(np.roll(part.got, 1, axis=0), slice(1, None)):
        return "the value of the step before is expected"
    if part.fits(np.roll(part.got, -1, axis=0), slice(None, -1)):
        return "the value of the next step is expected: here it is one step old"
    return None


def smoothed(part: Part) -> str | None:
    """The one is a running average of the other."""
    import numpy as np

    got, expected = part.got.astype(np.float64), part.expected.astype(np.float64)
    if len(got) < 4:
        return None
    share = _share(expected, got)
    if share is not None and part.fits(_averaged(expected, got, share), slice(1, None)):
        return f"expected is a running average: `smooth: {number(rounded(share))}`"
    share = _share(got, expected)
    if share is not None:
        alone = got[:-1] + (got[1:] - got[:-1]) / share
        if part.fits(np.concatenate([got[:1], alone]).astype(np.float32), slice(1, None)):
            return f"no running average is expected, as of `smooth: {number(rounded(share))}`"
    return None


def _share(average: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> float | None:
    """Of the new value in a running average, if it is one."""
    new, change = of[1:] - average[:-1], average[1:] - average[:-1]
    square = float((new**2).sum())
    share = float((new * change).sum() / square) if square else 0.0
    return share if 0.01 < share < 0.99 else None


def _averaged(average: npt.NDArray[np.float64], of: npt.NDArray[np.float64], share: float) -> Array:
    import numpy as np

    next_ones = average[:-1] + share * (of[1:] - average[:-1])
    return np.concatenate([average[:1], next_ones]).astype(np.float32)
