"""Bad input at the command line: one clear error, a safe end, the right exit code."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.demos.firmware import FirmwareProcess
from tests.running import (
    edited,
    rtloop,
    write_config,
)


def policy(path: Path, shape: list[int | str], nodes: list[onnx.NodeProto] | None = None) -> Path:
    """A policy obs → action [1, 1] that is the mean of its observation."""
    mean = helper.make_node("ReduceMean", ["obs"], ["action"], axes=[1], keepdims=1)
    graph = helper.make_graph(
        nodes or [mean],
        "test",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [shape[0], 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    done = rtloop("run", write_config(tmp_path, tmp_path / "nothere"))
    assert done.returncode == 1
    assert "link 'cart'" in done.stderr
    assert "nothere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there() -> None:
    done = rtloop("run", "nothere.yaml")
    assert done.returncode == 2
    assert "nothere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("class: soft", "class: sof", ["loop.yaml:6", "sof", "hard"]),
        ("rate_hz: 200", "rat_hz: 200", ["loop.yaml:7", "rat_hz", "'rate_hz'"]),
        ("rate_hz: 200", "rate_hz: 1000000", ["loop.yaml:7", "rate_hz"]),
        ("rate_hz: 200", "rate_hz: 15000", ["links.cart.baud", "lower the loop's rate"]),
        ("select", "select", []),
    ],
)
def test_a_wrong_configuration(
    tmp_path: Path, device: FirmwareProcess, old: str, new: str, told: list[str]
) -> None:
    path = write_config(tmp_path, device.link)
    if not told:
        names = "cart_position, cart_velocity, pole_angel, pole_rate"
        old, new = "{input: cart}", f"{{input: cart, select: [{names}]}}"
        told = ["loop.yaml:13", "pole_angel", "pole_angle"]
    done = rtloop("run", edited(path, {old: new}))
    assert done.returncode == 2, done.stderr
    for text in told:
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_model(tmp_path: Path, device: FirmwareProcess) -> None:
    done = rtloop("run", write_config(tmp_path, device.link, tmp_path / "missing.onnx"))
    assert done.returncode == 2
    assert "missing.onnx" in done.stderr


@pytest.mark.parametrize(
    ("shape", "told"),
    [([1, 7], ["7"]), ([1, "width"], ["width", "fix_dimensions"])],
)
def test_a_policy_of_the_wrong_shape(
    tmp_path: Path, device: FirmwareProcess, shape: list[int | str], told: list[str]
) -> None:
    model = policy(tmp_path / "wrong.onnx", shape)
    done = rtloop("run", write_config(tmp_path, device.link, model))
    assert done.returncode == 2, done.stderr
    for text in told:
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_policy_that_returns_no_number_is_stopped(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["obs"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Div", ["mean", "zero"], ["action"]),
    ]
    model = policy(tmp_path / "nan.onnx", [1, 4], nodes)
    done = rtloop("run", write_config(tmp_path, device.link, model), "--duration", 10, "--json")
    assert done.returncode in (1, 2), done.stderr
    assert "NaN" in done.stderr + done.stdout
    assert device.stop()["state"] != "ACTIVE"
