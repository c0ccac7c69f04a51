"""Where the repository and what was installed of it are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def installed() -> Path:
    """Where rtloop was installed: the environment for pip, its install space for colcon."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")), sys.prefix]
    return next((p for p in map(Path, prefixes) if (p / "share/rtloop").is_dir()), Path(sys.prefix))
