"""``deploy.yaml`` of unitree_rl_lab: what is written equals what was trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import Loop, gravity, linear, samples, with_metadata, written
from tests.policy.test_wild import SHARED

G1 = SHARED / "unitree_g1_velocity"
NAMES = {
    "joint_pos": "motor_pos",
    "joint_vel": "motor_vel",
    "joint_pos_target": "targets",
}


def test_the_policy_of_the_g1_does_what_it_did_where_it_was_deployed(tmp_path: Path) -> None:
    if not (G1 / "policy.onnx").exists():
        pytest.skip(f"no policy in {G1}: set RTLOOP_POLICIES to the folder that holds them")
    shutil.copy(G1 / "policy.onnx", tmp_path)
    shutil.copy(G1 / "deploy.yaml", tmp_path)
    renamed = [f"--rename={old}={new}" for old, new in NAMES.items()]
    text = written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"), *renamed)
    assert "rate_hz: 50  # deploy.yaml: step_dt" in text

    loop = Loop(tmp_path)
    expected = np.load(G1 / "expected.npz")
    worst = 0.0
    for step, targets in enumerate(expected["targets"]):
        command = loop.step({key: expected[f"in_{key}"][step] for key in loop.inputs})["targets"]
        seen = loop.observed()["obs"]
        np.testing.assert_allclose(seen, expected["obs_obs"][step], rtol=0, atol=1e-4)
        worst = max(worst, float(np.abs(command - targets).max()))
    assert worst <= 1e-4


DEPLOY = """
joint_ids_map: [0, 2, 1]
step_dt: 0.03
stiffness: [10.0, 20.0, 30.0]
damping: [1.0, 2.0, 3.0]
default_joint_pos: [0.1, 0.2, 0.3]
commands:
  base_velocity:
    ranges: {lin_vel_x: [-0.5, 1.0], lin_vel_y: [-0.3, 0.3], ang_vel_z: [-0.2, 0.2], heading: null}
actions:
  JointPositionAction:
    clip: [[-1.0, 1.0], [-2.0, 2.0]]
    scale: [0.25, 0.5]
    offset: [0.1, 0.2]
    joint_ids: !!python/object/apply:builtins.slice [0, 2, null]
observations:
  velocity_commands:
    {params: {command_name: base_velocity}, clip: null, scale: [2.0, 2.0, 0.25], history_length: 2}
  joint_pos_rel: {params: {joint_ids: [2, 0]}, clip: [-0.7, 0.9], scale: [3.0, -1.1], history_length: 2}
  gait_phase: {params: {period: 0.6}, clip: null, scale: null, history_length: 2}
  last_action: {params: {}, clip: null, scale: null, history_length: 2}
"""
SIZE = 2 * (3 + 2 + 2 + 2)


def _files(folder: Path, deploy: str = DEPLOY, metadata: dict[str, str] | None = None) -> Path:
    model, weight = linear(SIZE, 2, metadata)
    (folder / "policy.onnx").write_bytes(model)
    (folder / "deploy.yaml").write_text(deploy)
    np.save(folder / "weight.npy", weight)
    return folder


@pytest.mark.parametrize("whole_frames", [False, True])
@pytest.mark.parametrize("scale_first", [False, True])
def test_subset_clip_history_and_phase_are_those_of_the_robot(
    tmp_path: Path, whole_frames: bool, scale_first: bool
) -> None:
    switches = f"\n  use_gym_history: {str(whole_frames).lower()}\n  scale_first: {str(scale_first).lower()}"
    _files(tmp_path, DEPLOY.replace("observations:", "observations:" + switches))
    text = written(
        tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"), "--joints=a,b,c"
    )
    assert "period_ms: 30" in text  # 1 / 0.03 s is no decimal
    assert "made up" not in text
    weight = np.load(tmp_path / "weight.npy")
    loop = Loop(tmp_path)
    assert loop.outputs == {"joint_pos_target": ["a", "c"]}  # in the order of the robot
    pose = {"a": 0.1, "c": 0.2, "b": 0.3}
    last = np.zeros(2, np.float32)
    frames: list[list[np.ndarray]] = []
    for step in range(30):
        given = samples(loop, step)
        command = np.clip(given["command"], [-0.5, -0.3, -0.2], [1.0, 0.3, 0.2])
        measured = dict(zip("abc", given["joint_pos"], strict=True))
        rel = np.array([measured["b"] - pose["b"], measured["a"] - pose["a"]], np.float32)
        scale = np.array([3.0, -1.1], np.float32)
        rel = np.clip(rel * scale, -0.7, 0.9) if scale_first else np.clip(rel, -0.7, 0.9) * scale
        turn = 2 * np.pi * (step + 1) * 0.03 / 0.6
        frame = [
            command * np.array([2.0, 2.0, 0.25]),
            rel,
            np.array([np.sin(turn), np.cos(turn)]),
            last,
        ]
        frames = [frames[-1] if frames else frame, frame]
        parts = (
            [part for f in frames for part in f]
            if whole_frames
            else [part for pair in zip(*frames, strict=True) for part in pair]
        )
        observation = np.concatenate(parts).astype(np.float32)
        targets = loop.step(given)["joint_pos_target"]
        np.testing.assert_allclose(loop.observed()["obs"], observation, rtol=1e-5, atol=2e-6)
        last = observation @ weight
        expected = np.clip(last * [0.25, 0.5] + [0.1, 0.2], [-1, -2], [1, 2])
        np.testing.assert_allclose(targets, expected, rtol=1e-4, atol=1e-5)


def test_joints_go_by_the_names_in_the_model_and_else_by_the_numbers_of_motors(
    tmp_path: Path,
) -> None:
    _files(tmp_path)
    text = written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"))
    assert "joints: [motor_0, motor_2, motor_1]" in text
    assert "are made up" in text
    _files(tmp_path, metadata={"joint_names": "hip,knee,ankle"})
    text = written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"))
    assert "joints: [hip, knee, ankle]" in text
    assert "names: &joints [hip, ankle, knee]" in text  # the motors' order
    assert "are made up" not in text


def test_groups_of_observations_are_inputs_of_the_model(tmp_path: Path) -> None:
    from onnx import helper

    from tests.policy.importing.loops import FLOAT
    from tests.policy.models import save

    nodes = [helper.make_node("Concat", ["b", "a"], ["actions"], axis=1)]
    inputs = [("a", FLOAT, [1, 3]), ("b", FLOAT, [1, 3])]
    (tmp_path / "policy.onnx").write_bytes(save(nodes, inputs, [("actions", FLOAT, [1, 6])], {}))
    term = "{params: {}, clip: null, scale: [2.0, 2.0, 2.0], history_length: 1}"
    deploy = (
        "joint_ids_map: [0, 1, 2, 3, 4, 5]\nactions:\n  JointPositionAction: {scale: 1.0, offset: 0.0}\n"
        f"observations:\n  b:\n    projected_gravity: {term}\n  a:\n    base_ang_vel: {term}\n"
    )
    (tmp_path / "deploy.yaml").write_text(deploy)
    written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"))
    loop = Loop(tmp_path)
    quaternion = [0.5, 0.1, -0.3, 0.8]
    targets = loop.step({"base_ang_vel": [1, 2, 3], "imu_quat_wxyz": quaternion})
    expected = np.concatenate([2 * gravity(quaternion), [2.0, 4.0, 6.0]])
    np.testing.assert_allclose(targets["joint_pos_target"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("tag", "is_refused"),
    [
        ("!!python/object/apply:os.system ['true']", True),
        ("!!python/object/apply:builtins.list [null, null, null]", True),
        ("!!python/name:builtins.slice", True),
        ("!!python/object/apply:builtins.slice ['a', null, null]", True),
        ("!!python/object/apply:builtins.slice [null, null, null, null]", True),
        ("!!python/object/apply:builtins.slice [0, 2, null]", False),
    ],
)
def test_no_tag_constructs_anything_but_a_slice(tmp_path: Path, tag: str, is_refused: bool) -> None:
    old = "!!python/object/apply:builtins.slice [0, 2, null]"
    _files(tmp_path, DEPLOY.replace(old, tag))
    model, deploy = tmp_path / "policy.onnx", tmp_path / "deploy.yaml"
    if not is_refused:
        draft(model, deploy)
        return
    with pytest.raises(ConfigError, match="deploy.yaml:15:16:") as caught:
        draft(model, deploy)
    assert caught.value.findings[0].place.line == 15


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("step_dt: 0.03", "step_dt: fast", "deploy.yaml: step_dt: found str 'fast'; expected a numb"),
        ("[-0.7, 0.9]", "[-0.7]", r"observations.joint_pos_rel.clip: found list \[-0.7\]; expected"),
        ("JointPositionAction", "JointMagicAction", "expected one of JointPositionAction, Joint"),
        ("joint_ids: [2, 0]", "joint_ids: [2, 7]", "expected numbers below 3"),
        ("{period: 0.6}", "{}", "found no params.period"),
        ("[0, 2, null]", "[0, 3, null]", "actions of 3 values .*expected 2, the size of the model"),
        ("history_length: 2}\n  last", "history_length: 3}\n  last", "contradict each other.*expected 18"),
        ("default_joint_pos: [0.1, 0.2, 0.3]", "default_joint_pos: [0.1]", "expected 3, one for each"),
        ("joint_ids_map", "joints", "found the keys .*expected deploy.yaml of unitree_rl_lab"),
    ],
)  # fmt: skip
def test_what_is_wrong_has_a_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in DEPLOY
    _files(tmp_path, DEPLOY.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        draft(tmp_path / "policy.onnx", tmp_path / "deploy.yaml")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"joint_names": "hip,knee"}, "expected 2 joints, as many as the model names"),
        (
            {"joint_names": "x,y,z", "default_joint_pos": "0.1,0.2,0.31"},
            "contradict each other: default_joint_pos is .* by deploy.yaml",
        ),
        (
            {
                "joint_names": "x,y,z",
                "default_joint_pos": "0.1,0.2,0.3",
                "observation_names": "command,joint_pos,gait_phase,base_ang_vel",
            },
            "contradict each other: the observation is",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    _files(tmp_path, metadata=metadata)
    with pytest.raises(ConfigError, match=message):
        draft(tmp_path / "policy.onnx", tmp_path / "deploy.yaml")


def test_every_number_is_as_it_was_exported(tmp_path: Path) -> None:
    _files(tmp_path, DEPLOY.replace("[0.1, 0.2, 0.3]", "[0.10000000149011612, 1.5e-07, 0.3]"))
    text = written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"))
    policy = next(iter(yaml.safe_load(text)["loops"].values()))["policy"]
    assert [float(x) for x in policy["default_joint_pos"]] == [0.10000000149011612, 1.5e-07, 0.3]


def test_the_path_of_the_model_is_seen_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    model, _ = linear(3, 2)
    (tmp_path / "models" / "policy.onnx").write_bytes(with_metadata(model, {}))
    text = written(tmp_path, str(tmp_path / "models" / "policy.onnx"))
    policy = next(iter(yaml.safe_load(text)["loops"].values()))["policy"]
    assert policy["model"] == "models/policy.onnx"
