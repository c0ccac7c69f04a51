"""Elements that are where others are expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rtloop.policy.mistakes.part import Part
from rtloop.policy.trace import apart_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Of the elements of a part that differ, so many must be found elsewhere to call it another order.
MOST = 0.7


def reordered(part: Part) -> str | None:
    return elsewhere(part, part.got, part.elements, least=1.0)


def elsewhere(
    part: Part, got: Array, elements: Sequence[tuple[str, int]], least: float = MOST
) -> str | None:
    """The expected elements stand at other places of ``got``, whose elements are these."""
    import numpy as np

    moved: list[tuple[tuple[str, int], tuple[str, int]]] = []
    wrong = constants = 0
    for index, element in enumerate(part.elements):
        if not part.wrong[index]:
            continue
        wrong += 1
        expected = np.broadcast_to(part.expected[:, [index]], got.shape)
        fits = (apart_by(got, expected) <= part.allowed[:, [index]]).all(axis=0)
        found = [elements[int(i)] for i in np.flatnonzero(fits)]
        if found and not part.is_to_move[index]:
            constants += 1  # it may be any other constant
        elif found:
            found.sort(key=lambda f: (f[0] != element[0], f[1] != element[1]))
            moved.append((element, found[0]))
    explained = len(moved) + constants
    if not moved or explained < least * wrong:
        return None
    told = _order(moved, part)
    return told if explained == wrong else f"{explained} of {wrong} elements that differ: {told}"


def _order(moved: Sequence[tuple[tuple[str, int], tuple[str, int]]], part: Part) -> str:
    """What kind of another order it is: (expected at, found at)."""
    places = {element: index for index, element in enumerate(part.elements)}
    apart = {places[b] - places[a] for a, b in moved if b in places}
    listed = ", ".join(f"'{_label(b)}' is expected where '{_label(a)}' is" for a, b in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    if all(a[0] == b[0] for a, b in moved):
        oldest = max(steps for _, steps in part.elements)
        newest = min(steps for _, steps in part.elements)
        if all(a[1] + b[1] == oldest + newest for a, b in moved):
            return "the history is in reverse order: the other end is the oldest step"
        return f"the history is in another order: {listed}{more}"
    if len(apart) == 1 and len(moved) > 1:
        return f"shifted by {abs(apart.pop())}: {listed}{more}"
    return f"the elements are in another order: {listed}{more}"


def _label(element: tuple[str, int]) -> str:
    name, ago = element
    return name if ago == 0 else f"{name}, {ago} ago"
