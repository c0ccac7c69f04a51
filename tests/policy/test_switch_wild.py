"""Three policies of one robot, from three makers, in one loop: each does what it did alone, and hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rtloop import core
from rtloop.build import build
from rtloop.config import Config, load
from rtloop.policy.verify import verify
from tests.policy.test_wild import EXAMPLES, TOLERANCE, folder_of

MAKERS = {"stand": "falcon_g1", "walk": "unitree_g1_velocity", "run": "holosoma_g1_loco"}
RENAMED = {"motor_pos": "joint_pos", "motor_vel": "joint_vel", "motors": "targets"}


def common(value: Any, joints: set[str]) -> Any:
    """The words of one maker in those of all: inputs and outputs, and joints without their ``_joint``."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): common(inner, joints) for key, inner in value.items()}
    if isinstance(value, list):
        return [common(inner, joints) for inner in value]
    if isinstance(value, str):
        return f"{value}_joint" if value in joints else RENAMED.get(value, value)
    return value


@pytest.fixture
def config(tmp_path: Path) -> Config:
    loops = {}
    for name, maker in MAKERS.items():
        (tmp_path / name).mkdir()
        folder_of(maker, tmp_path / name)
        text = (EXAMPLES / f"{maker}.yaml").read_text()
        (loops[name],) = yaml.safe_load(text)["loops"].values()
    joints = set(loops["stand"]["inputs"]["joint_pos"]["names"])
    loops = {name: common(loop, joints) for name, loop in loops.items()}
    for name, loop in loops.items():
        loop["policy"]["model"] = f"{name}/policy.onnx"
    robot = {
        **loops["stand"],
        "inputs": {**loops["stand"]["inputs"], **loops["run"]["inputs"], "mode": {"mailbox": [0]}},
        "policies": {name: loop["policy"] for name, loop in loops.items()},
        "switch": {"input": "mode", "blend_s": 0.2},
    }
    del robot["policy"]
    (tmp_path / "g1.yaml").write_text(yaml.safe_dump({"loops": {"g1": robot}}, sort_keys=False))
    return load(tmp_path / "g1.yaml")


@pytest.mark.parametrize("name", MAKERS)
def test_each_of_them_does_what_it_did_alone(config: Config, tmp_path: Path, name: str) -> None:
    """Its cases do not know the inputs of the others, and call some by names of their own."""
    cases = tmp_path / "cases.npz"
    with np.load(tmp_path / name / "expected.npz") as arrays:
        renamed = {f"in_{old}": f"in_{new}" for old, new in RENAMED.items()}
        np.savez(cases, **{renamed.get(key, key): values for key, values in arrays.items()})
    alone = config.each_policy("g1")[name]
    found = verify(alone, "g1", cases, TOLERANCE.get(MAKERS[name], 1e-4))
    assert found.first is None, found.as_dict()
    assert {array.name.partition("_")[0] for array in found.compared} == {"obs", "raw", "targets"}


def test_one_takes_over_from_another_as_if_it_had_just_been_started(config: Config) -> None:
    """And within its blend, of ten cycles, from what stood to what it commands."""
    parts = build(config, "g1")
    switch, policies = parts.runner, {n: p.runner for n, p in parts.policies.items()}
    assert isinstance(switch, core.Switch)
    sizes = [len(port.inputs) for port in parts.input_ports.values()]
    chance = np.random.default_rng(4)
    stood, cycle = np.zeros(29, np.float32), 0
    rows: dict[str, list[Any]] = {}
    order = [*MAKERS, "stand", "run"]
    for name in order:
        rows[name] = []
        for _ in range(15):
            row = [chance.normal(0, 0.1, n).astype(np.float32) for n in sizes]
            row[list(parts.input_ports).index("imu_quat_wxyz")][:] = (1, 0, 0, 0)
            row[-1][:] = list(MAKERS).index(name)
            stood = switch.run(row, True, stood, cycle)
            rows[name].append((row, stood))
            cycle += 1
    assert switch.acting == list(MAKERS).index(order[-1])
    for name in ("stand", "run"):  # the last time that they acted
        fresh = policies[name]
        fresh.reset()
        alone = [fresh.run(row, True, None, k) for k, (row, _) in enumerate(rows[name])]
        for k in range(9, 15):
            np.testing.assert_array_equal(alone[k], rows[name][k][1])
        assert (alone[0] != rows[name][0][1]).any(), "blended"
    parts.close()
