"""A policy is verified against arrays of what it did: every difference has a name, every bad file a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtloop.config import Config, load
from rtloop.errors import ConfigError
from rtloop.policy.verify import verify
from tests.policy.arm import STEPS, TEXT, WEIGHT, Observed, expected, saved, written
from tests.policy.models import linear


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return written(tmp_path)


def test_it_agrees_with_numpy_in_closed_loop_over_last_action_and_last_target(
    config: Config, tmp_path: Path
) -> None:
    found = verify(config, "arm", saved(tmp_path, expected()), 1e-5)
    assert found.agrees
    assert found.hints == ()
    assert [array.name for array in found.compared] == ["obs_policy.obs", "raw", "targets"]
    assert all(0 < array.largest_apart < 1e-5 for array in found.compared)


def test_a_loop_that_holds_what_was_measured_starts_from_that(tmp_path: Path) -> None:
    text = TEXT.replace("[0.5, -0.5]", "{hip: {hold: q}, knee: -0.5}")
    cases = saved(tmp_path, expected(lambda first: [first["q"][0], -0.5]))
    assert verify(written(tmp_path, text), "arm", cases, 1e-5).agrees


def test_a_difference_is_told_by_step_and_named_element(config: Config, tmp_path: Path) -> None:
    arrays = expected()
    arrays["obs_policy.obs"][7, 1] += 0.25
    arrays["obs_policy.obs"][4, 10] -= 0.125
    arrays["targets"][12, 1] += 4
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert not found.agrees
    first = found.first
    assert first is not None
    assert (first.array, first.step, first.index, first.element) == (
        "obs_policy.obs", 4, 10, "q.hip",
    )  # fmt: skip
    assert first.got == pytest.approx(first.expected + 0.125)
    observed, raw, targets = found.compared
    assert raw.first is None
    assert [w.largest.element for w in observed.worst] == ["gyro.1, 2 steps ago", "q.hip"]
    assert [e.largest.element for e in observed.earliest] == ["q.hip", "gyro.1, 2 steps ago"]
    assert observed.worst[0].apart == pytest.approx(0.25, abs=0.1)
    assert (observed.worst[0].first_step, observed.worst[0].steps) == (7, 1)
    assert observed.differing == 2
    assert [(w.largest.element, w.largest.step) for w in targets.worst] == [("t.knee", 12)]


def test_the_tolerance_is_absolute_up_to_1_and_relative_above(
    config: Config, tmp_path: Path
) -> None:
    arrays = expected()
    arrays["in_gyro"][20:23] = 1000  # the same for all: the observation is 500
    again = written(tmp_path, TEXT.replace("gyro, scale: 0.5, history: 3", "gyro, scale: 0.5"))
    (tmp_path / "policy.onnx").write_bytes(linear(WEIGHT[6:] * 0))
    observed = np.zeros((STEPS, 9), np.float32)
    observed[:, :3] = arrays["in_gyro"] * 0.5
    observed[:, 3:5] = arrays["in_q"][:, ::-1]
    observed[0, 7:] = [0.5, -0.5]
    cases = {"in_gyro": arrays["in_gyro"], "in_q": arrays["in_q"], "obs_obs": observed}
    observed[21, 0] += 0.4
    assert verify(again, "arm", saved(tmp_path, cases)).agrees
    observed[5, 3] += 0.4
    found = verify(again, "arm", saved(tmp_path, cases))
    assert found.first is not None
    assert found.first.step == 5


def test_an_element_that_hardly_moves_is_judged_by_its_own_range(tmp_path: Path) -> None:
    """A command of ±0.1 mm with the wrong sign is wrong, however small beside 1; rounding is not."""
    text = TEXT.replace("        - {last_action: true}\n", "")
    text = text.replace("        - {last_target: true, joints: [hip, knee]}\n", "")
    arrays = expected()
    raw = arrays["obs_policy.obs"][:, :11] @ WEIGHT[:11]
    cases = {"in_gyro": arrays["in_gyro"], "in_q": arrays["in_q"]}
    cases["targets"] = (raw * np.float32(1e-4))[:, ::-1] + np.float32(2e-6)
    for scale, agrees in ((1e-4, True), (-1e-4, False), (1.2e-4, False)):
        config = written(tmp_path, text.replace("scale: 0.25}", f"scale: {scale:f}}}"))
        (tmp_path / "policy.onnx").write_bytes(linear(WEIGHT[:11]))
        found = verify(config, "arm", saved(tmp_path, cases))
        assert found.agrees == agrees, (scale, found.as_dict())


def test_a_device_that_only_knows_its_elements_is_told_of_by_the_file(tmp_path: Path) -> None:
    text = TEXT.replace("q: {mailbox: [0, 0], names: [hip, knee]}", "q: {link: robot}")
    text = "links: {robot: {device: nothere}}\n" + text
    config = written(tmp_path, text)
    arrays = expected()
    extra = np.full((STEPS, 1), 9, np.float32)
    arrays["in_q"] = np.concatenate([extra, arrays["in_q"]], axis=1)
    arrays["names_in_q"] = np.array(["battery", "hip", "knee"])
    assert verify(config, "arm", saved(tmp_path, arrays)).agrees


def test_elements_that_only_a_device_knows_are_not_given_an_order(tmp_path: Path) -> None:
    """Whatever joints were assumed would agree with themselves, left and right exchanged too."""
    text = TEXT.replace("q: {mailbox: [0, 0], names: [hip, knee]}", "q: {link: robot}")
    text = text.replace(
        "{t: {mailbox: true, names: [hip, knee], safe: [0.5, -0.5]}}",
        "{t: {link: robot, safe: {hip: 0.5, knee: -0.5}}}",
    )
    config = written(
        tmp_path, "links: {robot: {device: nothere, command_timeout_ms: 100}}\n" + text
    )
    arrays = expected()
    with pytest.raises(
        ConfigError, match="found 'in_q' without names.* expected names_in_q: .*'hip'"
    ):
        verify(config, "arm", saved(tmp_path, arrays))
    arrays["names_in_q"] = np.array(["hip", "knee"])
    with pytest.raises(ConfigError, match="found 'targets' without names.* expected names_targets"):
        verify(config, "arm", saved(tmp_path, arrays))
    without = {key: array for key, array in arrays.items() if key != "targets"}
    assert verify(config, "arm", saved(tmp_path, without)).agrees
    arrays["names_targets"] = np.array(["hip", "knee"])
    assert verify(config, "arm", saved(tmp_path, arrays)).agrees
    arrays["names_targets"] = np.array(["knee", "hip"])
    assert not verify(config, "arm", saved(tmp_path, arrays)).agrees


def test_a_loop_without_inputs_is_verified_over_the_steps_of_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(np.array([[0.5, 1]], np.float32).T))
    text = """\
loops:
  arm:
    class: soft
    rate_hz: 50
    policy: {model: policy.onnx, observation: [{last_action: true}, {is_first_step: true}]}
    outputs: {t: {mailbox: true, size: 1, safe: 0}}
"""
    (tmp_path / "arm.yaml").write_text(text)
    config = load(tmp_path / "arm.yaml")
    raw = np.float32(0.5) ** np.arange(20, dtype=np.float32)[:, None]
    found = verify(config, "arm", saved(tmp_path, {"raw": raw}))
    assert (found.agrees, found.steps) == (True, 20)
    assert not verify(config, "arm", saved(tmp_path, {"raw": -raw})).agrees


def test_a_step_that_would_have_ended_a_run_differs_unless_the_cases_say_so(tmp_path: Path) -> None:
    limits = "      terminations: {joint_pos_out_of_limit: {position: q, min: -1, max: 1}}\n"
    text = TEXT.replace("      action:", f"{limits}      action:")
    arrays = expected()
    found = verify(written(tmp_path, text), "arm", saved(tmp_path, arrays), 1e-5)
    first = int(np.argmax((np.abs(arrays["in_q"]) > 1).any(axis=1)))
    assert 0 < first == min(step for step, _ in found.terminations)
    assert all("joint_pos_out_of_limit" in told for _, told in found.terminations)
    assert found.first is not None
    assert (found.first.array, found.first.step) == ("terminated", first)
    assert found.hints == ()
    arrays["terminated"] = np.asarray((np.abs(arrays["in_q"]) > 1).any(axis=1))
    assert verify(written(tmp_path, text), "arm", saved(tmp_path, arrays), 1e-5).agrees


def test_an_end_of_the_training_that_no_termination_knows_differs(
    config: Config, tmp_path: Path
) -> None:
    arrays = {**expected(), "terminated": np.arange(STEPS) == 7}
    found = verify(config, "arm", saved(tmp_path, arrays), 1e-5)
    assert found.first is not None
    assert (found.first.array, found.first.step) == ("terminated", 7)


@pytest.mark.parametrize(
    ("limit", "change"),
    [
        ("max: {knee: 0.1, hip: 100}", lambda t: t.clip(None, [100, 0.1])),
        ("min: [-0.2, -10]", lambda t: t.clip([-0.2, -np.inf], None)),
        ("max_rate_per_s: 5", None),
    ],
)
def test_limits_that_would_have_changed_a_command_are_a_difference(
    tmp_path: Path, limit: str, change: Callable[[Observed], Observed] | None
) -> None:
    """No command of training would have left as it was."""
    text = TEXT.replace("safe: [0.5, -0.5]", f"safe: [0, 0], {limit}")
    arrays = expected(lambda _: [0, 0])
    found = verify(written(tmp_path, text), "arm", saved(tmp_path, arrays), 1e-5)
    sent = found.compared[-1]
    assert not found.agrees
    assert sent.name == "sent"
    assert all(array.first is None for array in found.compared[:-1])
    assert sent.first is not None
    targets = arrays["targets"]
    if change is not None:
        apart = np.abs(change(targets) - targets) > 1e-4
    else:  # 0.1 in a step of 20 ms; the first may be anything
        apart = np.zeros(targets.shape, bool)
        before = targets[0]
        for step in range(1, STEPS):
            now = targets[step].clip(before - np.float32(0.1), before + np.float32(0.1))
            apart[step] = np.abs(now - targets[step]) > 1e-4
            before = now
    assert 0 < apart.sum() < apart.size
    assert (sent.first.step, sent.steps) == (
        int(apart.any(axis=1).argmax()),
        apart.any(axis=1).sum(),
    )
    wide = text.replace(limit, "min: -100, max: 100, max_rate_per_s: 10000")
    assert verify(written(tmp_path, wide), "arm", saved(tmp_path, arrays), 1e-5).agrees


def test_what_the_cases_do_not_show_is_listed(tmp_path: Path) -> None:
    text = TEXT.replace("scale: 0.5, history: 3", "scale: 0.5, history: 3, clip: [-3, 3]")
    text = text.replace("{input: q, joints: policy}", "{input: q, joints: policy, clip: [-90, 90]}")
    config = written(tmp_path, text)
    arrays = expected()
    arrays["in_gyro"][:, 1:] = 0
    arrays["in_gyro"][9, 0] = 60
    only_seen = {key: arrays[key] for key in ("in_gyro", "in_q", "targets")}
    left = verify(config, "arm", saved(tmp_path, only_seen)).unseen
    assert left.arrays == ("obs_policy.obs", "raw")
    assert left.constant == ("gyro.1", "gyro.2")
    assert left.clips == ("gyro.1", "gyro.2", "q.knee", "q.hip")
    plain = verify(written(tmp_path), "arm", saved(tmp_path, expected())).unseen
    assert plain.as_dict() == {"not_compared": [], "constant": [], "clips_not_reached": []}


@pytest.mark.parametrize("key", ["action", "actions"])
def test_what_a_machine_does_until_its_policy_acts_is_left_out(tmp_path: Path, key: str) -> None:
    ramp = "fade_in_s: 0.1, start: {ramp_s: 0.2, from: q, to: 0.3}"
    action = f"{{joints: policy, scale: 0.25, {ramp}}}"
    text = TEXT.replace(
        "action: {joints: policy, scale: 0.25}",
        f"action: {action}" if key == "action" else f"actions: [{action}]",
    )
    found = verify(written(tmp_path, text), "arm", saved(tmp_path, expected()), 1e-5)
    assert found.agrees
    at = key if key == "action" else "actions[0]"
    assert found.left_out == (f"{at}.fade_in_s", f"{at}.start")


def test_a_relative_action_begins_at_what_is_measured_without_its_start(tmp_path: Path) -> None:
    text = TEXT.replace(
        "scale: 0.25}", "scale: 0.25, relative: true, start: {ramp_s: 0.2, from: q, to: 0.3}}"
    ).replace("        - {last_target: true, joints: [hip, knee]}\n", "")
    arrays = expected()
    config = written(tmp_path, text)
    (tmp_path / "policy.onnx").write_bytes(linear(WEIGHT[:13]))
    observed = arrays["obs_policy.obs"][:, :13].copy()
    target = arrays["in_q"][0]
    targets = []
    for step in range(STEPS):
        raw = observed[step] @ WEIGHT[:13]
        if step + 1 < STEPS:
            observed[step + 1, 11:] = raw
        target = target + (raw * np.float32(0.25))[::-1]
        targets.append(target)
    cases = {**arrays, "obs_policy.obs": observed, "targets": np.stack(targets)}
    del cases["raw"]
    assert verify(config, "arm", saved(tmp_path, cases), 1e-4).agrees
