"""The example of docs/actions.md is one that runs, and its order is the order of the graph."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import numpy as np

from rtloop.assembly import assemble
from rtloop.config import loads
from rtloop.policy.composed import NodeStep
from rtloop.policy.opened import opened
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.terminations import TerminationsConfig
from rtloop.ports.signal import Signal
from tests.policy.models import linear

TEXT = (Path(__file__).parents[2] / "docs" / "actions.md").read_text(encoding="utf-8")
EXAMPLE, EVERY, CONTROLLED, GROUP = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
LOOP = """\
loops:
  a:
    class: soft
    rate_hz: 50
    inputs:
      joint_pos: {mailbox: [0, 0, 0], names: &robot [foot, hip, knee]}
      joint_vel: {mailbox: [0, 0, 0], names: *robot}
      imu_quat: {mailbox: [1, 0, 0, 0]}
      robot: {mailbox: [0, 0, 0], names: [knee_position, hip_position, foot_position]}
    outputs: {targets: {mailbox: true, names: *robot, safe: 0}}
"""


def test_the_examples_run(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(np.ones((6, 3), np.float32)))
    policy = EXAMPLE + indent(GROUP, "  ").replace("joint_pos:", "of_the_robot:")
    text = LOOP + indent(policy, "    ")
    for position in ("position: joint_pos, velocity", "position: of_the_robot, velocity"):
        changed = text.replace("position: joint_pos, velocity", position)
        config = loads(changed, str(tmp_path / "a.yaml"))
        loop = config.loops["a"]
        inputs = {
            key: [
                Signal(name)
                for name in section.element_names or map(str, range(section.element_count or 0))
            ]
            for key, section in loop.inputs.items()
        }
        outputs = {"targets": [Signal(name) for name in ("foot", "hip", "knee")]}
        graph = assemble(config, "a", inputs, outputs).graph
        steps = [step.output for step in graph.steps if isinstance(step, NodeStep)]
        marks = ["awaited", "smoothed", "faded", "mul", "add", "started", "min", "torque_limited"]
        order = [steps.index(f"rtloop/{mark}") for mark in marks]
        assert order == sorted(order)
        assert len(graph.termination_sentences) == 4


def test_the_policy_of_the_example_runs_at_50_hz(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(np.ones((1, 1), np.float32)))
    rest = "    class: soft\n    inputs: {a: {mailbox: [0]}}\n    outputs: {u: {mailbox: true, safe: [0]}}\n"
    text = (
        EVERY.replace("    policy:\n", f"{rest}    policy:\n") + "      observation: [{input: a}]\n"
    )
    loop = loads(text, str(tmp_path / "a.yaml")).loops["walk"]
    assert 1 / loop.policy_period_s == 50
    assert loop.policy.between == "interpolate"


def test_the_controllers_of_the_example_command_within_their_limit(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(np.full((3, 3), 100, np.float32)))
    rest = (
        "    class: soft\n    inputs:\n      joint_pos: {mailbox: [0, 0, 0], names: &robot [foot, hip, knee]}\n"
        "      joint_vel: {mailbox: [0, 0, 0], names: *robot}\n"
        "    outputs: {torques: {mailbox: true, names: *robot, safe: 0}}\n"
    )
    text = CONTROLLED.replace("    policy:\n", f"{rest}    policy:\n")
    text += "      observation: [{input: joint_pos, joints: policy}]\n"
    policy = opened(loads(text, str(tmp_path / "a.yaml")), "walk")
    graph = policy.assembled.runner
    one = np.ones(3, np.float32)
    torques = [graph.run([one, 0 * one], True, None, cycle) for cycle in range(50)]
    np.testing.assert_allclose(torques[-1], [25, 25, 25], rtol=1e-5)
    assert all((np.abs(torque) <= 25 + 1e-4).all() for torque in torques)


def test_every_key_is_explained() -> None:
    keys = {f.alias or name for name, f in ActionTerm.model_fields.items()}
    keys |= set(TerminationsConfig.model_fields)
    elsewhere = {"output", "select", "to", "named"}  # docs/policy.md: where values go
    assert all(f"`{key}`" in TEXT or f"`{key}:" in TEXT for key in keys - elsewhere)
