"""What it costs to ask a Python function: the wake-up, the interpreter, and the function itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from rtloop import core
from rtloop.policy.callable.answering import Answering
from rtloop.policy.callable.function import FunctionError, PolicyFunction
from rtloop.stopping import go_on
from rtloop.telemetry.observe.summary import FunctionTimes

#: So many questions, or as many as fit into the time.
QUESTIONS = 200
MEASURED_S = 0.5


@dataclass(frozen=True)
class Price:
    """Of one function, asked as often as its loop asks it."""

    alone: FunctionTimes
    beside: FunctionTimes
    """With another Python thread that never waits."""

    def as_dict(self) -> dict[str, Any]:
        return {"alone": asdict(self.alone), "with_busy_thread": asdict(self.beside)}

    def __str__(self) -> str:
        return f"{self.alone}; with another busy Python thread: {self.beside}"


def price(function: PolicyFunction, n_observed: int, period_ns: int) -> Price:
    """Asks for half a second, then again beside a busy thread. Raises FunctionError, StoppedError."""
    alone = _measured(function, n_observed, period_ns)
    with _busy_thread():
        return Price(alone, _measured(function, n_observed, period_ns))


def _measured(function: PolicyFunction, n_observed: int, period_ns: int) -> FunctionTimes:
    external = core.External(n_observed, function.size)
    setup = core.ThreadSetup()
    setup.name = "py:check"
    answering = Answering(function, external, setup)
    answering.start(go_on)
    external.ask(max(2, min(QUESTIONS, int(MEASURED_S * 1e9) // period_ns)), period_ns)
    if not answering.end(period_ns / 1e9):
        core.leaks_are_meant()
        raise FunctionError(
            f"found the policy's Python function '{function.name}', a call of which hangs; expected an answer "
            f"in {period_ns / 1e6:.9g} ms, the period of the policy"
        )
    return answering.times()


@contextmanager
def _busy_thread() -> Iterator[None]:
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work, name="py:busy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
