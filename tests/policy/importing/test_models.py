"""What models tell of themselves: metadata of mjlab and holosoma, names of exploy and rsl_rl."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import (
    FLOAT,
    Loop,
    adding,
    gravity,
    linear,
    samples,
    with_metadata,
    written,
)
from tests.policy.models import recurrent, save

MJLAB = {
    "run_path": "team/project/run",
    "joint_names": "hip,knee,ankle",
    "joint_stiffness": "99.098,40.179,28.501",
    "joint_damping": "6.309,2.558,1.814",
    "default_joint_pos": "0.100,-0.200,0.300",
    "command_names": "twist",
    "observation_names": "base_ang_vel,projected_gravity,joint_pos,joint_vel,actions,command",
    "observation_history_lengths": "1.0,1.0,1.0,2.0,1.0,1.0",
    "action_scale": "0.548,0.351,0.439",
}
SIZE = 3 + 3 + 3 + 6 + 3 + 3


def test_the_metadata_of_mjlab_are_a_loop(tmp_path: Path) -> None:
    model, weight = linear(SIZE, 3, MJLAB)
    (tmp_path / "policy.onnx").write_bytes(model)
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert "tells names alone: each is taken unscaled" in " ".join(text.split()).replace(" # ", " ")
    assert "# stiffness: [99.098, 40.179, 28.501]" in text
    assert "command has 3 values because so many are left over" in text
    loop = Loop(tmp_path)
    pose, scale = np.array([0.1, -0.2, 0.3]), np.array([0.548, 0.351, 0.439])
    last = np.zeros(3, np.float32)
    before = None
    for step in range(10):
        given = samples(loop, step)
        before = given["joint_vel"] if before is None else before
        observation = np.concatenate(
            [
                given["base_ang_vel"],
                gravity(given["imu_quat_wxyz"]),
                given["joint_pos"] - pose,
                before,
                given["joint_vel"],
                last,
                given["command"],
            ]
        ).astype(np.float32)
        before = given["joint_vel"]
        command = loop.step(given)["joint_pos_target"]
        last = observation @ weight
        np.testing.assert_allclose(command, last * scale + pose, rtol=1e-4, atol=1e-5)


def test_terms_that_are_not_known_are_fed_whole_with_what_is_left_over(tmp_path: Path) -> None:
    names = "command,motion_anchor_ori_b,joint_pos"
    metadata = {**MJLAB, "observation_names": names, "observation_history_lengths": "1,1,1"}
    (tmp_path / "policy.onnx").write_bytes(linear(3 + 6 + 6, 3, metadata)[0])
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert "nothing tells how many values each of generated_commands, motion_anchor_ori_b" in text
    loop = Loop(tmp_path)
    assert loop.inputs == {"command": 11, "motion_anchor_ori_b": 1, "joint_pos": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_history_lengths": "1,1"}, "are 6, and observation_history_lengths 2"),
        ({"default_joint_pos": "0.1,0.2"}, "found 2 values; expected 3, one for each joint"),
        ({"observation_names": "joint_pos,joint_vel,actions,base_ang_vel,base_lin_vel,actions"},
         "make an observation of 21 values|make an observation of"),
    ],
)  # fmt: skip
def test_metadata_that_contradict_the_model_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(40, 3, {**MJLAB, **change})[0])
    with pytest.raises(ConfigError, match=message):
        draft(tmp_path / "policy.onnx")


def test_the_metadata_of_holosoma_name_joints_and_gains(tmp_path: Path) -> None:
    metadata = {
        "dof_names": json.dumps(["hip", "knee"]),
        "kp": json.dumps([40.179238471, 99.098427777]),
        "kd": json.dumps([2.557889765, 6.308801854]),
        "command_ranges": json.dumps({"lin_vel_x": [-1.0, 1.0]}),
    }
    (tmp_path / "policy.onnx").write_bytes(linear(9, 2, metadata)[0])
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert "joints: [hip, knee]" in text
    assert "# stiffness: [40.179238471, 99.098427777]" in text
    assert "# damping: [2.557889765, 6.308801854]" in text
    words = " ".join(words for _, words in draft(tmp_path / "policy.onnx").todos)
    assert "lin_vel_x [-1.0, 1.0]" in words
    assert "neither default_joint_pos, nor the scale of the action, nor what is observed" in words
    assert Loop(tmp_path).inputs == {"obs": 9}
    assert Loop(tmp_path).outputs == {"joint_pos_target": ["hip", "knee"]}


def test_the_state_of_rsl_rl_is_paired_by_name(tmp_path: Path) -> None:
    model, weights = recurrent(n=3, hidden=4, m=2)
    (tmp_path / "policy.onnx").write_bytes(model)
    text = written(tmp_path, str(tmp_path / "policy.onnx"), "--joints=a,b")
    assert "state: {h_in: h_out}  # recurrent state: guessed" in text
    loop = Loop(tmp_path)
    assert loop.outputs == {"joint_pos_target": ["a", "b"]}
    hidden = np.zeros(4, np.float32)
    for step in range(5):
        given = samples(loop, step)
        hidden = np.tanh(given["obs"] @ weights["Wx"] + hidden @ weights["Wh"])
        command = loop.step(given)["joint_pos_target"]
        np.testing.assert_allclose(command, hidden @ weights["Wy"], rtol=1e-5, atol=1e-6)


def test_the_names_of_exploy_are_inputs_memory_and_targets(tmp_path: Path) -> None:
    joints = json.dumps({"joint_names": ["hip", "knee"]})
    metadata = {
        "exploy_version": "1.0",
        "update_rate": "200.0",
        "obj.robot.joints": joints,
        "output.joint_targets.legs": json.dumps(
            {"names": ["knee", "hip"], "stiffness": [40.0, 50.0], "damping": [1.0, 2.0]}
        ),
    }
    inputs = [
        ("obj.robot.joints.pos", FLOAT, [1, 2]),
        ("obj.robot.joints.vel", FLOAT, [1, 2]),
        ("obj.robot.base.w_Q_b", FLOAT, [1, 4]),
        ("sensor.imu.pelvis.ang_vel_b_rt_w_in_b", FLOAT, [1, 3]),
        ("cmd.se2_velocity.base_velocity", FLOAT, [1, 3]),
        ("memory.actions.in", FLOAT, [1, 2]),
        ("ctx.step_count", FLOAT, [1, 2]),
    ]
    outputs = {
        "memory.actions.out": ("memory.actions.in", "obj.robot.joints.vel"),
        "output.joint_targets.legs.pos": ("obj.robot.joints.pos", "memory.actions.in"),
        "output.joint_targets.legs.vel": ("obj.robot.joints.vel", "ctx.step_count"),
    }
    model = adding([*inputs[:-1], ("ctx.step_count", FLOAT, [1, 1])], {
        **outputs,
        "a": ("obj.robot.base.w_Q_b",) * 2,
        "b": ("sensor.imu.pelvis.ang_vel_b_rt_w_in_b", "cmd.se2_velocity.base_velocity"),
    }, metadata)  # fmt: skip
    (tmp_path / "policy.onnx").write_bytes(model)
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert "rate_hz: 200" in text
    assert "# stiffness: [40, 50]" in text
    loop = Loop(tmp_path)
    assert loop.inputs == {
        "joint_pos": 2, "joint_vel": 2, "base_quat_wxyz": 4, "pelvis_ang_vel": 3, "base_velocity": 3,
    }  # fmt: skip
    assert loop.outputs == {
        "joint_pos_target": ["hip_pos", "knee_pos"],
        "joint_vel_target": ["hip_vel", "knee_vel"],
    }
    memory = np.zeros(2)
    for step in range(5):
        given = samples(loop, step)
        targets = loop.step(given)
        position = (given["joint_pos"] + memory)[::-1]  # the model's targets are knee, hip
        np.testing.assert_allclose(targets["joint_pos_target"], position, rtol=1e-5, atol=1e-6)
        velocity = (given["joint_vel"] + step)[::-1]
        np.testing.assert_allclose(targets["joint_vel_target"], velocity, rtol=1e-5, atol=1e-6)
        memory = memory + given["joint_vel"]


def test_an_input_that_no_loop_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(1025, 2)[0])
    with pytest.raises(ConfigError, match="found 1025 values; expected at most 1024"):
        draft(tmp_path / "policy.onnx")


def test_inputs_of_whole_numbers_and_several_outputs_are_told_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=FLOAT),
        helper.make_node("Add", ["obs", "r"], ["first"]),
        helper.make_node("Mul", ["obs", "r"], ["second"]),
    ]
    inputs = [("obs", FLOAT, ["batch", "n"]), ("rate", TensorProto.INT64, [])]
    model = save(nodes, inputs, [("first", FLOAT, [1, 2]), ("second", FLOAT, [1, 2])], {})
    (tmp_path / "policy.onnx").write_bytes(with_metadata(model, {}))
    with pytest.raises(ConfigError, match="dynamic dimension 'n'"):
        draft(tmp_path / "policy.onnx")
    text = written(tmp_path, str(tmp_path / "policy.onnx"), "--fix-dimension", "n=2")
    policy = next(iter(yaml.safe_load(text)["loops"].values()))["policy"]
    assert policy["constants"] == {"rate": 0}
    assert policy["fix_dimensions"] == {"n": 2}
    assert policy["action_output"] == "first"
    assert "that 'first' is the action is a guess" in text
    np.testing.assert_array_equal(Loop(tmp_path).step({"obs": [3, 4]})["action"], [3, 4])
