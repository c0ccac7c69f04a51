"""Two loops, what is exchanged in their file, and what `check` and `run` say of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.config import load
from rtloop.errors import RtloopError
from rtloop.run import Run
from tests.policy.models import save

TEXT = """\
links:
  cart: {device: nothere}
recording: {directory: runs}
loops:
  a:
    class: firm
    rate_hz: 100
    inputs: {cart: {link: cart}, target: {mailbox: [0, 0]}}
    policy:
      model: three.onnx
      observation: [{input: cart}, {input: target, select: [1]}, {previous_action: true, select: [0]}]
    outputs: {cart: {link: cart, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
  b:
    class: soft
    rate_hz: 100
    inputs: {x: {mailbox: [0, 0, 0]}}
    policy:
      model: three.onnx
      observation: [{input: x}]
    outputs: {y: {mailbox: true, size: 3, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""
"""``a`` is on a device that is not there; its ``cart`` has one sensor and three commands, or nothing fits."""

ALONE = "loops:\n" + TEXT[TEXT.index("  b:") :]
"""A loop that runs without a device: what only its start can find is found."""


def slow(n: int, hidden: int) -> bytes:
    """obs [1, n] -> action [1, n], through more arithmetic than any CPU does in a microsecond."""
    weights = {
        name: np.ones(shape, np.float32)
        for name, shape in (("a", (n, hidden)), ("b", (hidden, hidden)), ("c", (hidden, n)))
    }
    values = ["obs", "one", "two", "action"]
    nodes = [
        helper.make_node("MatMul", [values[i], weight], [values[i + 1]])
        for i, weight in enumerate(weights)
    ]
    border = [(name, TensorProto.FLOAT, [1, n]) for name in ("obs", "action")]
    return save(nodes, border[:1], border[1:], weights)


def written(folder: Path, text: str, changes: dict[str, str]) -> Path:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "loops.yaml"
    path.write_text(text)
    return path


def checked(path: Path) -> list[str]:
    error = check(path).error
    return [] if error is None else told(error)


def run(path: Path) -> list[str]:
    try:
        with Run(load(path), "test"):
            pass
    except RtloopError as error:
        return told(error)
    return []


def told(error: RtloopError) -> list[str]:
    """Its lines, without what was measured."""
    assert str(error) == "\n".join(map(str, error.findings))
    lines = str(error).splitlines()
    lines = [
        re.sub(r"takes [0-9.e-]+ ms(.*)of \d+ runs", r"takes N ms\1of N runs", x) for x in lines
    ]
    return [re.sub(r"[0-9.]+ MiB free", "N MiB free", line) for line in lines]
