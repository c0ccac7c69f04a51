"""The rights a loop asks of Linux: granted or denied, each denial with its fix."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rtloop.realtime.host import is_preempt_rt

if TYPE_CHECKING:
    from rtloop import core


@dataclass(frozen=True)
class RightReport:
    """One attribute that was set and read back."""

    name: str
    requested: str
    actual: str
    granted: bool
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.granted:
            return f"{self.name}: {self.actual}"
        return f"{self.name}: {self.actual}, not {self.requested}. {self.fix}"


_LIMITS = (
    "Run as root, or give the user '- rtprio 99' and '- memlock unlimited' in "
    "/etc/security/limits.d/ and log in again; in systemd AmbientCapabilities=CAP_SYS_NICE "
    "CAP_IPC_LOCK; in a container --cap-add SYS_NICE --cap-add IPC_LOCK"
)
_FIXES = {
    "scheduler": _LIMITS,
    "lock_memory": _LIMITS,
    "cpu_affinity": "Name CPUs that this process may use (taskset, cpuset, container limits)",
    "timer_slack": "The kernel refused prctl(PR_SET_TIMERSLACK); is a seccomp filter active?",
    "cpu_dma_latency": (
        "Run as root, or let the user's group write /dev/cpu_dma_latency with a udev rule: "
        'KERNEL=="cpu_dma_latency", GROUP="realtime", MODE="0660"'
    ),
}
_DEADLINE_BUSY = (
    "SCHED_DEADLINE admits only what fits: lower the budget or the rate, and leave cpusets and "
    "affinity alone"
)


def report(right: core.Right, thread: str = "") -> RightReport:
    """What became of one request, in words. ``thread`` names whose attribute it is."""
    fix = ""
    if not right.granted:
        fix = _FIXES[right.name]
        if right.name == "scheduler" and right.error == errno.EBUSY:
            fix = _DEADLINE_BUSY
        elif right.error:
            fix = f"{errno.errorcode.get(right.error, right.error)}. {fix}"
    name = f"{thread} {right.name}" if thread else right.name
    return RightReport(name, right.requested, right.actual, right.granted, fix)


def kernel_report() -> RightReport:
    """Not a right to ask for, but what every other right stands on."""
    granted = is_preempt_rt()
    return RightReport(
        name="kernel",
        requested="PREEMPT_RT",
        actual="PREEMPT_RT" if granted else "an ordinary one",
        granted=granted,
        fix=""
        if granted
        else (
            "Latencies are not bounded on this kernel. Boot a PREEMPT_RT kernel (Debian: "
            "linux-image-rt-amd64; mainline since 6.12 with CONFIG_PREEMPT_RT)"
        ),
    )


def denied(rights: Iterable[RightReport]) -> list[RightReport]:
    return [right for right in rights if not right.granted]
