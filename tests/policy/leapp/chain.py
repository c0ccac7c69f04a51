"""A bundle of two models in a row, one with a state of its own, and a loop around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.errors import ConfigError
from tests.policy.leapp.bundles import BundleMaker, tensor
from tests.policy.models import save

FLOAT = TensorProto.FLOAT
NAMES = ["hip", "knee", "foot"]


def dense(inputs: dict[str, int], output: str, size: int, seed: int) -> bytes:
    """tanh of the joined inputs times a weight."""
    weight = np.random.default_rng(seed).normal(size=(sum(inputs.values()), size))
    nodes = [
        helper.make_node("Concat", list(inputs), ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Tanh", ["y"], [output]),
    ]
    values = [(name, FLOAT, [1, n]) for name, n in inputs.items()]
    return save(nodes, values, [(output, FLOAT, [1, size])], {"w": weight.astype(np.float32)})


def chain(folder: Path) -> BundleMaker:
    """Two models; both read joint_pos; what the second gives returns to the first."""
    maker = BundleMaker(folder, "chain")
    maker.model(
        "encoder",
        dense({"joint_pos": 3, "cmd": 2, "prev": 3}, "latent", 4, 1),
        [
            tensor("joint_pos", [1, 3], kind="state/joint/position", element_names=[NAMES]),
            tensor("cmd", [1, 2]),
            tensor("prev", [1, 3]),
        ],
        [tensor("latent", [1, 4])],
    )
    maker.model(
        "policy",
        dense({"latent": 4, "joint_pos": 3}, "action", 3, 2),
        [
            tensor("latent", [1, 4]),
            tensor("joint_pos", [1, 3], kind="state/joint/position", element_names=[NAMES]),
        ],
        [tensor("action", [1, 3], kind="target/joint/position", element_names=[NAMES[::-1]])],
    )
    maker.pipeline.update(
        {
            "data_flow": {"encoder/latent": ["policy/latent"]},
            "feedback_flow": {"policy/action": ["encoder/prev"]},
            "inputs": {"encoder": ["joint_pos", "cmd"], "policy": ["joint_pos"]},
            "outputs": {"policy": ["action"]},
            "configs": {"frequency": 40.0},
        }
    )
    return maker


PREV = {"encoder/prev": np.array([[0.25, -0.5, 1.0]], np.float32)}
LOOP = """
loops:
  arm:
    class: soft
    rate_hz: 40
    inputs:
      joint_pos: {mailbox: [0, 0, 0, 0], names: [foot, hip, spare, knee]}
      cmd: {mailbox: [0, 0]}
    policy:
      leapp: chain.yaml
    outputs:
      motors: {mailbox: true, names: [hip, knee, foot], safe: 0}
"""


def written(folder: Path, text: str = LOOP) -> Path:
    (folder / "loop.yaml").write_text(text)
    return folder / "loop.yaml"


def refused(folder: Path, maker: BundleMaker, text: str = LOOP) -> str:
    maker.write()
    error = check(written(folder, text)).error
    assert isinstance(error, ConfigError)
    return str(error)


CMD = "cmd: {mailbox: [0, 0], names: [x_stick, y_stick]}"


def beside(keys: str, text: str = LOOP) -> str:
    """The loop with keys beside ``leapp``."""
    return text.replace("leapp: chain.yaml\n", f"leapp: chain.yaml\n      {keys}\n")
