"""What is done to values: sign, scale, offset, clip, wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.mistakes.part import Part, listed, rounded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


def negated(part: Part) -> str | None:
    if part.agrees(-part.got, part.expected):
        return "the other sign is expected: `scale: -1`, or one that is too many"
    return None


def scaled(part: Part) -> str | None:
    factor = _factor(part.got, part.expected)
    if factor is None or not part.agrees(factor * part.got, part.expected):
        return None
    if abs(factor) < 1e-6:
        return "0 is expected"
    return (
        f"{number(rounded(factor))} times as much is expected: a scale is missing, or one too many"
    )


def wound(part: Part) -> str | None:
    import numpy as np

    turn = 2 * np.pi * np.array(part.scale)
    if not turn.all():
        return None
    turns = np.round((part.expected - part.got) / turn)
    if turns.any() and part.agrees(part.got + turns * turn, part.expected):
        return "whole turns of 2 pi apart: `wrap` is missing, one too many, or has other bounds"
    return None


def clipped(part: Part) -> str | None:
    import numpy as np

    for narrow, wide, told in (
        (part.expected, part.got, "expected is clipped, to"),
        (part.got, part.expected, "a clip is one too many, to"),
    ):
        low, high = narrow.min(axis=0), narrow.max(axis=0)
        bounded = ((narrow <= low) | (narrow >= high)).sum(axis=0) > 2
        if bounded.any() and part.agrees(np.clip(wide, low, high), narrow):
            lowest, highest = float(low.min()), float(high.max())
            return f"{told} [{number(rounded(lowest))}, {number(rounded(highest))}] at most"
    return None


def moved(part: Part) -> str | None:
    import numpy as np

    if len(part.got) < 3:
        return None
    by = np.median(part.expected - part.got, axis=0)
    if not part.agrees(part.got + by, part.expected):
        return None
    told = listed([(name, float(b)) for (name, _), b in zip(part.elements, by, strict=True)])
    return f"moved by {told}: an offset, `minus` or default pose is another"


def scaled_each(part: Part) -> str | None:
    import numpy as np

    if len(part.got) < 4:
        return None
    factors, moves, fitted = [], [], []
    for got, expected in zip(part.got.T, part.expected.T, strict=True):
        if np.ptp(got) <= part.tolerance:
            factor, move = 1.0, float(np.median(expected - got))
        else:
            columns = np.stack([got, np.ones_like(got)], axis=1).astype(np.float64)
            (factor, move), *_ = np.linalg.lstsq(columns, expected.astype(np.float64), rcond=None)
        factors.append(float(factor))
        moves.append(float(move))
        fitted.append(factor * got + move)
    if not part.agrees(np.stack(fitted, axis=1), part.expected):
        return None
    names = [name for name, _ in part.elements]
    told = f"scaled by {listed(list(zip(names, factors, strict=True)), 1.0)}"
    if any(abs(move) > part.tolerance for move in moves):
        told += f", then moved by {listed(list(zip(names, moves, strict=True)))}"
    return told


def _factor(got: Array, expected: Array) -> float | None:
    import numpy as np

    square = float((got.astype(np.float64) ** 2).sum())
    return None if square == 0 else float((got.astype(np.float64) * expected).sum() / square)
