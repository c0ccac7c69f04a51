"""Finds what registers itself: each module of a folder says what it adds, and no list names them."""

from __future__ import annotations

import pkgutil
from importlib import import_module


def import_modules(package: str) -> None:
    """Imports every module of a package, in the order of their names."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
