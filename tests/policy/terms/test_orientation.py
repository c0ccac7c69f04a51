"""Orientations as deployed policies read them: 6d, an anchor, a cube in a hand, sensors that are mounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import Run
from rtloop.config import loads
from rtloop.errors import ConfigError
from tests.policy.models import Runner, passthrough
from tests.policy.terms.harness import composed
from tests.policy.terms.reference import Floats, matrix_of, rotation_of


def _runner(folder: Path, term: dict[str, Any], size: int, *inputs: str) -> Runner:
    section = {"model": "p.onnx", "observation": [term]}
    sizes = {name: 3 if name in ("gyro", "rpy") else 4 for name in inputs}
    return Runner(composed(folder, section, sizes, {"p.onnx": passthrough(size)}))


def _quaternions(seed: int, n: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, 4))


def _yaw(matrix: Floats) -> Floats:
    """The rotation about the vertical by its yaw."""
    return rotation_of(0, 0, float(np.arctan2(matrix[1, 0], matrix[0, 0])))


def test_6d_is_what_isaac_lab_flattens(tmp_path: Path) -> None:
    """There: ``matrix[..., :2].reshape(n, -1)``."""
    runner = _runner(tmp_path, {"rotation": "q", "show": "6d"}, 6, "q")
    for q in _quaternions(0, 20):
        batch = matrix_of(q, "wxyz")[None]
        expected = batch[..., :2].reshape(1, -1)[0]
        np.testing.assert_allclose(runner.step(q), expected, atol=1e-5)


def test_the_anchor_of_beyondmimic_is_seen_from_the_robot_after_the_yaws_of_the_start(
    tmp_path: Path,
) -> None:
    """R_anchor^T A R_reference, where A turns the first yaw of the reference to that of the robot."""
    term = {"rotation": "reference", "relative_to": "anchor", "align_yaw": True, "show": "6d"}
    runner = _runner(tmp_path, term, 6, "reference", "anchor")
    for seed in (1, 2):  # a start, and another after a reset
        align = None
        for reference, anchor in zip(
            _quaternions(seed, 30), _quaternions(seed + 9, 30), strict=True
        ):
            r, a = matrix_of(reference, "wxyz"), matrix_of(anchor, "wxyz")
            align = _yaw(a) @ _yaw(r).T if align is None else align
            expected = (a.T @ align @ r)[:, :2].reshape(-1)
            np.testing.assert_allclose(runner.step(reference, anchor), expected, atol=1e-4)
        runner.reset()


def test_a_robot_that_starts_to_the_north_or_to_the_south_is_aligned(tmp_path: Path) -> None:
    """A half-turn is where the half angle of a quaternion would have no direction."""
    runner = _runner(tmp_path, {"rotation": "q", "align_yaw": True}, 9, "q")
    for q in ([1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, -1]):
        np.testing.assert_allclose(runner.step(q), np.eye(3).reshape(-1), atol=1e-6)
        runner.reset()


def test_a_cube_in_a_hand_is_compared_with_its_goal_in_the_world(tmp_path: Path) -> None:
    """LEAP observes rows 2 and 3 of R(q_cube q_goal*)."""
    term = {
        "rotation": "cube",
        "relative_to": "goal",
        "expressed_in": "world",
        "select": [3, 4, 5, 6, 7, 8],
    }
    runner = _runner(tmp_path, term, 6, "cube", "goal")
    for cube, goal in zip(_quaternions(3, 20), _quaternions(4, 20), strict=True):
        expected = (matrix_of(cube, "wxyz") @ matrix_of(goal, "wxyz").T)[1:].reshape(-1)
        np.testing.assert_allclose(runner.step(cube, goal), expected, atol=1e-5)


def test_an_imu_on_its_back_measures_the_body_it_is_mounted_on(tmp_path: Path) -> None:
    """Roll by pi: its y and z are the body's, turned round."""
    mount = [float(np.pi), 0.0, 0.0]
    gyro = _runner(tmp_path, {"rotated": "gyro", "mount": mount}, 3, "gyro")
    np.testing.assert_allclose(gyro.step([1, 2, 3]), [1, -2, -3], atol=1e-5)
    upright = [0, 1, 0, 0]  # the sensor is upside down, so the body is not
    gravity = _runner(tmp_path, {"projected_gravity": "q", "mount": mount}, 3, "q")
    np.testing.assert_allclose(gravity.step(upright), [0, 0, -1], atol=1e-5)
    euler = _runner(tmp_path, {"euler_xyz": "q", "mount": mount}, 3, "q")
    np.testing.assert_allclose(euler.step(upright), [0, 0, 0], atol=1e-5)


def test_a_velocity_of_the_world_is_seen_from_the_body(tmp_path: Path) -> None:
    """Facing left, what goes forward in the world goes to the right."""
    term = {"rotated": "gyro", "into": "rpy", "order": "rpy"}
    runner = _runner(tmp_path, term, 3, "gyro", "rpy")
    np.testing.assert_allclose(runner.step([1, 0, 0.5], [0, 0, np.pi / 2]), [0, -1, 0.5], atol=1e-5)


def test_a_sensor_without_an_orientation_yet_gives_no_command(tmp_path: Path) -> None:
    term = {"rotation": "q", "relative_to": "other", "align_yaw": True}
    runner = _runner(tmp_path, term, 9, "q", "other")
    assert np.isnan(runner.step([1, 0, 0, 0], [0, 0, 0, 0])).all()


@pytest.mark.parametrize(
    "term",
    ["{projected_gravity: q}", "{euler_xyz: q}", "{rotation: q, select: [0, 4, 8], clip: [-1, 1]}"],
)
def test_a_quaternion_of_zeros_ends_a_loop_in_fault(tmp_path: Path, term: str) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(3))
    text = f"""
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {{q: {{mailbox: [1, 0, 0, 0]}}}}
    policy: {{model: p.onnx, observation: [{term}]}}
    outputs: {{y: {{mailbox: true, size: 3, safe: 0.25}}}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
"""
    run = Run(loads(text, str(tmp_path / "a.yaml")), "test", record=False)
    with run:
        run.loops["a"].write_input("q", [0.0, 0.0, 0.0, 0.0])
        run.wait(10.0)
        assert run.loops["a"].read_output("y")[0].tolist() == [0.25] * 3
    assert run.stop().loops["a"].fault_reason == "non_finite"


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"rotation": "q", "relative_to": "r"}, "relative_to: found 'r'; expected the name of an input"),
        ({"rotation": "q", "relative_to": "gyro"}, "found 'gyro', which has 3; expected 4 values in the order"),
        ({"rotation": "q", "expressed_in": "world"}, "expected `relative_to` beside it"),
        ({"rotated": "q", "mount": [0, 0, 0]}, "found 'q', which has 4; expected 3 values: x, y, z"),
        ({"rotated": "gyro"}, "found neither mount nor into; expected exactly one of mount and into"),
        ({"rotated": "gyro", "mount": [0, 0, 0], "into": "q"}, "found both; expected exactly one"),
        ({"rotated": "gyro", "into": "gyro"}, "found 'gyro', which has 3; expected 4 values"),
    ],
)  # fmt: skip
def test_what_is_no_orientation_is_refused(
    tmp_path: Path, term: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _runner(tmp_path, term, 9, "q", "gyro")
