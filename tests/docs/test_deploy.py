"""The tutorials of docs/deploy.md: every command runs, on models as each framework leaves them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rtloop.cli.check import check
from tests.docs.training import Gym, ManagerBased, Model, torch
from tests.policy.importing import test_isaaclab, test_models
from tests.policy.importing.loops import linear
from tests.policy.test_exporters import SNIPPETS
from tests.policy.test_wild import EXAMPLES, SHARED

Scope = dict[str, Any]
"""What an exporter finds around it in training."""

TEXT = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")


def _isaac_lab(folder: Path) -> Scope:
    joints, pose = test_isaaclab.JOINTS, test_isaaclab.POSE
    moving = {"joint_names": joints}
    data = test_isaaclab.descriptors(
        [
            test_isaaclab.term("base_lin_vel", 3),
            test_isaaclab.term("base_ang_vel", 3, scale=0.25),
            test_isaaclab.term("projected_gravity", 3),
            test_isaaclab.term("generated_commands", 3),
            test_isaaclab.term("joint_pos_rel", 4, joint_pos_offsets=pose, **moving),
            test_isaaclab.term("joint_vel_rel", 4, joint_vel_offsets=[0.0] * 4, **moving),
            test_isaaclab.term("last_action", 4),
        ],
        [
            test_isaaclab.action(
                "JointPositionAction",
                joints[::-1],
                scale=0.5,
                offset=pose[::-1],
                clip=[[-1.0, 1.0]] * 4,
            )
        ],
    )
    model, weight = linear(3 + 3 + 3 + 3 + 4 + 4 + 4, 4)
    (folder / "policy.onnx").write_bytes(model)
    (folder / "task_IO_descriptors.yaml").write_text(yaml.dump(data))
    env = ManagerBased("policy", "base_velocity", joints, pose, joints[::-1], 0.5, (-1.0, 1.0))
    env.observe = lambda: [
        env.lin_vel, env.ang_vel * 0.25, env.gravity, env.command, env.joint_pos - env.pose,
        env.joint_vel, env.last,
    ]  # fmt: skip
    return {"env": env, "policy": env.policy(weight)}


def _mjlab(folder: Path) -> Scope:
    model, weight = linear(test_models.SIZE, 3, test_models.MJLAB)
    (folder / "policy.onnx").write_bytes(model)
    joints = ["hip", "knee", "ankle"]
    scale = np.array([0.548, 0.351, 0.439])
    # With the digits that the metadata, of three decimals, have not.
    pose = [0.10043, -0.19958, 0.30031]
    env = ManagerBased("actor", "twist", joints, pose, joints, scale)
    env.observe = lambda: [
        env.ang_vel, env.gravity, env.joint_pos - env.pose, env.joint_vel_before, env.joint_vel,
        env.last, env.command,
    ]  # fmt: skip
    return {"env": env, "policy": env.policy(weight)}


def _sb3(folder: Path) -> Scope:
    """Trained with VecNormalize, whose factor the exported model has inside."""
    model, weight = linear(3, 1)
    (folder / "policy.onnx").write_bytes(model)
    return {"env": Gym(3), "model": Model(weight / 4, normalized_by=4)}


def _holosoma(folder: Path) -> Scope:
    real = SHARED / "holosoma_g1_loco"
    if not (real / "policy.onnx").exists():
        pytest.skip(f"no policy in {real}: set RTLOOP_POLICIES to the folder that holds them")
    for file in (real / "policy.onnx", real / "expected.npz", EXAMPLES / f"{real.name}.yaml"):
        shutil.copy(file, folder)
    return {}


@pytest.mark.parametrize(
    ("title", "left_by", "exporter"),
    [
        ("Isaac Lab", _isaac_lab, "isaaclab"),
        ("mjlab", _mjlab, "mjlab"),
        ("Stable-Baselines3", _sb3, "sb3"),
        ("holosoma", _holosoma, None),
    ],
)
def test_every_command_of_a_tutorial_runs(
    title: str,
    left_by: Callable[[Path], Scope],
    exporter: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cases are those that the exporter for its framework writes, names included."""
    monkeypatch.chdir(tmp_path)
    scope = {"np": np, "torch": torch, **left_by(tmp_path)}
    if exporter is not None:
        exec(SNIPPETS["recorder"] + SNIPPETS[exporter], scope)
        assert (tmp_path / "cases.npz").exists()
    section = TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```(console|yaml)\n(.*?)```", section, re.DOTALL)
    commands = [line for kind, body in blocks if kind == "console" for line in body.splitlines()]
    assert any("policy verify" in command for command in commands)
    for kind, body in blocks:
        if kind == "yaml":
            (tmp_path / body.split("\n", 1)[0].removeprefix("# ")).write_text(body)
            continue
        for command in body.splitlines():
            words = command.split()
            assert words.pop(0) == "rtloop"
            done = subprocess.run(
                [sys.executable, "-m", "rtloop.cli", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
            )
            # 1 of a run: it did not keep its limits, on a machine that is not ours alone.
            allowed = (0, 1) if words[0] == "run" else (0,)
            assert done.returncode in allowed, (command, done.stdout, done.stderr)
            if "verify" in words:
                assert done.stdout.endswith("\nagrees\n"), done.stdout


def test_the_file_of_a_robot_has_nothing_to_warn_of(tmp_path: Path) -> None:
    (body,) = re.findall(r"```yaml\n(.*?)```", TEXT.split("\n## On the robot\n", 1)[1], re.DOTALL)
    (tmp_path / "policy.onnx").write_bytes(linear(9, 3)[0])
    (tmp_path / "robot.yaml").write_text(body)
    found = check(tmp_path / "robot.yaml")
    assert found.errors == []
    (loop,) = found.loops
    assert loop.notes == []
    of_this_host = ("links.legs.device", "realtime", "budget_ms", "deadline_ms")
    assert [w for w in found.warnings if not any(key in str(w) for key in of_this_host)] == []
