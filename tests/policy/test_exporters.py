"""The snippets of docs/verify.md: they are Python, and that of SB3 writes a file that verifies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.config import load
from rtloop.policy.verify import verify
from tests.policy.models import save

TEXT = (Path(__file__).parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- exporter: (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))

LOOP = """\
loops:
  pendulum:
    class: soft
    rate_hz: 20
    inputs: {state: {mailbox: [1, 0, 0]}}
    policy:
      model: policy.onnx
      observation: [{input: state}]
      action: {clip: [-2, 2]}
    outputs: {torque: {mailbox: true, size: 1, safe: 0}}
"""


def _linear_layers(layers: list[Any]) -> bytes:
    """What stable-baselines3 makes of ``MlpPolicy``: tanh between linear layers."""
    nodes, weights, value = [], {}, "obs"
    for number, layer in enumerate(layers):
        for name in ("weight", "bias"):
            weights[f"{name}_{number}"] = getattr(layer, name).detach().numpy()
        gemm = [value, f"weight_{number}", f"bias_{number}"]
        last = number == len(layers) - 1
        value = "action" if last else f"sum_{number}"
        nodes.append(helper.make_node("Gemm", gemm, [value], transB=1))
        if not last:
            nodes.append(helper.make_node("Tanh", [value], [f"hidden_{number}"]))
            value = f"hidden_{number}"
    element = TensorProto.FLOAT
    return save(nodes, [("obs", element, [1, 3])], [("action", element, [1, 1])], weights)


@pytest.mark.parametrize("name", ["recorder", "isaaclab", "mjlab", "sb3"])
def test_every_snippet_compiles(name: str) -> None:
    compile(SNIPPETS[name], name, "exec")


def test_the_recorder_writes_what_verify_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    exec(SNIPPETS["recorder"], scope)
    (tmp_path / "policy.onnx").write_bytes(
        save(
            [helper.make_node("Neg", ["obs"], ["action"])],
            [("obs", TensorProto.FLOAT, [1, 1])],
            [("action", TensorProto.FLOAT, [1, 1])],
            {},
        )
    )
    (tmp_path / "loop.yaml").write_text(LOOP.replace("[1, 0, 0]", "[1]"))
    cases = scope["Cases"]()
    buffer = np.zeros((1, 1))
    for value in (0.5, 3.0, -1.0):
        buffer[:] = value  # simulators reuse their buffers
        cases.add(in_state=buffer[0], obs_policy=buffer[0])
        cases.add(raw=-buffer[0], targets=np.clip(-buffer[0], -2, 2))
    cases.save("cases.npz", names_in_state=["0"], names_targets=["0"])
    found = verify(load(tmp_path / "loop.yaml"), "pendulum", tmp_path / "cases.npz")
    assert found.agrees
    assert found.steps == 3
    assert len(found.compared) == 3


def test_the_snippet_for_sb3_writes_a_file_that_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    gymnasium = pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    env = gymnasium.make("Pendulum-v1")
    model = sb3.PPO("MlpPolicy", env, seed=1, device="cpu")
    model.policy.action_net.weight.data.mul_(2000)  # untrained, it hardly moves
    scope: dict[str, Any] = {"torch": torch, "np": np, "env": env, "model": model}
    exec(SNIPPETS["recorder"] + SNIPPETS["sb3"], scope)
    network = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    (tmp_path / "policy.onnx").write_bytes(_linear_layers(layers))
    (tmp_path / "loop.yaml").write_text(LOOP)
    found = verify(load(tmp_path / "loop.yaml"), "pendulum", tmp_path / "cases.npz")
    assert found.agrees, found.as_dict()
    assert found.steps == 200
    clipped = np.load("cases.npz")
    assert (np.abs(clipped["raw"]) > 2).any(), "the clip is seen"
