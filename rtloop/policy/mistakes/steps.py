"""Values of other steps than those that are expected."""

from __future__ import annotations

from rtloop.policy.mistakes.part import Part


def begun(part: Part) -> str | None:
    """Only what stands for steps before the first one differs."""
    import numpy as np

    ago = np.array([steps for _, steps in part.elements])
    early = np.arange(len(part.got))[:, None] < ago[None, :]
    if not early.any() or not part.agrees(part.got[~early], part.expected[~early]):
        return None
    if part.agrees(part.expected[early], np.zeros(int(early.sum()))):
        return "0 is expected before there were so many steps: `start: zero`"
    first = np.broadcast_to(
        np.stack([part.got[min(a, len(part.got) - 1), i] for i, a in enumerate(ago)]),
        part.got.shape,
    )
    if part.agrees(part.expected[early], first[early]):
        return "the first value is expected before there were so many steps: `start: first`"
    return "only the first steps differ: look at `start` of its history"


def late(part: Part) -> str | None:
    if part.agrees(part.got[:-1], part.expected[1:]) and len(part.got) > 2:
        return "the value of the step before is expected"
    if part.agrees(part.got[1:], part.expected[:-1]) and len(part.got) > 2:
        return "the value of the next step is expected: here it is one step old"
    return None
