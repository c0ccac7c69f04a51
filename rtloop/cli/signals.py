"""Ctrl-C, SIGTERM and SIGHUP while a run starts, runs and ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtloop.stopping import stop_signals

if TYPE_CHECKING:
    from rtloop.run import Run


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP end a run in order. Not by an exception: it could strike anywhere.

    A context manager: from before anything is opened until all that moved has ended.
    """

    def __init__(self) -> None:
        self._run: Run | None = None
        self._first = self._latest = ""
        self._before = {number: signal.signal(number, self._handle) for number in stop_signals()}
        # A job in the background that prints is not to be stopped for it, loops and all.
        self._before[signal.SIGTTOU] = signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """They mean again what they meant before. May be called again."""
        while self._before:
            signal.signal(*self._before.popitem())

    def end(self, run: Run) -> None:
        """From now on they end ``run``; one that came before does too."""
        self._run = run
        if self._first:
            run.request_stop(self._first)

    def from_now_on(self) -> Callable[[], str]:
        """Who asks for a stop after this; empty while nobody does."""
        self._latest = ""
        return lambda: self._latest

    def _handle(self, number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        self._first, self._latest = self._first or name, name
        if self._run is not None:
            self._run.request_stop(name)
