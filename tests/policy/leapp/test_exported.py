"""Bundles of the package leapp itself: rtloop runs them as its InferenceManager does, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.policy.leapp.bundle import read_bundle
from tests.policy.importing.loops import Loop, samples, written

torch = pytest.importorskip("torch", reason="no torch: pip install 'rtloop[test-leapp]'")
leapp = pytest.importorskip("leapp", reason="no leapp: pip install 'rtloop[test-leapp]'")

STEPS = 20
NAMES = ["hip", "knee", "foot"]


def _exported(folder: Path, trace: Callable[[Any], None], **options: Any) -> Path:
    torch.manual_seed(3)
    leapp.start(name="bundle", save_path=str(folder))
    trace(leapp.annotate)
    leapp.stop()
    leapp.compile_graph(visualize=False, **options)
    return folder / "bundle" / "bundle.yaml"


def _runs_as_in_leapp(folder: Path, path: Path) -> None:
    """Every step of the loop that init writes around a bundle gives the bits of LEAPP's own runtime."""
    written(folder, str(path))
    bundle, loop = read_bundle(path), Loop(folder)
    manager = leapp.InferenceManager(str(path))
    order = {key: section.element_names for key, section in loop.section.inputs.items()}
    for step in range(STEPS):
        given = samples(loop, step)
        feeds = {}
        for port in bundle.inputs:
            tensor = bundle.input(port)
            values, names = given[tensor.name], order[tensor.name]
            if names is not None and tensor.element_names is not None:
                values = values[[names.index(name) for name in tensor.element_names]]
            feeds["/".join(port)] = torch.tensor(values.reshape(tensor.shape))
        expected = manager(feeds)
        targets = np.concatenate(list(loop.step(given).values()))
        # What only flows back stands in the inputs that it fed.
        fed = {source: target for target, source in bundle.sources.items()}
        left = [
            expected["/".join(port)]
            if port in bundle.outputs
            else manager.value_dict[fed[port][0]][fed[port][1]]
            for port in bundle.outputs or bundle.answers[-1:]
        ]
        flat = [tensor.cpu().numpy().reshape(-1) for tensor in left]
        np.testing.assert_array_equal(targets, np.concatenate(flat))


def test_one_node(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(6, 32), torch.nn.ELU(), torch.nn.Linear(32, 3))

    def trace(annotate: Any) -> None:
        obs = annotate.input_tensors("policy", {"obs": torch.randn(1, 6)})
        annotate.output_tensors("policy", {"action": net(obs)}, export_with="onnx")

    _runs_as_in_leapp(tmp_path, _exported(tmp_path, trace))


def test_a_chain(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(7, 4), torch.nn.Linear(7, 3)

    def trace(annotate: Any) -> None:
        joint_pos, cmd = annotate.input_tensors(
            "encoder", {"joint_pos": torch.randn(1, 3), "cmd": torch.randn(1, 4)}
        )
        latent = torch.tanh(first(torch.cat([joint_pos, cmd], -1)))
        latent = annotate.output_tensors("encoder", {"latent": latent}, export_with="onnx")
        latent, joint_pos = annotate.input_tensors(
            "policy", {"latent": latent, "joint_pos": torch.randn(1, 3)}
        )
        action = second(torch.cat([latent, joint_pos], -1))
        annotate.output_tensors("policy", {"action": action}, export_with="onnx")

    frequency = leapp.GraphConfigs(frequency=100.0)
    path = _exported(tmp_path, trace, graph_configs=frequency)
    _runs_as_in_leapp(tmp_path, path)
    assert "rate_hz: 100" in (tmp_path / "loop.yaml").read_text()


def test_feedback_between_nodes_with_semantics(tmp_path: Path) -> None:
    net = torch.nn.Linear(9, 3)
    semantics = leapp.TensorSemantics

    def trace(annotate: Any) -> None:
        last = torch.full((1, 3), 0.25)
        for _ in range(3):
            position, velocity, before = annotate.input_tensors(
                "policy",
                [
                    semantics(
                        "joint_pos",
                        torch.randn(1, 3),
                        kind="state/joint/position",
                        element_names=NAMES,
                    ),
                    semantics(
                        "joint_vel",
                        torch.randn(1, 3),
                        kind="state/joint/velocity",
                        element_names=NAMES[::-1],
                    ),
                    semantics("last", last),
                ],
            )
            raw = torch.tanh(net(torch.cat([position, velocity, before], -1)))
            _, last = annotate.output_tensors(
                "policy",
                [
                    semantics(
                        "target", 0.5 * raw, kind="target/joint/position", element_names=NAMES
                    ),
                    semantics("raw", raw),
                ],
                export_with="onnx",
            )

    path = _exported(tmp_path, trace)
    bundle = read_bundle(path)
    assert bundle.sources == {("policy", "last"): ("policy", "raw")}
    assert bundle.initial[("policy", "last")].tolist() == [[0.25, 0.25, 0.25]]
    _runs_as_in_leapp(tmp_path, path)
    assert Loop(tmp_path).outputs == {"joint_pos_target": NAMES}


def test_a_recurrent_policy(tmp_path: Path) -> None:
    cell, head = torch.nn.GRUCell(4, 8), torch.nn.Linear(8, 2)

    def trace(annotate: Any) -> None:
        obs = annotate.input_tensors("policy", {"obs": torch.randn(1, 4)})
        hidden = annotate.state_tensors("policy", {"hidden": torch.full((1, 8), 0.5)})
        after = cell(obs, hidden)
        annotate.update_state("policy", {"hidden": after})
        annotate.output_tensors("policy", {"action": head(after)}, export_with="onnx")

    path = _exported(tmp_path, trace)
    assert read_bundle(path).initial
    _runs_as_in_leapp(tmp_path, path)


def test_buffers_of_a_module_are_state(tmp_path: Path) -> None:
    module: Any = torch.nn.Module

    class Memory(module):  # type: ignore[misc]
        h: Any
        c: Any

        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(5, 6)
            self.head = torch.nn.Linear(6, 2)
            self.register_buffer("h", torch.full((1, 1, 6), 0.1))
            self.register_buffer("c", torch.zeros(1, 1, 6))

        def forward(self, obs: Any) -> Any:
            out, (self.h, self.c) = self.lstm(obs.unsqueeze(0), (self.h, self.c))
            return self.head(out.squeeze(0))

    net = Memory()

    def trace(annotate: Any) -> None:
        obs = annotate.input_tensors("policy", {"obs": torch.randn(1, 5)})
        annotate.module("policy", net)
        action = net(obs)
        annotate.output_tensors("policy", {"action": action}, export_with="onnx-torchscript")

    with torch.no_grad():
        path = _exported(tmp_path, trace)
    assert len(read_bundle(path).sources) == 2
    _runs_as_in_leapp(tmp_path, path)


def test_feedback_from_the_second_node_to_the_first(tmp_path: Path) -> None:
    encoder, policy = torch.nn.Linear(6, 4), torch.nn.Linear(4, 2)

    def trace(annotate: Any) -> None:
        last = torch.full((1, 2), -0.5)
        for _ in range(3):
            grid, last = annotate.input_tensors(
                "encoder", {"grid": torch.randn(1, 2, 2), "last": last}
            )
            latent = torch.relu(encoder(torch.cat([grid.reshape(1, 4), last], -1)))
            latent = annotate.output_tensors("encoder", {"latent": latent}, export_with="onnx")
            latent = annotate.input_tensors("policy", {"latent": latent})
            last = annotate.output_tensors(
                "policy", {"action": torch.tanh(policy(latent))}, export_with="onnx"
            )

    path = _exported(tmp_path, trace)
    bundle = read_bundle(path)
    assert bundle.sources[("encoder", "last")] == ("policy", "action")
    assert bundle.initial[("encoder", "last")].tolist() == [[-0.5, -0.5]]
    _runs_as_in_leapp(tmp_path, path)
