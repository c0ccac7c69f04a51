"""A hint is given where the change explains the difference and the data can tell; else it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.config import Config
from rtloop.policy.verify import verify
from tests.policy import arm
from tests.policy.models import linear, recurrent, save
from tests.policy.recorded import (
    MOVING,
    STANDING,
    STEPS,
    TEXT,
    WEIGHT,
    Array,
    Seen,
    recorded,
    verified,
    without,
)

# --- what the data can tell ---


@pytest.mark.parametrize(
    "seen", [lambda x: x + 0.1, lambda x: -x, lambda x: x[:, [1, 0, 2]], lambda x: 0.5 * x]
)
def test_cases_that_stand_still_do_not_tell_the_mistake(tmp_path: Path, seen: Seen) -> None:
    (hint,) = verified(tmp_path, recorded(STANDING, seen)).hints
    assert hint.startswith("policy.obs: x: 'x.0' is -0.8019, expected ")
    assert hint.endswith("where nothing moves, the cases do not tell why")


def test_an_input_that_is_not_fed_is_told(tmp_path: Path) -> None:
    text = TEXT.replace("{input: x}", "{constant: [0, 0, 0]}")
    (hint,) = verified(tmp_path, recorded(), text).hints
    assert "always 0 here, and what is expected moves: is it fed?" in hint


def test_a_constant_that_is_expected_is_told(tmp_path: Path) -> None:
    (hint,) = verified(
        tmp_path, recorded(seen=lambda x: np.hstack([x[:, :2], 0 * x[:, 2:] + 1]))
    ).hints
    assert "always 1 is expected" in hint


def test_bounds_of_a_clip_are_those_that_were_reached(tmp_path: Path) -> None:
    bounds = np.array([[-0.5, -9, -9], [0.25, 9, 0.5]], np.float32)
    (hint,) = verified(tmp_path, recorded(seen=lambda x: np.clip(x, *bounds))).hints
    assert hint.endswith("expected is clipped, to x.0 [-0.5, 0.25], x.2 0.5 at most")


def test_of_two_explanations_neither_is_the_one(tmp_path: Path) -> None:
    symmetric = MOVING.copy()
    symmetric[:, 1:] = np.stack([-symmetric[:, 0], 0 * symmetric[:, 0]], axis=1)
    (hint,) = verified(tmp_path, recorded(symmetric, lambda x: -x)).hints
    assert "the cases do not tell which of 2" in hint
    assert "another order" in hint
    assert "the other sign" in hint


def test_whole_turns_are_not_seen_where_a_turn_is_within_the_tolerance(tmp_path: Path) -> None:
    ticks = np.round(MOVING * 20000).astype(np.float32)
    scale = np.float32(2 * np.pi / 65536)
    text = TEXT.replace("{input: x}", f"{{input: x, scale: {scale:.9g}}}")
    (hint,) = verified(tmp_path, recorded(ticks, lambda x: (x + 3000) * scale), text).hints
    assert "moved by 0.2876" in hint


def test_four_values_are_no_quaternion_because_they_are_four(tmp_path: Path) -> None:
    wheels = np.random.default_rng(6).normal(size=(STEPS, 4)).astype(np.float32)
    offset = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    text = TEXT.replace("[0, 0, 0]", "[0, 0, 0, 0]").replace(
        "{input: x}", "{input: x, minus: [0.1, 0.2, 0.3, 0.4]}"
    )
    weight = np.vstack([WEIGHT, WEIGHT[:1]])
    cases = recorded(wheels, lambda x: np.roll(x, 1, axis=1) - offset, weight)
    (hint,) = verified(tmp_path, cases, text, linear(weight)).hints
    assert "order" not in hint


# --- which names ---


def test_names_with_dots_are_of_one_part_and_a_history_lists_each_once(tmp_path: Path) -> None:
    text = TEXT.replace("[0, 0, 0]}", "[0, 0, 0], names: [fl.hip, fl.knee, rl.hip]}")
    text = text.replace("{input: x}", "{input: x, history: 3}")

    def seen(x: Array) -> Array:
        moved = x + np.array([0.5, 0, -0.5], np.float32)
        past = [moved[np.maximum(0, np.arange(STEPS) - ago)] for ago in (2, 1, 0)]
        return np.concatenate(past, axis=1)

    weight = np.vstack([WEIGHT[:3], WEIGHT[:3] * 0.1, WEIGHT])
    (hint,) = verified(tmp_path, recorded(MOVING, seen, weight), text, linear(weight)).hints
    told = "policy.obs: x: moved by x.fl.hip 0.5, x.rl.hip -0.5: an offset"
    assert hint.startswith(told)


# --- the answer ---


def test_a_model_without_state_has_none_that_was_not_fed_back(tmp_path: Path) -> None:
    x = MOVING.copy()
    x[0] = 0
    (hint,) = verified(tmp_path, without(recorded(x, weight=WEIGHT**2), "targets")).hints
    assert "every observation agrees and the answer does not: nothing that was tried" in hint
    assert "state" not in hint


STATE = {
    "not here": ("constants: {h_in: 0}", True, "`state` not fed back: with {h_in: h_out} it fits"),
    "not there": (
        "state: {h_in: h_out}",
        False,
        "`state` {h_in: h_out} is fed back here, and was not there",
    ),
}


@pytest.mark.parametrize("case", STATE)
def test_a_state_that_only_one_of_them_feeds_back_is_tried(tmp_path: Path, case: str) -> None:
    key, is_fed_there, told = STATE[case]
    model, weights = recurrent(3, 4, 2)
    hidden = np.zeros((1, 1, 4), np.float32)
    raw = []
    for values in MOVING:
        after = np.tanh(values @ weights["Wx"] + hidden @ weights["Wh"])
        raw.append((after @ weights["Wy"]).reshape(-1))
        hidden = after if is_fed_there else hidden
    text = TEXT.replace("        - {last_action: true}\n", "")
    text = text.replace("      observation:", f"      {key}\n      observation:")
    cases = {"in_x": MOVING, "obs_obs": MOVING, "raw": np.stack(raw)}
    (hint,) = verified(tmp_path, cases, text, model).hints
    assert hint == f"raw: every observation agrees and the answer does not: {told}"


def test_another_output_of_the_model_is_tried(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["obs", "weight"], ["action"]),
        helper.make_node("Tanh", ["action"], ["squashed"]),
    ]
    element = TensorProto.FLOAT
    outputs = [("action", element, [1, 2]), ("squashed", element, [1, 2])]
    model = save(nodes, [("obs", element, [1, 5])], outputs, {"weight": WEIGHT})
    cases = recorded()
    cases["raw"] = np.tanh(cases["raw"])
    cases["obs_obs"][1:, 3:] = cases["raw"][:-1]
    cases["raw"] = np.tanh(cases["obs_obs"] @ WEIGHT)
    for step in range(1, STEPS):
        cases["obs_obs"][step, 3:] = cases["raw"][step - 1]
        cases["raw"][step] = np.tanh(cases["obs_obs"][step] @ WEIGHT)
    (hint,) = verified(tmp_path, without(cases, "targets"), model=model).hints
    assert "output 'squashed' of the model fits: `action_output`" in hint


# --- what was not compared ---


def test_what_was_not_compared_is_not_said_to_agree(tmp_path: Path) -> None:
    cases = without(recorded(seen=lambda x: -x), "obs_obs", "raw")
    (hint,) = verified(tmp_path, cases).hints
    assert "agree" not in hint
    assert "by what leads to it, which was not compared (`obs_…` and `raw`)" in hint


@pytest.mark.parametrize(
    ("key", "inputs"),
    [
        ("smooth: 0.6", ""),
        (
            "torque_limit: {stiffness: 20, damping: 1, limit: 2, position: q, velocity: q}",
            "      q: {mailbox: [0, 0]}\n",
        ),
    ],
)
@pytest.mark.parametrize("is_raw_known", [True, False])
def test_what_the_action_does_points_at_the_action(
    tmp_path: Path, key: str, inputs: str, is_raw_known: bool
) -> None:
    text = TEXT.replace("action: {scale: 0.5}", f"action: {{scale: 0.5, {key}}}")
    text = text.replace("    policy:", f"{inputs}    policy:")
    cases = recorded() | ({"in_q": np.zeros((STEPS, 2))} if inputs else {})
    hint, *others = verified(
        tmp_path, without(cases, *([] if is_raw_known else ["raw"])), text
    ).hints
    assert hint.startswith("targets: ")
    assert ("what leads to them agrees, look at `action`" in hint) is is_raw_known
    assert ("not compared" in hint) is not is_raw_known
    assert others == []


def test_an_average_that_is_missing_is_told(tmp_path: Path) -> None:
    cases = recorded()
    average = np.zeros(2, np.float32)
    for step, target in enumerate(cases["targets"].copy()):
        average = np.float32(0.7) * target + np.float32(0.3) * average
        cases["targets"][step] = average
    (hint,) = verified(tmp_path, cases).hints
    assert "look at `action`: expected is a running average: `smooth: 0.7`" in hint


def test_another_scale_of_what_is_added_to_the_last_target_is_no_average(tmp_path: Path) -> None:
    text = TEXT.replace("{scale: 0.5}", "{scale: 0.5, relative: true, from: q}")
    text = text.replace("    policy:", "      q: {mailbox: [0, 0]}\n    policy:")
    cases = recorded() | {"in_q": np.zeros((STEPS, 2))}
    cases["targets"] = np.cumsum(0.25 * cases["raw"], axis=0)
    (hint,) = verified(tmp_path, cases, text).hints
    assert hint.endswith("look at `action`: none of the usual mistakes explains it from step 0 on")


def test_an_answer_that_differs_before_any_observation_is_told_first(tmp_path: Path) -> None:
    """Another model: the average of what it answered is observed from the next step on."""
    text = TEXT.replace("action: {scale: 0.5}", "action: {scale: 0.5, smooth: 0.6}")
    cases = without(recorded(weight=WEIGHT**2), "targets")
    hint, *_ = verified(tmp_path, cases, text).hints
    assert hint.startswith("raw: every observation agrees until the answer does not: ")


# --- episodes ---


def test_a_second_episode_is_told_by_its_first_step(tmp_path: Path) -> None:
    found = verified(tmp_path, recorded(begins=(17, 29)))
    assert found.first is not None
    assert found.first.step == 17
    (hint,) = found.hints
    assert hint.startswith("with a reset before step 17, 29 all agrees")


def test_cases_from_the_middle_of_an_episode_are_told(tmp_path: Path) -> None:
    cases = {name: array[7:] for name, array in recorded().items()}
    (hint,) = verified(tmp_path, cases).hints
    assert "last_action: only what the first step remembers differs" in hint


# --- what a difference looks like ---


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return arm.written(tmp_path)


def _reversed(gyro: arm.Observed) -> arm.Observed:
    return np.concatenate([gyro[:, 6:], gyro[:, 3:6], gyro[:, :3]], axis=1)


def _from_zero(gyro: arm.Observed) -> arm.Observed:
    gyro = gyro.copy()
    gyro[0, :6] = 0
    gyro[1, :3] = 0
    return gyro


def _turned(q: arm.Observed) -> arm.Observed:
    return (q + 2 * np.pi * np.round(q)).astype(np.float32)


def _noisy(q: arm.Observed) -> arm.Observed:
    return q + np.random.default_rng(1).normal(size=q.shape).astype(np.float32)


#: What the data look like: the part, what was done to it in training, what is said.
LOOKS: dict[str, tuple[str, Callable[[arm.Observed], arm.Observed], str]] = {
    "one step late": ("q", lambda q: np.concatenate([q[:1], q[:-1]]), "the value of the step before"),
    "one step early": ("q", lambda q: np.concatenate([q[1:], q[-1:]]), "here it is one step old"),
    "clipped": ("q", lambda q: np.clip(q, -0.3, 0.3), "expected is clipped, to [-0.3, 0.3]"),
    "zero": ("q", lambda q: 0 * q, "0 is expected"),
    "noise": ("q", _noisy, "none of the usual mistakes explains it"),
    "scaled": ("q", lambda q: 0.05 * q, "0.05 times as much is expected"),
    "scaled each": ("q", lambda q: q * np.array([2, 3], np.float32), "scaled by q.knee 2, q.hip 3"),
    "negated": ("q", lambda q: -q, "the other sign is expected"),
    "moved": ("q", lambda q: q + np.array([0.5, -1], np.float32), "moved by q.knee 0.5, q.hip -1"),
    "swapped": ("q", lambda q: q[:, ::-1], "the elements are in another order: 'q.hip' is expected"),
    "turned": ("q", _turned, "whole turns of 2 pi apart"),
    "reversed": ("gyro", _reversed, "the history is in reverse order"),
    "from zero": ("gyro", _from_zero, "`start: zero`"),
}  # fmt: skip
COLUMNS = {"gyro": slice(0, 9), "q": slice(9, 11)}


@pytest.mark.parametrize("case", LOOKS)
def test_a_hint_says_what_the_difference_looks_like(
    config: Config, tmp_path: Path, case: str
) -> None:
    part, change, told = LOOKS[case]
    arrays = arm.expected()
    columns = arrays["obs_policy.obs"][:, COLUMNS[part]]
    arrays["obs_policy.obs"][:, COLUMNS[part]] = change(columns.copy())
    found = verify(config, "arm", arm.saved(tmp_path, arrays))
    (hint,) = found.hints
    assert hint.startswith(f"policy.obs: {part}: ")
    assert told in hint


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda q: q[:, [3, 0, 1, 2]], "`order: xyzw` fits"),
        (lambda q: q * np.array([1, -1, -1, -1], np.float32), "is inverted"),
    ],
)
def test_an_orientation_that_is_read_otherwise_is_told(
    tmp_path: Path, read: Callable[[arm.Observed], arm.Observed], told: str
) -> None:
    text = arm.TEXT.replace("gyro: {mailbox: [0, 0, 0]}", "quat: {mailbox: [1, 0, 0, 0]}")
    config = arm.written(tmp_path, text.replace("input: gyro", "projected_gravity: quat"))
    quat = np.random.default_rng(9).normal(size=(arm.STEPS, 4)).astype(np.float32)
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    w, x, y, z = read(quat).T
    gravity = np.stack([2 * (w * y - x * z), -2 * (y * z + w * x), x**2 + y**2 - w**2 - z**2])
    past = [0.5 * gravity.T[np.maximum(0, np.arange(arm.STEPS) - ago)] for ago in (2, 1, 0)]
    arrays = arm.expected()
    arrays["obs_policy.obs"][:, :9] = np.concatenate(past, axis=1)
    del arrays["in_gyro"], arrays["targets"]
    (hint, *_) = verify(config, "arm", arm.saved(tmp_path, {**arrays, "in_quat": quat})).hints
    assert hint.startswith("policy.obs: projected_gravity: 'quat' ")
    assert told in hint


def test_without_observations_the_answer_alone_is_told(config: Config, tmp_path: Path) -> None:
    arrays = arm.expected()
    del arrays["obs_policy.obs"]
    arrays["raw"] = arrays["raw"] + 1
    (hint,) = verify(config, "arm", arm.saved(tmp_path, arrays)).hints
    assert "with `obs_…` in the cases" in hint
