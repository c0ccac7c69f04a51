"""Broken rules of a section whose places are known, as one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rtloop.config.problem import Keys, Problem, number
from rtloop.config.section import Section
from rtloop.errors import ConfigError, Finding, Place


def refuse(problems: Iterable[Problem], section: Section, where: Callable[..., Place]) -> None:
    """Raises ConfigError with all of them, if there are any. ``where`` tells the places of keys."""
    found = [
        Finding.of(where(*p.keys), p.found or _found(section, p.keys), p.expected, p.nearest)
        for p in problems
    ]
    if found:
        raise ConfigError(found)


def _found(value: Any, keys: Keys) -> str:
    for key in keys:
        value = value.under(str(key)) if isinstance(value, Section) else value[key]
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return f"'{value}'" if isinstance(value, str) else number(value)
