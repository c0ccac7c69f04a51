"""What is not known to be one reading is fed by an input of its own, whatever it is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import helper

from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import FLOAT, Loop, adding, linear, samples, written
from tests.policy.importing.test_isaaclab import JOINTS, descriptors
from tests.policy.importing.test_isaaclab import action as _action
from tests.policy.importing.test_isaaclab import term as _term
from tests.policy.models import save

LONG = "a_name_that_is_longer_than_an_input_may_be"


def _observing(folder: Path, *terms: dict[str, Any]) -> Loop:
    """The loop of Isaac Lab's terms, of which each element is observed as it is."""
    size = sum(term["shape"][0] for term in terms)
    (folder / "policy.onnx").write_bytes(linear(size, 4)[0])
    data = descriptors(list(terms), [_action("JointVelocityAction", JOINTS)])
    (folder / "io.yaml").write_text(yaml.dump(data))
    written(folder, str(folder / "policy.onnx"), str(folder / "io.yaml"))
    return Loop(folder)


def _untold(folder: Path) -> str:
    words = [words for _, words in draft(folder / "policy.onnx", folder / "io.yaml").todos]
    return "\n".join(words)


@pytest.mark.parametrize("name", ["imu_ang_vel", "generated_commands", "foot_contact"])
def test_two_terms_of_one_function_may_read_two_sensors(tmp_path: Path, name: str) -> None:
    loop = _observing(tmp_path, _term(name, 3), _term(name, 3))
    assert len(loop.inputs) == 2
    given = samples(loop, 1)
    loop.step(given)
    np.testing.assert_array_equal(loop.observed()["obs"], np.concatenate(list(given.values())))
    one, two = loop.inputs
    assert f"{two}: nothing tells that it is what '{one}' is (io.yaml: obs" in _untold(tmp_path)


def test_the_imu_may_be_elsewhere_than_the_base(tmp_path: Path) -> None:
    terms = ("base_ang_vel", 3), ("imu_ang_vel", 3), ("root_quat_w", 4), ("imu_orientation", 4)
    loop = _observing(tmp_path, *(_term(name, size) for name, size in terms))
    assert list(loop.inputs) == ["base_ang_vel", "imu_ang_vel", "imu_quat_wxyz", "imu_quat_wxyz_2"]


def test_what_the_robot_measures_is_one_reading(tmp_path: Path) -> None:
    joints = {"joint_names": JOINTS}
    loop = _observing(
        tmp_path,
        *(_term("joint_pos_rel", 4, **joints, joint_pos_offsets=[0.0] * 4), _term("joint_pos", 4, **joints)),
        *(_term("projected_gravity", 3), _term("root_quat_w", 4)),
        *(_term("base_ang_vel", 3), _term("base_ang_vel", 3, scale=0.25)),
    )  # fmt: skip
    assert loop.inputs == {"joint_pos": 4, "imu_quat_wxyz": 4, "base_ang_vel": 3}
    assert "nothing tells" not in _untold(tmp_path)


def test_names_that_become_one_name_are_two_inputs(tmp_path: Path) -> None:
    names = [f"{LONG}_left", f"{LONG}_right", "Obs", "obs"]
    node = helper.make_node("Concat", names, ["actions"], axis=1)
    inputs = [(name, FLOAT, [1, 2]) for name in names]
    model = save([node], inputs, [("actions", FLOAT, [1, 8])], {})
    (tmp_path / "policy.onnx").write_bytes(model)
    written(tmp_path, str(tmp_path / "policy.onnx"))
    loop = Loop(tmp_path)
    assert list(loop.inputs) == [LONG[:32], f"{LONG[:30]}_2", "obs", "obs_2"]
    (command,) = loop.step({name: [k, -k] for k, name in enumerate(loop.inputs)}).values()
    assert command.tolist() == [0, 0, 1, -1, 2, -2, 3, -3]
    written(tmp_path, str(tmp_path / "policy.onnx"), "--rename", "obs_2=upper")
    assert list(Loop(tmp_path).inputs)[2:] == ["obs", "upper"]


def test_whole_frames_of_inputs_whose_names_become_one_are_two_groups(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["Obs", "obs"], ["actions"], axis=1)]
    inputs = [("Obs", FLOAT, [1, 6]), ("obs", FLOAT, [1, 6])]
    model = save(nodes, inputs, [("actions", FLOAT, [1, 12])], {})
    (tmp_path / "policy.onnx").write_bytes(model)
    term = "{params: {}, clip: null, scale: [%s, 1.0, 1.0], history_length: 2}"
    (tmp_path / "deploy.yaml").write_text(
        f"joint_ids_map: {list(range(12))}\nactions:\n  JointPositionAction: {{scale: 1.0, offset: 0.0}}\n"
        "observations:\n  use_gym_history: true\n"
        f"  Obs:\n    base_ang_vel: {term % 2.0}\n  obs:\n    base_ang_vel: {term % 3.0}\n"
    )
    written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "deploy.yaml"))
    loop = Loop(tmp_path)
    loop.step({"base_ang_vel": [1, 0, 0]})
    assert [row[0] for row in loop.observed().values()] == [2, 3]


def test_two_robots_and_two_sensors_of_exploy_are_four_inputs(tmp_path: Path) -> None:
    names = json.dumps({"joint_names": ["hip", "knee"]})
    metadata = {"obj.left.joints": names, "obj.right.joints": names}
    inputs = [
        ("obj.left.joints.pos", FLOAT, [1, 2]),
        ("obj.right.joints.pos", FLOAT, [1, 2]),
        ("sensor.imu.torso.ang_vel_b_rt_w_in_b", FLOAT, [1, 3]),
        ("obj.robot.torso.ang_vel_b_rt_w_in_b", FLOAT, [1, 3]),
    ]
    outputs = {
        "output.joint_targets.both.pos": ("obj.left.joints.pos", "obj.right.joints.pos"),
        "turn": ("sensor.imu.torso.ang_vel_b_rt_w_in_b", "obj.robot.torso.ang_vel_b_rt_w_in_b"),
    }
    (tmp_path / "policy.onnx").write_bytes(adding(inputs, outputs, metadata))
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert "safe: 0" in text, "nobody knows which of two robots is commanded"
    assert "which of joint_pos, joint_pos_2 measures its elements" in " ".join(text.split())
    loop = Loop(tmp_path)
    assert list(loop.inputs) == ["joint_pos", "joint_pos_2", "torso_ang_vel", "torso_ang_vel_2"]
    (command,) = loop.step({
        "joint_pos": [1, 2], "joint_pos_2": [10, 20], "torso_ang_vel": [0] * 3, "torso_ang_vel_2": [0] * 3,
    }).values()  # fmt: skip
    assert command.tolist() == [11, 22]


def test_joints_of_another_robot_than_the_one_that_is_commanded(tmp_path: Path) -> None:
    metadata = {
        "obj.left.joints": json.dumps({"joint_names": ["hip", "knee"]}),
        "obj.right.joints": json.dumps({"joint_names": ["lid", "knob"]}),
        "output.joint_targets.left": json.dumps({"names": ["knee", "hip"]}),
    }
    inputs = [(f"obj.{side}.joints.pos", FLOAT, [1, 2]) for side in ("right", "left")]
    outputs = {"output.joint_targets.left.pos": (inputs[0][0], inputs[1][0])}
    (tmp_path / "policy.onnx").write_bytes(adding(inputs, outputs, metadata))
    written(tmp_path, str(tmp_path / "policy.onnx"))
    loop = Loop(tmp_path)
    named = {name: section.element_names for name, section in loop.section.inputs.items()}
    right, left = (("lid", "knob"), ("hip", "knee"))
    assert sorted(map(sorted, filter(None, named.values()))) == sorted(map(sorted, (right, left)))
    given = {
        name: [{"lid": 1, "knob": 2, "hip": 10, "knee": 20}[n] for n in names or ()]
        for name, names in named.items()
    }
    (command,) = loop.step(given).values()
    (names,) = loop.outputs.values()
    assert dict(zip(names, command.tolist(), strict=True)) == {"knee": 11, "hip": 22}


def test_a_joint_that_the_robot_does_not_have_is_refused(tmp_path: Path) -> None:
    term = _term("joint_pos", 2, joint_names=["LF_HAA", "lid"])
    (tmp_path / "policy.onnx").write_bytes(linear(2, 4)[0])
    data = descriptors([term], [_action("JointVelocityAction", JOINTS)])
    (tmp_path / "io.yaml").write_text(yaml.dump(data))
    with pytest.raises(ConfigError, match="found the joint 'lid'; expected joints of the policy"):
        draft(tmp_path / "policy.onnx", tmp_path / "io.yaml")
