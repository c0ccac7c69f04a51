"""Policies as exporters leave them, and loops that run what ``rtloop init`` wrote of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from rtloop.assembly import assemble
from rtloop.cli.check import check
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.ports.signal import Signal
from tests.policy.models import Value, save

FLOAT = TensorProto.FLOAT
Row = npt.NDArray[np.float32]


def written(folder: Path, *arguments: str) -> str:
    """What ``rtloop init`` writes; ``rtloop check`` finds nothing wrong with it."""
    path = folder / "loop.yaml"
    assert main(["init", *arguments, "-o", str(path), "--force"]) == 0
    found = check(path)
    assert found.error is None
    assert not found.warnings
    return path.read_text()


class Loop:
    """The loop of ``folder/loop.yaml``, stepped by hand."""

    def __init__(self, folder: Path) -> None:
        config = load(folder / "loop.yaml")
        ((name, self.section),) = config.loops.items()
        inputs = {
            key: [Signal(n) for n in s.element_names or map(str, range(s.element_count or 0))]
            for key, s in self.section.inputs.items()
        }
        outputs = {
            key: [Signal(n) for n in s.element_names or map(str, range(s.element_count or 0))]
            for key, s in self.section.outputs.items()
        }
        self.inputs = {key: len(signals) for key, signals in inputs.items()}
        self.outputs = {key: [s.name for s in signals] for key, signals in outputs.items()}
        self._assembled = assemble(config, name, inputs, outputs)
        graph = self.graph = self._assembled.graph
        self._numbers = {tensor: number for number, tensor in enumerate(graph.tensors)}

    def step(self, samples: Mapping[str, npt.ArrayLike]) -> dict[str, Row]:
        """One cycle: the command of each output."""
        assert samples.keys() == self.inputs.keys()
        flat = [np.asarray(samples[key], np.float32).reshape(-1) for key in self.inputs]
        command = self._assembled.runner.run(flat)
        sizes = np.cumsum([len(names) for names in self.outputs.values()])
        return dict(zip(self.outputs, np.split(command, sizes[:-1]), strict=True))

    def observed(self) -> dict[str, Row]:
        """What the model saw in the last cycle, by its inputs."""
        observations = self._assembled.graph.observations.items()
        return {
            key.partition(".")[2]: self._assembled.runner.tensor(self._numbers[tensor]).reshape(-1)
            for key, tensor in observations
        }


def linear(n: int, m: int, metadata: Mapping[str, str] | None = None) -> tuple[bytes, Row]:
    """obs [1, n] -> actions [1, m], with metadata; and its weight."""
    weight = (np.random.default_rng(5).normal(size=(n, m)) / np.sqrt(n)).astype(np.float32)
    node = helper.make_node("MatMul", ["obs", "weight"], ["actions"])
    model = save([node], [("obs", FLOAT, [1, n])], [("actions", FLOAT, [1, m])], {"weight": weight})
    return with_metadata(model, metadata or {}), weight


def adding(
    inputs: Sequence[Value], outputs: Mapping[str, tuple[str, str]], metadata: Mapping[str, str]
) -> bytes:
    """A model whose outputs are each the sum of two inputs of one size."""
    sizes = {name: shape for name, _, shape in inputs}
    nodes = [helper.make_node("Add", list(pair), [name]) for name, pair in outputs.items()]
    values: list[Value] = [(name, FLOAT, sizes[pair[0]]) for name, pair in outputs.items()]
    return with_metadata(save(nodes, inputs, values, {}), metadata)


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    proto = onnx.ModelProto.FromString(model)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return bytes(proto.SerializeToString())


def gravity(quaternion: npt.ArrayLike) -> Row:
    """R(q)^T (0, 0, -1) of w, x, y, z."""
    w, x, y, z = np.asarray(quaternion, np.float64) / np.linalg.norm(np.asarray(quaternion))
    down = [2 * (w * y - x * z), -2 * (y * z + w * x), x * x + y * y - w * w - z * z]
    return np.array(down, np.float32)


def samples(loop: Loop, seed: int) -> dict[str, Any]:
    """Something for every input."""
    random = np.random.default_rng(seed)
    return {key: random.normal(size=size).astype(np.float32) for key, size in loop.inputs.items()}
