"""What surrounds a policy: observation terms before it, one action term behind it.

Plain values without checks; :func:`rtloop.policy.compose` checks them, when sizes are known.
"""

from __future__ import annotations

from dataclasses import dataclass

#: One number for all elements of a term, or one per element.
PerElement = float | tuple[float, ...]


@dataclass(frozen=True)
class ObservationTerm:
    """A piece of the observation: ``clip(x[indices] * scale + offset)``, in that order.

    ``input`` names a loop input; ``previous_action=True`` stands for the raw output of the policy
    in the previous cycle (before the action term; zeros in the first cycle). Exactly one of the
    two. ``indices`` picks elements in the given order, all when None. ``clip`` is (low, high).
    """

    input: str | None = None
    previous_action: bool = False
    indices: tuple[int, ...] | None = None
    scale: PerElement | None = None
    offset: PerElement | None = None
    clip: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """How error messages call this term."""
        return "previous_action" if self.previous_action else f"input {self.input!r}"


@dataclass(frozen=True)
class ActionTerm:
    """From policy output to command: ``clip(y * scale + offset)``, in that order."""

    scale: PerElement | None = None
    offset: PerElement | None = None
    clip: tuple[float, float] | None = None
