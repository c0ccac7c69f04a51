"""How a recording is split into files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """When a new file is begun, and how many there are at most; None is never, and all."""

    size_bytes: int | None = None
    seconds: float | None = None
    keep: int | None = None
