"""Terminations: when their flags are true, what is told of them, and what a loop does then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.config import load, loads
from rtloop.errors import ConfigError
from rtloop.policy import ComposedGraph
from rtloop.policy.runner import terminated_by
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from tests.policy.models import Runner, passthrough
from tests.policy.test_actions import Inputs, of_actions
from tests.running import edited, firmware, write_config


def terminated(inputs: Inputs, terminations: dict[str, Any], **keys: Any) -> ComposedGraph:
    """A policy of one value, of a loop that ends by these."""
    return of_actions(passthrough(1), inputs, {}, terminations=terminations, **keys)


def quaternion(roll: float, pitch: float, yaw: float) -> list[float]:
    """wxyz of rotations about x, then y, then z of the world."""
    cr, cp, cy = np.cos([roll / 2, pitch / 2, yaw / 2])
    sr, sp, sy = np.sin([roll / 2, pitch / 2, yaw / 2])
    return [
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    ]


@pytest.mark.parametrize("order", ["wxyz", "xyzw", "rpy"])
@pytest.mark.parametrize("limit", [0.3, 1.0, 2.0])
def test_a_bad_orientation_is_a_tilt_beyond_the_angle_whatever_the_heading(
    order: str, limit: float
) -> None:
    section = {"limit_angle": limit, "orientation": "imu", "order": order}
    inputs: Inputs = {"seen": 1, "imu": 3 if order == "rpy" else 4}
    graph = terminated(inputs, {"bad_orientation": section})
    runner = Runner(graph)
    random = np.random.default_rng(2)
    seen = []
    for _ in range(200):
        roll, yaw = random.uniform(-np.pi, np.pi, 2)
        pitch = random.uniform(-1.5, 1.5)
        tilt = np.arccos(np.cos(roll) * np.cos(pitch))
        if abs(tilt - limit) < 1e-3:
            continue
        w, x, y, z = 2.0 * np.array(quaternion(roll, pitch, yaw))
        sample = {"wxyz": [w, x, y, z], "xyzw": [x, y, z, w], "rpy": [roll, pitch, yaw]}[order]
        runner.step([0.0], sample)
        told = terminated_by(graph, runner.core)
        assert bool(told) == (tilt > limit), tilt
        seen.append(bool(told))
    assert 0 < sum(seen) < len(seen)
    assert graph.termination_sentences == (
        f"bad_orientation: the body is tilted by more than {limit:g} rad",
    )


def test_the_orientation_is_that_of_the_body_where_the_sensor_is_mounted_askew() -> None:
    mount = [0.0, 1.2, 0.0]
    section = {"limit_angle": 0.5, "orientation": "imu", "mount": mount}
    graph = terminated({"seen": 1, "imu": 4}, {"bad_orientation": section})
    runner = Runner(graph)
    runner.step([0.0], quaternion(0.0, 1.2, 0.0))  # the body is upright, its sensor is not
    assert terminated_by(graph, runner.core) == []
    runner.step([0.0], [1.0, 0.0, 0.0, 0.0])
    assert terminated_by(graph, runner.core) != []


def test_a_joint_out_of_its_range_is_found_by_its_name() -> None:
    section = {
        "position": "q",
        "joints": "policy",
        "min": [-1.0, -2.0, -3.0],
        "max": [1.0, 2.0, 0.5],
    }
    inputs: Inputs = {"seen": 1, "q": ("knee", "tail", "foot", "hip")}
    joints = ("hip", "knee", "foot")
    graph = terminated(inputs, {"joint_pos_out_of_limit": section}, joints=joints)
    runner = Runner(graph)
    random = np.random.default_rng(4)
    counts = dict.fromkeys(joints, 0)
    for _ in range(100):
        q = (1.5 * random.normal(size=4)).astype(np.float32)
        by_name = {"hip": q[3], "knee": q[0], "foot": q[2]}
        limits = zip(section["min"], section["max"], strict=True)
        ranges = dict(zip(joints, limits, strict=True))
        out = [
            f"joint_pos_out_of_limit: '{name}' is outside {low:g} to {high:g}"
            for name, (low, high) in ranges.items()
            if not low <= by_name[name] <= high
        ]
        runner.step([0.0], q)
        assert terminated_by(graph, runner.core) == out
        for name in joints:
            counts[name] += any(f"'{name}'" in told for told in out)
    assert all(5 < count < 95 for count in counts.values()), counts


def test_elements_without_names_are_told_by_their_index() -> None:
    section = {"position": "q", "min": -1.0, "max": [1.0, 2.0]}
    graph = terminated({"seen": 1, "q": 2}, {"joint_pos_out_of_limit": section})
    runner = Runner(graph)
    runner.step([0.0], [1.0, 2.5])
    (told,) = terminated_by(graph, runner.core)
    assert told == "joint_pos_out_of_limit: element 1 of 'q' is outside -1 to 2"
    runner.step([0.0], [-1.0, 2.0])
    assert terminated_by(graph, runner.core) == [], "the bounds themselves go on"


def test_several_terminations_are_told_apart() -> None:
    both = {
        "bad_orientation": {"limit_angle": 0.5, "orientation": "imu", "order": "rpy"},
        "joint_pos_out_of_limit": {"position": "q", "min": -1, "max": 1},
    }
    graph = terminated({"seen": 1, "imu": 3, "q": 2}, both)
    runner = Runner(graph)

    def told(imu: list[float], q: list[float]) -> list[str]:
        runner.step([0.0], imu, q)
        return [text.partition(":")[0] for text in terminated_by(graph, runner.core)]

    assert told([0, 0, 3], [0, 0]) == []
    assert told([0.6, 0, 0], [0, 0]) == ["bad_orientation"]
    assert told([0, 0, 0], [0, 3]) == ["joint_pos_out_of_limit"]
    assert told([0.6, 0, 0], [2, 2]) == ["bad_orientation", *["joint_pos_out_of_limit"] * 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_termination_but_no_command_either(value: float) -> None:
    section = {"limit_angle": 1.0, "orientation": "imu"}
    graph = terminated({"seen": 1, "imu": 4}, {"bad_orientation": section})
    runner = Runner(graph)
    command = runner.core.run([np.zeros(1, np.float32), np.array([1, 0, 0, value], np.float32)])
    assert np.isnan(command).all()
    assert terminated_by(graph, runner.core) == []


def test_a_graph_without_any_has_none() -> None:
    graph = of_actions(passthrough(1), {"seen": 1}, {})
    assert (graph.terminations, graph.termination_sentences) == ("", ())
    assert terminated_by(graph, Runner(graph).core) == []


# --- configuration ---

TEXT = """\
loops:
  a:
    class: soft
    rate_hz: 50
    inputs: {{imu: {{mailbox: [1, 0, 0, 0]}}, q: {{mailbox: [0, 0], names: [hip, knee]}}}}
    policy:
      model: policy.onnx
      terminations: {terminations}
      observation: [{{input: q}}]
    outputs: {{all: {{mailbox: true, size: 2, safe: 0}}}}
"""


@pytest.mark.parametrize(
    ("terminations", "message"),
    [
        (
            "{bad_orientation: {limit_angle: 1, orientation: imo}}",
            "8:69: loops.a.policy.terminations.bad_orientation.orientation: found 'imo'; expected the name of "
            "an input or group: imu or q; nearest 'imu'",
        ),
        (
            "{bad_orientation: {limit_angle: 1, orientation: imu, order: rpy}}",
            "bad_orientation.orientation: found 'imu', which has 4; expected 3 values",
        ),
        ("{bad_orientation: {limit_angle: 4, orientation: imu}}", "limit_angle: found 4; expected"),
        ("{bad_orientation: {orientation: imu}}", "bad_orientation.limit_angle: found nothing"),
        ("{bad_orientatoin: {}}", "terminations.bad_orientatoin: found an unknown key"),
        (
            "{joint_pos_out_of_limit: {position: p, min: 0, max: 1}}",
            "joint_pos_out_of_limit.position: found 'p'; expected the name of an input or group",
        ),
        (
            "{joint_pos_out_of_limit: {position: q, min: [0, 0, 0], max: 1}}",
            "joint_pos_out_of_limit.min: found a list of 3; expected 2 as in 'q'",
        ),
        (
            "{joint_pos_out_of_limit: {position: q, joints: [kne], min: 0, max: 1}}",
            "expected 'q' with elements 'kne'; it has hip or knee; nearest 'knee'",
        ),
        (
            "{joint_pos_out_of_limit: {position: imu, joints: [hip], min: 0, max: 1}}",
            "expected elements with names, which those of 'imu' have not",
        ),
        (
            "{joint_pos_out_of_limit: {position: q, min: [0, 2], max: 1}}",
            "joint_pos_out_of_limit.min: found 2 and 1; expected min < max",
        ),
    ],
)
def test_wrong_terminations_are_refused_at_their_place(
    terminations: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "policy.onnx").write_bytes(passthrough(2))
    with pytest.raises(ConfigError) as caught:
        loads(TEXT.format(terminations=terminations), str(tmp_path / "a.yaml"))
    assert message in str(caught.value)


# --- in a run ---

BODY = """\
recording: {{directory: {directory}}}
loops:
  body:
    class: soft
    rate_hz: 100
    inputs:
      imu: {{mailbox: [1, 0, 0, 0]}}
    policy:
      model: policy.onnx
      observation: [{{input: imu, select: [0]}}]
      terminations: {{bad_orientation: {{limit_angle: 0.8, orientation: imu}}}}
    outputs: {{motor: {{mailbox: true, size: 1, safe: -5}}}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1}}
"""


def test_a_body_that_tips_over_ends_its_loop_and_the_next_activation_begins_anew(
    tmp_path: Path,
) -> None:
    (tmp_path / "policy.onnx").write_bytes(passthrough(1))
    config = loads(BODY.format(directory=tmp_path / "runs"), str(tmp_path / "a.yaml"))
    with Run(config, "tips_over") as run:
        body = run.loops["body"]
        for tilt, state in ((0.6, "active"), (0.0, "active"), (1.0, "fault")):
            body.write_input("imu", quaternion(tilt, 0.0, 1.0))
            run.wait(0.3)
            assert body.status()["state"] == state
        assert body.read_output("motor")[0].tolist() == [-5.0]
    summary = run.stop()
    assert exit_code(summary) == 1
    assert summary.loops["body"].fault_reason == "terminated"
    (problem,) = summary.problems
    assert problem == (
        "loop 'body' is in FAULT: a termination of the policy was true; the safe command was sent. Look "
        "at the inputs in the recording, then activate the loop anew. It was bad_orientation: the body "
        "is tilted by more than 0.8 rad"
    )
    assert read_recording(run.recording).loops["body"].summary.fault_reason == "terminated"

    with run:
        run.loops["body"].write_input("imu", [1.0, 0.0, 0.0, 0.0])
        run.wait(0.2)
    assert run.stop().loops["body"].fault_reason == "none"


def test_a_pole_that_falls_ends_with_its_device_safe(tmp_path: Path) -> None:
    """The firmware's cart-pole, which nobody balances."""
    with firmware(tmp_path, "--angle-rad", "0.1") as device:
        range_of_angle = "{position: cart, joints: [pole_angle], min: -0.6, max: 0.6}"
        config = edited(
            write_config(tmp_path, device.link),
            {
                "action: {scale: 10.0, clip: [-10, 10]}": "action: {scale: 0.0}\n"
                f"      terminations: {{joint_pos_out_of_limit: {range_of_angle}}}"
            },
        )
        run = Run(load(config), "falls")
        with run:
            run.wait(20)
        summary = run.stop()
        told = device.stop()
    assert summary.stopped_by == "fault"
    assert summary.loops["balance"].fault_reason == "terminated"
    (problem,) = summary.problems
    assert "joint_pos_out_of_limit: 'pole_angle' is outside -0.6 to 0.6" in problem
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    angles = read_recording(run.recording).loops["balance"].records
    assert len(angles) == summary.loops["balance"].executed
