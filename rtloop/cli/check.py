"""What can be said of a configuration without starting anything: its policies, its wires, this host."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtloop import core
from rtloop.config import Config, LoopConfig, host_problems, load
from rtloop.policy import load_policy
from rtloop.realtime.rights import RightReport, kernel_report, report


@dataclass
class LoopCheck:
    """One loop in numbers."""

    name: str
    loop_class: str
    rate_hz: float
    deadline_ms: float
    model: str
    observation: str
    action: str


@dataclass
class Check:
    """What was found. Errors are raised; what is in here lets a run start, perhaps with less."""

    path: str
    loops: list[LoopCheck] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rights: list[RightReport] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.path,
            "loops": {
                loop.name: {
                    "class": loop.loop_class,
                    "rate_hz": loop.rate_hz,
                    "deadline_ms": loop.deadline_ms,
                    "model": loop.model,
                    "observation": loop.observation,
                    "action": loop.action,
                }
                for loop in self.loops
            },
            "warnings": self.warnings,
            "rights": [right.as_dict() for right in self.rights],
        }

    def __str__(self) -> str:
        lines = [f"{self.path} is valid"]
        for loop in self.loops:
            lines.append(
                f"  {loop.name}: {loop.loop_class}, {loop.rate_hz:g} Hz, deadline "
                f"{loop.deadline_ms:g} ms, policy {loop.model}: {loop.observation} → {loop.action}"
            )
        lines += [f"warning: {warning}" for warning in self.warnings]
        lines += [f"{'granted' if r.granted else 'denied '} {r}" for r in self.rights]
        return "\n".join(lines)


def check(path: Path) -> Check:
    """Raises ConfigError with everything that is wrong in the file and the policies it names."""
    config = load(path)
    found = Check(str(path), warnings=host_problems(config))
    for name, loop in config.loops.items():
        found.loops.append(_check_loop(name, loop))
    found.rights = _try_rights(config)
    return found


def _check_loop(name: str, loop: LoopConfig) -> LoopCheck:
    policy = load_policy(loop.policy.model, loop.policy.state, loop.policy.fix_dimensions)
    return LoopCheck(
        name=name,
        loop_class=loop.loop_class,
        rate_hz=loop.nominal_rate_hz,
        deadline_ms=loop.deadline_ns / 1e6,
        model=str(loop.policy.model),
        observation=str(policy.observation),
        action=str(policy.action),
    )


def _try_rights(config: Config) -> list[RightReport]:
    """Asks for the rights in a thread of its own, and lets them go with it."""
    reports = [kernel_report()]

    def ask(name: str, loop: LoopConfig) -> None:
        setup = core.ThreadSetup()
        setup.name = "rtloop-check"
        realtime = loop.realtime
        if realtime.scheduler != "deadline":
            setup.scheduler = core.Scheduler[realtime.scheduler]
            # The guard's priority: what grants it grants the loop's.
            setup.priority = realtime.thread_priority + 1
            setup.cpus = list(realtime.cpu_affinity or ())
        reports.extend(report(right, name) for right in core.apply_to_this_thread(setup))
        if realtime.cpu_dma_latency_us is not None:
            reports.append(report(core.CpuLatencyHold(realtime.cpu_dma_latency_us).right))

    for name, loop in config.loops.items():
        thread = threading.Thread(target=ask, args=(name, loop))
        thread.start()
        thread.join()
    unique: list[RightReport] = []
    for found in reports:
        if found not in unique:
            unique.append(found)
    return unique
