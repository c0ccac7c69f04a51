"""Controllers behind an action, in each cycle, against what they are in numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.opened import opened
from rtloop.policy.runner import runner
from tests.policy.models import linear, passthrough
from tests.policy.terms.harness import composed

Floats = npt.NDArray[np.float64]
CYCLE_S = Fraction(1, 200)
T = float(CYCLE_S)


class Cycles:
    """The policy commands what it reads of `x`; `q` and `v` are measured. One value, or several."""

    def __init__(
        self, folder: Path, controllers: Sequence[Mapping[str, Any]], n: int = 1, **keys: Any
    ) -> None:
        action = {"controllers": list(controllers), **keys.pop("action", {})}
        section = {
            "model": "p.onnx",
            "observation": [{"input": "x"}],
            "action": action,
            **keys,
        }
        files = {"p.onnx": passthrough(n)}
        graph = composed(folder, section, {"x": n, "q": n, "v": n}, files, CYCLE_S)
        self.core = runner(graph)
        self.cycle = -1

    def step(
        self, x: npt.ArrayLike, q: npt.ArrayLike = 0.0, v: npt.ArrayLike = 0.0, applied: bool = True
    ) -> Floats:
        self.cycle += 1
        flat = [np.atleast_1d(np.asarray(value, np.float32)) for value in (x, q, v)]
        return np.asarray(self.core.run(flat, applied, None, self.cycle), np.float64)


def test_a_pd_pulls_to_the_target_in_each_cycle_and_is_limited(tmp_path: Path) -> None:
    gains = {"stiffness": [40.0, 20.0], "damping": [1.0, 0.5], "limit": [5.0, 3.0]}
    pd = {"pd": {"position": "q", "velocity": "v", **gains}}
    loop = Cycles(tmp_path, [pd], 2, every=4)
    random = np.random.default_rng(1)
    limited = 0
    target = np.zeros(2)
    for cycle in range(40):
        x, q, v = (random.normal(0, 0.2, 2).astype(np.float32).astype(float) for _ in range(3))
        if cycle % 4 == 0:
            target = x
        wanted = np.array([40.0, 20.0]) * (target - q) - np.array([1.0, 0.5]) * v
        torque = np.clip(wanted, [-5, -3], [5, 3])
        limited += int((torque != wanted).any())
        np.testing.assert_allclose(loop.step(x, q, v), torque, atol=1e-5)
    assert 5 < limited < 40


def test_the_last_action_sees_the_torque_limit_before_a_pd(tmp_path: Path) -> None:
    """As `torque_limit` cuts the target, the PD behind it asks for no more than the limit."""
    gains = {"stiffness": 10.0, "position": "q", "limit": 5.0}
    action = {
        "torque_limit": gains,
        "controllers": [{"pd": {"stiffness": 10.0, "position": "q"}}],
    }
    section = {
        "model": "p.onnx",
        "every": 4,
        "observation": [{"input": "x"}, {"last_action": True}],
        "action": action,
    }
    model = linear(np.array([[1.0], [0.0]], np.float32))
    graph = composed(tmp_path, section, {"x": 1, "q": 1}, {"p.onnx": model}, CYCLE_S)
    loop = runner(graph)
    one = np.ones(1, np.float32)
    torques = [
        float(loop.run([2 * one, q * one], True, None, k)[0]) for k, q in enumerate((0, 1.8))
    ]
    assert torques == pytest.approx([5.0, 2.0])
    loop.run([2 * one, 1.0 * one], True, None, 3)
    loop.run([2 * one, one], True, None, 4)
    (observed,) = graph.observations.values()
    assert loop.tensor(list(graph.tensors).index(observed))[0, 1] == pytest.approx(1.5)


def test_a_pid_follows_and_does_not_wind_up(tmp_path: Path) -> None:
    pid = {"measured": "q", "rate": "v", "kp": 2.0, "ki": 8.0, "kd": 0.05, "limit": [-1.0, 1.5]}
    loop = Cycles(tmp_path, [{"pid": pid}])
    random = np.random.default_rng(2)
    integral, wound = 0.0, 0
    for cycle in range(200):
        x = 1.0 if cycle < 120 else -0.5
        q, v = (float(np.float32(value)) for value in random.normal(0, 0.3, 2))
        is_applied = cycle % 7 != 3
        error = x - q
        more = integral + 8.0 * T * error
        wanted = 2.0 * error + more - 0.05 * v
        command = min(max(wanted, -1.0), 1.5)
        (got,) = loop.step(x, q, v, applied=is_applied)
        assert got == pytest.approx(command, abs=2e-3), cycle
        if is_applied:
            winds_up = (wanted - command) * error > 0
            wound += int(winds_up)
            integral = integral if winds_up else more
    assert wound > 20
    assert abs(integral) < 3.0


def test_an_integral_that_is_at_the_limit_leaves_it_at_once(tmp_path: Path) -> None:
    pid = {"measured": "q", "ki": 10.0, "limit": [-1.0, 1.0]}
    loop = Cycles(tmp_path, [{"pid": pid}])
    for _ in range(1000):
        (command,) = loop.step(1.0)
    assert command == pytest.approx(1.0)
    assert loop.step(-1.0)[0] == pytest.approx(1.0 - 10.0 * T, abs=10.0 * T)


def test_a_low_pass_begins_at_its_first_target(tmp_path: Path) -> None:
    loop = Cycles(tmp_path, [{"low_pass": {"cutoff_hz": 10.0}}])
    share = 1 - math.exp(-2 * math.pi * 10.0 * T)
    passed = 3.0
    assert loop.step(3.0)[0] == pytest.approx(3.0)
    for cycle in range(30):
        is_applied = cycle % 4 != 1
        wanted = passed + share * (1.0 - passed)
        assert loop.step(1.0, applied=is_applied)[0] == pytest.approx(wanted, abs=1e-5)
        passed = wanted if is_applied else passed


@pytest.mark.parametrize("begins", [None, "q"])
def test_a_rate_limit_is_never_left(begins: str | None, tmp_path: Path) -> None:
    limit = {"rate_limit": {"max_per_s": 20.0, "from": begins}}
    loop = Cycles(tmp_path, [limit], every=5, between="hold")
    step = 20.0 * T
    first = [loop.step(1.0, 0.5)[0] for _ in range(10)]
    if begins:
        assert first == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0, 1, 1, 1, 1, 1])
    else:
        assert first == pytest.approx([1.0] * 10)
    down = [loop.step(-9.0, 0.5, applied=cycle != 3)[0] for cycle in range(10)]
    assert down == pytest.approx([1 - step * n for n in (1, 2, 3, 4, 4, 5, 6, 7, 8, 9)])


def test_controllers_work_one_after_the_other(tmp_path: Path) -> None:
    limit = {"rate_limit": {"max_per_s": 20.0}}
    pd = {"pd": {"position": "q", "stiffness": 10.0}}
    loop = Cycles(tmp_path, [limit, pd])
    assert [loop.step(x, 0.5)[0] for x in (0.0, 9.0, 9.0)] == pytest.approx([-5.0, -4.0, -3.0])


def test_what_is_not_finite_is_not_hidden_by_a_limit(tmp_path: Path) -> None:
    pd = {"pd": {"position": "q", "stiffness": 10.0, "limit": 1.0}}
    pid = {"pid": {"measured": "q", "ki": 1.0, "limit": [-1, 1]}}
    rate = {"rate_limit": {"max_per_s": 1.0, "from": "q"}}
    for controller in (pd, pid, rate):
        assert np.isnan(Cycles(tmp_path, [controller]).step(0.0, np.nan)[0])
        assert np.isnan(Cycles(tmp_path, [controller]).step(np.inf, 0.0)[0])


def test_measured_values_are_found_by_the_names_of_joints(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": ["hip", "knee"],
        "observation": [{"input": "x"}],
        "action": {
            "joints": "policy",
            "controllers": [{"pd": {"position": "q", "stiffness": 1.0}}],
        },
    }
    inputs: Mapping[str, Any] = {"x": 2, "q": ["spare", "knee", "hip"]}
    graph = composed(tmp_path, section, inputs, {"p.onnx": passthrough(2)}, CYCLE_S)
    loop = runner(graph)
    command = loop.run([np.zeros(2, np.float32), np.array([9.0, 2.0, 1.0], np.float32)])
    assert command.tolist() == [-1.0, -2.0]


TEXT = """\
loops:
  l:
    class: soft
    rate_hz: 500
    inputs: {x: {mailbox: [0.0]}, q: {mailbox: [0.0]}}
    policy:
      model: p.onnx
      default_joint_pos: [0.0]
      observation: [{input: x}]
      action: {controllers: [CONTROLLER]}
    outputs: {u: {mailbox: true, safe: [0]}}
"""


@pytest.mark.parametrize(
    ("controller", "told"),
    [
        ("pd: {position: z, stiffness: 1}", "controllers[0].pd.position: found 'z'"),
        ("pd: {position: q, stiffness: 0}", "controllers[0].pd.stiffness"),
        ("pd: {position: q, stiffness: [1, 2]}", "controllers[0].pd.stiffness: found a list of 2"),
        ("pd: {position: q, stiffness: 1, damping: 1}", "`velocity` beside it"),
        ("pd: {position: q, stiffness: 1, damping: -1, velocity: q}", "expected 0 or more"),
        ("pid: {measured: q, limit: [1, -1]}", "[lowest, highest] with lowest < highest"),
        ("pid: {measured: q, ki: 1}", "controllers[0].pid.limit"),
        ("pid: {measured: q, limit: [[0, 0], 1]}", "controllers[0].pid.limit[0]"),
        ("pid: {measured: q, rate: z, limit: [0, 1]}", "controllers[0].pid.rate: found 'z'"),
        ("pid: {measured: q, kd: 1, limit: [0, 1]}", "`rate` beside it"),
        ("low_pass: {cutoff_hz: 0}", "controllers[0].low_pass.cutoff_hz"),
        ("rate_limit: {max_per_s: 1, from: z}", "controllers[0].rate_limit.from: found 'z'"),
        ("low_pas: {cutoff_hz: 1}", "nearest known key 'low_pass'"),
    ],
)
def test_a_wrong_controller_is_refused_at_its_place(
    controller: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    (tmp_path / "l.yaml").write_text(TEXT.replace("CONTROLLER", f"{{{controller}}}"))
    with pytest.raises(ConfigError) as refused:
        opened(load(tmp_path / "l.yaml"), "l")
    assert told in str(refused.value)


def test_nothing_adds_to_an_effort(tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    text = TEXT.replace("CONTROLLER", "{pd: {position: q, stiffness: 1}}")
    (tmp_path / "l.yaml").write_text(text.replace("action: {", "action: {relative: true, "))
    with pytest.raises(ConfigError, match="what left last is no target"):
        load(tmp_path / "l.yaml")
