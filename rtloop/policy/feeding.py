"""What fills the inputs of models that no term fills, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rtloop.policy.formula import as_text
from rtloop.policy.policy import Policy
from rtloop.policy.roles import Stage

if TYPE_CHECKING:
    import numpy.typing as npt


def fed(policy: Policy) -> Iterator[str]:
    """A sentence for each: constants, counters, state, and outputs of models that lead to an input."""
    for stage in (*policy.stages, *policy.models_of_terms.values()):
        yield from _fed(stage)


def _fed(stage: Stage) -> Iterator[str]:
    for name, values in stage.constants.items():
        yield f"{stage.name}.{name} is always {_values(values)}"
    for name, first in stage.counters.items():
        yield f"{stage.name}.{name} counts the runs, from {first}"
    for before, after in stage.state:
        yield f"{stage.name}.{before.name} is {stage.name}.{after.name} of the run before, and begins with 0"
    for name, wire in stage.wires.items():
        begins = "" if wire.initial is None else f", and begins with {_values(wire.initial)}"
        yield f"{stage.name}.{name} is {wire.source}{begins}"


def _values(values: npt.NDArray[Any]) -> str:
    """One for all where they are the same, else the first few."""
    flat = values.reshape(-1).tolist()
    if len(set(flat)) == 1:
        return as_text(float(flat[0]))
    told = ", ".join(as_text(float(value)) for value in flat[:8])
    return f"[{told}{', …' if len(flat) > 8 else ''}]"
