"""Whatever a file says: ``rtloop check`` accepts what ``rtloop init`` writes, or init refuses the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import helper

from rtloop.errors import ConfigError
from rtloop.policy.exported_file import read_yaml
from rtloop.policy.importing import draft
from tests.policy.importing.loops import FLOAT, Loop, adding, linear, samples, written
from tests.policy.importing.test_isaaclab import JOINTS, POSE, descriptors
from tests.policy.importing.test_isaaclab import action as _action
from tests.policy.importing.test_isaaclab import term as _term
from tests.policy.importing.test_models import MJLAB
from tests.policy.importing.test_models import SIZE as MJLAB_SIZE
from tests.policy.importing.test_unitree import DEPLOY
from tests.policy.importing.test_unitree import SIZE as DEPLOY_SIZE
from tests.policy.models import save

INF = float("inf")


def _isaac(
    folder: Path, term: dict[str, Any], action: dict[str, Any], **more: Any
) -> tuple[Path, Path]:
    (folder / "policy.onnx").write_bytes(linear(term["shape"][0], 4)[0])
    (folder / "io.yaml").write_text(yaml.dump({**descriptors([term], [action]), **more}))
    return folder / "policy.onnx", folder / "io.yaml"


def _unitree(folder: Path, old: str, new: str, metadata: Mapping[str, str] | None = None) -> Path:
    assert old in DEPLOY
    (folder / "policy.onnx").write_bytes(linear(DEPLOY_SIZE, 2, metadata)[0])
    (folder / "deploy.yaml").write_text(DEPLOY.replace(old, new))
    return folder / "policy.onnx"


# --- what is written ---


def test_a_clip_to_one_value_is_that_value(tmp_path: Path) -> None:
    """A stick that may not go sideways, a scale of 0, a bound that is none."""
    clip = [[-1.0, 1.0], [0.5, 0.5], [-2.0, 3.0], [-INF, INF]]
    term = _term("foot_contact", 4, scale=[2.0, 3.0, 0.0, 0.0], clip=clip)
    action = _action("JointVelocityAction", JOINTS, scale=2.0, clip=[*clip[:2], [0, 0], clip[3]])
    model, deploy = _isaac(tmp_path, term, action)
    written(tmp_path, str(model), str(deploy))
    loop = Loop(tmp_path)
    for step in range(4):
        given = samples(loop, step)
        (command,) = loop.step(given).values()
        lows, highs = np.transpose(clip)
        expected = np.clip(given["foot_contact"], lows, highs) * [2, 3, 0, 0]
        np.testing.assert_allclose(loop.observed()["obs"], expected, rtol=1e-6)
        assert np.abs(command[0]) <= 1
        assert command[1:3].tolist() == [0.5, 0]


@pytest.mark.parametrize("own", ["null", "[0.4, 5.0]", "[[-9.0, 9.0], [-9.0, 9.0], [0.3, 0.4]]"])
def test_a_stick_that_may_not_go_sideways_is_clamped_before_the_clip(
    tmp_path: Path, own: str
) -> None:
    model = _unitree(tmp_path, "lin_vel_y: [-0.3, 0.3]", "lin_vel_y: [0.0, 0.0]")
    deploy = tmp_path / "deploy.yaml"
    before = "{command_name: base_velocity}, clip: null"
    deploy.write_text(
        deploy.read_text().replace(before, before.replace("null", own)), encoding="utf-8"
    )
    written(tmp_path, str(model), str(deploy))
    loop = Loop(tmp_path)
    clips = {"[0.4, 5.0]": (0.4, 5.0), "null": (-INF, INF)}
    low, high = clips.get(own, ([-9, -9, 0.3], [9, 9, 0.4]))
    for step in range(5):
        given = samples(loop, step)
        loop.step(given)
        clamped = np.clip(given["command"], [-0.5, 0, -0.2], [1.0, 0, 0.2])
        expected = np.clip(clamped, low, high) * [2.0, 2.0, 0.25]
        np.testing.assert_allclose(loop.observed()["obs"][3:6], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["no", "on", "null", "Y"])
def test_words_that_yaml_takes_for_values_are_names(tmp_path: Path, name: str) -> None:
    node = helper.make_node("Identity", [name], ["actions"])
    model = save([node], [(name, FLOAT, [1, 2])], [("actions", FLOAT, [1, 2])], {})
    (tmp_path / f"{name}.onnx").write_bytes(model)
    written(tmp_path, str(tmp_path / f"{name}.onnx"), "--joints=off,true")
    loop = Loop(tmp_path)
    assert list(loop.inputs) == [name.lower()]
    assert loop.outputs == {"joint_pos_target": ["off", "true"]}
    written(tmp_path, str(tmp_path / f"{name}.onnx"), "--rename", f"{name.lower()}=yes")
    assert list(Loop(tmp_path).inputs) == ["yes"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x85", "\u2028", "\x0b", "\x01", "\ufeff"])
def test_what_a_file_says_ends_no_comment(tmp_path: Path, end: str) -> None:
    strange = f"x{end}        safe: 7  # {end}x"
    names = json.dumps([f"x{end}safe: 7", strange, "a", strange * 4])
    metadata = {**MJLAB, "observation_names": names, "observation_history_lengths": ""}
    (tmp_path / "policy.onnx").write_bytes(linear(7, 3, metadata)[0])
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert end.strip("\r\n") == "" or end not in text
    data = yaml.safe_load(text)["loops"]["policy"]
    assert data["outputs"]["joint_pos_target"]["safe"] == 0
    assert all(line.isprintable() for line in text.split("\n"))


def test_the_name_of_a_file_ends_no_comment(tmp_path: Path) -> None:
    model = tmp_path / "a # b: 1.onnx"
    model.write_bytes(linear(DEPLOY_SIZE, 2)[0])
    deploy = tmp_path / "a\n        evil: 1.yaml"
    deploy.write_text(DEPLOY)
    written(tmp_path, str(model), str(deploy))
    assert Loop(tmp_path).outputs == {"joint_pos_target": ["motor_0", "motor_2"]}
    model.rename(tmp_path / "a\n  evil: 1.onnx")
    with pytest.raises(
        ConfigError, match=r"path of the model: found 'a\\n .*no control characters"
    ):
        draft(tmp_path / "a\n  evil: 1.onnx", folder=tmp_path)


def test_long_lists_keep_the_spaces_and_quotes_of_names(tmp_path: Path) -> None:
    names = [f'{k}  joint,  "the \\ {k}th"  of: all #{k}' for k in range(30)]
    metadata = {"joint_names": json.dumps(names)}
    (tmp_path / "policy.onnx").write_bytes(linear(30, 30, metadata)[0])
    text = written(tmp_path, str(tmp_path / "policy.onnx"))
    assert yaml.safe_load(text)["loops"]["policy"]["policy"]["joints"] == names
    assert max(map(len, text.splitlines())) < 160


def test_positions_stay_where_they_are_beside_velocities_of_the_same_joints(tmp_path: Path) -> None:
    term = _term("joint_pos", 4, joint_names=JOINTS)
    actions = [_action(kind, JOINTS[:2]) for kind in ("JointPositionAction", "JointVelocityAction")]
    (tmp_path / "policy.onnx").write_bytes(linear(4, 4)[0])
    (tmp_path / "io.yaml").write_text(yaml.dump(descriptors([term], actions)))
    text = written(tmp_path, str(tmp_path / "policy.onnx"), str(tmp_path / "io.yaml"))
    outputs = yaml.safe_load(text)["loops"]["policy"]["outputs"]
    assert outputs["joint_pos_target"]["names"] == ["LF_HAA_pos", "RF_HAA_pos"]
    assert outputs["joint_pos_target"]["safe"] == {"*_pos": {"hold": "joint_pos", "named": "{}"}}
    assert outputs["joint_vel_target"]["safe"] == 0


# --- what is refused ---


@pytest.mark.parametrize(
    ("term", "action", "message"),
    [
        ({"scale": [1.0, 2.0]}, {}, r"observations.policy\[0\]: found 2 values; expected one number, or 4"),
        ({"scale": float("nan")}, {}, r"observations.policy\[0\]: scale: found nan; expected finite"),
        ({"scale": 1e300}, {}, "found 1e[+]300; expected finite"),
        ({"clip": [1.0, -1.0]}, {}, r"clip: found \[1, -1\]; expected \[lowest, highest\]"),
        ({"clip": [0.0, float("nan")]}, {}, r"clip: found \[0, nan\]"),
        ({"clip": [[0.0, 1.0]] * 3}, {}, "found 3 values; expected one number, or 4"),
        ({"shape": [3]}, {}, "found 3 values; expected 4 of joint_pos_rel"),
        ({"joint_pos_offsets": [0.0] * 3}, {}, "found 3 values; expected one number, or 4"),
        ({}, {"scale": [1.0, 2.0]}, r"actions\[0\]: found 2 values; expected one number, or 4"),
        ({}, {"offset": [1.0]}, r"actions\[0\]: found 1 values"),
        ({}, {"scale": [INF] * 4}, r"actions\[0\]: scale: found inf"),
        ({}, {"clip": [[1.0, 0.0]] * 4}, r"actions\[0\]: clip: found \[1, 0\]"),
        ({}, {"joint_names": ["a", "b", "a", "c"]}, r"found 'a' twice; expected each joint once"),
        ({}, {"joint_names": ["a", "b", "", "c"]}, "found ''; expected a name of 1 to 64"),
        ({}, {"joint_names": ["a", "b", "c\x00", "d"]}, r"found 'c\\x00'; expected a name"),
        ({}, {"scale": 10**400}, "expected a number that a float holds"),
    ],
)  # fmt: skip
def test_numbers_and_names_that_are_none_are_refused(
    tmp_path: Path, term: dict[str, Any], action: dict[str, Any], message: str
) -> None:
    joints = {"joint_names": JOINTS, "joint_pos_offsets": POSE}
    observed = _term("joint_pos_rel", 4, **{**joints, **term})
    if "shape" in term:
        observed["shape"] = term["shape"]
    acting = {**_action("JointPositionAction", JOINTS), **action}
    model, deploy = _isaac(tmp_path, observed, acting)
    with pytest.raises(ConfigError, match=message):
        draft(model, deploy)


def test_a_last_action_of_a_part_is_not_that_of_all(tmp_path: Path) -> None:
    model, deploy = _isaac(tmp_path, _term("last_action", 2), _action("JointEffortAction", JOINTS))
    with pytest.raises(ConfigError, match="found 2 values; expected 4 of last_action"):
        draft(model, deploy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default_joint_pos": "0.1,x,0.2"}, "default_joint_pos: found '0.1,x,0.2'; expected finite"),
        ({"action_scale": "0.5,abc"}, "action_scale: found '0.5,abc'; expected finite numbers"),
        ({"action_scale": "0.5,0.2"}, "action_scale: found 2 values; expected one number, or 3"),
        ({"observation_history_lengths": "3,x"}, "observation_history_lengths: found '3,x'"),
        ({"observation_history_lengths": "1.9,1,1,2,1,1"}, "found 1.9; expected whole numbers"),
        ({"observation_history_lengths": "-1,1,1,2,1,1"}, "found -1; expected whole numbers"),
        ({"observation_names": '["joint_pos", 3]'}, "observation_names: found .*expected names"),
        ({"joint_names": "hip,hip,knee"}, "joint_names: found 'hip' twice"),
        ({"joint_names": "[" * 100_000}, r"joint_names: found '\[\[.*expected names"),
    ],
)  # fmt: skip
def test_metadata_that_are_broken_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(MJLAB_SIZE, 3, {**MJLAB, **change})[0])
    with pytest.raises(ConfigError, match=message):
        draft(tmp_path / "policy.onnx")


def test_a_scale_without_a_pose_is_written_and_the_pose_is_left_open(tmp_path: Path) -> None:
    metadata = {**MJLAB, "default_joint_pos": ""}
    (tmp_path / "policy.onnx").write_bytes(linear(MJLAB_SIZE, 3, metadata)[0])
    made = draft(tmp_path / "policy.onnx")
    action = yaml.safe_load(made.text)["loops"]["policy"]["policy"]["action"]
    assert action == {"joints": "policy", "scale": [0.548, 0.351, 0.439]}
    assert any("add the `offset` of the action" in words for _, words in made.todos)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"update_rate": "-50"}, "metadata update_rate: found '-50'; expected a number of Hz above 0"),
        ({"obj.robot.joints": '{"joint_names": [1, null]}'}, "input obj.robot.joints.pos: found the names"),
        ({"obj.robot.joints": '{"joint_names": ["a"]}'}, "found 1 names; expected 2"),
        ({"obj.robot.joints": "[" * 100_000}, "metadata obj.robot.joints: found"),
        ({"output.joint_targets.legs": '{"names": [["a"], "b"]}'}, "legs.pos: found the names"),
    ],
)  # fmt: skip
def test_metadata_of_exploy_that_are_broken_are_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    name = "obj.robot.joints.pos"
    outputs = {"output.joint_targets.legs.pos": (name, name)}
    model = adding([(name, FLOAT, [1, 2])], outputs, metadata)
    (tmp_path / "policy.onnx").write_bytes(model)
    with pytest.raises(ConfigError, match=message):
        draft(tmp_path / "policy.onnx")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0, 2, 1]", "[0, 2, 1000000000]", "joint_ids_map: found .*expected the numbers of motors"),
        ("[0, 2, 1]", "[-1, 0, 1]", "joint_ids_map: found .*expected the numbers of motors"),
        ("[0, 2, 1]", "[0, 1, 1]", "joint_ids_map: found .*expected the numbers of motors"),
        ("[0, 2, null]", "[0, 2, 0]", "or a step of 0"),
        ("[-0.5, 1.0]", "[1.0, -0.5]", r"ranges: found \[1, -0.5\]; expected \[lowest, highest\]"),
        ("step_dt: 0.03", "step_dt: 0.03\nstep_dt: 0.02", "'step_dt' a second time; .*each key once"),
        ("step_dt: 0.03", "step_dt: " + "1" * 5000, "found no YAML"),
        ("step_dt: 0.03", "step_dt: 0.03 # \x07", "found no YAML"),
        ("step_dt: 0.03", "step_dt: " + "[" * 9999, "levels of nesting"),
        ("step_dt: 0.03", "a: &a {x: 1}\nb: &b [*a, *a]\nstep_dt: *b", "expected a number"),
    ],
)  # fmt: skip
def test_a_deploy_file_that_is_broken_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    model = _unitree(tmp_path, old, new)
    with pytest.raises(ConfigError, match=message):
        draft(model, tmp_path / "deploy.yaml")


def test_nested_aliases_are_not_written_out(tmp_path: Path) -> None:
    levels = [f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, 30)]
    (tmp_path / "a.yaml").write_text("\n".join(["l0: &l0 x", *levels]))
    with pytest.raises(ConfigError, match="expected a text"):
        read_yaml(tmp_path / "a.yaml")["l29"].text()


# --- what two files say ---


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"action_scale": "0.5,0.5,0.1"}, "the scale of the action for hip is .*0.25.* and .*0.5"),
        (
            {
                "observation_names": "velocity_commands,joint_pos_rel,gait_phase,last_action",
                "observation_history_lengths": "2,3,2,2",
            },
            "number of steps of joint_pos_rel is 2 .* and 3",
        ),
    ],
)
def test_metadata_that_contradict_the_deploy_file_are_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    metadata = {"joint_names": "hip,knee,ankle", "default_joint_pos": "0.1,0.2,0.3", **metadata}
    model = _unitree(tmp_path, "step_dt", "step_dt", metadata)
    with pytest.raises(ConfigError, match=message):
        draft(model, tmp_path / "deploy.yaml")


def test_names_of_joints_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(MJLAB_SIZE, 3, MJLAB)[0])
    with pytest.raises(
        ConfigError, match=r"--joints: found a, b, c; expected none beside .*joint_"
    ):
        draft(tmp_path / "policy.onnx", joints=("a", "b", "c"))


def test_a_group_that_is_not_that_of_the_policy_is_a_guess(tmp_path: Path) -> None:
    term = _term("base_ang_vel", 3)
    model, deploy = _isaac(
        tmp_path, term, _action("JointEffortAction", JOINTS), observations={"critic": [term]}
    )
    assert any("no group 'policy'" in words for _, words in draft(model, deploy).todos)


@pytest.mark.parametrize("name", ["joint_pos_rel", "gait_phase", "last_action"])
def test_a_function_of_ones_own_is_fed_whole(tmp_path: Path, name: str) -> None:
    term = {**_term(name, 4), "full_path": f"my.mdp.{name}"}
    action = {**_action("JointEffortAction", JOINTS), "full_path": "my.mdp.JointEffortAction"}
    model, deploy = _isaac(tmp_path, term, action)
    written(tmp_path, str(model), str(deploy))
    loop = Loop(tmp_path)
    loop.step({name: [1, 2, 3, 4]})
    assert loop.observed()["obs"].tolist() == [1, 2, 3, 4]
    words = " ".join(words for _, words in draft(model, deploy).todos)
    assert f"'my.mdp.{name}' is a function of yours" in words
    assert "my.mdp.JointEffortAction is not Isaac Lab's own" in words
