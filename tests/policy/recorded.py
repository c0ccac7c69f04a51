"""A policy that was recorded where it was trained, in numpy alone, and its verification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtloop.config import load
from rtloop.policy.verify import Verification, verify
from tests.policy.models import linear

Array = npt.NDArray[np.float32]
Seen = Callable[[Array], Array]

TEXT = """\
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs:
      x: {mailbox: [0, 0, 0]}
    policy:
      model: policy.onnx
      observation:
        - {input: x}
        - {last_action: true}
      action: {scale: 0.5}
    outputs: {t: {mailbox: true, names: [a, b], safe: 0}}
"""
STEPS = 40
WEIGHT = np.array([[0.5, -1], [1, 0.25], [-0.75, 1], [0.3, 0.1], [-0.2, 0.4]], np.float32)
MOVING = np.random.default_rng(5).normal(size=(STEPS, 3)).astype(np.float32)
STANDING = np.repeat(MOVING[:1], STEPS, axis=0)


def recorded(
    x: Array = MOVING,
    seen: Seen = lambda x: x,
    weight: Array = WEIGHT,
    begins: tuple[int, ...] = (),
) -> dict[str, Any]:
    """What the policy did where it was trained, in numpy alone; there it observed what ``seen`` makes of x."""
    rows: dict[str, list[Array]] = {"obs_obs": [], "raw": [], "targets": []}
    raw = np.zeros(2, np.float32)
    for step, values in enumerate(seen(x.copy())):
        raw = np.zeros(2, np.float32) if step in begins else raw
        observed = np.concatenate([values, raw]).astype(np.float32)
        raw = observed @ weight
        rows["obs_obs"].append(observed)
        rows["raw"].append(raw)
        rows["targets"].append(raw * np.float32(0.5))
    return {"in_x": x, **{name: np.stack(row) for name, row in rows.items()}}


def verified(
    folder: Path, cases: dict[str, Any], text: str = TEXT, model: bytes = b""
) -> Verification:
    (folder / "policy.onnx").write_bytes(model or linear(WEIGHT))
    (folder / "arm.yaml").write_text(text)
    np.savez(folder / "cases.npz", allow_pickle=True, **cases)
    return verify(load(folder / "arm.yaml"), "arm", folder / "cases.npz")


def without(cases: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: array for name, array in cases.items() if name not in names}
