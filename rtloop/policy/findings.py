"""Broken rules of a section whose places are known, as one error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rtloop.config.problem import Keys, Problem, number
from rtloop.config.section import Section
from rtloop.errors import ConfigError, Finding, Place


def refuse(problems: Iterable[Problem], section: Section, where: Callable[..., Place]) -> None:
    """Raises ConfigError with all of them, if there are any. ``where`` tells the places of keys."""
    found = list(findings(problems, section, where))
    if found:
        raise ConfigError(found)


def findings(
    problems: Iterable[Problem], section: Section, where: Callable[..., Place]
) -> Iterator[Finding]:
    """Each of them at its place."""
    for p in problems:
        found = p.found or _found(section, p.keys)
        yield Finding.of(where(*p.keys), found, p.expected, p.nearest)


def _found(value: Any, keys: Keys) -> str:
    for key in keys:
        if key == "leapp":  # whose terms stand in another file
            return "what the bundle says"
        value = value.under(str(key)) if isinstance(value, Section) else value[key]
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return f"'{value}'" if isinstance(value, str) else number(value)
