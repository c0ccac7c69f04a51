"""Finds what registers itself: each module of a folder says what it adds, and no list names them."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from rtloop.errors import RtloopError


def import_modules(package: str) -> None:
    """Imports every module of a package, in the order of their names.

    Raises RtloopError for a module that cannot be imported, as often as it is tried.
    """
    for module in pkgutil.iter_modules(import_module(package).__path__):
        name = f"{package}.{module.name}"
        try:
            import_module(name)
        except Exception as error:  # whatever the code of a module does
            text = f"{type(error).__name__}: {error}"
            raise RtloopError(f"the module {name} cannot be imported: {text}") from error
