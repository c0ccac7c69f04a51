"""What a file of cases must be: every bad one is refused with the reason."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtloop.config import Config
from rtloop.errors import ConfigError
from rtloop.policy.verify import verify
from tests.policy.arm import STEPS, TEXT, Arrays, expected, saved, written
from tests.policy.models import linear


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return written(tmp_path)


@pytest.mark.parametrize("name", ["obs_obs", "obs_policy", "obs_policy.obs"])
def test_an_observation_goes_by_its_input_its_model_or_both(
    config: Config, tmp_path: Path, name: str
) -> None:
    arrays = expected()
    arrays[name] = arrays.pop("obs_policy.obs")
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert found.agrees
    assert found.ignored == ()


def test_names_in_the_file_decide_the_order(config: Config, tmp_path: Path) -> None:
    arrays = expected()
    for name in ("in_q", "targets"):
        arrays[name] = arrays[name][:, ::-1]
        arrays[f"names_{name}"] = np.array(["knee", "hip"])
    assert verify(config, "arm", saved(tmp_path, arrays)).agrees
    del arrays["names_in_q"]
    found = verify(config, "arm", saved(tmp_path, arrays))
    assert found.hints[0].startswith("policy.obs: q: shifted by 1") or "order" in found.hints[0]


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
