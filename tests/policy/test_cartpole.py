"""The demo's plant and the policy that was trained on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from rtloop.demos.cartpole.plant import STEPS_PER_S, Plants, compiler
from rtloop.demos.cartpole.score import evaluate
from rtloop.policy import ActionTerm, compose
from rtloop.policy.terms.inputs import InputTerm
from tests.policy.models import Runner

needs_compiler = pytest.mark.skipif(
    compiler() is None, reason="no C compiler: the plant is compiled from firmware/host/cartpole.c"
)

_DEMO = Path(__file__).resolve().parents[2] / "rtloop" / "demos" / "cartpole"
_POLICY = _DEMO / "policy.onnx"


@pytest.fixture
def plants() -> Plants:
    return Plants(2)


@needs_compiler
def test_without_force_the_pole_falls_the_way_it_leans(plants: Plants) -> None:
    plants.reset(0, seed=1, start=[0, 0, 0.1, 0])
    plants.reset(1, seed=1, start=[0, 0, -0.1, 0])
    stood = plants.step(0.0, STEPS_PER_S)
    assert not stood.any()
    angles = plants.state()[:, 2]
    assert angles[0] > 0.5
    assert angles[1] == -angles[0]


@needs_compiler
def test_a_small_lean_grows_as_the_linear_theory_says(plants: Plants) -> None:
    """The unstable pole of the undamped linear model, 3.97 1/s; friction slows it a little."""
    plants.reset(0, seed=1, start=[0, 0, 1e-4, 0])
    plants.step(0.0, STEPS_PER_S)
    mass, pole, half_length = 1.0, 0.1, 0.5
    growth = np.sqrt(9.81 / (half_length * (4 / 3 - pole / (mass + pole))))
    expected = 1e-4 * np.cosh(growth)
    assert 0.9 * expected < plants.state()[0, 2] < expected


@needs_compiler
def test_a_command_acts_after_the_delay_and_not_beyond_the_limit(plants: Plants) -> None:
    plants.reset(0, seed=1, start=np.zeros(4), extra_delay_s=0.003)
    plants.step(1000.0, 50)  # 2 ms of the actuator, 3 ms of the wire
    assert plants.state()[0, 1] == 0.0
    plants.step(1000.0, 100)
    # 10 N on 1.1 kg, of which the pole, free to turn, takes a part; friction is small at once.
    acceleration = 10.0 / (1.1 - 0.75 * 0.1)
    assert plants.state()[0, 1] == pytest.approx(acceleration * 0.01, rel=0.01)


@needs_compiler
def test_a_command_that_is_not_a_number_is_no_force(plants: Plants) -> None:
    plants.step([np.nan, np.inf], 1000)
    assert (plants.state() == 0.0).all()


@needs_compiler
def test_the_sensors_have_the_noise_they_claim(plants: Plants) -> None:
    plants.reset(1, seed=1, start=np.zeros(4), noise=0.0)
    samples = np.array([plants.sense().copy() for _ in range(4000)])
    noisy, exact = samples[:, 0], samples[:, 1]
    np.testing.assert_allclose(noisy.std(axis=0), [0.0005, 0.01, 0.001, 0.02], rtol=0.05)
    assert np.abs(noisy.mean(axis=0) / noisy.std(axis=0)).max() < 0.06
    assert (exact == 0.0).all()
    assert np.abs(np.corrcoef(noisy.T) - np.eye(4)).max() < 0.06


@needs_compiler
def test_the_same_seed_gives_the_same_run_and_another_seed_another(plants: Plants) -> None:
    def run(seed: int, samples_per_step: int) -> npt.NDArray[np.float64]:
        plants.reset(0, seed=seed, start=[0, 0, 0.05, 0], push_newton=3.0, push_interval_s=0.1)
        for _ in range(30):
            for _ in range(samples_per_step):
                plants.sense()
            plants.step(1.0, 100)
        return np.array(plants.state()[0])

    assert (run(5, 1) == run(5, 1)).all()
    assert (run(5, 1) != run(6, 1)).any()
    assert (run(5, 1) == run(5, 3)).all(), "sensing more often changed the pushes"


@needs_compiler
@pytest.mark.parametrize("latency_s", [0.0, 0.005])
def test_the_policy_balances_the_plant_at_1_khz_through_pushes_and_delay(latency_s: float) -> None:
    found = evaluate(
        _POLICY,
        episodes=3,
        duration_s=20.0,
        seed=11,
        push_newton=4.0,
        latency_s=(latency_s, latency_s),
    )
    assert found["fraction_upright"] == 1.0
    assert found["max_position_m"] < 2.0
    assert found["rms_force_n"] < 4.0


@needs_compiler
def test_the_composed_graph_of_the_demo_balances_as_the_policy_alone_does() -> None:
    graph = compose(
        _POLICY, {"cart": 4}, [InputTerm(input="cart")], ActionTerm(scale=10.0, clip=(-10, 10))
    )
    runner = Runner(graph)
    plants = Plants(1)
    plants.reset(0, seed=3, start=[0, 0, 0.2, 0])
    for _ in range(5000):
        assert plants.step(runner.step(plants.sense()[0]), STEPS_PER_S // 1000).all()
    assert np.abs(plants.state()[0]).max() < 0.3


@needs_compiler
def test_a_policy_that_does_nothing_falls(tmp_path: Path) -> None:
    """So the tests above can fail."""
    model = onnx.load(_POLICY)
    for weight in model.graph.initializer:
        if weight.name.startswith("weight"):
            zeros = np.zeros(tuple(weight.dims), np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(zeros, weight.name))
    path = tmp_path / "idle.onnx"
    onnx.save(model, path)
    found = evaluate(path, episodes=2, duration_s=5.0, seed=11, push_newton=1.0)
    assert found["fraction_upright"] == 0.0


def test_the_policy_is_small_and_of_fixed_shape() -> None:
    assert _POLICY.stat().st_size < 50_000
    model = onnx.load(_POLICY)
    assert max(item.version for item in model.opset_import) <= 17
    for value, shape in ((model.graph.input, [1, 4]), (model.graph.output, [1, 1])):
        assert [d.dim_value for d in value[0].type.tensor_type.shape.dim] == shape


def test_the_score_is_that_of_the_committed_policy_and_meets_the_bar() -> None:
    score = json.loads((_DEMO / "score.json").read_text(encoding="utf-8"))
    assert score["sha256"] == hashlib.sha256(_POLICY.read_bytes()).hexdigest()
    for name in ("100 episodes", "one long episode", "no pushes"):
        assert score["score"][name]["fraction_upright"] == 1.0
