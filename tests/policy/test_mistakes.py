"""Deliberate mistakes in the deployment of real policies: each is refused by check, or found by verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtloop.cli.check import check
from rtloop.config import load
from rtloop.policy.verify import Verification, verify
from tests.policy.test_wild import TOLERANCE, folder_of

Edit = Callable[[dict[str, Any]], object]
"""Changes the policy section of a loop in place."""


def _mistaken(name: str, edit: Edit, tmp_path: Path) -> tuple[Path, str]:
    folder = folder_of(name, tmp_path)
    path = folder / f"{name}.yaml"
    before = json.dumps(yaml.safe_load(path.read_text()))
    values = json.loads(before)  # without anchors: each place is changed alone
    ((loop, section),) = values["loops"].items()
    edit(section["policy"])
    assert json.dumps(values) != before
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path, loop


def _verified(name: str, edit: Edit, tmp_path: Path) -> Verification:
    path, loop = _mistaken(name, edit, tmp_path)
    return verify(load(path), loop, tmp_path / "expected.npz", TOLERANCE.get(name, 1e-3))


def _terms(policy: dict[str, Any]) -> list[dict[str, Any]]:
    if "groups" in policy:
        return [term for terms in policy["groups"].values() for term in terms]
    observations = policy.get("observations", {"": policy.get("observation", [])})
    return [term for terms in observations.values() for term in terms]


def _term(policy: dict[str, Any], kind: str, name: object = True) -> dict[str, Any]:
    return next(term for term in _terms(policy) if term.get(kind) == name)


def _histories(policy: dict[str, Any], history: object) -> None:
    for term in _terms(policy):
        term["history"] = history


def _by_index(policy: dict[str, Any], name: str, inverted: bool) -> None:
    """The joints of a term as a list of indices, or of the other way round."""
    motors = yaml.safe_load(MOTORS)
    order = [motors.index(joint) for joint in policy["joints"]]
    if inverted:
        order = [order.index(index) for index in range(len(order))]
    term = _term(policy, "input", name)
    del term["joints"]
    term["select"] = order
    term["minus"] = 0.0


MOTORS = """[left_hip_pitch, left_hip_roll, left_hip_yaw, left_knee, left_ankle_pitch, left_ankle_roll,
  right_hip_pitch, right_hip_roll, right_hip_yaw, right_knee, right_ankle_pitch, right_ankle_roll, waist_yaw,
  waist_roll, waist_pitch, left_shoulder_pitch, left_shoulder_roll, left_shoulder_yaw, left_elbow,
  left_wrist_roll, left_wrist_pitch, left_wrist_yaw, right_shoulder_pitch, right_shoulder_roll,
  right_shoulder_yaw, right_elbow, right_wrist_roll, right_wrist_pitch, right_wrist_yaw]"""

#: What was done wrong: the policy, the edit, where it shows first, what the hint says.
FOUND: dict[str, tuple[str, Edit, str, str]] = {
    "history reversed": (
        "unitree_g1_velocity",
        lambda p: _histories(p, {"steps": [0, 1, 2, 3, 4]}),
        "obs_policy.obs: base_ang_vel.0",
        "the history is in reverse order",
    ),
    "frames reversed": (
        "tron1_pointfoot",
        lambda p: p["models"]["encoder"]["observation"][0].update(
            history={"steps": list(range(10))}
        ),
        "obs_encoder.mlp_input: base_ang_vel.0",
        "the history is in reverse order",
    ),
    "history is one step old": (
        "tron1_pointfoot",
        lambda p: p["models"]["encoder"]["observation"][0].update(
            history={"steps": list(range(10, 0, -1))}
        ),
        "obs_encoder.mlp_input: base_ang_vel.0",
        "here it is one step old",
    ),
    "warm-up with zeros": (
        "unitree_g1_velocity",
        lambda p: _histories(p, {"steps": [4, 3, 2, 1, 0], "start": "zero"}),
        "obs_policy.obs: base_ang_vel.0, 4 steps ago",
        "`start: first`",
    ),
    "warm-up with the first": (
        "falcon_g1",
        lambda p: p["observation"][0].update(history=5),
        "obs_policy.actor_obs: base_ang_vel.0, 4 steps ago",
        "`start: zero`",
    ),
    "map of positions inverted": (
        "unitree_g1_velocity",
        lambda p: _by_index(p, "motor_vel", inverted=True),
        "obs_policy.obs: motor_vel.",
        "the elements are in another order",
    ),
    "map of the action inverted": (
        "unitree_g1_velocity",
        lambda p: p["action"].update(
            joints=yaml.safe_load(MOTORS), offset=_pose_of_the_policy(p)
        ),
        "targets: motors.",
        "look at `action`: the elements are in another order",
    ),
    "gravity not inverted": (
        "go1_joystick",
        lambda p: _term(p, "projected_gravity", "imu_quat_wxyz").update(scale=-1),
        "obs_policy.obs: projected_gravity.",
        "the other sign is expected",
    ),
    "xyzw for wxyz": (
        "go1_joystick",
        lambda p: _term(p, "projected_gravity", "imu_quat_wxyz").update(order="xyzw"),
        "obs_policy.obs: projected_gravity.",
        "`order: wxyz` fits",
    ),
    "scaled last action": (
        "go1_joystick",
        lambda p: _term(p, "last_action").update(scale=0.5),
        "obs_policy.obs: last_action.",
        "last_action: 2 times as much is expected",
    ),
    "scale missing": (
        "holosoma_g1_loco",
        lambda p: _term(p, "input", "base_ang_vel").pop("scale"),
        "obs_policy.actor_obs: base_ang_vel.0",
        "base_ang_vel: 0.25 times as much is expected",
    ),
    "default pose missing": (
        "go1_joystick",
        lambda p: _term(p, "input", "joint_pos").pop("minus"),
        "obs_policy.obs: joint_pos.FR_hip",
        "moved by joint_pos.FR_hip -0.1, joint_pos.FR_thigh -0.9",
    ),
    "wrap missing": (
        "b2w_lstm",
        lambda p: _term(p, "input", "joint_states_pos").pop("wrap"),
        "obs_policy.obs: joint_states_pos.",
        "whole turns of 2 pi",
    ),
    "phase one step late": (
        "tron1_pointfoot",
        lambda p: [t["phase"].update(first_step=0) for t in _terms(p) if "phase" in t],
        "obs_encoder.mlp_input: phase.sin_0",
        "one step old",
    ),
    "state not fed": (
        "b2w_lstm",
        lambda p: p.update(constants={"h_in": 0, "c_in": 0}),
        "raw: FL_hip",
        "`state` not fed back",
    ),
    "subset shifted": (
        "silero_vad",
        lambda p: p["observations"]["input"][0].update(select=list(range(447, 511))),
        "obs_policy.input: audio.",
        "shifted by 1",
    ),
    "action not scaled": (
        "go1_joystick",
        lambda p: p["action"].pop("scale"),
        "targets: targets.FR_hip",
        "look at `action`: scaled by 0.5",
    ),
    "clip of the action missing": (
        "px4_x500_hover",
        lambda p: p["actions"][0].pop("clip"),
        "targets: rates.",
        "look at `action`: expected is clipped",
    ),
}  # fmt: skip


def _pose_of_the_policy(policy: dict[str, Any]) -> list[float]:
    return list(policy["default_joint_pos"])


@pytest.mark.parametrize("mistake", FOUND)
def test_verify_finds_it_and_says_what_it_looks_like(mistake: str, tmp_path: Path) -> None:
    name, edit, first, hint = FOUND[mistake]
    found = _verified(name, edit, tmp_path)
    assert not found.agrees
    assert found.first is not None
    assert f"{found.first.array}: {found.first.element}".startswith(first)
    assert any(hint in told for told in found.hints), found.hints


#: What names and metadata tell apart: the policy, the edit, where check refuses it, what it says.
REFUSED: dict[str, tuple[str, Edit, str, str]] = {
    "joints in another order than the model's metadata": (
        "holosoma_g1_loco",
        lambda p: p.update(joints=yaml.safe_load(HOLOSOMA_INVERTED)),
        "policy.joints",
        "metadata",
    ),
    "a joint that the robot does not have": (
        "go1_joystick",
        lambda p: p["joints"].__setitem__(0, "FR_hipp"),
        "policy.observation[3].joints",
        "nearest 'FR_hip'",
    ),
    "a joint twice": (
        "go1_joystick",
        lambda p: p["joints"].__setitem__(0, "FL_hip"),
        "policy.joints[3]",
        "each joint once",
    ),
    "joints in the order of the sensor": (
        "unitree_g1_velocity",
        lambda p: _term(p, "input", "motor_vel").pop("joints"),
        "policy.observation[4].input",
        "another order",
    ),
    "a subset beyond the last element": (
        "go1_joystick",
        lambda p: _shifted_beyond(_term(p, "input", "joint_vel")),
        "policy.observation[4].select[11]",
        "an index below 12",
    ),
    "a pose of too few joints": (
        "go1_joystick",
        lambda p: p["default_joint_pos"].pop(),
        "policy.default_joint_pos",
        "12",
    ),
    "a missing term": (
        "go1_joystick",
        lambda p: p["observation"].pop(),
        "policy.observation",
        "48",
    ),
    "another model": (
        "go1_joystick",
        lambda p: p.update(sha256="0" * 64),
        "policy.sha256",
        "exchanged",
    ),
}  # fmt: skip

HOLOSOMA_INVERTED: str = (
    "[" + ", ".join(f"{j}_joint" for j in reversed(yaml.safe_load(MOTORS))) + "]"
)


def _shifted_beyond(term: dict[str, Any]) -> None:
    del term["joints"]
    term["select"] = list(range(1, 13))


@pytest.mark.parametrize("mistake", REFUSED)
def test_check_refuses_it(mistake: str, tmp_path: Path) -> None:
    name, edit, key, told = REFUSED[mistake]
    path, loop = _mistaken(name, edit, tmp_path)
    found = check(path)
    assert found.exit_code == 2
    problems = [f for error in found.errors for f in error.findings]
    assert any(
        p.place.key.startswith(f"loops.{loop}.{key}") and told in p.message for p in problems
    ), problems
