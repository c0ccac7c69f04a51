"""A loop between an echo's two directions: what the toys are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from tests.core.conftest import model_bytes

LOOP = """\
recording: {{directory: {directory}}}
loops:
  relay:
    class: soft
    rate_hz: 200
    ring_seconds: 60
    inputs:
      canyon: {{echo: wall, max_age_ms: 500, fails_after: 0}}
    policy:
      model: policy.onnx
      observation: [{{input: canyon, select: [level]}}]
    outputs:
      canyon: {{echo: wall, min: -100, max: 100, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, clamped: 1}}  # a shared machine, and what is doubled grows
"""


def write_loop(folder: Path, *changes: tuple[str, str]) -> Path:
    """A loop file beside its policy, which doubles what it observes; texts exchanged."""
    two = numpy_helper.from_array(np.array([[2.0]], np.float32), "two")
    double = model_bytes([helper.make_node("Mul", ["x", "two"], ["y"])], 1, [two])
    (folder / "policy.onnx").write_bytes(double)
    text = LOOP.format(directory=folder / "runs")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "loop.yaml"
    path.write_text(text)
    return path
