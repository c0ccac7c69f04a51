"""What came of a quantisation, and what of it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rtloop.config.problem import number
from rtloop.errors import Place
from rtloop.policy.bench.conditions import Conditions
from rtloop.policy.bench.distribution import Distribution, ratio
from rtloop.policy.quantize.effect import SCORE, ClosedLoop, ElementError


@dataclass(frozen=True)
class Limits:
    """What is refused."""

    error: float = 0.02
    """More than this, of the range of an element."""
    time: float = 1.0
    """More than this, of the warm median in float32."""
    loss: float = 0.02
    """More than this of the score on a plant, as a share."""


@dataclass(frozen=True)
class Written:
    """A new model, and where the configuration has the one that it may replace."""

    path: Path
    sha256: str
    named_at: Place
    pinned_at: Place | None
    """Where it says the sha256 of the model; None where it does not."""


@dataclass(frozen=True)
class Quantized:
    """What came of it."""

    loop: str
    kind: str
    errors: tuple[ElementError, ...]
    calibrated_runs: int
    compared_runs: int
    before: Distribution
    after: Distribution
    noise: float | None
    closed_loop: ClosedLoop | None
    no_plant: str
    """Why nothing is known of a plant."""
    refused: tuple[str, ...]
    written: Mapping[str, Written]
    """By the name of a model; none where something was refused."""
    conditions: Conditions

    @property
    def ratio(self) -> float | None:
        """Of the warm medians, after to before."""
        return ratio(self.after.p50, self.before.p50)

    def as_dict(self) -> dict[str, Any]:
        plant = self.closed_loop
        return {
            "loop": self.loop,
            "to": self.kind,
            "errors": [error.as_dict() for error in self.errors],
            "calibrated_runs": self.calibrated_runs,
            "compared_runs": self.compared_runs,
            "float32": self.before.as_dict(),
            self.kind: self.after.as_dict(),
            "ratio": self.ratio,
            "noise_floor": self.noise,
            "closed_loop": None
            if plant is None
            else {
                "plant": plant.plant,
                "float32": dict(plant.before),
                self.kind: dict(plant.after),
                "loss": plant.loss,
            },
            "no_plant": self.no_plant,
            "refused": list(self.refused),
            "written": {name: str(new.path) for name, new in self.written.items()},
            "conditions": self.conditions.as_dict(),
        }


def refusals(
    found: tuple[ElementError, ...],
    times: float | None,
    plant: ClosedLoop | None,
    limits: Limits,
) -> Iterator[str]:
    """Why nothing is written."""
    worst = max(found, key=lambda error: error.relative)
    if not any(error.range for error in found):
        yield (
            "no error can be told: nothing that the policy answers moves in the runs that were compared, and "
            f"the largest difference is {worst.largest:.3g}. Record it while it moves"
        )
    elif not isfinite(worst.relative):
        yield f"too large an error: '{worst.element}' is not finite where it is in float32"
    elif not worst.relative <= limits.error:
        yield (
            f"too large an error: '{worst.element}' is off by {100 * worst.relative:.3g} % of its range, "
            f"more than {number(100 * limits.error)} % (--max-error)"
        )
    if times is None or times > limits.time:
        found_times = "no time" if times is None else f"{times:.2f} × the time of float32"
        yield f"slower: {found_times}, more than {number(limits.time)} × (--max-time)"
    if plant is not None and not plant.loss <= limits.loss:
        yield (
            f"worse on its plant: {SCORE} {plant.after[SCORE]:.4g} in place of {plant.before[SCORE]:.4g}, "
            f"more than {number(100 * limits.loss)} % less (--max-loss)"
        )
