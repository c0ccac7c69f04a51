import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rtloop.demos.quadruped.track import Track, TrackWriter

needs_mujoco = pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None, reason="the extra `quadruped` is not installed"
)


def children(pid: int) -> list[int]:
    """Of a process; none of one that has ended."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in told.split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def write_rows(track: Track, count: int, *, first: int = 0) -> None:
    """As a board does; time and place of a row are its number."""
    writer = TrackWriter(track)
    for number in range(first, first + count):
        writer.append(
            number,
            float(number),
            np.full(19, float(number)),
            is_driven=True,
            is_pushed=False,
            has_fallen=False,
        )
