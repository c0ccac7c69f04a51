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
from rtloop.policy.leapp.binding import target_names
from rtloop.policy.leapp.bundle import read_bundle
from rtloop.policy.leapp.safetensors import read_safetensors
from tests.policy.importing.loops import Loop, samples
from tests.policy.leapp.bundles import Array, BundleMaker, Reference, safetensors, tensor
from tests.policy.models import save

FLOAT = TensorProto.FLOAT
NAMES = ["hip", "knee", "foot"]


def _dense(inputs: dict[str, int], output: str, size: int, seed: int) -> bytes:
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
        _dense({"joint_pos": 3, "cmd": 2, "prev": 3}, "latent", 4, 1),
        [
            tensor("joint_pos", [1, 3], kind="state/joint/position", element_names=[NAMES]),
            tensor("cmd", [1, 2]),
            tensor("prev", [1, 3]),
        ],
        [tensor("latent", [1, 4])],
    )
    maker.model(
        "policy",
        _dense({"latent": 4, "joint_pos": 3}, "action", 3, 2),
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


def _written(folder: Path, text: str = LOOP) -> Path:
    (folder / "loop.yaml").write_text(text)
    return folder / "loop.yaml"


def test_a_chain_with_feedback_and_initial_values_runs_as_it_is(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    found = check(_written(tmp_path))
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
    assert check(_written(tmp_path)).error is None


def test_one_onnx_model_of_all_gives_the_same(tmp_path: Path) -> None:
    from tests.policy.models import Runner

    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    _written(tmp_path)
    Runner(Loop(tmp_path).graph).step([0.1, 0.2, 0.3, 0.4], [1, 2])


def test_without_names_the_order_decides(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.write()
    text = LOOP.replace("[0, 0, 0, 0], names: [foot, hip, spare, knee]", "[0, 0, 0]")
    _written(tmp_path, text.replace("names: [hip, knee, foot]", "size: 3"))
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
    _written(tmp_path, text)
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
    _written(tmp_path, text.replace("names: [hip, knee, foot]", "size: 6"))
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
        load(_written(tmp_path))
    wrong = LOOP.replace("chain.yaml\n", "chain.yaml\n      action: {output: policy.act}\n")
    error = check(_written(tmp_path, wrong)).error
    assert "found 'policy.act'; expected an output of the bundle: encoder.latent or" in str(error)
    action = "      action: {output: policy.action, to: [foot, knee, hip]}\n"
    _written(tmp_path, LOOP.replace("chain.yaml\n", f"chain.yaml\n{action}"))
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


def test_outputs_of_the_same_elements_are_told_apart_by_their_kind(tmp_path: Path) -> None:
    maker = BundleMaker(tmp_path, "chain")
    nodes = [
        helper.make_node("Mul", ["q", name], [name + "_out"]) for name in ("pos", "gain", "extra")
    ]
    weights = {
        "pos": np.array([2.0], np.float32),
        "gain": np.array([3.0], np.float32),
        "extra": np.array([4.0], np.float32),
    }
    sizes = [(name + "_out", FLOAT, [1, 2]) for name in ("pos", "gain", "extra")]
    model = save(nodes, [("q", FLOAT, [1, 2])], sizes, weights)
    maker.model(
        "policy",
        model,
        [tensor("q", [1, 2], kind="state/joint/position", element_names=["a", "b"])],
        [
            tensor("pos_out", [1, 2], kind="target/joint/position", element_names=[["a", "b"]]),
            tensor("gain_out", [1, 2], kind="kp", element_names=[["a", "b"]]),
            tensor("extra_out", [1, 2]),
        ],
    )
    maker.pipeline.update(
        {
            "inputs": {"policy": ["q"]},
            "outputs": {"policy": ["pos_out", "gain_out", "extra_out"]},
        }
    )
    maker.write()
    text = LOOP.replace(
        "joint_pos: {mailbox: [0, 0, 0, 0], names: [foot, hip, spare, knee]}",
        "joint_pos: {mailbox: [0, 0], names: [b, a]}",
    )
    text = text.replace("      cmd: {mailbox: [0, 0]}\n", "").replace(
        "      motors: {mailbox: true, names: [hip, knee, foot], safe: 0}",
        "      gains: {mailbox: true, names: [b_kp, a_kp, extra_out_0], safe: 0}\n"
        "      targets: {mailbox: true, names: [extra_out_1, a_pos, b_pos], safe: 0}",
    )
    _written(tmp_path, text)
    assert check(tmp_path / "loop.yaml").error is None
    targets = Loop(tmp_path).step({"joint_pos": [10, 1]})
    assert targets["gains"].tolist() == [30, 3, 4]
    assert targets["targets"].tolist() == [40, 2, 20]


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
            _dense({"joint_pos": 3, "cmd": 2, "prev": 3}, "latent", 4, 9)
        )
    elif change == "no file":
        (tmp_path / "encoder.onnx").unlink()
    elif change == "no bundle":
        path.write_text("a: 1")
    elif change == "tag":
        path.write_text("a: !!python/object/apply:os.system ['true']")
    text = LOOP.replace("cmd: {", "command: {") if change == "names" else LOOP
    error = check(_written(tmp_path, text)).error
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
    error = check(_written(tmp_path, LOOP.replace(old, new))).error
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=message):
        raise error
    assert error.findings[0].place.line


def test_a_configuration_that_was_dumped_is_the_same(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial(PREV)
    maker.write()
    config = load(_written(tmp_path))
    assert config == load(_written(tmp_path))
    dumped: dict[str, Any] = json.loads(config.model_dump_json(by_alias=True))
    assert dumped["loops"]["arm"]["policy"].keys() == {"leapp"}


def _refused(folder: Path, maker: BundleMaker, text: str = LOOP) -> str:
    maker.write()
    error = check(_written(folder, text)).error
    assert isinstance(error, ConfigError)
    return str(error)


CMD = "cmd: {mailbox: [0, 0], names: [x_stick, y_stick]}"


def _beside(keys: str, text: str = LOOP) -> str:
    """The loop with keys beside ``leapp``."""
    return text.replace("leapp: chain.yaml\n", f"leapp: chain.yaml\n      {keys}\n")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "observations: {joint_pos: [{input: joint_pos, select: [foot, hip, knee], scale: 2}]}",
            r"joint_pos\[0\].input: found 'foot' where the bundle's input encoder.joint_pos has 'hip'; "
            r"expected `select: \[hip, knee, foot\]`",
        ),
        (
            "observations: {policy.joint_pos: [{input: three}]}",
            r"found 'foot' where .* has 'hip'; expected `select: \[hip, knee, foot\]`",
        ),
        (
            "observations: {policy.joint_pos: [{input: joint_pos, select: [0, 1, 3]}]}",
            "found 'foot' where .* has 'hip'",
        ),
        (
            "observations: {policy.joint_pos: [{group: g}]}\n"
            "      groups: {g: [{input: joint_pos, select: [knee, hip, foot]}]}",
            "found 'knee' where .* has 'hip'",
        ),
        (
            "observations: {policy.joint_pos: [{input: motors}]}",
            "found 'm1' where .* has 'hip'; expected the same names, or `select` with the 3 elements",
        ),
        (
            "observations: {encoder.cmd: [{input: sticks, joints: [x, y], named: '{}_stick'}]}",
            "found 'x_stick' where the bundle's input encoder.cmd has 'y_stick'",
        ),
        (
            "action: {joints: [hip, knee, foot]}",
            "action.joints: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {joints: policy}\n      joints: [hip, knee, foot]",
            "action.joints: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {output: policy.action, to: [hip, knee, foot]}",
            "action.to: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {output: encoder.latent}",
            "policy.action: found no action for the bundle's output policy.action, target/joint/position; "
            "expected `actions` for all that it commands: {output: policy.action}",
        ),
    ],
)
def test_what_is_said_beside_a_bundle_has_its_names(
    tmp_path: Path, keys: str, message: str
) -> None:
    more = "      three: {mailbox: [0, 0, 0], names: [foot, knee, hip]}\n"
    more += "      motors: {mailbox: [0, 0, 0], names: [m1, m2, m3]}\n"
    more += "      sticks: {mailbox: [0, 0], names: [x_stick, y_stick]}\n"
    text = LOOP.replace("    policy:\n", f"{more}    policy:\n")
    maker = chain(tmp_path)
    maker.data["models"]["encoder"]["inputs"][1]["element_names"] = ["y_stick", "x_stick"]
    error = _refused(tmp_path, maker, _beside(keys, text.replace("cmd: {mailbox: [0, 0]}", CMD)))
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(error)


def test_an_entry_that_says_nothing_is_refused(tmp_path: Path) -> None:
    terms = "[{input: joint_pos, select: [hip, knee, foot]}]"
    keys = f"{{encoder.joint_pos: {terms}, policy.joint_pos: {terms}, joint_pos: {terms}}}"
    error = _refused(tmp_path, chain(tmp_path), _beside(f"observations: {keys}"))
    assert "observations of 'joint_pos'; expected no such entry" in error


def test_steps_of_an_output_are_counted_and_not_called_alike(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    axes = ["__temporal_axis__", ["a"]]
    described = tensor("latent", [4, 1], kind="target/joint/position", element_names=axes)
    maker.data["models"]["encoder"]["outputs"][0] = described
    maker.data["models"]["policy"]["inputs"][0]["shape"] = [4, 1]
    maker.pipeline["outputs"]["encoder"] = ["latent"]
    names = target_names(read_bundle(maker.write()), ("encoder", "latent"))
    assert names == ("latent_0", "latent_1", "latent_2", "latent_3")


@pytest.mark.parametrize(
    ("keys", "scale", "offset"),
    [
        ("action: {scale: 2}", 2, [0, 0, 0]),
        ("action: {offset: [1, 2, 3]}", 1, [3, 2, 1]),
        (
            "action: {offset: default_joint_pos}\n      joints: [hip, knee, foot]\n"
            "      default_joint_pos: [1, 2, 3]",
            1,
            [1, 2, 3],
        ),
        ("action: {select: [2, 0, 1]}", 1, [0, 0, 0]),
        ("joints: [knee, foot, hip]", 1, [0, 0, 0]),
        (
            "observations: {joint_pos: [{input: joint_pos, select: [hip, knee, foot]}]}",
            1,
            [0, 0, 0],
        ),
        (
            "observations: {joint_pos: [{input: joint_pos, joints: policy}]}\n"
            "      joints: [hip, knee, foot]",
            1,
            [0, 0, 0],
        ),
    ],
)
def test_names_of_a_bundle_count_whatever_is_said_beside_it(
    tmp_path: Path, keys: str, scale: float, offset: list[float]
) -> None:
    maker = chain(tmp_path)
    maker.write()
    path = _written(tmp_path, _beside(keys))
    assert check(path).error is None
    loop, reference = Loop(tmp_path), Reference(maker)
    for step in range(3):
        given = samples(loop, step)
        joints = given["joint_pos"][[1, 3, 0]]
        inputs = {
            "encoder/joint_pos": joints, "encoder/cmd": given["cmd"], "policy/joint_pos": joints,
        }  # fmt: skip
        action = reference.step(inputs)["policy/action"][0, ::-1]
        np.testing.assert_allclose(
            loop.step(given)["motors"], scale * action + offset, rtol=1e-6, atol=1e-6
        )


def test_joints_of_an_action_are_compared_by_what_they_name(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    output = maker.data["models"]["policy"]["outputs"][0]
    output["element_names"] = [f"{name}_q" for name in NAMES]
    maker.write()
    text = LOOP.replace("names: [hip, knee, foot]", "names: [hip_q, knee_q, foot_q]")
    keys = "joints: {}\n      action: {{joints: policy, named: '{{}}_q'}}"
    assert check(_written(tmp_path, _beside(keys.format("[hip, knee, foot]"), text))).error is None
    error = _refused(tmp_path, maker, _beside(keys.format("[foot, knee, hip]"), text))
    assert (
        "action.joints: found 'foot' where the bundle's output policy.action has 'hip_q'" in error
    )


def test_elements_that_the_loop_calls_otherwise_are_put_in_their_places_one_by_one(
    tmp_path: Path,
) -> None:
    chain(tmp_path).write()
    text = LOOP.replace("foot, hip, spare, knee", "m1, m2, m3, m4")
    select = "select: [m2, m4, m1]"
    assert (
        check(
            _written(
                tmp_path,
                _beside(f"observations: {{joint_pos: [{{input: joint_pos, {select}}}]}}", text),
            )
        ).error
        is None
    )


VELOCITY = "state/body/angular_velocity"


@pytest.mark.parametrize(
    ("described", "inputs", "message"),
    [
        (
            [tensor("imu_base", [1, 3], kind=VELOCITY), tensor("imu_head", [1, 3], kind=VELOCITY)],
            "base_ang_vel: {mailbox: [0, 0, 0]}",
            "an input 'base_ang_vel' for both policy.imu_base, .* and policy.imu_head.*`observations`",
        ),
        (
            [
                tensor("joint_pos", [1, 2], kind="state/joint/velocity"),
                tensor("q", [1, 2], kind="state/joint/position"),
            ],
            "joint_pos: {mailbox: [0, 0]}",
            "'joint_pos' .*velocity; expected `observations` for it: its name says one thing",
        ),
        (
            [tensor("q", [1, 3, 2], element_names=[None, "__temporal_axis__", ["a", "b"]])],
            "q: {mailbox: [0, 0], names: [a, b]}",
            "an axis of time; expected `observations` for it, a term with `history` of 3 steps",
        ),
        (
            [
                tensor("left", [1, 2], kind="state/joint/position", element_names=["a", "b"]),
                tensor("right", [1, 2], kind="state/joint/position", element_names=["c", "d"]),
            ],
            "joint_pos: {mailbox: [0, 0, 0, 0], names: [d, c, b, a]}",
            None,
        ),
    ],
)
def test_one_input_is_never_taken_for_two_things(
    tmp_path: Path, described: list[dict[str, Any]], inputs: str, message: str | None
) -> None:
    maker = BundleMaker(tmp_path, "chain")
    names, values = (
        [d["name"] for d in described],
        [(d["name"], FLOAT, d["shape"]) for d in described],
    )
    first = described[0]["shape"]
    node = helper.make_node("Sum", names, ["y"])
    out = tensor("y", first, element_names=None)
    maker.model("policy", save([node], values, [("y", FLOAT, first)], {}), described, [out])
    maker.pipeline.update({"inputs": {"policy": names}, "outputs": {"policy": ["y"]}})
    size = int(np.prod(first))
    text = (
        f"loops:\n  arm:\n    class: soft\n    rate_hz: 50\n    inputs:\n      {inputs}\n"
        f"    policy:\n      leapp: chain.yaml\n"
        f"    outputs:\n      y: {{mailbox: true, size: {size}, safe: 0}}\n"
    )
    if message is None:
        maker.write()
        _written(tmp_path, text)
        assert Loop(tmp_path).step({"joint_pos": [1, 2, 3, 4]})["y"].tolist() == [4 + 2, 3 + 1]
        return
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(_refused(tmp_path, maker, text))


def test_a_target_that_flows_back_is_not_passed_over(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    gains = tensor("latent", [1, 4], kind="kp", element_names=[[*NAMES, "toe"]])
    maker.data["models"]["encoder"]["outputs"][0] = gains
    maker.pipeline["outputs"] = {"encoder": ["latent"]}
    names = "[hip_kp, knee_kp, foot_kp, toe_kp, hip_pos, knee_pos, foot_pos]"
    text = LOOP.replace("names: [hip, knee, foot]", f"names: {names}, default: 0")
    commands = "{output: encoder.latent}, {output: policy.action}"
    error = _refused(tmp_path, maker, text)
    assert "output policy.action, target/joint/position, only flows back; expected" in error
    assert f"expected `actions` for all that it commands: {commands}" in error
    one = _refused(tmp_path, maker, _beside("action: {output: policy.action}", text))
    assert "found no action for the bundle's output encoder.latent, kp" in one
    path = _written(tmp_path, _beside(f"actions: [{commands}]", text))
    assert check(path).error is None


def test_outputs_of_kinds_that_are_called_alike_go_by_their_own_names(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    effort = tensor("latent", [1, 4], kind="target/joint/effort", element_names=[[*NAMES, "toe"]])
    maker.data["models"]["encoder"]["outputs"][0] = effort
    maker.data["models"]["policy"]["outputs"][0]["kind"] = "target/joint/torques"
    maker.pipeline["outputs"] = {"encoder": ["latent"], "policy": ["action"]}
    bundle = read_bundle(maker.write())
    assert (target_names(bundle, ("encoder", "latent")) or ())[0] == "hip_latent"
    assert target_names(bundle, ("policy", "action")) == (
        "foot_action",
        "knee_action",
        "hip_action",
    )


def test_another_rate_than_that_of_the_bundle_is_a_warning(tmp_path: Path) -> None:
    chain(tmp_path).write()
    (warning,) = check(_written(tmp_path, LOOP.replace("rate_hz: 40", "rate_hz: 80"))).warnings
    assert "found a policy that runs at 80 Hz; expected 40 Hz, as its bundle says" in str(warning)
    slower = LOOP.replace("rate_hz: 40", "rate_hz: 80")
    assert not check(_written(tmp_path, _beside("every: 2", slower))).warnings


@pytest.mark.parametrize(
    ("side", "names", "message"),
    [
        ("inputs", [["hip", "hip", "knee"]], "each name once, not 'hip' twice"),
        ("inputs", [["hip", "knee"]], r"\[1, 3\] in all, or a list of 3 names"),
        ("inputs", ["hip", "knee"], "or a list of 3 names"),
        ("inputs", [["hip", "knee", "foot", "toe"]], "the names of each axis"),
        ("inputs", "hip", "str 'hip'; expected the names"),
        ("inputs", {"a": 1}, "the names of each axis"),
        ("inputs", [[1, 2, 3]], "the names of each axis"),
        ("inputs", [["hip", None, "foot"]], "the names of each axis"),
        ("outputs", [["hip", "knee"]], "the names of each axis"),
    ],
)
def test_broken_names_of_elements_are_refused(
    tmp_path: Path, side: str, names: Any, message: str
) -> None:
    """And never passed over, for then the order would decide between two sides that have names."""
    maker = chain(tmp_path)
    maker.data["models"]["policy"][side][-1]["element_names"] = names
    with pytest.raises(ConfigError, match=f"element_names: found .*{message}"):
        raise ConfigError(_refused(tmp_path, maker))


@pytest.mark.parametrize(
    ("shape", "names", "told", "steps", "is_interleaved"),
    [
        ([1, 2], None, None, 1, False),
        ([1, 2], [[]], None, 1, False),
        ([1, 2], ["a", "b"], ("a", "b"), 1, False),
        ([2], [["a", "b"]], ("a", "b"), 1, False),
        ([1, 2], [None, ["a", "b"]], ("a", "b"), 1, False),
        ([1, 2, 2], [["l", "r"], ["a", "b"]], ("l_a", "l_b", "r_a", "r_b"), 1, False),
        ([1, 2, 2], [["a", "b"]], ("0_a", "0_b", "1_a", "1_b"), 1, False),
        ([1, 3, 2], [None, "__temporal_axis__", ["a", "b"]], ("a", "b"), 3, False),
        ([1, 2, 3], [None, ["a", "b"], "__temporal_axis__"], ("a", "b"), 3, True),
        ([1, 3, 2], [None, "__temporal_axis__", None], None, 3, False),
    ],
)
def test_names_are_those_of_all_axes(
    tmp_path: Path, shape: list[int], names: Any, told: Any, steps: int, is_interleaved: bool
) -> None:
    maker = chain(tmp_path)
    described = tensor("cmd", shape, element_names=names, temporal_period_ms=20.0)
    maker.data["models"]["encoder"]["inputs"][1] = described
    found = read_bundle(maker.write()).input(("encoder", "cmd"))
    assert (found.element_names, found.steps) == (told, steps)
    assert found.is_interleaved == is_interleaved
    assert found.step_ms == (20.0 if steps > 1 else None)


def test_first_values_are_finite(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial({"encoder/prev": np.array([[0, np.nan, 0]], np.float32)})
    assert "finite values, not those of 'encoder/prev'" in _refused(tmp_path, maker)


def test_a_shape_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.data["models"]["encoder"]["inputs"][1]["shape"] = [1, 10**12]
    assert "16777216 values at most" in _refused(tmp_path, maker)


@pytest.mark.parametrize(
    "data",
    [
        (400_000).to_bytes(8, "little") + b"[" * 400_000,
        b"",
        b"\x00" * 4,
        (1 << 40).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
        safetensors({"a": np.ones(3, np.float32)})[:-1],
        safetensors({"a": np.ones(3, np.float32)}).replace(b"F32", b"Q99"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match="found no .safetensors, or a damaged one"):
        read_safetensors(tmp_path / "x.safetensors")


def test_safetensors_give_what_was_written(tmp_path: Path) -> None:
    values: dict[str, Array] = {
        "a/b": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        "n": np.array([3], np.int64),
        "yes": np.array([True, False]),
        "scalar": np.array(1.5),
    }
    (tmp_path / "x.safetensors").write_bytes(safetensors(values))
    read = read_safetensors(tmp_path / "x.safetensors")
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value, strict=True)
