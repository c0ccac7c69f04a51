"""An arm, its policy, and what that did, in numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtloop.config import Config, load
from tests.policy.models import linear

Arrays = dict[str, npt.NDArray[Any]]
Observed = npt.NDArray[np.float32]

TEXT = """\
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs:
      gyro: {mailbox: [0, 0, 0]}
      q: {mailbox: [0, 0], names: [hip, knee]}
    policy:
      model: policy.onnx
      joints: [knee, hip]
      observation:
        - {input: gyro, scale: 0.5, history: 3}
        - {input: q, joints: policy}
        - {last_action: true}
        - {last_target: true, joints: [hip, knee]}
      action: {joints: policy, scale: 0.25}
    outputs: {t: {mailbox: true, names: [hip, knee], safe: [0.5, -0.5]}}
"""
STEPS = 30
WEIGHT = (np.random.default_rng(2).normal(size=(15, 2)) * 0.3).astype(np.float32)


def expected(safe: Callable[[Arrays], list[float]] = lambda _: [0.5, -0.5]) -> Arrays:
    """What it did, in numpy alone. ``safe`` is what stood before, by the first inputs."""
    random = np.random.default_rng(3)
    gyro = random.normal(size=(STEPS, 3)).astype(np.float32)
    q = random.normal(size=(STEPS, 2)).astype(np.float32)
    raw = np.zeros(2, np.float32)
    target = np.array(safe({"gyro": gyro[0], "q": q[0]}), np.float32)
    rows: dict[str, list[npt.NDArray[np.float32]]] = {
        "obs_policy.obs": [],
        "raw": [],
        "targets": [],
    }
    for step in range(STEPS):
        past = [gyro[max(0, step - ago)] * np.float32(0.5) for ago in (2, 1, 0)]
        obs = np.concatenate([*past, q[step][::-1], raw, target])
        raw = obs @ WEIGHT
        target = (raw * np.float32(0.25))[::-1]
        rows["obs_policy.obs"].append(obs)
        rows["raw"].append(raw)
        rows["targets"].append(target)
    return {"in_gyro": gyro, "in_q": q, **{name: np.stack(row) for name, row in rows.items()}}


def written(folder: Path, text: str = TEXT) -> Config:
    (folder / "policy.onnx").write_bytes(linear(WEIGHT))
    (folder / "arm.yaml").write_text(text)
    return load(folder / "arm.yaml")


def saved(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "cases.npz", allow_pickle=True, **arrays)
    return folder / "cases.npz"
