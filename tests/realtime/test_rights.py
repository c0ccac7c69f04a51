"""Every attribute is set, then read back; what was denied comes with its fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rtloop import core
from rtloop.realtime.host import facts
from rtloop.realtime.rights import RightReport, denied, kernel_report, report

ROOT = Path(__file__).parents[2]


def apply(setup: core.ThreadSetup) -> tuple[dict[str, RightReport], int]:
    """In a thread of its own, so that the test's own keeps its scheduling; (rights, its policy)."""
    found: dict[str, RightReport] = {}
    policy = -1

    def ask() -> None:
        nonlocal policy
        for right in core.apply_to_this_thread(setup):
            found[right.name] = report(right)
        policy = os.sched_getscheduler(0)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found, policy


def fifo(priority: int = 10) -> core.ThreadSetup:
    setup = core.ThreadSetup()
    setup.name = "test"
    setup.scheduler = core.Scheduler.fifo
    setup.priority = priority
    setup.cpus = [core.allowed_cpus()[-1]]
    return setup


def may_use_fifo() -> bool:
    return apply(fifo())[0]["scheduler"].granted


@pytest.mark.skipif(not may_use_fifo(), reason="SCHED_FIFO is not granted: run as root")
def test_granted_rights_say_what_the_kernel_says() -> None:
    found, policy = apply(fifo(42))
    assert found["scheduler"].actual == "fifo 42"
    assert policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
    assert policy & os.SCHED_RESET_ON_FORK, "helpers must not inherit it"
    assert found["cpu_affinity"].actual == str(core.allowed_cpus()[-1])
    assert not denied(found.values())
    assert all(right.fix == "" for right in found.values())


@pytest.mark.skipif(not may_use_fifo(), reason="SCHED_DEADLINE is not granted: run as root")
def test_sched_deadline_is_read_back_with_its_reservation() -> None:
    setup = core.ThreadSetup()
    setup.name = "test"
    setup.scheduler = core.Scheduler.deadline
    setup.runtime_ns, setup.deadline_ns, setup.period_ns = 100_000, 900_000, 1_000_000
    found, _ = apply(setup)
    assert found["scheduler"].granted, str(found["scheduler"])
    assert found["scheduler"].actual == "deadline 100000/900000/1000000 ns"


@pytest.mark.skipif(not may_use_fifo(), reason="SCHED_DEADLINE is not granted: run as root")
def test_a_reservation_that_does_not_fit_is_denied_with_its_fix() -> None:
    setup = core.ThreadSetup()
    setup.name = "test"
    setup.scheduler = core.Scheduler.deadline
    setup.runtime_ns, setup.deadline_ns, setup.period_ns = 90_000_000, 100_000_000, 100_000_000
    found: list[RightReport] = []
    everybody_asked = threading.Barrier((os.cpu_count() or 1) + 1)

    def ask() -> None:
        found.extend(report(right) for right in core.apply_to_this_thread(setup))
        everybody_asked.wait()

    threads = [threading.Thread(target=ask) for _ in range(everybody_asked.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = denied(found)
    assert refused, "0.9 CPUs for more threads than there are CPUs"
    assert "SCHED_DEADLINE admits only what fits" in refused[0].fix


def test_a_cpu_that_is_not_there_is_denied() -> None:
    setup = core.ThreadSetup()
    setup.name = "test"
    setup.cpus = [1000]
    found, _ = apply(setup)
    assert not found["cpu_affinity"].granted
    assert "taskset" in found["cpu_affinity"].fix


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else: run as root")
def test_an_unprivileged_user_is_told_what_was_denied_and_how_to_get_it() -> None:
    program = (
        "import json, resource, os, sys; sys.path[:0] = json.loads(sys.argv[1]);"
        "from rtloop import core; from rtloop.realtime.rights import report;"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0));"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, 4096));"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "s = core.ThreadSetup(); s.name = 't'; s.scheduler = core.Scheduler.fifo; s.priority = 80;"
        "found = [*core.apply_to_this_thread(s), core.lock_memory(), core.CpuLatencyHold(0).right];"
        "print(json.dumps([report(r).as_dict() for r in found]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(sys.path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    rights = {right["name"]: right for right in json.loads(done.stdout)}
    for name in ("scheduler", "lock_memory", "cpu_dma_latency"):
        assert not rights[name]["granted"]
        assert rights[name]["fix"]
    assert rights["scheduler"]["actual"] == "other"
    assert rights["scheduler"]["fix"].startswith("EPERM. ")
    assert "rtprio" in rights["scheduler"]["fix"]
    assert "udev" in rights["cpu_dma_latency"]["fix"]


def test_the_kernel_is_described_in_honest_words() -> None:
    found = kernel_report()
    assert found.granted == (found.actual == "PREEMPT_RT")
    if not found.granted:
        assert "not bounded" in found.fix
    assert facts()["preempt_rt"] == found.granted
