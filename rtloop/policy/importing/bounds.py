"""Scales and bounds as a loop writes them: behind the scale, finite, and wider than a point."""

from __future__ import annotations

from typing import Any

from rtloop.config.values import FLOAT32_MAX
from rtloop.policy.exported_file import Numbers

Bounds = tuple[Numbers, Numbers]


def scaled(clip: Bounds, scale: Numbers) -> Bounds:
    """The bounds of a clip that comes behind the scale, where the given one comes before: bit for bit."""
    import numpy as np

    factor = np.asarray(scale, np.float32)
    if (np.asarray(scale) == 1).all():
        return clip
    # An infinity times 0 is nothing here, too, and what no float32 holds is infinite.
    with np.errstate(invalid="ignore", over="ignore"):
        ends = [np.where(factor == 0, 0, np.asarray(end, np.float32) * factor) for end in clip]

    def numbers(ends: Any) -> Numbers:
        # As short as it can be to give the same float32.
        values = tuple(float(str(value)) for value in np.atleast_1d(ends.astype(np.float32)))
        return values if np.ndim(ends) else values[0]

    return numbers(np.minimum(*ends)), numbers(np.maximum(*ends))


def both(first: Bounds, then: Bounds) -> Bounds:
    """The bounds of two clips, one behind the other; one of them has a number for each element."""
    import numpy as np

    return tuple(tuple(np.clip(end, *then).tolist()) for end in first)  # type: ignore[return-value]


def shape(scale: Numbers, offset: Numbers, clip: Bounds | None, size: int) -> dict[str, Any]:
    """The keys of ``clip(x * scale + offset)``, of ``size`` elements.

    A clip to one value has no bounds between which something is: such an element is that value.
    """
    keys: dict[str, Any] = {}
    if clip is not None:
        lows, highs = (row(finite(end), size) for end in clip)
        fixed = [low == high for low, high in zip(lows, highs, strict=True)]
        if any(fixed):
            scale = _where(fixed, (0.0,) * size, row(scale, size))
            offset = _where(fixed, lows, row(offset, size))
            lows = _where(fixed, (-FLOAT32_MAX,) * size, lows)
            highs = _where(fixed, (FLOAT32_MAX,) * size, highs)
        if not all(fixed):
            keys["clip"] = [one_number(lows), one_number(highs)]
    if one_number(offset) != 0.0:
        keys = {"offset": one_number(offset), **keys}
    if one_number(scale) != 1.0:
        keys = {"scale": one_number(scale), **keys}
    return keys


def one_number(values: Numbers) -> Any:
    """One number where all are equal."""
    if isinstance(values, tuple) and len(set(values)) == 1:
        return values[0]
    return list(values) if isinstance(values, tuple) else values


def row(values: Numbers, size: int) -> tuple[float, ...]:
    """One number for each of ``size`` elements."""
    return values if isinstance(values, tuple) else (values,) * size


def finite(values: Numbers) -> Numbers:
    """The nearest that a loop can hold."""
    if isinstance(values, tuple):
        return tuple(min(max(value, -FLOAT32_MAX), FLOAT32_MAX) for value in values)
    return min(max(values, -FLOAT32_MAX), FLOAT32_MAX)


def _where(
    is_first: list[bool], first: tuple[float, ...], other: tuple[float, ...]
) -> tuple[float, ...]:
    return tuple(a if f else b for f, a, b in zip(is_first, first, other, strict=True))
