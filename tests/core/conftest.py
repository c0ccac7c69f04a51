"""What tests of the core are made of: graphs made on the spot, loops on virtual time, a real ring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop import core
from rtloop.policy.library import onnxruntime_library
from rtloop.telemetry.observe.records import INPUT_RECORD_DTYPE, RECORD_DTYPE
from tests.core.fake_device import FakeDevice

MS = 1_000_000


def model_bytes(nodes: Sequence[Any], n: int, initializers: Sequence[Any] = ()) -> bytes:
    """An ONNX model x [1, n] → y [1, n], both float32."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, n])],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def identity_graph(n: int) -> core.Graph:
    """Commands what it reads."""
    model = model_bytes([helper.make_node("Identity", ["x"], ["y"])], n)
    return core.Graph(onnxruntime_library(), model, [("x", [1, n])], ("y", [1, n]), [])


def first_of(n: int) -> core.Graph:
    """Commands the first of the ``n`` elements that it reads."""
    indices = {"begin": 0, "end": 1, "axis": 1}
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", *indices], ["y"])],
        "first",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [v]) for name, v in indices.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    text = bytes(model.SerializeToString())
    return core.Graph(onnxruntime_library(), text, [("x", [1, n])], ("y", [1, 1]), [])


def read_records(path: Path | str) -> np.ndarray[Any, Any]:
    """All cycles of a ring that has overwritten none."""
    raw, lost = core.RingReader(str(path)).read(1 << 20)
    assert lost == 0
    return np.ascontiguousarray(raw[:, : core.RECORD_SIZE]).view(RECORD_DTYPE)[:, 0]


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    device = FakeDevice(offset_ns=-77_000_000_000)
    yield device
    device.unplug()


class Rig:
    """A loop whose one command element follows its one input, stepped on virtual time."""

    def __init__(self, ring_path: Path, **changes: Any) -> None:
        graph = changes.pop("graph", None) or identity_graph(1)
        self.config = core.LoopConfig()
        self.config.name = "rig"
        self.config.period_ns = self.config.deadline_ns = MS
        self.config.inputs = [core.InputConfig(0)]
        self.config.outputs = [core.OutputConfig(1, safe=[-1.0], default_value=[-2.0])]
        for name, value in changes.items():
            assert hasattr(self.config, name), name
            setattr(self.config, name, value)
        self.clock = core.VirtualClock(1_000 * MS)
        self.input = core.Port("mailbox", {"inputs": 1})
        self.output = core.Port("mailbox", {"safe": [-1.0]})
        self.ring_path = ring_path
        self.n_sources = 1 + (graph.external is not None)
        self.ring = core.RingWriter(str(ring_path), 4096, self.n_sources, 1, 1, b"{}")
        ports = [self.input, self.output]
        self.loop = core.Loop(self.config, ports, graph, self.ring, self.clock)

    def put(self, value: float) -> None:
        self.input.put(np.array([value], np.float32), self.clock.now())

    def command(self) -> float:
        return float(self.output.newest()[0][0])

    def safe_in_force(self) -> bool:
        return bool(self.output.counters()["safe_in_force"])

    def start(self, value: float | None = 1.0) -> None:
        if value is not None:
            self.put(value)
        self.loop.begin()

    def run(self, cycles: int, value: float | None = 1.0) -> np.ndarray[Any, Any]:
        """Up to ``cycles`` cycles from the start; their records."""
        self.start(value)
        for _ in range(cycles):
            if not self.loop.step():
                break
        return self.records()

    def records(self) -> np.ndarray[Any, Any]:
        return read_records(self.ring_path)

    def sent(self) -> np.ndarray[Any, Any]:
        """What stood at the output after each cycle, by the records."""
        raw, _ = core.RingReader(str(self.ring_path)).read(1 << 20)
        values = raw[:, core.RECORD_SIZE + self.n_sources * core.INPUT_RECORD_SIZE :]
        return np.ascontiguousarray(values).view("<f4")[:, 1]

    def sources(self) -> np.ndarray[Any, Any]:
        """What each cycle found of its sources, [cycles, sources]: the input, and what is answered outside."""
        raw, _ = core.RingReader(str(self.ring_path)).read(1 << 20)
        end = core.RECORD_SIZE + self.n_sources * core.INPUT_RECORD_SIZE
        found = np.ascontiguousarray(raw[:, core.RECORD_SIZE : end])
        return found.view(INPUT_RECORD_DTYPE)


@pytest.fixture
def make_rig(tmp_path: Path) -> Callable[..., Rig]:
    count = 0

    def make(**changes: Any) -> Rig:
        nonlocal count
        count += 1
        return Rig(tmp_path / f"{count}.ring", **changes)

    return make


def stall(stage: str, cycle: int, duration_ns: int, every: int = 0) -> core.Stall:
    return core.Stall(core.Stage[stage], cycle, every, duration_ns)
