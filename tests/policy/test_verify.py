"""A policy is verified against arrays of what it did: every difference has a name, every bad file a reason."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rtloop.config import Config, load
from rtloop.errors import ConfigError
from rtloop.policy.verify import verify
from tests.policy.models import linear

Arrays = dict[str, npt.NDArray[Any]]
Observed = npt.NDArray[np.float32]

TEXT = """\
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs:
      gyro: {mailbox: [0, 0, 0]}
      q: {mailbox: [0, 0], names: [hip, knee]}
    policy:
      model: policy.onnx
      joints: [knee, hip]
      observation:
        - {input: gyro, scale: 0.5, history: 3}
        - {input: q, joints: policy}
        - {last_action: true}
        - {last_target: true, joints: [hip, knee]}
      action: {joints: policy, scale: 0.25}
    outputs: {t: {mailbox: true, names: [hip, knee], safe: [0.5, -0.5]}}
"""
STEPS = 30
WEIGHT = (np.random.default_rng(2).normal(size=(15, 2)) * 0.3).astype(np.float32)


def expected(safe: Callable[[Arrays], list[float]] = lambda _: [0.5, -0.5]) -> Arrays:
    """What it did, in numpy alone. ``safe`` is what stood before, by the first inputs."""
    random = np.random.default_rng(3)
    gyro = random.normal(size=(STEPS, 3)).astype(np.float32)
    q = random.normal(size=(STEPS, 2)).astype(np.float32)
    raw = np.zeros(2, np.float32)
    target = np.array(safe({"gyro": gyro[0], "q": q[0]}), np.float32)
    rows: dict[str, list[npt.NDArray[np.float32]]] = {
        "obs_policy.obs": [],
        "raw": [],
        "targets": [],
    }
    for step in range(STEPS):
        past = [gyro[max(0, step - ago)] * np.float32(0.5) for ago in (2, 1, 0)]
        obs = np.concatenate([*past, q[step][::-1], raw, target])
        raw = obs @ WEIGHT
        target = (raw * np.float32(0.25))[::-1]
        rows["obs_policy.obs"].append(obs)
        rows["raw"].append(raw)
        rows["targets"].append(target)
    return {"in_gyro": gyro, "in_q": q, **{name: np.stack(row) for name, row in rows.items()}}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return written(tmp_path)


def written(folder: Path, text: str = TEXT) -> Config:
    (folder / "policy.onnx").write_bytes(linear(WEIGHT))
    (folder / "arm.yaml").write_text(text)
    return load(folder / "arm.yaml")


def saved(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "cases.npz", allow_pickle=True, **arrays)
    return folder / "cases.npz"


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


@pytest.mark.parametrize("name", ["obs_obs", "obs_policy", "obs_policy.obs"])
def test_an_observation_goes_by_its_input_its_model_or_both(
    config: Config, tmp_path: Path, name: str
) -> None:
    arrays = expected()
    arrays[name] = arrays.pop("obs_policy.obs")
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert found.agrees
    assert found.ignored == ()


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


def test_names_in_the_file_decide_the_order(config: Config, tmp_path: Path) -> None:
    arrays = expected()
    for name in ("in_q", "targets"):
        arrays[name] = arrays[name][:, ::-1]
        arrays[f"names_{name}"] = np.array(["knee", "hip"])
    assert verify(config, "arm", saved(tmp_path, arrays)).agrees
    del arrays["names_in_q"]
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert found.hints[0].startswith("policy.obs: q: shifted by 1") or "order" in found.hints[0]


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


def test_other_arrays_are_told_of_and_left_alone(config: Config, tmp_path: Path) -> None:
    arrays = {**expected(), "time": np.arange(STEPS)}
    assert verify(config, "arm", saved(tmp_path, arrays)).ignored == ("time",)


def _without(*names: str) -> Callable[[Arrays], object]:
    return lambda arrays: [arrays.pop(name) for name in names]


def _nan(arrays: Arrays) -> None:
    arrays["in_gyro"][3, 2] = np.nan


BAD: dict[str, tuple[Callable[[Arrays], object], str]] = {
    "an input is missing": (_without("in_q"), "no in_q; expected them beside in_gyro, obs_"),
    "nothing to compare": (_without("raw", "targets", "obs_policy.obs"), "nothing to compare with"),
    "another size": (
        lambda a: a.update(in_q=np.zeros((STEPS, 3))),
        r"[30, 3]; expected [steps, 2]",
    ),
    "fewer steps": (lambda a: a.update(raw=a["raw"][1:]), "raw 29"),
    "no step": (lambda a: a.update({k: v[:0] for k, v in a.items()}), "in_gyro 0"),
    "an end that is neither": (
        lambda a: a.update(terminated=np.full(STEPS, 0.5)),
        "'terminated' with other values; expected 0 and 1 alone",
    ),
    "text": (lambda a: a.update(in_q=np.full((STEPS, 2), "x")), "'in_q' of <U1 [30, 2]"),
    "objects": (
        lambda a: a.update(in_q=np.array([[1], [2, 3]], object)),
        "'in_q', an array of Python objects",
    ),
    "a NaN": (_nan, "'in_gyro' with nan at step 3, element 2"),
    "a scalar": (lambda a: a.update(raw=np.float32(1)), "'raw' of float32 []"),
    "the same twice": (lambda a: a.update(obs_obs=a["obs_policy.obs"]), "which are the same"),
    "an observation of no model": (
        lambda a: a.update(obs_foo=a["raw"]),
        "'obs_foo', which no model observes; expected obs_policy.obs",
    ),
    "names without a vector": (
        lambda a: (a.pop("targets"), a.update(names_targets=np.array(["hip"]))),
        "'names_targets' alone",
    ),
    "a name that is not there": (
        lambda a: a.update(names_in_q=np.array(["hip", "ankle"])),
        "'names_in_q' without 'knee'",
    ),
    "names of an answer": (
        lambda a: a.update(names_raw=np.array(["hip", "knee"])),
        "'names_raw'; expected names of inputs and of `targets` alone",
    ),
    "names of an observation": (
        lambda a: a.update(names_obs_policy=np.array(["x"] * 15)),
        "'names_obs_policy'",
    ),
    "more than float32 holds": (
        lambda a: a.update(in_q=a["in_q"].astype(float) * 1e300),
        "'in_q' with",
    ),
    "names that are none": (lambda a: a.update(names_in_q=np.zeros(2)), "expected texts"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_the_reason(config: Config, tmp_path: Path, case: str) -> None:
    change, told = BAD[case]
    arrays = expected()
    change(arrays)
    path = saved(tmp_path, arrays)
    with pytest.raises(ConfigError) as refused:
        verify(config, "arm", path)
    assert str(refused.value).startswith(f"{path}: found ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"no zip", "no .npz file"),
        (b"", "no .npz file"),
        (b"PK\x03\x04", "no .npz file"),
    ],
)
def test_what_is_no_npz_file_is_refused(
    config: Config, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "cases.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        verify(config, "arm", path)


@pytest.mark.parametrize("damage", ["a byte", "a header", "a size", "a password", "a method"])
def test_a_damaged_npz_file_is_refused(config: Config, tmp_path: Path, damage: str) -> None:
    """Whatever the reader of the day raises for it."""
    path = tmp_path / "cases.npz"
    if damage == "a byte":
        np.savez_compressed(path, allow_pickle=True, **expected())
        content = bytearray(path.read_bytes())
        content[200:220] = bytes(20)
        path.write_bytes(content)
    else:
        buffer = io.BytesIO()
        np.save(buffer, expected()["in_q"])
        array = buffer.getvalue()
        if damage == "a header":
            array = array[:40]
        if damage == "a size":
            array = array.replace(b"(30, 2), }        ", b"(99999999999, 99)}")
            assert len(array) == len(buffer.getvalue())
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("in_q.npy", array)
        content = bytearray(path.read_bytes())
        central = content.index(b"PK\x01\x02")
        if damage == "a password":
            content[6] |= 1
            content[central + 8] |= 1
        if damage == "a method":
            content[8] = content[central + 10] = 99
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="found no .npz file") as refused:
        verify(config, "arm", path)
    assert "Python objects" not in str(refused.value)


def test_a_single_array_is_refused(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "cases.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ConfigError, match="a single array"):
        verify(config, "arm", path)


def test_an_input_name_of_two_models_is_refused_unless_the_model_is_named(tmp_path: Path) -> None:
    policy = TEXT[TEXT.index("    policy:") : TEXT.index("    outputs:")]
    two = """\
    policy:
      joints: [knee, hip]
      models:
        encoder: {model: encoder.onnx, observation: [{input: q, joints: policy}]}
        actor: {model: actor.onnx, observation: [{output: encoder.action}]}
"""
    text = TEXT.replace(policy, two)
    for name in ("encoder", "actor"):
        (tmp_path / f"{name}.onnx").write_bytes(linear(np.eye(2, dtype=np.float32)))
    config = written(tmp_path, text)
    q = expected()["in_q"][:, ::-1]
    arrays = {"in_q": q[:, ::-1], "in_gyro": np.zeros((STEPS, 3)), "obs_obs": q}
    with pytest.raises(ConfigError, match="may be any of 2"):
        verify(config, "arm", saved(tmp_path, arrays))
    arrays["obs_encoder"] = arrays.pop("obs_obs")
    assert verify(config, "arm", saved(tmp_path, arrays)).agrees
    arrays["obs_encoder"] = 2 * q
    arrays["obs_actor"] = 2 * q
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert [hint.partition(":")[0] for hint in found.hints] == ["encoder.obs"], found.hints


def _reversed(gyro: Observed) -> Observed:
    return np.concatenate([gyro[:, 6:], gyro[:, 3:6], gyro[:, :3]], axis=1)


def _from_zero(gyro: Observed) -> Observed:
    gyro = gyro.copy()
    gyro[0, :6] = 0
    gyro[1, :3] = 0
    return gyro


def _turned(q: Observed) -> Observed:
    return (q + 2 * np.pi * np.round(q)).astype(np.float32)


def _noisy(q: Observed) -> Observed:
    return q + np.random.default_rng(1).normal(size=q.shape).astype(np.float32)


#: What the data look like: the part, what was done to it in training, what is said.
LOOKS: dict[str, tuple[str, Callable[[Observed], Observed], str]] = {
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
    arrays = expected()
    columns = arrays["obs_policy.obs"][:, COLUMNS[part]]
    arrays["obs_policy.obs"][:, COLUMNS[part]] = change(columns.copy())
    found = verify(config, "arm", saved(tmp_path, arrays))
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
    tmp_path: Path, read: Callable[[Observed], Observed], told: str
) -> None:
    text = TEXT.replace("gyro: {mailbox: [0, 0, 0]}", "quat: {mailbox: [1, 0, 0, 0]}")
    config = written(tmp_path, text.replace("input: gyro", "projected_gravity: quat"))
    quat = np.random.default_rng(9).normal(size=(STEPS, 4)).astype(np.float32)
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    w, x, y, z = read(quat).T
    gravity = np.stack([2 * (w * y - x * z), -2 * (y * z + w * x), x**2 + y**2 - w**2 - z**2])
    past = [0.5 * gravity.T[np.maximum(0, np.arange(STEPS) - ago)] for ago in (2, 1, 0)]
    arrays = expected()
    arrays["obs_policy.obs"][:, :9] = np.concatenate(past, axis=1)
    del arrays["in_gyro"], arrays["targets"]
    (hint, *_) = verify(config, "arm", saved(tmp_path, {**arrays, "in_quat": quat})).hints
    assert hint.startswith("policy.obs: projected_gravity: 'quat' ")
    assert told in hint


def test_without_observations_the_answer_alone_is_told(config: Config, tmp_path: Path) -> None:
    arrays = expected()
    del arrays["obs_policy.obs"]
    arrays["raw"] = arrays["raw"] + 1
    (hint,) = verify(config, "arm", saved(tmp_path, arrays)).hints
    assert "with `obs_…` in the cases" in hint
