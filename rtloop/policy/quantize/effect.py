"""What another version of a policy does otherwise: in what it answers, and to a plant."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError, RtloopError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: What runs the loop of a policy file on a plant, and says how that went, in numbers. ``SCORE`` is judged.
Plant = Callable[[Path], Mapping[str, float]]
SCORE = "score"
_DEMOS = Path(__file__).parents[2] / "demos"
#: By the demo whose policy it is.
PLANTS = {
    "cartpole": "rtloop.demos.cartpole.score:closed_loop",
    "quadruped": "rtloop.demos.quadruped.score:closed_loop",
}


@dataclass(frozen=True)
class ElementError:
    """Of one element of what the policy answers, over all runs that were compared."""

    element: str
    largest: float
    """The largest difference, absolute; infinite where one is not finite."""
    range: float
    """From its smallest to its largest value in float32."""
    relative: float
    """The largest difference over the range; of an element that stands still, over that of all elements."""

    def as_dict(self) -> dict[str, Any]:
        """Without numbers that JSON has not."""
        from math import isfinite

        told = asdict(self)
        return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in told.items()}


@dataclass(frozen=True)
class ClosedLoop:
    """A plant under the policy of before, and under the one of after."""

    plant: str
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def loss(self) -> float:
        """Of the score, as a share of what it was."""
        was, now = self.before[SCORE], self.after[SCORE]
        return (was - now) / abs(was) if was else float(now < was)


def errors(names: Sequence[str], got: Array, expected: Array) -> tuple[ElementError, ...]:
    """Of answers [runs, n], in their order. Runs whose expected answer is not finite do not count."""
    import numpy as np

    usable = np.isfinite(expected).all(axis=1)
    got, expected = got[usable], expected[usable]
    if not len(expected):
        raise RtloopError("found no run with a finite answer; expected some to compare with")
    apart = np.abs(got.astype(np.float64) - expected)
    largest = np.where(np.isfinite(apart), apart, np.inf).max(axis=0)
    ranges = np.ptp(expected.astype(np.float64), axis=0)
    widest = float(ranges.max())
    found = []
    for name, most, own in zip(names, largest.tolist(), ranges.tolist(), strict=True):
        over = own or widest
        relative = most / over if over else (0.0 if most == 0 else float("inf"))
        found.append(ElementError(name, most, own, relative))
    return tuple(found)


def plant_named(name: str) -> Plant:
    """A function of a module, as ``module:function``. Raises ConfigError."""
    module, _, function = name.partition(":")
    if (here := os.getcwd()) not in sys.path:  # as for `python -m`; a console script has it not
        sys.path.append(here)
    try:
        with redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module), function)
    except RtloopError:
        raise
    except (Exception, SystemExit) as error:  # anybody's code
        expected = "module:function, which takes the path of a policy and returns numbers by name"
        raise ConfigError(f"plant: found '{name}' ({error}); expected {expected}") from error
    if not callable(found):
        raise ConfigError(f"plant: found '{name}', no function; expected one")
    plant: Plant = found
    return plant


def known_plant(file_sha256: str) -> str | None:
    """The plant of the demo whose policy this is."""
    for name, plant in PLANTS.items():
        policy = _DEMOS / name / "policy.onnx"
        if policy.is_file() and hashlib.sha256(policy.read_bytes()).hexdigest() == file_sha256:
            return plant
    return None


def closed_loop(name: str, before: Path, after: Path) -> ClosedLoop:
    """Both on the plant of that name. Raises ConfigError, RtloopError."""
    plant = plant_named(name)
    told = []
    for path in (before, after):
        try:
            with redirect_stdout(sys.stderr):  # stdout is for what the command tells
                answer = plant(path)
            if not isinstance(answer, Mapping):
                raise ConfigError(f"plant '{name}': found {answer!r}; expected numbers by name")
            numbers = {str(key): float(value) for key, value in answer.items()}
        except RtloopError:
            raise
        except (Exception, SystemExit) as error:  # anybody's code: a script may end by sys.exit(0)
            text = " ".join(str(error).split()) or type(error).__name__
            text = f"it left by SystemExit: {text}" if isinstance(error, SystemExit) else text
            raise RtloopError(f"plant '{name}' failed: {text}") from error
        if SCORE not in numbers:
            listed = ", ".join(numbers) or "nothing"
            raise ConfigError(f"plant '{name}': found {listed}; expected '{SCORE}' among them")
        told.append(numbers)
    return ClosedLoop(name, *told)
