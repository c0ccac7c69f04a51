"""What becomes of an action on its way to the command, over many steps, against loops in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rtloop.config import loads
from rtloop.config.problem import written
from rtloop.errors import ConfigError, Place
from rtloop.policy import ActionTerm, ComposedGraph, PolicyConfig, Sink, load_policy
from rtloop.policy.compose import composed
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import LastActionTerm
from tests.policy.models import Runner, linear, passthrough

Row = npt.NDArray[np.float32]
Inputs = Mapping[str, int | Sequence[str]]
PERIOD_S = Fraction(1, 50)
JOINTS = ("hip", "knee", "foot")
MOTORS = ("foot", "spare", "hip", "knee")
POSE = (0.1, -0.4, 0.7)


def where(*keys: str | int) -> Place:
    return Place(key=written(keys))


def of_actions(
    model: bytes,
    inputs: Inputs,
    *actions: Mapping[str, Any],
    outputs: Mapping[str, Sink] | None = None,
    **keys: Any,
) -> ComposedGraph:
    """A policy that observes the input `seen`, and its last action where it has room for it."""
    policy = load_policy(model)
    terms: list[Any] = [InputTerm(input="seen")]
    n_seen = inputs["seen"] if isinstance(inputs["seen"], int) else len(inputs["seen"])
    if policy.observation and policy.observation.size > n_seen:
        terms.append(LastActionTerm(last_action=True))
    section = PolicyConfig(
        model=Path("policy"),
        observation=tuple(terms),
        actions=tuple(ActionTerm(**action) for action in actions),
        **keys,
    )
    return composed(policy, section, inputs, outputs, PERIOD_S, where)


def weights(n: int, m: int, seed: int = 5) -> Row:
    """Of a policy that observes ``n`` values and its ``m`` last actions."""
    return (np.random.default_rng(seed).normal(size=(n + m, m)) / 2).astype(np.float32)


class Plant:
    """Steps a graph, now and then with a result that is discarded, and remembers what left last."""

    def __init__(self, graph: ComposedGraph, safe: Sequence[float], seed: int = 1) -> None:
        self.runner = Runner(graph)
        self.reads_last = bool(graph.last_command)
        self.safe = np.array(safe, np.float32)
        self.random = np.random.default_rng(seed)
        self.limit: Callable[[Row], Row] = lambda command: command
        self.reset()

    def reset(self) -> None:
        self.runner.reset()
        self.left = self.safe

    def normal(self, n: int, scale: float = 1.0) -> Row:
        return (scale * self.random.normal(size=n)).astype(np.float32)

    def step(self, *samples: npt.ArrayLike) -> tuple[Row, bool]:
        """The command, and whether it was applied."""
        applied = bool(self.random.random() < 0.7)
        last = self.left if self.reads_last else None
        command = self.runner.step(*samples, applied=applied, last_command=last)
        if applied:
            self.left = self.limit(command)
        return command, applied


def near(found: Row, expected: Row) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


# --- smooth, fade_in_s ---


def test_the_last_action_sees_the_moving_average_of_what_was_applied() -> None:
    weight = weights(4, 2)
    action = {"smooth": 0.8, "scale": [2.0, -1.0], "offset": 0.25, "clip": [-2, 2]}
    plant = Plant(of_actions(linear(weight), {"seen": 4}, action), [0, 0])
    for _ in range(2):  # activations
        average = np.zeros(2, np.float32)
        for _ in range(40):
            seen = plant.normal(4)
            raw = np.concatenate([seen, average]) @ weight
            smoothed = np.float32(0.8) * raw + np.float32(0.2) * average
            command, applied = plant.step(seen)
            near(command, np.clip(smoothed * np.array([2, -1], np.float32) + 0.25, -2, 2))
            if applied:
                average = smoothed
        plant.reset()


def test_an_action_fades_in_with_the_steps_that_were_applied() -> None:
    weight = weights(3, 2)
    action = {"fade_in_s": 0.2, "scale": 0.5, "offset": [1.0, -1.0]}
    plant = Plant(of_actions(linear(weight), {"seen": 3}, action), [0, 0])
    for _ in range(2):
        last, n_applied, factors = np.zeros(2, np.float32), 0, set()
        for _ in range(30):
            seen = plant.normal(3)
            factor = min((n_applied + 1) / 10, 1.0)
            faded = np.concatenate([seen, last]) @ weight * np.float32(factor)
            command, applied = plant.step(seen)
            near(command, faded * 0.5 + np.array([1, -1], np.float32))
            factors.add(factor)
            if applied:
                last, n_applied = faded, n_applied + 1
        assert len(factors) == 10, "it reached 1, in equal parts"
        plant.reset()


def test_half_a_step_more_is_a_step_more() -> None:
    graph = of_actions(passthrough(1), {"seen": 1}, {"fade_in_s": 0.05})
    runner = Runner(graph)
    near(np.array([runner.step([3.0])[0] for _ in range(4)]), np.array([1, 2, 3, 3], np.float32))


# --- relative ---


def robot(*safe: float) -> dict[str, Sink]:
    return {"robot": Sink(4, MOTORS, safe or (0.0, 9.0, 0.0, 0.0))}


def in_joints(command: Row) -> Row:
    """The elements of a command of the robot's motors in the order of the policy's joints."""
    return command[[MOTORS.index(joint) for joint in JOINTS]]


@pytest.mark.parametrize("first", ["pose", "measured"])
def test_a_relative_action_adds_to_what_left_last_after_all_limits(first: str) -> None:
    weight = weights(2, 3)
    action: dict[str, Any] = {"relative": True, "scale": [0.5, 0.3, 0.2], "clip": [-1.5, 1.0]}
    if first == "measured":
        action["from"] = "q"
    inputs: Inputs = {"seen": 2, "q": ("knee", "foot", "other", "hip")}
    keys = {"joints": JOINTS, "default_joint_pos": POSE}
    graph = of_actions(linear(weight), inputs, action, outputs=robot(), **keys)
    safe = [5.0, 9.0, 6.0, 7.0]
    plant = Plant(graph, safe)
    plant.limit = lambda command: np.clip(command, -0.9, 0.8)
    clipped = 0
    for _ in range(2):
        last, target = np.zeros(3, np.float32), None
        for _ in range(60):
            seen, q = plant.normal(2), plant.normal(4, 0.5)
            begin = np.array(POSE, np.float32) if first == "pose" else q[[3, 0, 1]]
            raw = np.concatenate([seen, last]) @ weight
            base = begin if target is None else target
            expected = np.clip(base + raw * np.array([0.5, 0.3, 0.2], np.float32), -1.5, 1.0)
            command, applied = plant.step(seen, q)
            near(in_joints(command), expected)
            assert command[1] == 9.0, "no joint of the policy: it stays at its default"
            clipped += int((np.abs(expected) > 0.9).any())
            if applied:
                last, target = raw, np.clip(expected, -0.9, 0.8)
        plant.reset()
    assert clipped > 0, "the limits of the output were not exercised"


def test_what_stood_in_for_a_late_result_is_what_the_next_one_adds_to() -> None:
    graph = of_actions(passthrough(1), {"seen": 1}, {"relative": True}, default_joint_pos=(0.5,))
    runner = Runner(graph)
    assert runner.step([1.0], last_command=[-3.0]).tolist() == [1.5], "not from the safe command"
    assert runner.step([1.0], last_command=[1.5], applied=False).tolist() == [2.5]
    assert runner.step([1.0], last_command=[7.0]).tolist() == [8.0], "a default left meanwhile"


# --- torque_limit ---


@pytest.mark.parametrize("shown", ["limited", "unlimited"])
def test_a_target_asks_for_no_more_torque_than_the_limit(shown: str) -> None:
    weight = weights(2, 3)
    kp, kd = np.array([40, 20, 10], np.float32), np.array([3.5, 1, 0.5], np.float32)
    most = np.array([8, 4, 2], np.float32)
    scale = np.array([0.5, 0.25, -0.5], np.float32)
    limit = {
        "stiffness": kp.tolist(),
        "damping": kd.tolist(),
        "limit": most.tolist(),
        "position": "q",
        "velocity": "v",
        "last_action": shown,
    }
    action = {
        "scale": scale.tolist(),
        "offset": "default_joint_pos",
        "clip": [-1.2, 1.2],
        "torque_limit": limit,
    }
    inputs: Inputs = {"seen": 2, "q": ("foot", "hip", "knee"), "v": ("knee", "hip", "foot", "tail")}
    keys = {"joints": JOINTS, "default_joint_pos": POSE}
    plant = Plant(of_actions(linear(weight), inputs, action, outputs=robot(), **keys), [0, 0, 0, 0])
    pose = np.array(POSE, np.float32)
    n_cut = n_whole = 0
    for _ in range(2):
        last = np.zeros(3, np.float32)
        for _ in range(60):
            seen, q, v = plant.normal(2), plant.normal(3, 0.3), plant.normal(4)
            joint_q, joint_v = q[[1, 2, 0]], v[[1, 0, 2]]
            raw = np.concatenate([seen, last]) @ weight
            wanted = np.clip(pose + raw * scale, -1.2, 1.2)
            low = joint_q + (kd * joint_v - most) / kp
            high = joint_q + (kd * joint_v + most) / kp
            expected = np.minimum(np.maximum(wanted, low), high)
            command, applied = plant.step(seen, q, v)
            near(in_joints(command), expected)
            torque = kp * (in_joints(command) - joint_q) - kd * joint_v
            assert (np.abs(torque) <= most * 1.0001).all()
            n_cut += int((expected != wanted).sum())
            n_whole += int((expected == wanted).sum())
            if applied:
                last = raw if shown == "unlimited" else (expected - pose) / scale
        plant.reset()
    assert n_cut > 20
    assert n_whole > 20


def test_an_action_that_no_limit_cuts_is_the_last_action_to_the_last_bit() -> None:
    limit = {"stiffness": 1.0, "limit": 1000.0, "position": "q"}
    action = {"scale": 0.3, "offset": 0.7, "torque_limit": limit}
    model = linear(np.eye(2, dtype=np.float32)[:, 1:] + np.eye(2, dtype=np.float32)[:, :1])
    plain = Runner(of_actions(model, {"seen": 1, "q": 1}, {"scale": 0.3, "offset": 0.7}))
    limited = Runner(of_actions(model, {"seen": 1, "q": 1}, action))
    random = np.random.default_rng(3)
    for seen in random.normal(size=100):
        command, same = limited.step([seen], [0.0]), plain.step([seen], [0.0])
        assert command.tobytes() == same.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", ["q", "v", "more"])
def test_a_torque_limit_makes_no_number_of_what_is_none(value: float, broken: str) -> None:
    limit = {"stiffness": 1.0, "damping": 1.0, "limit": 1.0, "position": "q", "velocity": "v"}
    samples = {"seen": 0.5, "q": 0.0, "v": 0.0, "more": 0.0} | {broken: value}
    inputs: Inputs = dict.fromkeys(samples, 1)
    graph = of_actions(passthrough(1), inputs, {"torque_limit": limit, "plus": "more"})
    command = Runner(graph).core.run([np.array([x], np.float32) for x in samples.values()])
    assert not np.isfinite(command).any()


# --- start ---


@pytest.mark.parametrize("fade", [None, 0.1])
def test_a_start_goes_from_the_measured_pose_along_a_line_and_then_the_policy_acts(
    fade: float | None,
) -> None:
    weight = weights(2, 3)
    action: dict[str, Any] = {
        "scale": 0.5,
        "offset": "default_joint_pos",
        "start": {"ramp_s": 0.2, "from": "q"},
    }
    if fade is not None:
        action["fade_in_s"] = fade
    inputs: Inputs = {"seen": 2, "q": ("knee", "foot", "hip")}
    keys = {"joints": JOINTS, "default_joint_pos": POSE}
    plant = Plant(of_actions(linear(weight), inputs, action, outputs=robot(), **keys), [0, 0, 0, 0])
    pose = np.array(POSE, np.float32)
    for _ in range(2):
        last, begin, n_applied = np.zeros(3, np.float32), np.zeros(3, np.float32), 0
        for _ in range(60):
            seen, q = plant.normal(2), plant.normal(3)
            if n_applied == 0:
                begin = q[[2, 0, 1]]
            gone = np.float32(min((n_applied + 1) / 10, 1))
            raw = np.zeros(3, np.float32)
            expected = begin * (1 - gone) + pose * gone
            if n_applied >= 10:
                grown = 1.0 if fade is None else min((n_applied - 9) / 5, 1.0)
                raw = np.concatenate([seen, last]) @ weight * np.float32(grown)
                expected = pose + raw * np.float32(0.5)
            command, applied = plant.step(seen, q)
            near(in_joints(command), expected)
            if n_applied == 9:
                assert in_joints(command).tobytes() == pose.tobytes(), "the line ends at the pose"
            if applied:
                last, n_applied = raw, n_applied + 1
        assert n_applied > 20
        plant.reset()


def test_a_start_ends_where_numbers_say_and_the_limits_hold_on_its_way() -> None:
    action = {
        "start": {"ramp_s": 0.08, "from": "q", "to": [8.0]},
        "clip": [-5, 5],
        "torque_limit": {"stiffness": 2.0, "limit": 6.0, "position": "q"},
    }
    runner = Runner(of_actions(passthrough(1), {"seen": 1, "q": 1}, action))
    near(
        np.array([runner.step([1.0], [0.0])[0] for _ in range(6)]),
        np.array([2, 3, 3, 3, 1, 1], np.float32),
    )


@pytest.mark.parametrize(
    ("action", "end"),
    [
        ({"offset": [0.6, 0.2]}, [0.6, 0.2]),
        ({"scale": 3.0}, [0.0, 0.0]),
        ({"offset": [0.1, 0.1], "plus": "ref"}, [0.6, 1.1]),
    ],
)
def test_a_start_ends_where_an_action_of_zero_commands(action: Any, end: list[float]) -> None:
    inputs: Inputs = {"seen": 2, "q": 2, "ref": 2}
    start = {"ramp_s": 0.1, "from": "q"}
    runner = Runner(of_actions(passthrough(2), inputs, {**action, "start": start}))
    sample: Any = ([5.0, 5.0], [1.0, -1.0], [0.5, 1.0])
    line = np.array([runner.step(*sample) for _ in range(5)])
    expected = np.linspace([1.0, -1.0], end, 6)[1:]
    np.testing.assert_allclose(line, expected, atol=1e-6)


def test_an_action_of_a_group_fades_in_when_the_ramps_are_over() -> None:
    inputs: Inputs = {"seen": 1, "q": 1, "wheel": 1}
    groups = {"g": (InputTerm(input="wheel"),)}
    graph = of_actions(
        passthrough(1),
        inputs,
        {"start": {"ramp_s": 0.06, "from": "q"}},
        {"group": "g", "fade_in_s": 0.04},
        groups=groups,
    )
    runner = Runner(graph)
    got = [float(runner.step([1.0], [0.0], [8.0])[1]) for _ in range(6)]
    assert got == [0.0, 0.0, 0.0, 4.0, 8.0, 8.0]


@pytest.mark.parametrize("broken", ["q", "ref", "relative"])
def test_what_a_start_hides_must_be_finite_all_the_same(broken: str) -> None:
    inputs: Inputs = {"seen": 1, "q": 1, "ref": 1}
    action: dict[str, Any] = {"start": {"ramp_s": 0.1, "from": "q", "to": 0.0}, "plus": "ref"}
    if broken == "relative":
        action = {"relative": True, "from": "q", "plus": "ref"}
    runner = Runner(of_actions(passthrough(1), inputs, action))
    last = [0.5] if broken == "relative" else None
    assert np.isfinite(runner.step([1.0], [0.0], [0.0], last_command=last))
    ref, q = (np.nan, 0.0) if broken == "ref" else (0.0, np.nan)
    assert np.isnan(runner.step([1.0], [q], [ref], last_command=last))


def test_a_relative_action_goes_on_from_where_the_start_ended() -> None:
    action = {"start": {"ramp_s": 0.04, "from": "q", "to": [2.0]}, "relative": True}
    plant = Plant(of_actions(passthrough(1), {"seen": 1, "q": 1}, action), [-7.0])
    expected, n_applied = [], 0
    for _ in range(20):
        target = 2.0 + max(n_applied - 1, 0) * 0.5 if n_applied else 1.0
        command, applied = plant.step([0.5], [0.0])
        n_applied += applied
        expected.append(target)
        near(command, np.array([target], np.float32))
    assert expected[-1] > 4


def test_while_one_action_starts_the_others_command_that_nothing_is_done() -> None:
    """Wheels that a policy turns stand still while the legs go to their pose."""
    legs = {"select": [0], "to": ["leg"], "start": {"ramp_s": 0.04, "from": "q", "to": [1.0]}}
    wheels = {"select": [1], "to": ["wheel"], "scale": 3.0, "offset": 0.5}
    gains = {"group": "gains", "to": ["kp"]}
    graph = of_actions(
        passthrough(2),
        {"seen": 2, "q": 1},
        legs,
        wheels,
        gains,
        outputs={"all": Sink(3, ("kp", "wheel", "leg"))},
        groups={"gains": [{"constant": [40.0]}]},
    )
    runner = Runner(graph)
    commands = [runner.step([0.25, 2.0], [0.0]).tolist() for _ in range(3)]
    assert commands == [[40.0, 0.5, 0.5], [40.0, 0.5, 1.0], [40.0, 6.5, 0.25]]


# --- several actions ---


def test_the_last_action_sees_of_each_element_what_its_action_made_of_it() -> None:
    weight = weights(2, 3)
    smooth = {"select": [2, 0], "smooth": 0.5, "to": ["c", "a"]}
    plain = {"select": [1], "scale": 2.0, "to": ["b"]}
    outputs = {"all": Sink(3, ("a", "b", "c"))}
    plant = Plant(of_actions(linear(weight), {"seen": 2}, smooth, plain, outputs=outputs), [0] * 3)
    last = np.zeros(3, np.float32)
    for _ in range(40):
        seen = plant.normal(2)
        raw = np.concatenate([seen, last]) @ weight
        taken = raw.copy()
        taken[[0, 2]] = (raw[[0, 2]] + last[[0, 2]]) / 2
        command, applied = plant.step(seen)
        near(command, taken * np.array([1, 2, 1], np.float32))
        if applied:
            last = taken


# --- what is refused ---


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"relative": True}, "action.*relative.*`from: NAME`, or a default_joint_pos of 3 values"),
        (
            {"relative": True, "from": "p"},
            "from: found 'p'; expected the name of an input.*seen, q",
        ),
        ({"relative": True, "from": "short"}, "from: found 'short', which has 2; expected 3 el"),
        ({"relative": True, "from": "q", "offset": 1.0}, "offset.*no offset beside `relative`"),
        ({"from": "q"}, "`relative: true` beside it, or `from` under `start`"),
        (
            {"relative": True, "from": "q", "start": {"ramp_s": 1, "from": "q", "to": 0.0}},
            "no `from` beside `start`",
        ),
        ({"start": {"ramp_s": 1, "from": "qq", "to": 0.0}}, "start.from: found 'qq'.*nearest 'q'"),
        (
            {"start": {"ramp_s": 1, "from": "q"}, "relative": True},
            "start.to.*numbers, or `default_joint_pos`",
        ),
        ({"start": {"ramp_s": 1, "from": "q", "to": "home"}}, "numbers, or default_joint_pos"),
        ({"start": {"ramp_s": 1, "from": "q", "to": [0.0, 1.0]}}, "start.to: found a list of 2"),
        (
            {"torque_limit": {"stiffness": 1, "limit": [1.0, 2.0], "position": "q"}},
            "torque_limit.limit: found a list of 2; expected 3 as in 'the policy's output'",
        ),
        (
            {"torque_limit": {"stiffness": 1, "damping": 1, "limit": 1, "position": "q"}},
            "damping.*`velocity` beside it",
        ),
        (
            {"torque_limit": {"stiffness": 1, "damping": -1, "limit": 1, "position": "q"}},
            "damping: found -1; expected 0 or more",
        ),
        (
            {"torque_limit": {"stiffness": 1, "limit": 1, "position": "named"}, "joints": JOINTS},
            "torque_limit.position.*'named' with elements 'foot'; it has hip, knee or food; nearest 'food'",
        ),
        (
            {"scale": 0.0, "torque_limit": {"stiffness": 1, "limit": 1, "position": "q"}},
            "`last_action: unlimited` where a scale is 0",
        ),
    ],
)
def test_a_wrong_action_is_refused_at_its_place(action: dict[str, Any], message: str) -> None:
    inputs: Inputs = {"seen": 3, "q": 3, "short": 2, "named": ("hip", "knee", "food")}
    outputs = {"robot": Sink(3, JOINTS)} if "joints" in action else None
    keys = {"joints": JOINTS} if "joints" in action else {}
    with pytest.raises(ConfigError, match=message) as caught:
        of_actions(passthrough(3), inputs, action, outputs=outputs, **keys)
    assert str(caught.value).startswith("actions[0]")


def test_two_actions_that_change_one_element_are_refused() -> None:
    both = ({"smooth": 0.5, "to": ["a"]}, {"fade_in_s": 1.0, "to": ["b"]})
    with pytest.raises(ConfigError, match="by one action.*|element 0, which an action before"):
        of_actions(passthrough(1), {"seen": 1}, *both, outputs={"all": Sink(2, ("a", "b"))})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            "{relative: true, from: joint_poss}",
            "8:44: loops.a.policy.action.from: found 'joint_poss'",
        ),
        ("{start: {ramp_s: 3, from: q}}", "8:47: loops.a.policy.action.start.from: found 'q'"),
        ("{start: {ramp_s: 0, from: joint_pos}}", "8:38: loops.a.policy.action.start.ramp_s"),
        ("{start: {ramp_s: 3}}", "loops.a.policy.action.start"),
        (
            "{torque_limit: {stiffness: 1, limit: 0, position: joint_pos}}",
            "8:58: loops.a.policy.action.torque_limit.limit: found 0",
        ),
        (
            "{torque_limit: {stiffness: 1, limit: 1, position: joints}}",
            "8:71: loops.a.policy.action.torque_limit.position: found 'joints'",
        ),
        ("{smooth: 1.5}", "8:30: loops.a.policy.action.smooth: found 1.5"),
        ("{fade_in_s: -1}", "8:33: loops.a.policy.action.fade_in_s: found -1"),
    ],
)
def test_a_file_says_where_its_action_is_wrong(action: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(passthrough(2))
    text = f"""\
loops:
  a:
    class: soft
    rate_hz: 50
    inputs: {{joint_pos: {{mailbox: [0, 0]}}}}
    policy:
      model: policy.onnx
      action:       {action}
      observation: [{{input: joint_pos}}]
    outputs: {{all: {{mailbox: true, size: 2, safe: 0}}}}
"""
    with pytest.raises(ConfigError) as caught:
        loads(text, str(tmp_path / "a.yaml"))
    assert message in str(caught.value)
    if "joint_poss" in action:
        assert "nearest 'joint_pos'" in str(caught.value)
