"""What runs in the guest: real runs of the cart-pole on the firmware program; what they came to, as JSON.

python -m tests.preempt_rt.inside FOLDER
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtloop import core
from rtloop.config import load
from rtloop.realtime.host import is_preempt_rt
from rtloop.run import Run
from tests.running import UNDISTURBED, edited, firmware, write_config

#: Slow, for a machine that is emulated; the wire and the device are as fast as ever.
RATE_HZ = 10
FIRST, EVERY = 10, 6
"""The cycles that are too slow."""
SECONDS = 4.0
_LATE = (core.Stall(core.Stage.infer, FIRST, EVERY, 150_000_000),)
_HANGS = (core.Stall(core.Stage.infer, FIRST, 0, 2_500_000_000),)
_RIGHTS = "scheduler: {scheduler}, lock_memory: true, cpu_dma_latency_us: 0"


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    loop_class: str
    scheduler: str
    options: str = "thread_priority: 80, cpu_affinity: [1]"
    stalls: Sequence[core.Stall] = ()


CASES = (
    Case("fifo", "soft", "fifo"),
    Case("rr", "soft", "rr"),
    Case("deadline", "soft", "deadline", ""),
    *(Case(f"late {name}", name, "fifo", stalls=_LATE) for name in ("hard", "firm", "soft")),
    Case("hang", "soft", "fifo", stalls=_HANGS),
)


def run(case: Case, folder: Path) -> dict[str, Any]:
    """What became of it; its recording is in ``folder``."""
    with firmware(folder, *UNDISTURBED, "--command-timeout-ms", "2000") as device:
        realtime = ", ".join(filter(None, (_RIGHTS.format(scheduler=case.scheduler), case.options)))
        changes = {
            "command_timeout_ms: 500": "command_timeout_ms: 2000",
            "class: soft": f"class: {case.loop_class}",
            "rate_hz: 200": f"rate_hz: {RATE_HZ}",
            "scheduler: other, lock_memory: false, cpu_dma_latency_us: null": realtime,
        }
        if case.loop_class == "hard":
            changes["    max_share"] = "#"
        if case.scheduler == "deadline":
            changes[f"rate_hz: {RATE_HZ}"] = f"rate_hz: {RATE_HZ}\n    budget_ms: 30"
        path = edited(write_config(folder, device.link), changes)
        loop_run = Run(load(path), "case", stalls={"balance": case.stalls})
        loop_run.start()
        loop_run.wait(SECONDS)
        fault = loop_run.loops["balance"].status()["fault_reason"]
        summary = loop_run.stop()
        told = device.stop()
    return {
        "rights": [right.as_dict() for right in summary.rights],
        "problems": list(summary.problems),
        "fault": next(name for name, n in core.FAULT_REASONS.items() if n == fault),
        "recording": str(loop_run.recording.relative_to(folder)),
        "device": [told["state"], told["reasons"]],
    }


def main(folder: Path) -> None:
    begin_s = time.monotonic()
    kernel = f"{platform.release()} {platform.version()}"
    found: dict[str, Any] = {"kernel": kernel, "preempt_rt": is_preempt_rt(), "cases": {}}
    for case in CASES:
        here = folder / case.name.replace(" ", "-")
        local = Path("/tmp") / here.name  # a pty's link, and a disk that is no wire
        local.mkdir()
        found["cases"][case.name] = run(case, local)
        shutil.copytree(local / "runs", here)
        print(f"{case.name}: {time.monotonic() - begin_s:.1f} s", flush=True)
    (folder / "found.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
