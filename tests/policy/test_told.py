"""What several metadata, or metadata and configuration, tell of the joints: alike, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest

from rtloop.errors import ConfigError
from tests.policy.models import Runner, passthrough
from tests.policy.terms.harness import Inputs, composed

INPUTS: Inputs = {"q": ["a", "b", "c"]}
ABC, CBA = {"joint_names": "a,b,c"}, {"joint_names": "c,b,a"}
POSE = {"default_joint_pos": "1,2,3"}


def told(metadata: Mapping[str, str]) -> bytes:
    model = onnx.load_from_string(passthrough(3))
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def observed(
    folder: Path, encoder: Mapping[str, str], policy: Mapping[str, str], **keys: Any
) -> list[float]:
    """Of an encoder before a policy: q less the pose."""
    term = {"input": "q", "joints": "policy", "minus": "default_joint_pos"}
    section = {
        "models": {
            "encoder": {"model": "encoder.onnx", "observation": [term]},
            "policy": {"model": "policy.onnx", "observation": [{"output": "encoder.action"}]},
        },
        **keys,
    }
    files = {"encoder.onnx": told(encoder), "policy.onnx": told(policy)}
    graph = composed(folder, section, INPUTS, files)
    return [float(value) for value in Runner(graph).step([10, 20, 30])]


def test_any_model_may_tell_and_all_that_do_tell_the_same(tmp_path: Path) -> None:
    assert observed(tmp_path, CBA | POSE, {}) == [29, 18, 7]
    assert observed(tmp_path, POSE, CBA) == [29, 18, 7]
    assert observed(tmp_path, CBA | POSE, CBA | {"dof_names": '["c", "b", "a"]'}) == [29, 18, 7]


CONTRADICTIONS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, Any], str]] = {
    "two models": (
        ABC | POSE,
        CBA,
        {},
        "in `joint_names` of model 'policy' number 0 is 'c', in `joint_names` of model 'encoder' number "
        "0 is 'a'",
    ),
    "two keys of two models": (
        {"dof_names": "a,b"}, ABC | POSE, {}, "`dof_names` of model 'encoder' there are 2"
    ),
    "two keys of one file": ({}, CBA | POSE | {"dof_names": "a,b,c"}, {}, "`dof_names` of model 'policy'"),
    "two poses": (
        {"default_joint_pos": "1,2,4"},
        ABC | POSE,
        {},
        r"\[1.0, 2.0, 3.0\] in `default_joint_pos` of model 'policy', \[1.0, 2.0, 4.0\] in",
    ),
    "joints and a pose": (
        {"joint_names": "a,b"},
        POSE,
        {},
        "2 joints in `joint_names` of model 'encoder', and a pose of 3 values in `default_joint_pos`",
    ),
    "joints and the configuration's pose": (
        {},
        ABC,
        {"default_joint_pos": [1.0, 2.0]},
        "a pose of 2 values for the 3 joints in `joint_names` of model 'policy'",
    ),
    "the configuration's joints and a pose": (
        POSE,
        {},
        {"joints": ["a", "b"]},
        "2 joints for the pose of 3 values in `default_joint_pos` of model 'encoder'",
    ),
    "the configuration's joints": (
        ABC | POSE,
        {},
        {"joints": ["a", "c", "b"]},
        "in the configuration number 1 is 'c', in `joint_names` of model 'encoder' number 1 is 'b'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_contradicts_is_refused_with_both_places(tmp_path: Path, name: str) -> None:
    encoder, policy, keys, complaint = CONTRADICTIONS[name]
    with pytest.raises(ConfigError, match=complaint):
        observed(tmp_path, encoder, policy, **keys)
