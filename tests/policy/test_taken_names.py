"""Keys that would say nothing, or two things."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.config import loads
from rtloop.errors import ConfigError
from tests.policy.models import passthrough

TEXT = """
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs: {INPUT: {mailbox: [0, 0, 0]}}
    policy:
      POLICY
    outputs: {motors: {mailbox: true, size: 3, safe: 0}}
"""


def _refused(folder: Path, monkeypatch: pytest.MonkeyPatch, policy: str, name: str = "q") -> str:
    (folder / "p.onnx").write_bytes(passthrough(3))
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError) as error:
        loads(TEXT.replace("INPUT", name).replace("POLICY", policy))
    return str(error.value)


def test_the_name_of_the_pose_is_no_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "default_joint_pos"
    policy = f"{{model: p.onnx, observation: [{{input: {name}}}]}}"
    told = _refused(tmp_path, monkeypatch, policy, name)
    assert f"inputs.{name}: " in told
    assert "another name: this one is that of the pose" in told
    policy = f"{{model: p.onnx, groups: {{{name}: [{{input: q}}]}}, observation: [{{input: q}}]}}"
    assert "another name: this one is that of the pose" in _refused(tmp_path, monkeypatch, policy)


def test_dimensions_are_those_of_one_of_several_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = "{models: {p: {model: p.onnx, observation: [{input: q}]}}, fix_dimensions: {n: 1}}"
    assert "no fix_dimensions beside `models`" in _refused(tmp_path, monkeypatch, policy)
