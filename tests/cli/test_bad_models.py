"""Small bad models: a check refuses each in a clear sentence, with its place, and without a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.config import load
from rtloop.errors import RtloopError
from rtloop.run import Run
from tests.policy.models import linear, passthrough, recurrent, save

FLOAT, INT64, STRING = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.STRING,
)
EYE = np.eye(3, dtype=np.float32)
OBS, ACTION = ("obs", FLOAT, [1, 3]), ("action", FLOAT, [1, 3])

CONFIG = """\
recording: {enabled: false}
loops:
  a:
    class: soft
    rate_hz: 10
    inputs: {x: {mailbox: [0, 0, 0]}}
    policy:
      model: policy.onnx
      observation: [{input: x}]
    outputs: {y: {mailbox: true, size: 3, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""


def nodes(*steps: tuple[str, list[str], list[str]], **attributes: Any) -> list[onnx.NodeProto]:
    return [helper.make_node(*step, **attributes) for step in steps]


def identity(element: int = FLOAT, shape: Any = (1, 3)) -> bytes:
    value = (element, list(shape))
    return save(
        nodes(("Identity", ["obs"], ["action"])), [("obs", *value)], [("action", *value)], {}
    )


def changed(model: bytes, change: Callable[[onnx.ModelProto], Any]) -> bytes:
    proto = onnx.load_from_string(model)
    change(proto)
    return bytes(proto.SerializeToString())


def external() -> bytes:
    proto = onnx.load_from_string(linear(EYE))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return bytes(proto.SerializeToString())


def sequence() -> bytes:
    graph = helper.make_graph(
        nodes(("SequenceConstruct", ["obs"], ["action"])),
        "policy",
        [helper.make_tensor_value_info(*OBS)],
        [helper.make_tensor_sequence_value_info("action", FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def without_rank() -> bytes:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.ClearField("shape")

    return changed(passthrough(3), change)


def cut_weight(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:7]


def set_opset(version: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return change


def rename_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Teleport"


def rename_state(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        node.output[:] = ["hidden" if name == "h_out" else name for name in node.output]
        node.input[:] = ["hidden" if name == "h_out" else name for name in node.input]
    proto.graph.output[1].name = "hidden"


def name_a_node(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].name = "layer"


def foreign_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.add(domain="com.example", version=1)


def cycle() -> bytes:
    steps = nodes(("Add", ["obs", "two"], ["one"]), ("Add", ["one", "one"], ["two"]))
    return save([*steps, *nodes(("Identity", ["two"], ["action"]))], [OBS], [ACTION], {})


BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "an empty file"),
    "text": (b"policy: none\n", "something else, or a damaged file"),
    "zeros": (bytes(4096), "not an ONNX model"),
    "noise": (np.random.default_rng(1).bytes(4096), "not an ONNX model"),
    "zip": (b"PK\x03\x04" + bytes(64), "a zip archive"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid\n", "git lfs pull"),
    "truncated": (linear(EYE)[:-20], "damaged file"),
    "empty graph": (changed(passthrough(3), lambda p: p.graph.ClearField("node")), "without nodes"),
    "no input": (
        save(
            nodes(("Identity", ["w"], ["action"])), [], [ACTION], {"w": np.ones((1, 3), np.float32)}
        ),
        "exactly one input must be the observation, found 0",
    ),
    "no output": (changed(passthrough(3), lambda p: p.graph.ClearField("output")), ""),
    "two inputs": (
        save(
            nodes(("Add", ["obs", "goal"], ["action"])),
            [OBS, ("goal", FLOAT, [1, 3])],
            [ACTION],
            {},
        ),
        "exactly one input must be the observation, found 2",
    ),
    "two outputs": (
        save(
            nodes(("Identity", ["obs"], ["mean"]), ("Neg", ["obs"], ["std"])),
            [OBS],
            [("mean", FLOAT, [1, 3]), ("std", FLOAT, [1, 3])],
            {},
        ),
        "one output must be the action, found 2",
    ),
    "state unnamed": (
        changed(recurrent(3, 2, 3)[0], rename_state),
        "name recurrent inputs under `state: {<input>: <output>}`",
    ),
    "dynamic size": (linear(EYE, [1, "width"]), "add `fix_dimensions: {width: <size>}`"),
    "dynamic without name": (linear(EYE, [1, None]), 'add `fix_dimensions: {"obs[1]": <size>}`'),
    "dynamic everything": (identity(FLOAT, (None, None)), '{"obs[1]": <size>}'),
    "no rank": (without_rank(), "not a tensor of known rank"),
    "scalar": (identity(FLOAT, ()), "an observation of 3 values"),
    "matrix": (identity(FLOAT, (3, 3)), "is not a single vector"),
    "image": (identity(FLOAT, (1, 3, 8, 8)), "is not a single vector"),
    "nothing in it": (identity(FLOAT, (1, 0)), "is not a single vector"),
    "too large": (identity(FLOAT, (1, 2**30)), "a policy reads at most"),
    "wrong size": (passthrough(5), "expected 5, the size of the policy's input"),
    "wrong action": (
        linear(np.ones((3, 2), np.float32)),
        "expected 2, the size of the policy's action",
    ),
    "string": (identity(STRING), "cannot be fed"),
    "bfloat16": (identity(TensorProto.BFLOAT16), "cannot be fed"),
    "float8": (identity(TensorProto.FLOAT8E4M3FN), "cannot be fed"),
    "unknown type": (identity(99), "cannot be fed"),
    "sequence": (sequence(), "is not a tensor"),
    "nonzero": (
        save(
            [
                helper.make_node("NonZero", ["obs"], ["found"]),
                helper.make_node("Cast", ["found"], ["cast"], to=FLOAT),
                helper.make_node("Reshape", ["cast", "row"], ["action"]),
            ],
            [OBS],
            [("action", FLOAT, [1, None])],
            {"row": np.array([1, -1], np.int64)},
        ),
        "depends on the data",
    ),
    "compress": (
        save(
            [
                helper.make_node("Greater", ["obs", "zero"], ["is_more"]),
                helper.make_node("Reshape", ["is_more", "flat"], ["mask"]),
                helper.make_node("Compress", ["obs", "mask"], ["action"], axis=1),
            ],
            [OBS],
            [("action", FLOAT, [1, None])],
            {"zero": np.zeros((1, 3), np.float32), "flat": np.array([-1], np.int64)},
        ),
        "depends on the data",
    ),
    "NaN weights": (linear(EYE * np.float32("nan")), "contains 9 NaN"),
    "external weights": (external(), "the weights lie in another file ('weights.bin')"),
    "cut weights": (changed(linear(EYE), cut_weight), "is damaged"),
    "old opset": (linear(EYE, opset=7), "opset 7 is too old"),
    "new opset": (changed(linear(EYE), set_opset(999)), "opset is too new"),
    "new IR version": (linear(EYE, ir_version=99), "IR version 99 is too new"),
    "no opset": (
        changed(linear(EYE), lambda p: p.ClearField("opset_import")),
        "opset 0 is too old",
    ),
    "no such operator": (changed(passthrough(3), rename_operator), "cannot run it: "),
    "foreign operator": (changed(passthrough(3), foreign_operator), "cannot run it: "),
    "a name that is no text": (
        changed(linear(EYE), name_a_node).replace(b"layer", b"\xffayer"),
        "the name b'\\xffayer', which is no text",
    ),
    "an attribute that there is not": (
        changed(linear(EYE), lambda p: p.graph.node[0].attribute.add(name="speed", type=2, i=9)),
        "Unrecognized attribute: speed",
    ),
    "missing weight": (
        changed(linear(EYE), lambda p: p.graph.ClearField("initializer")),
        "cannot run",
    ),
    "weights that do not fit": (
        save(
            nodes(("MatMul", ["obs", "w"], ["action"])),
            [OBS],
            [ACTION],
            {"w": np.ones((4, 3), np.float32)},
        ),
        "cannot run it: ",
    ),
    "a loop of nodes": (cycle(), "cannot run it: "),
    "the same name twice": (
        save(
            nodes(("Identity", ["obs"], ["action"]), ("Neg", ["obs"], ["action"])),
            [OBS],
            [ACTION],
            {},
        ),
        "cannot run it: ",
    ),
    "an index that the zeros miss": (
        save(
            [
                helper.make_node("Cast", ["obs"], ["index"], to=INT64),
                helper.make_node("Sub", ["index", "one"], ["before"]),
                helper.make_node("Gather", ["rows", "before"], ["action"]),
            ],
            [OBS],
            [ACTION],
            {"one": np.array(5, np.int64), "rows": np.array([1, 2], np.float32)},
        ),
        "cannot run it: ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_refused_in_a_sentence_with_its_place(name: str, tmp_path: Path) -> None:
    model, words = BAD[name]
    (tmp_path / "policy.onnx").write_bytes(model)
    path = tmp_path / "loop.yaml"
    path.write_text(CONFIG)
    error = check(path).error
    assert error is not None
    assert error.exit_code == 2
    assert words in str(error)
    for finding in error.findings:
        assert re.match(r".*loop.yaml:\d+:\d+: loops\.a\.[a-z_.]+: ", str(finding))
        assert finding.found
        assert finding.expected
        assert str(finding).isprintable()
        assert len(str(finding)) < 1000
        assert "Traceback" not in str(finding)
    with pytest.raises(RtloopError) as caught, Run(load(path), "bad"):
        pass
    assert str(caught.value) == str(error)


def test_the_same_file_with_a_good_model_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(passthrough(3))
    path = tmp_path / "loop.yaml"
    path.write_text(CONFIG)
    assert check(path).error is None


def test_a_truncated_model_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = linear(EYE)
    path = tmp_path / "loop.yaml"
    path.write_text(CONFIG)
    for size in range(0, len(whole) - 1, 3):
        (tmp_path / "policy.onnx").write_bytes(whole[:size])
        error = check(path).error
        assert error is not None, size
        assert error.exit_code == 2


def test_a_damaged_model_is_judged_whatever_its_bytes_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(7)
    whole = recurrent(3, 2, 3)[0]
    path = tmp_path / "loop.yaml"
    path.write_text(
        CONFIG.replace("model: policy.onnx", "model: policy.onnx\n      state: {h_in: h_out}")
    )
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 2):
            damaged[at] = random.integers(0, 256)
        (tmp_path / "policy.onnx").write_bytes(damaged)
        error = check(path).error  # and no other exception
        assert error is None or str(error).isprintable()
    assert capsys.readouterr() == ("", ""), "what onnxruntime prints is no JSON"
