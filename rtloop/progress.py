"""What takes seconds is told to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody(_text: str) -> None:
    pass


_told_to: ContextVar[Callable[[str], None]] = ContextVar("told_to", default=_nobody)


@contextmanager
def told_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Inside, ``listener`` is called with a sentence before each such thing."""
    token = _told_to.set(listener)
    try:
        yield
    finally:
        _told_to.reset(token)


def tell(text: str) -> None:
    """Says what begins now."""
    _told_to.get()(text)
