"""Under what a measurement was made: who measured, on which rights, and what else the machine did."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rtloop import core
from rtloop.realtime import host
from rtloop.realtime.rights import RightReport, denied, report
from rtloop.stopping import stopped_when

T = TypeVar("T")


@dataclass(frozen=True)
class Conditions:
    """Of one measurement."""

    cpu: str
    kernel: str
    load: float
    """Of one minute, when it began."""
    stolen_percent: float
    """Of the time of all CPUs, by the hypervisor."""
    scheduler: str
    """Of the thread that measured, and of the loop's."""
    denied: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Watch:
    """What the machine does from now on."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._stolen_s, self._began_s = host.stolen_s(), time.monotonic()

    def conditions(self, rights: list[RightReport]) -> Conditions:
        """From the beginning until now, under these rights."""
        elapsed_s = max(1e-9, time.monotonic() - self._began_s) * (os.cpu_count() or 1)
        facts = host.facts()
        schedulers = dict.fromkeys(r.actual for r in rights if r.name.endswith("scheduler"))
        return Conditions(
            cpu=facts["cpu"],
            kernel=f"{os.uname().release}{'' if facts['preempt_rt'] else ' (not PREEMPT_RT)'}",
            load=round(self._load, 2),
            stolen_percent=round(100 * (host.stolen_s() - self._stolen_s) / elapsed_s, 2),
            scheduler=", ".join(schedulers) or "as it was",
            denied=tuple(dict.fromkeys(map(str, denied(rights)))),
        )


#: Within it a thread that was started has begun.
_START_S = 1.0


def in_thread(setup: core.ThreadSetup, work: Callable[[list[RightReport]], T]) -> T:
    """What ``work`` returns or raises, from a thread of its own, set up so: nothing else inherits it.

    ``work`` is given what became of the rights. A Ctrl-C ends it where it next asks whether to go on:
    its loops are ended in order.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    interrupted, ended = threading.Event(), threading.Event()  # a join that is interrupted is over

    def run() -> None:
        try:
            results.append(work([report(right) for right in core.apply_to_this_thread(setup)]))
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    with stopped_when(lambda: "Ctrl-C" if interrupted.is_set() else ""):
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="measure", daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # it starts, or it does not
    try:
        try:
            thread.start()
        finally:  # another thread may have taken the signal: it is raised here all the same
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ended.wait()
    except KeyboardInterrupt:
        interrupted.set()
        ended.wait(None if thread.ident is not None else _START_S)
        errors.clear()  # else it would hold itself, by its traceback, and what was measured with it
        raise
    if errors:
        raise errors.pop()
    return results[0]
