"""From the policy's output to the command."""

from __future__ import annotations

from rtloop.policy.terms.shape import Shape


class ActionTerm(Shape):
    """From policy output to command: ``clip(y * scale + offset)``, in that order."""
