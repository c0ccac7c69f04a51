"""What is done to values: sign, scale, offset, clip, wrap; or a constant in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.mistakes.part import Part, first_of, listed, rounded

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Whole turns are told apart from what fits by chance where the tolerance is so many times smaller.
TURN_PER_TOLERANCE = 10
#: Values at bounds that make a clip of what could be the largest value by chance.
CLIPPED_MIN = 3


def still(part: Part) -> str | None:
    """Whatever fits a constant fits it."""
    if (part.wrong & (part.moves | part.is_to_move)).any():
        return None
    told = [
        f"'{name}' is {number(rounded(float(got)))}, expected {number(rounded(float(expected)))}"
        for (name, _), wrong, got, expected in zip(
            part.elements, part.wrong, part.got[-1], part.expected[-1], strict=True
        )
        if wrong
    ]
    return f"{first_of(told)}, all the time: where nothing moves, the cases do not tell why"


def constant(part: Part) -> str | None:
    """One of the two stands still, the other does not."""
    wrong = part.wrong
    if not (part.moves & part.is_to_move & wrong).any():
        names = [(name, 0.0) for name, _ in part.elements]
        if not part.moves[wrong].any():
            values = zip(names, part.got[-1], wrong, strict=True)
            told = listed([(name, float(v)) for (name, _), v, is_wrong in values if is_wrong])
            return f"always {told or 0} here, and what is expected moves: is it fed?"
        if not part.is_to_move[wrong].any():
            values = zip(names, part.expected[-1], wrong, strict=True)
            told = listed([(name, float(v)) for (name, _), v, is_wrong in values if is_wrong])
            return f"always {told or 0} is expected"
    return None


def affine(part: Part) -> str | None:
    """A factor and an offset; the simplest of them."""
    if (part.wrong & part.moves & ~part.is_to_move).any():
        return None  # a constant: anything, times 0
    return _negated(part) or _scaled(part) or _moved(part) or _scaled_each(part)


def _negated(part: Part) -> str | None:
    if part.fits(-part.got):
        return "the other sign is expected: `scale: -1`, or one that is too many"
    return None


def _scaled(part: Part) -> str | None:
    import numpy as np

    got = part.got.astype(np.float64)
    square = float((got**2).sum())
    factor = float((got * part.expected).sum() / square) if square else 1.0
    if not part.fits((factor * got).astype(np.float32)):
        return None
    return (
        f"{number(rounded(factor))} times as much is expected: a scale is missing, or one too many"
    )


def _moved(part: Part) -> str | None:
    import numpy as np

    if len(part.got) < 3:
        return None
    by = np.median(part.expected - part.got, axis=0)
    if not part.fits(part.got + by):
        return None
    told = listed([(name, float(b)) for (name, _), b in zip(part.elements, by, strict=True)])
    return f"moved by {told}: an offset, `minus` or default pose is another"


def _scaled_each(part: Part) -> str | None:
    import numpy as np

    if len(part.got) < 4:
        return None
    factors, moves, fitted = [], [], []
    for got, expected, is_moved in zip(part.got.T, part.expected.T, part.moves, strict=True):
        if not is_moved:
            factor, move = 1.0, float(np.median(expected - got))
        else:
            columns = np.stack([got, np.ones_like(got)], axis=1).astype(np.float64)
            (factor, move), *_ = np.linalg.lstsq(columns, expected.astype(np.float64), rcond=None)
        factors.append(float(factor))
        moves.append(float(move))
        fitted.append(factor * got + move)
    if not part.fits(np.stack(fitted, axis=1).astype(np.float32)):
        return None
    names = [name for name, _ in part.elements]
    told = f"scaled by {listed(list(zip(names, factors, strict=True)), 1.0)}"
    if any(abs(move) > part.tolerance for move in moves):
        told += f", then moved by {listed(list(zip(names, moves, strict=True)))}"
    return told


def wound(part: Part) -> str | None:
    import numpy as np

    turn = 2 * np.pi * np.abs(np.array(part.scale))
    if (turn < TURN_PER_TOLERANCE * part.margin.max(axis=0)).any():
        return None
    turns = np.round((part.expected - part.got) / turn)
    if turns.any() and part.fits((part.got + turns * turn).astype(np.float32)):
        return "whole turns of 2 pi apart: `wrap` is missing, one too many, or has other bounds"
    return None


def clipped(part: Part) -> str | None:
    return _within(part, part.expected, part.got, "expected is clipped, to") or _within(
        part, part.got, part.expected, "a clip is one too many, to"
    )


def _within(part: Part, narrow: Array, wide: Array, told: str) -> str | None:
    """Where ``wide`` is beyond ``narrow``, that stands at one bound."""
    import numpy as np

    seen = 0
    low, high = (np.full(narrow.shape[1], bound, np.float32) for bound in (-np.inf, np.inf))
    for column in np.flatnonzero(part.wrong):
        values, margin = narrow[:, column], part.margin[:, column]
        over, under = wide[:, column] > values + margin, wide[:, column] < values - margin
        if over.any():
            high[column] = values.max()
        if under.any():
            low[column] = values.min()
        if part.moves[column] and part.is_to_move[column]:  # a constant is within any bounds
            seen += int(over.sum() + under.sum())
    tried = np.clip(wide, low, high)
    is_within = part.fits(tried) if narrow is part.expected else part.fits_got(tried)
    if seen < CLIPPED_MIN or not is_within:
        return None
    bounds = [
        (name, _bounds(float(below), float(above)))
        for (name, _), below, above, wrong in zip(part.elements, low, high, part.wrong, strict=True)
        if wrong
    ]
    if len({text for _, text in bounds}) == 1:
        return f"{told} {bounds[0][1]}"
    return f"{told} {first_of([f'{name} {text}' for name, text in bounds])}"


def _bounds(low: float, high: float) -> str:
    """Those that were reached."""
    if low == -float("inf"):
        return f"{number(rounded(high))} at most"
    if high == float("inf"):
        return f"{number(rounded(low))} at least"
    return f"[{number(rounded(low))}, {number(rounded(high))}]"
