"""IO descriptors of Isaac Lab, in the form in which its exporter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import Loop, gravity, linear, samples, written

JOINTS = ["LF_HAA", "RF_HAA", "LF_WHEEL", "RF_WHEEL"]
POSE = [0.4000000059604645, -0.4000000059604645, 0.0, 0.0]


def term(name: str, size: int, **more: Any) -> dict[str, Any]:
    overloads = {"clip": None, "flatten_history_dim": True, "history_length": 0, "scale": None}
    overloads |= {key: more.pop(key) for key in list(more) if key in overloads}
    return {
        "dtype": "torch.float32",
        "extras": {"description": "…", "modifiers": None, **more.pop("extras", {})},
        "full_path": f"isaaclab.envs.mdp.observations.{name}",
        "mdp_type": "Observation",
        "name": name,
        "observation_type": "RootState",
        "overloads": overloads,
        "shape": [size],
        **more,
    }


def action(kind: str, joints: list[str], **more: Any) -> dict[str, Any]:
    return {
        "action_type": "JointAction",
        "clip": None,
        "dtype": "torch.float32",
        "extras": {"description": "…"},
        "full_path": f"isaaclab.envs.mdp.actions.joint_actions.{kind}",
        "joint_names": joints,
        "mdp_type": "Action",
        "name": kind,
        "offset": 0.0,
        "scale": 1.0,
        "shape": [len(joints)],
        **more,
    }


def descriptors(
    observations: list[dict[str, Any]], actions: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "actions": actions,
        "articulations": {
            "robot": {
                "default_joint_pos": POSE,
                "default_joint_stiffness": [0.0] * 4,
                "joint_names": JOINTS,
            }
        },
        "observations": {"policy": observations},
        "scene": {"decimation": 4, "dt": 0.02, "physics_dt": 0.005},
    }


TERMS = [
    term("base_lin_vel", 3, scale=2.0, clip=[-1.5, 1.0]),
    term("base_ang_vel", 3, scale=[0.25, 0.5, -0.7], clip=[-1.0, 0.3]),
    term("projected_gravity", 3),
    term("generated_commands", 3),
    term(
        "joint_pos_rel", 2, joint_names=JOINTS[:2], joint_pos_offsets=POSE[:2], history_length=3
    ),
    term("joint_vel_rel", 4, joint_names=JOINTS, joint_vel_offsets=[0.0, 0.0, 0.5, 0.5], scale=0.05),
    term("foot_contact", 2),
    term("last_action", 4),
]  # fmt: skip
ACTIONS = [
    action("JointPositionAction", ["RF_HAA", "LF_HAA"], scale=0.5, offset=[POSE[1], POSE[0]]),
    action(
        "JointVelocityAction",
        JOINTS[2:],
        scale=[[5.0, 6.0], [5.0, 6.0]],  # rows of two environments
        clip=[[-3.0, 3.0], [-float("inf"), 4.0]],
    ),
]
SIZE = 3 + 3 + 3 + 3 + 6 + 4 + 2 + 4


def _files(folder: Path, data: dict[str, Any], size: int = SIZE) -> tuple[Path, Path]:
    model, weight = linear(size, 4)
    (folder / "policy.onnx").write_bytes(model)
    np.save(folder / "weight.npy", weight)
    deploy = folder / "task_IO_descriptors.yaml"
    deploy.write_text(yaml.dump(data))
    return folder / "policy.onnx", deploy


def test_what_is_written_equals_what_was_trained(tmp_path: Path) -> None:
    model, deploy = _files(tmp_path, descriptors(TERMS, ACTIONS))
    text = written(tmp_path, str(model), str(deploy))
    assert "rate_hz: 50  # task_IO_descriptors.yaml: scene.dt" in text
    assert "0.4000000059604645" in text  # every digit
    assert "foot_contact: rtloop has no term 'foot_contact'" in text
    assert "estimator" in text
    # Positions stay where they were measured last; what begins there is the default pose.
    assert text.count("safe: {hold: joint_pos}") == 1
    assert text.count("safe: 0") == 1
    assert "mailbox: [-0.4000000059604645, 0.4000000059604645, 0, 0]" in text

    weight = np.load(tmp_path / "weight.npy")
    loop = Loop(tmp_path)
    assert (
        loop.outputs
        == {
            "joint_pos_target": ["RF_HAA", "LF_HAA"],  # as the policy has them
            "joint_vel_target": JOINTS[2:],
        }
    )
    last = np.zeros(4, np.float32)
    history: list[np.ndarray] = []
    for step in range(30):
        given = samples(loop, step)
        # The order of the loop's input is that of the action; each term has its own.
        assert loop.section.inputs["joint_pos"].element_names == ("RF_HAA", "LF_HAA", *JOINTS[2:])
        joint_pos, joint_vel = given["joint_pos"][[1, 0]], given["joint_vel"][[1, 0, 2, 3]]
        now = joint_pos - np.array(POSE[:2], np.float32)
        history = [*history, now][-3:] if history else [now] * 3
        # Isaac Lab clips, then scales: the same bits come out.
        velocity = np.clip(given["base_lin_vel"], -1.5, 1.0) * np.float32(2.0)
        turn = np.clip(given["base_ang_vel"], np.float32(-1), np.float32(0.3))
        turn = turn * np.array([0.25, 0.5, -0.7], np.float32)
        observation = np.concatenate(
            [
                velocity,
                turn,
                gravity(given["imu_quat_wxyz"]),
                given["command"],
                *history,
                (joint_vel - np.array([0, 0, 0.5, 0.5], np.float32)) * np.float32(0.05),
                given["foot_contact"],
                last,
            ]
        ).astype(np.float32)
        targets = loop.step(given)
        seen = loop.observed()["obs"]
        np.testing.assert_array_equal(seen[:6], observation[:6])
        np.testing.assert_allclose(seen, observation, rtol=1e-5, atol=1e-6)
        last = observation @ weight
        hips = last[:2] * 0.5 + [POSE[1], POSE[0]]
        np.testing.assert_allclose(targets["joint_pos_target"], hips, rtol=1e-4, atol=1e-5)
        wheels = np.clip(last[2:] * [5, 6], [-3, -np.inf], [3, 4])
        np.testing.assert_allclose(targets["joint_vel_target"], wheels, rtol=1e-4, atol=1e-5)


def test_a_relative_action_is_added_to_where_the_joints_are(tmp_path: Path) -> None:
    terms = [term("joint_pos", 4, joint_names=JOINTS)]
    acts = action("RelativeJointPositionAction", JOINTS[::-1], scale=0.1)
    model, deploy = _files(tmp_path, descriptors(terms, [acts]), 4)
    written(tmp_path, str(model), str(deploy), "--rename", "joint_pos=encoders")
    loop = Loop(tmp_path)
    weight = np.load(tmp_path / "weight.npy")
    encoders = loop.section.inputs["encoders"].element_names or ()
    measured = dict(zip(encoders, [1, 2, 3, 4], strict=True))
    command = loop.step({"encoders": [1, 2, 3, 4]})["joint_pos_target"]
    observed = np.array([measured[name] for name in JOINTS], np.float32)
    raw = dict(zip(JOINTS[::-1], observed @ weight, strict=True))
    names = loop.outputs["joint_pos_target"]
    expected = [measured[name] + 0.1 * raw[name] for name in names]
    np.testing.assert_allclose(command, expected, rtol=1e-5, atol=1e-5)


def test_the_joints_of_a_term_that_is_not_known_name_its_elements(tmp_path: Path) -> None:
    terms = [term("joint_torque", 2, joint_names=JOINTS[1::-1])]
    acts = action("JointPositionAction", JOINTS)
    model, deploy = _files(tmp_path, descriptors(terms, [acts]), 2)
    written(tmp_path, str(model), str(deploy))
    loop = Loop(tmp_path)
    assert loop.section.inputs["joint_torque"].element_names == tuple(JOINTS[1::-1])
    loop.step({"joint_torque": [1, 2]})
    assert loop.observed()["obs"].tolist() == [1, 2]


def test_a_term_that_the_exporter_left_out_is_missed(tmp_path: Path) -> None:
    model, deploy = _files(tmp_path, descriptors(TERMS[1:], ACTIONS))
    with pytest.raises(
        ConfigError, match=r"observation of 25 values \(base_ang_vel 3, .*expected 28"
    ):
        draft(model, deploy)


def test_modifiers_are_left_to_the_reader(tmp_path: Path) -> None:
    terms = [*TERMS[:-1], term("last_action", 4, extras={"modifiers": ["DigitalFilter"]})]
    model, deploy = _files(tmp_path, descriptors(terms, ACTIONS))
    assert any("DigitalFilter" in words for _, words in draft(model, deploy).todos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [3, 4]}, r"observations.policy\[0\].shape: found list \[3, 4\]; expected \[n\]"),
        ({"shape": [4]}, "found 4 values; expected 3 of base_lin_vel"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    terms = [{**TERMS[0], **change}, *TERMS[1:]]
    model, deploy = _files(tmp_path, descriptors(terms, ACTIONS))
    with pytest.raises(ConfigError, match=message):
        draft(model, deploy)


def test_an_action_that_is_not_known_is_refused(tmp_path: Path) -> None:
    actions = [*ACTIONS, action("DifferentialInverseKinematicsAction", ["x"])]
    model, deploy = _files(tmp_path, descriptors(TERMS, actions))
    with pytest.raises(ConfigError, match=r"actions\[2\].full_path: found .*expected one of Joint"):
        draft(model, deploy)
