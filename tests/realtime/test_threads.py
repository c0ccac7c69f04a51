"""What the threads of a loop ask for, beside each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from rtloop import core
from rtloop.config import RealtimeConfig
from rtloop.realtime.threads import guard_thread, link_thread, loop_thread


@dataclass
class Loop:
    realtime: RealtimeConfig
    period_ns: int = 1_000_000
    deadline_ns: int = 1_000_000
    budget_ns: int | None = field(default=None)


def a_loop(**keys: Any) -> Loop:
    return Loop(RealtimeConfig(**keys))


@pytest.fixture
def four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "allowed_cpus", lambda: [0, 1, 2, 3])


@pytest.mark.usefixtures("four_cpus")
def test_a_link_s_threads_are_below_the_loop_and_off_its_cpus() -> None:
    loop = a_loop(thread_priority=80, cpu_affinity=[2, 3])
    link = link_thread("cart", loop)
    assert link.scheduler == core.Scheduler.fifo
    priorities = [t.priority for t in (link, loop_thread("a", loop), guard_thread("a", loop))]
    assert priorities == [79, 80, 81]
    assert link.cpus == [0, 1]


@pytest.mark.usefixtures("four_cpus")
def test_where_the_loop_has_all_cpus_so_has_its_link() -> None:
    assert link_thread("cart", a_loop(cpu_affinity=[0, 1, 2, 3])).cpus == [0, 1, 2, 3]
    assert link_thread("cart", a_loop()).cpus == []


def test_there_is_no_real_time_priority_below_the_first() -> None:
    assert link_thread("cart", a_loop(thread_priority=1)).priority == 1


def test_they_are_real_time_where_the_loop_is_and_only_there() -> None:
    other = link_thread("cart", a_loop(scheduler="other"))
    assert (other.scheduler, other.priority) == (core.Scheduler.other, 0)
    loop = a_loop(scheduler="deadline")
    link = link_thread("cart", loop)
    assert link.scheduler == core.Scheduler.fifo
    assert link.priority < guard_thread("a", loop).priority
