"""``policy: {leapp: bundle.yaml}``: a bundle runs as it is, bit for bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.config import load
from rtloop.errors import ConfigError
from tests.policy.importing.loops import Loop, samples
from tests.policy.leapp.bundles import Array, BundleMaker, Reference, tensor
from tests.policy.leapp.chain import (
    FLOAT,
    LOOP,
    PREV,
    beside,
    chain,
    dense,
    refused,
    written,
)
from tests.policy.models import save


def test_a_chain_with_feedback_and_initial_values_runs_as_it_is(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    found = check(written(tmp_path))
    assert found.error is None
    loop, reference = Loop(tmp_path), Reference(maker, PREV)
    for step in range(20):
        given = samples(loop, step)
        joints = given["joint_pos"][[1, 3, 0]]
        inputs = {
            "encoder/joint_pos": joints,
            "encoder/cmd": given["cmd"],
            "policy/joint_pos": joints,
        }
        action = reference.step(inputs)["policy/action"][0]
        np.testing.assert_array_equal(loop.step(given)["motors"], action[::-1])


def test_the_checksum_of_a_bundle_is_that_of_the_onnx_file_alone(tmp_path: Path) -> None:
    """Its weights may lie beside it, as torch exports them."""
    maker = chain(tmp_path)
    path = tmp_path / "encoder.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="encoder.bin", size_threshold=0)
    parameters = maker.data["models"]["encoder"]["parameters"]
    parameters["sha256sum"] = hashlib.sha256(path.read_bytes()).hexdigest()
    maker.write()
    assert check(written(tmp_path)).error is None


def test_one_onnx_model_of_all_gives_the_same(tmp_path: Path) -> None:
    from tests.policy.models import Runner

    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    written(tmp_path)
    Runner(Loop(tmp_path).graph).step([0.1, 0.2, 0.3, 0.4], [1, 2])


def test_without_names_the_order_decides(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.write()
    text = LOOP.replace("[0, 0, 0, 0], names: [foot, hip, spare, knee]", "[0, 0, 0]")
    written(tmp_path, text.replace("names: [hip, knee, foot]", "size: 3"))
    loop, reference = Loop(tmp_path), Reference(maker)
    for step in range(3):
        given = samples(loop, step)
        joints = given["joint_pos"]
        inputs = {
            "encoder/joint_pos": joints,
            "encoder/cmd": given["cmd"],
            "policy/joint_pos": joints,
        }
        action = reference.step(inputs)["policy/action"][0]
        np.testing.assert_array_equal(loop.step(given)["motors"], action)


def test_an_input_may_have_terms_of_its_own_and_actions_be_written(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.write()
    text = LOOP.replace(
        "      leapp: chain.yaml\n",
        "      leapp: chain.yaml\n"
        "      observations:\n"
        "        cmd: [{input: cmd, scale: 2.0}]\n"
        "        policy.joint_pos: [{constant: [1, 2, 3]}]\n"
        "      action: {output: policy.action, to: [foot, knee, hip], scale: 10}\n",
    )
    written(tmp_path, text)
    loop, reference = Loop(tmp_path), Reference(maker)
    for step in range(3):
        given = samples(loop, step)
        joints = given["joint_pos"][[1, 3, 0]]
        inputs = {
            "encoder/joint_pos": joints,
            "encoder/cmd": 2 * given["cmd"],
            "policy/joint_pos": [1, 2, 3],
        }
        action = reference.step(inputs)["policy/action"][0]
        np.testing.assert_allclose(loop.step(given)["motors"], 10 * action[::-1], rtol=1e-6)


def test_recurrent_state_of_any_shape_and_type_returns(tmp_path: Path) -> None:
    maker = BundleMaker(tmp_path, "chain")
    nodes = [
        helper.make_node("Cast", ["count"], ["n"], to=FLOAT),
        helper.make_node("Add", ["count", "one"], ["count_out"]),
        helper.make_node("Mul", ["h", "half"], ["decayed"]),
        helper.make_node("Add", ["decayed", "obs"], ["h_out"]),
        helper.make_node("Mul", ["h_out", "n"], ["action"]),
    ]
    weights: dict[str, Array] = {
        "one": np.array([1], np.int64),
        "half": np.array([0.5], np.float32),
    }
    values = [("obs", FLOAT, [1, 2, 3]), ("h", FLOAT, [1, 2, 3]), ("count", TensorProto.INT64, [1])]
    answers = [
        ("action", FLOAT, [1, 2, 3]),
        ("h_out", FLOAT, [1, 2, 3]),
        ("count_out", TensorProto.INT64, [1]),
    ]
    maker.model(
        "policy",
        save(nodes, values, answers, weights),
        [tensor("obs", [1, 2, 3]), tensor("h", [1, 2, 3]), tensor("count", [1], "int64")],
        [
            tensor("action", [1, 2, 3]),
            tensor("h_out", [1, 2, 3]),
            tensor("count_out", [1], "int64"),
        ],
    )
    maker.pipeline.update(
        {
            "feedback_flow": {"policy/h_out": ["policy/h"], "policy/count_out": ["policy/count"]},
            "inputs": {"policy": ["obs"]},
            "outputs": {"policy": ["action"]},
        }
    )
    initial = {"policy/count": np.array([7]), "policy/h": np.ones((1, 2, 3), np.float32)}
    maker.initial(initial)
    maker.write()
    text = LOOP.replace(
        "      joint_pos: {mailbox: [0, 0, 0, 0], names: [foot, hip, spare, knee]}\n", ""
    )
    text = text.replace("cmd: {mailbox: [0, 0]}", "obs: {mailbox: [0, 0, 0, 0, 0, 0]}")
    written(tmp_path, text.replace("names: [hip, knee, foot]", "size: 6"))
    loop, reference = Loop(tmp_path), Reference(maker, initial)
    for step in range(5):
        given = samples(loop, step)
        action = reference.step({"policy/obs": given["obs"]})["policy/action"]
        np.testing.assert_array_equal(loop.step(given)["motors"], action.reshape(-1))


def test_an_output_that_only_flows_back_is_commanded_by_an_action(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.pipeline["outputs"] = {}
    maker.write()
    with pytest.raises(
        ConfigError, match="all of whose outputs flow back; expected .*policy.action"
    ):
        load(written(tmp_path))
    wrong = LOOP.replace("chain.yaml\n", "chain.yaml\n      action: {output: policy.act}\n")
    error = check(written(tmp_path, wrong)).error
    assert "found 'policy.act'; expected an output of the bundle: encoder.latent or" in str(error)
    action = "      action: {output: policy.action, to: [foot, knee, hip]}\n"
    written(tmp_path, LOOP.replace("chain.yaml\n", f"chain.yaml\n{action}"))
    assert check(tmp_path / "loop.yaml").error is None
    loop, reference = Loop(tmp_path), Reference(maker)
    for step in range(5):
        given = samples(loop, step)
        joints = given["joint_pos"][[1, 3, 0]]
        inputs = {
            "encoder/joint_pos": joints, "encoder/cmd": given["cmd"], "policy/joint_pos": joints,
        }  # fmt: skip
        reference.step(inputs)
        np.testing.assert_array_equal(
            loop.step(given)["motors"], reference.fed("encoder/prev")[0, ::-1]
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("other file", "expected the file of sha256 .*it was exchanged, or its bundle"),
        ("no file", "found its model 'encoder'; expected a file in"),
        ("jit", "parameters.backend: found str 'jit'; expected onnx"),
        ("warp", "warp_segments: found int 2; expected 0: a Warp kernel needs an NVIDIA GPU"),
        ("version", "found str '2.0'; expected 1.x"),
        ("shape", r"one shape and type on both sides, not 'latent' float32\[1, 5\]"),
        ("flow", "inputs of models: there is no 'policy/nothing'"),
        ("source", "expected an output of a model before 'encoder/nothing'"),
        ("twice", "each input once: 'policy/latent' is fed by 'encoder/latent', too"),
        ("unfed", "expected a flow or an input of the pipeline for encoder/cmd"),
        ("names", "observations names input 'command', which the policy does not have"),
        (
            "outputs",
            r"with the outputs 'action' float32\[1, 3\]; expected 'act' float32.*as the bundle says",
        ),
        ("initial", "values of inputs of models: there is no 'encoder/nothing'"),
        ("initial shape", r"expected 'prev' float32\[1, 3\], not float32\[3\]"),
        ("no bundle", "found no `models` and `pipeline`"),
        ("tag", "could not determine a constructor"),
    ],
)
def test_a_bundle_that_cannot_run_is_refused_with_the_reason(
    tmp_path: Path, change: str, message: str
) -> None:
    maker = chain(tmp_path)
    models, pipeline = maker.data["models"], maker.pipeline
    if change == "jit":
        models["encoder"]["parameters"]["backend"] = "jit"
    elif change == "warp":
        models["encoder"]["parameters"]["warp_segments"] = 2
    elif change == "version":
        maker.data["system information"]["leapp config version"] = "2.0"
    elif change == "shape":
        models["encoder"]["outputs"][0]["shape"] = [1, 5]
    elif change == "flow":
        pipeline["data_flow"]["encoder/latent"] = ["policy/nothing"]
    elif change == "source":
        pipeline["data_flow"] = {"encoder/nothing": ["policy/latent"]}
    elif change == "twice":
        pipeline["feedback_flow"]["encoder/latent"] = ["policy/latent"]
    elif change == "unfed":
        pipeline["inputs"]["encoder"] = ["joint_pos"]
    elif change == "names":
        models["encoder"]["inputs"][1]["name"] = "command"
        pipeline["inputs"]["encoder"] = ["joint_pos", "command"]
    elif change == "outputs":
        models["policy"]["outputs"][0]["name"] = "act"
        pipeline["feedback_flow"] = {"policy/act": ["encoder/prev"]}
        pipeline["outputs"] = {"policy": ["act"]}
    elif change == "initial":
        maker.initial({"encoder/nothing": np.zeros(3, np.float32)})
    elif change == "initial shape":
        maker.initial({"encoder/prev": np.zeros(3, np.float32)})
    path = maker.write()
    if change == "other file":
        (tmp_path / "encoder.onnx").write_bytes(
            dense({"joint_pos": 3, "cmd": 2, "prev": 3}, "latent", 4, 9)
        )
    elif change == "no file":
        (tmp_path / "encoder.onnx").unlink()
    elif change == "no bundle":
        path.write_text("a: 1")
    elif change == "tag":
        path.write_text("a: !!python/object/apply:os.system ['true']")
    text = LOOP.replace("cmd: {", "command: {") if change == "names" else LOOP
    error = check(written(tmp_path, text)).error
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise error
    line = next(n for n, t in enumerate(text.splitlines(), 1) if "leapp:" in t)
    assert error.findings[0].place.line == line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cmd: {mailbox: [0, 0]}",
            "stick: {mailbox: [0, 0]}",
            "the bundle's input 'cmd' .*expected an input 'cmd'",
        ),
        ("spare, knee", "spare, nee", "an input 'joint_pos' with elements 'knee'.*nearest 'nee'"),
        (
            "names: [hip, knee, foot], safe",
            "names: [hip, knee, feet], safe",
            "outputs of the loop with elements 'foot'",
        ),
        (
            "leapp: chain.yaml",
            "leapp: chain.yaml\n      model: chain.yaml",
            "exactly one of `model`, `models`, `leapp` and `python`",
        ),
        (
            "leapp: chain.yaml",
            "leapp: chain.yaml\n      state: {a: b}",
            "no state beside `leapp`: the bundle has it",
        ),
        (
            "leapp: chain.yaml",
            "leapp: chain.yaml\n      observations: {x: [{input: cmd}]}",
            "observations of 'x'; expected an input of the bundle",
        ),
        ("leapp: chain.yaml", "leapp: chan.yaml", "expected .*nearest 'chain.yaml'|chan.yaml"),
        (
            "cmd: {mailbox: [0, 0]}",
            "cmd: {mailbox: [0, 0, 0]}",
            "observation of 3 values.*expected 2",
        ),
    ],
)
def test_what_does_not_fit_the_loop_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    chain(tmp_path).write()
    assert old in LOOP
    error = check(written(tmp_path, LOOP.replace(old, new))).error
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise error
    assert error.findings[0].place.line


def test_a_configuration_that_was_dumped_is_the_same(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    config = load(written(tmp_path))
    assert config == load(written(tmp_path))
    dumped: dict[str, Any] = json.loads(config.model_dump_json(by_alias=True))
    assert dumped["loops"]["arm"]["policy"].keys() == {"leapp"}


def test_another_rate_than_that_of_the_bundle_is_a_warning(tmp_path: Path) -> None:
    chain(tmp_path).write()
    (warning,) = check(written(tmp_path, LOOP.replace("rate_hz: 40", "rate_hz: 80"))).warnings
    assert "found a policy that runs at 80 Hz; expected 40 Hz, as its bundle says" in str(warning)
    slower = LOOP.replace("rate_hz: 40", "rate_hz: 80")
    assert not check(written(tmp_path, beside("every: 2", slower))).warnings


def test_first_values_are_finite(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial({"encoder/prev": np.array([[0, np.nan, 0]], np.float32)})
    assert "finite values, not those of 'encoder/prev'" in refused(tmp_path, maker)


def test_a_shape_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.data["models"]["encoder"]["inputs"][1]["shape"] = [1, 10**12]
    assert "16777216 values at most" in refused(tmp_path, maker)
