"""The same loop file takes the exported model with one line changed: what is commanded, shown and verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rtloop import core
from rtloop.assembly import assemble
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.opened import opened
from rtloop.policy.verify import verify
from tests.core.conftest import MS
from tests.policy.callable.files import module
from tests.policy.models import linear

WEIGHT = (np.random.default_rng(4).normal(size=(8, 2)) * 0.3).astype(np.float32)
CODE = f"""
WEIGHT = np.array({WEIGHT.tolist()}, np.float32)
def act(seen): return seen @ WEIGHT
"""
TEXT = """\
loops:
  arm:
    class: firm
    rate_hz: 100
    inputs:
      q: {mailbox: [0, 0], names: [hip, knee]}
    policy:
      POLICY
      every: EVERY
      joints: [knee, hip]
      observation:
        - {input: q, joints: policy, history: 2}
        - {last_action: true}
        - {last_target: true, joints: [hip, knee]}
      action: {joints: policy, scale: 0.25}
    outputs: {t: {mailbox: true, names: [hip, knee], safe: [0.5, -0.5]}}
"""
FUNCTION_SHAPED = TEXT.replace("        - {last_action: true}\n", "").replace(
    "        - {last_target: true, joints: [hip, knee]}\n", ""
)


def files(folder: Path, text: str, every: int = 1) -> tuple[Path, Path]:
    """The loop file with the function, and with the model: one line apart."""
    n_observed = 8 if "last_action" in text else 4
    (folder / "policy.onnx").write_bytes(linear(WEIGHT[:n_observed]))
    name = module(folder, CODE.replace("seen @ WEIGHT", f"seen @ WEIGHT[:{n_observed}]"))
    paths = []
    for key, policy in (("python", f"{name}:act"), ("model", "policy.onnx")):
        paths.append(folder / f"{key}.yaml")
        told = text.replace("POLICY", f"{key}: {policy}").replace("EVERY", str(every))
        paths[-1].write_text(told)
    lines = zip(*(path.read_text().splitlines() for path in paths), strict=True)
    assert sum(one != other for one, other in lines) == 1
    return paths[0], paths[1]


def commanded(path: Path, samples: Sequence[Sequence[float]], folder: Path) -> list[list[float]]:
    """What stands at the output after each cycle on virtual time, a sample each."""
    config = load(path)
    loop = config.loops["arm"]
    policy = loop.policy.load(lambda *keys: config.where("loops", "arm", "policy", *keys))
    inputs, outputs = assumed_inputs(config, "arm", policy), assumed_outputs(loop, policy)
    parts = assemble(config, "arm", inputs, outputs, policy, are_assumed=True)
    ports = [core.Port("mailbox", {"inputs": 2}), core.Port("mailbox", {"safe": [0.5, -0.5]})]
    ring = core.RingWriter(str(folder / f"{path.stem}.ring"), 64, len(loop.sources), 2, 2, b"{}")
    clock = core.VirtualClock(1000 * MS)
    running = core.Loop(parts.core_config, ports, parts.runner, ring, clock)
    external = parts.runner.external
    if external is not None:
        external.open()
    sent = []
    for index, sample in enumerate(samples):
        ports[0].put(np.array(sample, np.float32), clock.now())
        if index == 0:
            running.begin()
        assert running.step()
        sent.append(ports[1].newest()[0].tolist())
        if external is not None and (question := external.next(0)) is not None:
            assert policy.function is not None
            external.answer(policy.function.answer(question[0]))
    running.end()
    assert running.status()["misses"] == 0
    return sent


@pytest.mark.parametrize("every", [1, 3])
def test_the_function_commands_what_its_model_does_a_period_later(
    tmp_path: Path, every: int
) -> None:
    """Of a policy that does not observe what it commanded: what that is comes a period later, too."""
    function, model = files(tmp_path, FUNCTION_SHAPED, every)
    samples = np.random.default_rng(5).normal(size=(24, 2)).tolist()
    by_function = commanded(function, samples, tmp_path)
    by_model = commanded(model, samples, tmp_path)
    assert by_function[:every] == [[0.5, -0.5]] * every, "the safe command, before the first answer"
    np.testing.assert_allclose(by_function[every:], by_model[:-every], rtol=0, atol=1e-6)


def cases(folder: Path) -> Path:
    """What the policy did in training, in numpy alone: it answers in the step in which it observes."""
    random = np.random.default_rng(6)
    q = random.normal(size=(20, 2)).astype(np.float32)
    raw, target = np.zeros(2, np.float32), np.array([0.5, -0.5], np.float32)
    before = q[0][::-1]
    rows: dict[str, list[npt.NDArray[Any]]] = {"obs": [], "raw": [], "targets": []}
    for sample in q:
        seen = np.concatenate([before, sample[::-1], raw, target])
        before = sample[::-1]
        raw = seen @ WEIGHT
        target = (raw * np.float32(0.25))[::-1]
        rows["obs"].append(seen)
        rows["raw"].append(raw)
        rows["targets"].append(target)
    path = folder / "cases.npz"
    arrays: dict[str, Any] = {
        name: np.stack(values) for name, values in rows.items() if name != "obs"
    }
    np.savez(path, in_q=q, obs_policy=np.stack(rows["obs"]), **arrays)
    return path


def test_verify_calls_it_in_each_step_as_training_did(tmp_path: Path) -> None:
    function, model = files(tmp_path, TEXT)
    path = cases(tmp_path)
    for told in (function, model):
        found = verify(load(told), "arm", path)
        assert found.agrees, found.first
        assert {array.name for array in found.compared} >= {"raw", "targets"}


def test_verify_says_what_the_function_raised(tmp_path: Path) -> None:
    function, _ = files(tmp_path, TEXT)
    name = function.read_text().partition("python: ")[2].partition(":")[0]
    import sys

    config = load(function)
    opened(config, "arm")
    broken = sys.modules[name]
    broken.act = lambda seen: [][0] if seen.any() else [0, 0]  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"cannot be stepped: .*raised IndexError: list index"):
        verify(config, "arm", cases(tmp_path))


def test_it_shows_like_a_model(tmp_path: Path) -> None:
    function, model = files(tmp_path, TEXT)
    shown, of_model = (opened(load(path), "arm").table for path in (function, model))
    assert [e.label for e in shown.observations["policy.observation"]] == [
        e.label for e in of_model.observations["policy.obs"]
    ]
    assert [e.formula for e in shown.command] == [e.formula for e in of_model.command]


def test_it_is_in_no_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    function, _ = files(tmp_path, TEXT)
    code = main(["policy", "show", str(function), "--graph", str(tmp_path / "all.onnx")])
    assert code == 2
    said = capsys.readouterr().err
    assert (
        "is in no ONNX file: export what it computes as a model, and name that under `model`"
        in said
    )
    assert not (tmp_path / "all.onnx").exists()


def test_there_is_nothing_to_compile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    function, _ = files(tmp_path, TEXT)
    assert main(["policy", "compile", str(function), "--into", str(tmp_path / "so")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is not compiled: export a model" in said
    assert main(["policy", "compile", str(function), "--into", str(tmp_path / "so"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loops"]["arm"]["objects"] == []


def test_verify_tells_what_differs_of_a_function(tmp_path: Path) -> None:
    function, _ = files(tmp_path, TEXT)
    path = cases(tmp_path)
    text = function.read_text()
    name = text.partition("python: ")[2].partition(":")[0]
    code = (tmp_path / f"{name}.py").read_text()
    other = module(tmp_path, code.replace("return seen @", "return 1.5 * seen @"))
    function.write_text(text.replace(name, other))
    found = verify(load(function), "arm", path)
    assert not found.agrees
    assert found.first is not None
    assert found.first.array == "raw"
