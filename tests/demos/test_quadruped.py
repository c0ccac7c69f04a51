"""The quadruped's plant, what its training sees, and the loop file that says the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from rtloop.config import load
from rtloop.demos.quadruped.live import LIVE, live_table
from rtloop.policy.verify import verify
from tests.demos import needs_mujoco

DEMO = Path(__file__).parents[2] / "rtloop" / "demos" / "quadruped"
POLICY = DEMO / "policy.onnx"


@needs_mujoco
def test_the_loop_file_observes_and_commands_what_training_did(tmp_path: Path) -> None:
    from rtloop.demos.quadruped.score import write_cases

    write_cases(POLICY, tmp_path / "cases.npz")
    config = load(DEMO / "quadruped.yaml")
    found = verify(config, "walk", tmp_path / "cases.npz", 1e-3)
    assert found.first is None, found.as_dict()
    assert {array.name.partition("_")[0] for array in found.compared} >= {"obs", "raw", "targets"}
    assert not found.ignored
    assert found.steps == 200


def test_the_score_is_that_of_the_committed_policy_and_meets_the_bar() -> None:
    told = json.loads((DEMO / "score.json").read_text(encoding="utf-8"))
    assert told["sha256"] == hashlib.sha256(POLICY.read_bytes()).hexdigest()
    score = told["score"]
    for name in ("all in time", "firm, every 4th missed", "firm, every 2nd missed"):
        assert score[name]["falls"] == 0
        assert score[name]["distance_m"] > 0.8 * 0.5 * score[name]["duration_s"]
    assert abs(score["firm, all missed"]["distance_m"]) < 0.5


def test_the_live_walks_are_those_of_the_committed_policy_with_their_conditions() -> None:
    told = json.loads(LIVE.read_text(encoding="utf-8"))
    assert told["policy_sha256"] == hashlib.sha256(POLICY.read_bytes()).hexdigest()
    table = "\n".join(live_table())
    for walk in told["walks"]:
        assert walk["elapsed"] == walk["executed"] + walk["skipped"]
        assert f"| {walk['name']} |" in table
    for condition in ("cpu", "kernel", "load before", "stolen by the hypervisor"):
        assert told["machine"][condition] in table


def test_a_fall_and_losses_are_in_the_table_of_live_walks(tmp_path: Path) -> None:
    told = json.loads(LIVE.read_text(encoding="utf-8"))
    told["walks"] = [{**told["walks"][0], "fell_at_s": 12.34, "missed": 5, "executed": 100}]
    told["denied"] = ["scheduler"]
    path = tmp_path / "live.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    table = "\n".join(live_table(path))
    assert "| after 12.3 s |" in table
    assert "| 5 (5 %) |" in table
    assert "denied: scheduler" in table


def test_a_walk_that_ended_early_says_why_below_its_table(tmp_path: Path) -> None:
    told = json.loads(LIVE.read_text(encoding="utf-8"))
    whole = {**told["walks"][0], "stopped": ""}
    cut = {**whole, "name": "every 2nd", "seconds": 11.2, "stopped": "its board latched SAFE"}
    path = tmp_path / "live.json"
    path.write_text(json.dumps({**told, "walks": [whole, cut], "missed_targets": []}))
    table = "\n".join(live_table(path))
    assert "\n- every 2nd, after 11 s: its board latched SAFE" in table
    assert table.count("\n- ") == 1
    assert "Targets that were missed" not in table
    path.write_text(json.dumps({**told, "walks": [whole], "missed_targets": ["ahead: 6.5 m"]}))
    table = "\n".join(live_table(path))
    assert "Ended before their time" not in table
    assert "Targets that were missed: ahead: 6.5 m." in table


def test_the_policy_is_small_and_of_fixed_shape() -> None:
    assert POLICY.stat().st_size < 50_000
    model = onnx.load(POLICY)
    assert max(item.version for item in model.opset_import) <= 17
    for value, shape in ((model.graph.input, [1, 47]), (model.graph.output, [1, 12])):
        assert [d.dim_value for d in value[0].type.tensor_type.shape.dim] == shape


def test_nothing_of_mujoco_is_loaded_before_it_is_asked_for() -> None:
    program = "import sys, rtloop.cli.main, rtloop.demos.demo; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@needs_mujoco
class TestPlant:
    def test_it_stands_in_its_default_pose(self) -> None:
        from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, STANDING_HEIGHT_M, Plant

        plant = Plant()
        plant.step_targets(DEFAULT_JOINT_POS, 1000)
        assert not plant.has_fallen()
        assert plant.qpos[2] == pytest.approx(STANDING_HEIGHT_M, abs=0.02)
        assert np.abs(plant.qvel).max() < 0.01

    def test_without_torque_it_falls(self) -> None:
        from rtloop.demos.quadruped.plant import Plant

        plant = Plant()
        plant.step(np.zeros(12), 1000)
        assert plant.has_fallen()

    @pytest.mark.parametrize("strength", [1.0, 0.8])
    def test_targets_are_torques_of_a_controller_in_each_tick(self, strength: float) -> None:
        """What a loop computes from exact samples, the plant computes for training, to rounding."""
        from rtloop.demos.quadruped.plant import (
            DAMPING,
            DEFAULT_JOINT_POS,
            STIFFNESS,
            TORQUE_LIMIT_NM,
            Plant,
        )

        plants = [Plant(), Plant()]
        random = np.random.default_rng(5)
        for plant in plants:
            plant.reset(seed=1, motor_strength=strength)
        saturated = 0
        for _ in range(30):
            target = DEFAULT_JOINT_POS + 0.4 * random.standard_normal(12)
            plants[0].step_targets(target, 10)
            for _ in range(10):
                position, velocity = plants[1].qpos[7:], plants[1].qvel[6:]
                torque = STIFFNESS * (target - position) - DAMPING * velocity
                saturated += int((np.abs(torque) > TORQUE_LIMIT_NM).sum())
                plants[1].step(np.clip(torque, -TORQUE_LIMIT_NM, TORQUE_LIMIT_NM))
        assert saturated > 0
        np.testing.assert_allclose(plants[0].qpos, plants[1].qpos, rtol=0, atol=1e-6)

    def test_a_motor_gives_no_more_than_it_has(self) -> None:
        from rtloop.demos.quadruped.plant import TORQUE_LIMIT_NM, Plant

        plant = Plant()
        plant.reset(seed=1, motor_strength=0.5)
        plant.step(np.full(12, 1000.0))
        np.testing.assert_allclose(plant.torque, 0.5 * TORQUE_LIMIT_NM)

    def test_its_sensors_are_named_in_their_order_and_have_the_noise_they_claim(self) -> None:
        import mujoco

        from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, SENSORS, Plant

        plant = Plant()
        names = [mujoco.mj_id2name(plant.model, mujoco.mjtObj.mjOBJ_SENSOR, i) for i in range(26)]
        assert names == ["imu_quat", "gyro", *SENSORS[7:]]
        plant.reset(seed=1, noise=0.0)
        exact = plant.sense()
        np.testing.assert_allclose(exact, [1, *[0] * 6, *DEFAULT_JOINT_POS, *[0] * 12], atol=1e-12)
        plant.reset(seed=1, noise=2.0)
        samples = np.array([plant.sense() for _ in range(4000)]) - exact
        expected = 2.0 * np.repeat([0.004, 0.05, 0.004, 0.2], [4, 3, 12, 12])
        np.testing.assert_allclose(samples.std(axis=0), expected, rtol=0.06)
        assert np.abs(samples.mean(axis=0) / expected).max() < 0.06

    def test_a_push_moves_it_until_it_ends(self) -> None:
        from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, Plant

        plant = Plant()
        plant.step_targets(DEFAULT_JOINT_POS, 500)
        plant.push([0.0, 60.0, 0.0])
        plant.step_targets(DEFAULT_JOINT_POS, 50)
        assert plant.qvel[1] > 0.2
        plant.push(np.zeros(3))
        plant.step_targets(DEFAULT_JOINT_POS, 1000)
        assert abs(plant.qvel[1]) < 0.02


@needs_mujoco
class TestWalk:
    def test_a_discarded_result_leaves_target_and_last_action_and_moves_the_phase(self) -> None:
        from rtloop.demos.quadruped.walk import Conditions, Walkers

        walkers = Walkers(1, Conditions(missed=(2, 4)), seed=1)
        seen = []
        for step in range(1, 9):
            walkers.step(np.full((1, 12), 0.01 * step))
            seen.append(round(float(walkers.last_action[0, 0]), 3))
        assert seen == [0.01, 0.02, 0.02, 0.02, 0.05, 0.06, 0.06, 0.06]
        assert walkers.phase_step[0] == 8

    def test_a_release_that_is_skipped_moves_neither_target_nor_phase(self) -> None:
        from rtloop.demos.quadruped.walk import Conditions, Walkers

        walkers = Walkers(1, Conditions(skipped=(1, 3)), seed=1)
        seen = []
        for step in range(1, 7):
            walkers.step(np.full((1, 12), 0.01 * step))
            seen.append((round(float(walkers.last_action[0, 0]), 3), int(walkers.phase_step[0])))
        assert seen == [(0.01, 1), (0.02, 2), (0.02, 2), (0.04, 3), (0.05, 4), (0.05, 4)]

    def test_a_delayed_target_acts_that_much_later(self) -> None:
        from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, Plant
        from rtloop.demos.quadruped.walk import ACTION_SCALE, Conditions, Walkers

        still = Conditions(
            friction=(0.8, 0.8),
            payload_kg=(0.0, 0.0),
            motor_strength=(1.0, 1.0),
            push_newton=(0.0, 0.0),
            delay_ticks=(13, 13),
        )
        walkers = Walkers(1, still, seed=1)
        action = np.zeros((1, 12))
        action[0, 1::3] = 1.0
        for _ in range(3):
            walkers.step(action)
        plant = Plant()
        plant.step_targets(DEFAULT_JOINT_POS, 13)
        plant.step_targets(DEFAULT_JOINT_POS + ACTION_SCALE * action[0], 17)
        np.testing.assert_array_equal(walkers.plants[0].qpos, plant.qpos)

    def test_the_same_seed_gives_the_same_walk_and_another_seed_another(self) -> None:
        from rtloop.demos.quadruped.score import evaluate
        from rtloop.demos.quadruped.walk import Conditions

        def run(seed: int) -> object:
            return evaluate(POLICY, Conditions(), episodes=2, duration_s=2.0, seed=seed)

        assert run(3) == run(3)
        assert run(3) != run(4)

    @pytest.mark.parametrize("missed", [(0, 1), (1, 4), (1, 2)])
    def test_it_walks_through_pushes_also_when_results_are_discarded(
        self, missed: tuple[int, int]
    ) -> None:
        from rtloop.demos.quadruped.score import evaluate
        from rtloop.demos.quadruped.walk import Conditions

        found = evaluate(POLICY, Conditions(missed=missed), episodes=2, duration_s=8.0, seed=11)
        assert found.falls == 0
        assert found.distance_m > 3.0

    def test_a_policy_that_does_nothing_stands(self, tmp_path: Path) -> None:
        """So the test above can fail."""
        from rtloop.demos.quadruped.score import evaluate
        from rtloop.demos.quadruped.walk import Conditions

        model = onnx.load(POLICY)
        for weight in model.graph.initializer:
            zeros = np.zeros(tuple(weight.dims), np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(zeros, weight.name))
        path = tmp_path / "idle.onnx"
        onnx.save(model, path)
        found = evaluate(path, Conditions(), episodes=2, duration_s=4.0, seed=11)
        assert found.distance_m < 0.5
