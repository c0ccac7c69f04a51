"""Where what can be made again is kept: one folder a kind, of this user."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """``$XDG_CACHE_HOME/rtloop/<kind>``, where that is absolute, else below ``~/.cache``; perhaps not
    there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if not base.is_absolute():
        base = Path(os.path.expanduser("~/.cache"))
    return base / "rtloop" / kind
