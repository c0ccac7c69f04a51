"""A stop that is asked for while something starts: whoever talks to a device looks before each word."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rtloop.errors import StoppedError


def _nobody() -> str:
    return ""


_asked_by: ContextVar[Callable[[], str]] = ContextVar("asked_by", default=_nobody)
_never_looks: ContextVar[bool] = ContextVar("never_looks", default=False)


@contextmanager
def stopped_when(asked_by: Callable[[], str]) -> Iterator[None]:
    """Inside, :func:`go_on` obeys ``asked_by``: who asked for a stop, empty while nobody did.

    One inside another obeys both.
    """
    outer = _asked_by.get()
    token = _asked_by.set(lambda: outer() or asked_by())
    try:
        yield
    finally:
        _asked_by.reset(token)


def go_on() -> None:
    """Raises StoppedError once a stop was asked for; a stop itself, and what undoes a start, do not ask."""
    if by := _asked_by.get()():
        raise StoppedError(f"stopped by {by} before it started")


@contextmanager
def in_code_of_others() -> Iterator[None]:
    """Inside, which never calls :func:`go_on`, a handler of signals raises: see :func:`reach_others`."""
    token = _never_looks.set(True)
    try:
        yield
    finally:
        _never_looks.reset(token)


def reach_others() -> None:
    """After a stop was asked for. Raises StoppedError where this thread is in the code of others."""
    if _never_looks.get():
        go_on()


def stop_signals() -> list[signal.Signals]:
    """What ends a run in order: SIGTERM, and Ctrl-C and SIGHUP unless they are ignored.

    So ``nohup`` has the one, and a shell that puts a job in the background of a script the other.
    """
    silenced = [signal.SIGINT, signal.SIGHUP]
    heard = [n for n in silenced if signal.getsignal(n) is not signal.SIG_IGN]
    return [signal.SIGTERM, *heard]
