"""A policy is verified against arrays of what it did: every difference has a name, every bad file a reason."""

from __future__ import annotations

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
        - {last_target: true}
      action: {joints: policy, scale: 0.25}
    outputs: {t: {mailbox: true, names: [hip, knee], safe: [0.5, -0.5]}}
"""
STEPS = 30
WEIGHT = (np.random.default_rng(2).normal(size=(15, 2)) * 0.3).astype(np.float32)


def expected() -> Arrays:
    """What it did, in numpy alone."""
    random = np.random.default_rng(3)
    gyro = random.normal(size=(STEPS, 3)).astype(np.float32)
    q = random.normal(size=(STEPS, 2)).astype(np.float32)
    raw, target = np.zeros(2, np.float32), np.array([0.5, -0.5], np.float32)
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


#: What the data look like where the mistake is not one of examples/policies: the observation, what is said.
LOOKS: dict[str, tuple[Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]], str]] = {
    "one step late": (lambda o: np.concatenate([o[:1], o[:-1]]), "the value of the step before"),
    "clipped": (lambda o: np.clip(o, -0.3, 0.3), "expected is clipped"),
    "zero": (lambda o: 0 * o, "0 is expected"),
    "noise": (
        lambda o: o + np.random.default_rng(1).normal(size=o.shape).astype(np.float32),
        "none of the usual mistakes explains it",
    ),
    "scaled each": (lambda o: o * np.array([2, 3], np.float32), "scaled by q.knee 2, q.hip 3"),
}


@pytest.mark.parametrize("case", LOOKS)
def test_a_hint_says_what_the_difference_looks_like(
    config: Config, tmp_path: Path, case: str
) -> None:
    change, told = LOOKS[case]
    arrays = expected()
    arrays["obs_policy.obs"][:, 9:11] = change(arrays["obs_policy.obs"][:, 9:11])
    found = verify(config, "arm", saved(tmp_path, arrays))
    (hint,) = found.hints
    assert hint.startswith("policy.obs: q: ")
    assert told in hint


def test_without_observations_the_answer_alone_is_told(config: Config, tmp_path: Path) -> None:
    arrays = expected()
    del arrays["obs_policy.obs"]
    arrays["raw"] = arrays["raw"] + 1
    (hint,) = verify(config, "arm", saved(tmp_path, arrays)).hints
    assert "with `obs_…` in the cases" in hint
