"""What explains all of a part, and nothing else does as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rtloop.policy.mistakes.order import reordered
from rtloop.policy.mistakes.part import Part
from rtloop.policy.mistakes.shape import affine, clipped, constant, still, wound
from rtloop.policy.mistakes.steps import begun, late

Mistake = Callable[[Part], str | None]

#: Each finds one explanation at most, its simplest.
MISTAKES: tuple[Mistake, ...] = (reordered, affine, late, wound, clipped)


def explained(part: Part, further: Sequence[Mistake] = ()) -> str | None:
    """What was done to every element of a part; None where nothing that is tried explains it.

    What stands still tells nothing, and of two explanations neither is the one.
    """
    import numpy as np

    finite = np.isfinite(part.got).all(axis=1)
    if not finite.all():
        return f"NaN or infinity here, first in step {int(np.argmin(finite))}"
    if hint := still(part) or begun(part):
        return hint
    fits = [hint for mistake in (*MISTAKES, *further) if (hint := mistake(part))]
    if len(fits) > 1:
        return f"the cases do not tell which of {len(fits)}: {'; or '.join(fits)}"
    return fits[0] if fits else constant(part)
