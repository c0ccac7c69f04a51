"""A loop file beside a module of the test's own, whose function is its policy."""

from __future__ import annotations

import textwrap
from itertools import count
from pathlib import Path

LOOP = """\
recording: {{directory: {folder}/runs}}
loops:
  pole:
    class: {loop_class}
    rate_hz: {rate_hz}
    inputs: {{angle: {{mailbox: [0, 0], names: [angle, rate]}}}}
    policy:
      {policy}
      observation: [{{input: angle, scale: 2.0}}]
    outputs: {{push: {{mailbox: true, names: [force], safe: 0.0}}}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, stale: 1, held: 1}}
{more}
"""
_numbers = count()


def module(folder: Path, code: str) -> str:
    """Writes a module, and gives its name, which no other test has."""
    name = f"policy_of_a_test_{next(_numbers)}"
    (folder / f"{name}.py").write_text("import time\nimport numpy as np\n" + textwrap.dedent(code))
    return name


def loop_file(
    folder: Path,
    policy: str,
    loop_class: str = "firm",
    rate_hz: float = 100,
    more: str = "",
) -> Path:
    """``policy`` is the line that names it; ``more`` are further keys of the loop."""
    path = folder / "loop.yaml"
    path.write_text(
        LOOP.format(folder=folder, policy=policy, loop_class=loop_class, rate_hz=rate_hz, more=more)
    )
    return path
