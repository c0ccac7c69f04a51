"""Rounding that a closed loop amplifies agrees, a small mistake does not; and what is no number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.cli.main import main
from rtloop.config import load
from rtloop.policy.verify import verify
from tests.policy.models import linear
from tests.policy.recorded import (
    MOVING,
    STEPS,
    TEXT,
    WEIGHT,
    recorded,
    verified,
    without,
)

#: The answer of a step comes back enlarged: rounding grows until it is seen.
AMPLIFYING = np.vstack([WEIGHT[:3], 1.35 * np.eye(2, dtype=np.float32)]).astype(np.float32)


def amplified() -> dict[str, Any]:
    """In steps where the inputs do not make values large: rounding alone grows."""
    cases = recorded(0.01 * MOVING, weight=AMPLIFYING)
    cases["in_x"] = np.nextafter(cases["in_x"], np.float32(np.inf))
    shift = np.zeros(2, np.float32) + np.float32(2e-6)
    raw = np.zeros(2, np.float32)
    for step in range(STEPS):
        cases["obs_obs"][step, 3:] = raw
        raw = cases["obs_obs"][step] @ AMPLIFYING + shift * (-1) ** (step // 20)
        cases["raw"][step] = raw
        cases["targets"][step] = raw * np.float32(0.5)
    return cases


def test_rounding_that_the_closed_loop_amplifies_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = verified(tmp_path, amplified(), model=linear(AMPLIFYING))
    assert found.first is not None
    assert found.first.step > 5
    assert found.amplified is not None
    assert 0 < found.amplified < 1e-5
    assert found.agrees
    command = ["policy", "verify", str(tmp_path / "arm.yaml"), str(tmp_path / "cases.npz")]
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "rounding that the closed loop amplifies" in printed
    assert printed.endswith("agrees")


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        (("{input: x}", "{input: x, offset: 0.0005}"), ()),
        (("last_action: true", "last_action: true, scale: 1.0005"), ()),
        (("scale: 0.5", "scale: 0.501"), ()),
        (("x", "x"), ("raw",)),
    ],
)
def test_a_small_mistake_is_no_rounding(
    tmp_path: Path, change: tuple[str, str], left_out: tuple[str, ...]
) -> None:
    cases = without(amplified(), *left_out)
    found = verified(tmp_path, cases, TEXT.replace(*change), linear(AMPLIFYING))
    assert not found.agrees


def test_what_adds_up_without_the_policy_is_no_rounding(tmp_path: Path) -> None:
    """A relative action of a scale that is 2 % off: every step by itself is far within the tolerance."""
    steps = 400
    x = np.full((steps, 1), 1.0, np.float32)
    raw = x @ np.ones((1, 1), np.float32)
    cases: dict[str, Any] = {
        "in_x": x,
        "obs_obs": x,
        "raw": raw,
        "targets": np.cumsum(0.002 * raw, axis=0),
    }
    text = """\
loops:
  l:
    class: soft
    rate_hz: 50
    inputs: {x: {mailbox: [0]}}
    policy:
      model: policy.onnx
      default_joint_pos: [0]
      joints: [a]
      observation: [{input: x}]
      action: {joints: policy, relative: true, scale: 0.00204}
    outputs: {u: {mailbox: true, names: [a], safe: 0}}
"""
    (tmp_path / "policy.onnx").write_bytes(linear(np.ones((1, 1), np.float32)))
    (tmp_path / "l.yaml").write_text(text)
    np.savez(tmp_path / "cases.npz", **cases)
    found = verify(load(tmp_path / "l.yaml"), "l", tmp_path / "cases.npz")
    assert not found.agrees
    assert found.amplified is None
    assert found.hints


# --- what is no number ---


@pytest.mark.parametrize("is_raw_known", [True, False])
def test_a_nan_is_told_as_the_end_of_a_run_and_json_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_raw_known: bool
) -> None:
    text = TEXT.replace("x: {mailbox: [0, 0, 0]}", "x: {mailbox: [1, 0, 0, 0]}")
    text = text.replace("{input: x}", "{projected_gravity: x}")
    cases = recorded()
    cases["in_x"] = np.tile(np.array([1, 0, 0, 0], np.float32), (STEPS, 1))
    cases["in_x"][3] = 0
    cases["obs_obs"][:, :3] = [0, 0, -1]
    cases = without(cases, *([] if is_raw_known else ["raw"]))
    found = verified(tmp_path, cases, text)
    assert not found.agrees
    ((step, told),) = found.terminations
    assert (step, told) == (3, "policy.obs[0] projected_gravity.x is nan")
    assert any("NaN or infinity here, first in step 3" in hint for hint in found.hints)
    command = [
        "policy",
        "verify",
        str(tmp_path / "arm.yaml"),
        str(tmp_path / "cases.npz"),
        "--json",
    ]
    assert main(command) == 1

    def refuse(word: str) -> None:
        raise AssertionError(word)

    printed = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert printed["compared"]["obs_policy.obs"]["largest_apart"] is None
