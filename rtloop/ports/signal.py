"""What one element of a vector means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Signal:
    """One element of a sample, a command, or a loop's input or output. The unit may be empty."""

    name: str
    unit: str = ""
