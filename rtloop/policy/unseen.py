"""What cases do not show: arrays that they lack, elements that stand still, bounds that no value reaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtloop.policy.cases import Cases
from rtloop.policy.formula import Formula
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import ROUNDING, Trace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Told = tuple[str, Formula, Array]


@dataclass(frozen=True)
class Unseen:
    """Each a list of names; a mistake in one of them is not seen."""

    arrays: tuple[str, ...]
    """Of the cases, that were not there to compare with."""
    constant: tuple[str, ...]
    """Elements that are observed or commanded and have one value in all steps: its scale is not seen, nor
    what else it might have been."""
    clips: tuple[str, ...]
    """Elements with bounds that no value reached."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "not_compared": list(self.arrays),
            "constant": list(self.constant),
            "clips_not_reached": list(self.clips),
        }


def unseen(known: PolicyTable, cases: Cases, got: Trace) -> Unseen:
    """What a run through the cases leaves open."""
    arrays = [f"obs_{name}" for name in known.observations if name not in cases.observations]
    arrays += [name for name in ("raw", "targets") if getattr(cases, name) is None]
    elements = list(_elements(known, got))
    return Unseen(
        tuple(arrays),
        _all_of_a_name([(name, _stands_still(values)) for name, _, values in elements]),
        _all_of_a_name(
            [
                (name, not _reaches(*f.clip, v))
                for name, f, v in elements
                if f.clip and f.ends_clipped
            ]
        ),
    )


def _elements(known: PolicyTable, got: Trace) -> Iterator[Told]:
    """Name, formula and values, but of those that are made constant."""
    for array, observed in known.observations.items():
        for seen in observed:
            if not seen.source.startswith("constant["):
                yield seen.name, seen.formula, got.observations[array][:, seen.index]
    for commanded in known.command:
        if commanded.source:
            yield commanded.name, commanded.formula, got.targets[:, commanded.index]


def _all_of_a_name(judged: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
    """The names that it is true of in every step of a history."""
    other = {name for name, is_so in judged if not is_so}
    return tuple(dict.fromkeys(name for name, _ in judged if name not in other))


def _stands_still(values: Array) -> bool:
    import numpy as np

    return bool(np.ptp(values) <= ROUNDING * max(1.0, float(np.abs(values).max())))


def _reaches(low: float, high: float, values: Array) -> bool:
    least = low + ROUNDING * max(1.0, abs(low))
    most = high - ROUNDING * max(1.0, abs(high))
    return bool((values <= least).any() or (values >= most).any())
