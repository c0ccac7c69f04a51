"""Every way a policy file can be wrong, and the sentence that says so."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper

from rtloop.errors import ConfigError
from rtloop.policy import PolicyConfig, compose, load_policy
from rtloop.policy.model_file import PolicyTensor, nowhere
from rtloop.policy.terms.inputs import InputTerm
from tests.policy.models import Runner, Value, linear, passthrough, save

_FLOAT = onnx.TensorProto.FLOAT
_WEIGHT = np.array([[1.0], [2.0], [3.0]], np.float32)


def _actor_critic(*outputs: str) -> bytes:
    """obs [1, 2] copied to every output."""
    nodes = [helper.make_node("Identity", ["obs"], [name]) for name in outputs]
    values: list[Value] = [(name, _FLOAT, [1, 2]) for name in outputs]
    return save(nodes, [("obs", _FLOAT, [1, 2])], values, {})


def _action_of(model: bytes) -> PolicyTensor:
    action = load_policy(model).action
    assert action is not None
    return action


def test_a_good_policy_is_described(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(linear(_WEIGHT))
    policy = load_policy(path)
    assert str(policy.observation) == "'obs' float32[1, 3]"
    assert str(policy.action) == "'action' float32[1, 1]"
    assert policy.acting is not None
    assert policy.acting.file.opset == 17
    assert policy.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_is_that_of_the_file_and_not_of_the_composed_graph() -> None:
    model = linear(_WEIGHT, ["batch", 3])
    graph = compose(model, {"a": 3}, fix_dimensions={"batch": 1})
    assert graph.sha256 == hashlib.sha256(model).hexdigest()


def test_composing_the_same_twice_gives_the_same_bytes() -> None:
    terms = [InputTerm(input="a", scale=2.0, select=(2, 1, 0))]
    first, second = (compose(linear(_WEIGHT), {"a": 3}, terms).model for _ in range(2))
    assert first == second


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.onnx: no such policy file"):
        load_policy(tmp_path / "nowhere.onnx")


def test_a_folder_is_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the policy: Is a directory"):
        load_policy(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04 and so on", "a zip archive .a PyTorch or stable-baselines3 checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer.*git lfs pull"),
        (b"loops:\n  balance:\n", "something else, or a damaged file"),
        (linear(_WEIGHT)[:-20], "damaged file"),
    ],
)
def test_what_is_not_an_onnx_file_is_recognised(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_policy(path)
    assert str(path) in str(raised.value)


def test_a_dynamic_dimension_is_named_with_its_fix() -> None:
    model = linear(_WEIGHT, ["batch", "width"])
    with pytest.raises(ConfigError, match=r"dynamic dimension 'width'.*fix_dimensions: {width: <"):
        compose(model, {"a": 3})
    assert compose(model, {"a": 3}, fix_dimensions={"width": 3}).observation_size == 3


def test_a_dynamic_dimension_without_a_name_is_fixed_by_its_place() -> None:
    model = linear(_WEIGHT, ["batch", None])
    with pytest.raises(ConfigError, match=r"fix_dimensions: {\"obs\[1\]\": <size>}"):
        compose(model, {"a": 3})
    assert compose(model, {"a": 3}, fix_dimensions={"obs[1]": 3}).observation_size == 3


@pytest.mark.parametrize("name", ["batch", "n", None])
def test_a_batch_is_made_one_and_noted(name: str | None) -> None:
    policy = load_policy(linear(_WEIGHT, [name, 3]))
    assert policy.observation is not None
    assert policy.observation.shape == (1, 3)
    key = name or "obs[0]"
    assert policy.notes == [f"dimension '{key}' is a batch and was fixed to 1"]
    assert load_policy(linear(_WEIGHT, [name, 3]), fix_dimensions={key: 1}).notes == []


def test_a_dimension_that_the_policy_does_not_have_cannot_be_fixed() -> None:
    with pytest.raises(ConfigError, match=r"names 'n', .*its dynamic dimensions: 'batch'"):
        load_policy(linear(_WEIGHT, ["batch", 3]), fix_dimensions={"batch": 1, "n": 2})
    with pytest.raises(ConfigError, match="dynamic dimensions: none; remove fix_dimensions"):
        load_policy(linear(_WEIGHT), fix_dimensions={"batch": 1})


def test_a_dimension_is_not_fixed_to_nothing() -> None:
    with pytest.raises(ConfigError, match="batch is 0; it must be at least 1"):
        load_policy(linear(_WEIGHT, ["batch", 3]), fix_dimensions={"batch": 0})


def test_a_batch_of_several_is_not_one_observation() -> None:
    with pytest.raises(ConfigError, match=r"'obs' float32\[2, 3\] is not a single vector"):
        load_policy(linear(_WEIGHT, ["batch", 3]), fix_dimensions={"batch": 2})


def test_a_second_input_is_refused_with_both_ways_out() -> None:
    inputs: list[Value] = [("joints", _FLOAT, [1, 2]), ("goal", _FLOAT, [1, 2])]
    nodes = [helper.make_node("Add", ["joints", "goal"], ["action"])]
    model = save(nodes, inputs, [("action", _FLOAT, [1, 2])], {})
    with pytest.raises(
        ConfigError, match=r"found 2 \('joints' .*'goal' .*`state.*`constants`.*`observations`"
    ):
        load_policy(model)


@pytest.mark.parametrize(
    ("element", "sample"),
    [(onnx.TensorProto.INT64, [3.0, -2.0]), (onnx.TensorProto.BOOL, [1.0, 0.0])],
)
def test_whole_numbers_and_truth_values_are_cast_at_the_border(
    element: int, sample: list[float]
) -> None:
    nodes = [helper.make_node("Cast", ["obs"], ["action"], to=_FLOAT)]
    model = save(nodes, [("obs", element, [1, 2])], [("action", _FLOAT, [1, 2])], {})
    assert Runner(compose(model, {"a": 2})).step(sample).tolist() == sample


def test_an_action_may_be_a_whole_number() -> None:
    nodes = [helper.make_node("ArgMax", ["obs"], ["action"], axis=1)]
    outputs: list[Value] = [("action", onnx.TensorProto.INT64, [1, 1])]
    model = save(nodes, [("obs", _FLOAT, [1, 2])], outputs, {})
    assert Runner(compose(model, {"a": 2})).step([0.1, 0.2]).tolist() == [1.0]


@pytest.mark.parametrize("element", [onnx.TensorProto.STRING, onnx.TensorProto.COMPLEX64])
def test_an_observation_of_no_numbers_is_refused(element: int) -> None:
    nodes = [helper.make_node("Identity", ["obs"], ["action"])]
    model = save(nodes, [("obs", element, [1, 2])], [("action", element, [1, 2])], {})
    with pytest.raises(ConfigError, match=r"'obs' .*\[1, 2\] cannot be fed"):
        load_policy(model)


def test_of_several_outputs_the_one_called_action_is_taken() -> None:
    assert _action_of(_actor_critic("value", "actions", "log_prob")).name == "actions"


def test_several_outputs_without_an_action_are_refused() -> None:
    with pytest.raises(ConfigError, match="one output must be the action, found 2"):
        load_policy(_actor_critic("mean", "deviation"))


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    _save_apart(path)
    runner = Runner(compose(path, {"a": 3}))
    assert runner.step([1, 2, 3]) == pytest.approx(np.array([1, 2, 3]) @ _WEIGHT)


def test_weights_that_are_not_beside_the_model_are_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    _save_apart(path)
    with pytest.raises(ConfigError, match=r"another file \('weights.bin'\).*give the path"):
        load_policy(path.read_bytes())
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(
        ConfigError, match=r"another file \('weights.bin'\).*copy it into the folder"
    ):
        load_policy(path)


def test_the_hash_is_that_of_the_file_followed_by_its_weights(tmp_path: Path) -> None:
    path, data = tmp_path / "policy.onnx", tmp_path / "weights.bin"
    _save_apart(path)
    both = hashlib.sha256(path.read_bytes() + data.read_bytes()).hexdigest()
    assert load_policy(path).sha256 == compose(path, {"a": 3}).sha256 == both

    keys = {"model": "policy.onnx", "observation": [{"input": "a"}], "sha256": both}
    section = PolicyConfig.model_validate(keys, context={"folder": str(tmp_path)})
    section.load(nowhere)
    data.write_bytes((2 * np.frombuffer(data.read_bytes(), np.float32)).tobytes())
    with pytest.raises(ConfigError, match=f"the file of sha256 {both}: it was exchanged"):
        section.load(nowhere)


def test_files_of_weights_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Whatever order the model names them in."""
    nodes = [
        helper.make_node("Add", ["obs", "first"], ["more"]),
        helper.make_node("Add", ["more", "second"], ["action"]),
    ]
    border: list[Value] = [(name, _FLOAT, [1, 1]) for name in ("obs", "action")]
    weights = {name: np.ones((1, 1), np.float32) for name in ("first", "second")}
    model = onnx.load_from_string(save(nodes, border[:1], border[1:], weights))
    for tensor, name in zip(model.graph.initializer, ("b.bin", "a.bin"), strict=True):
        onnx.external_data_helper.set_external_data(tensor, name)
        (tmp_path / name).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
    (tmp_path / "a.bin").write_bytes(np.float32(2).tobytes())
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    files = [path, tmp_path / "a.bin", tmp_path / "b.bin"]
    joined = b"".join(file.read_bytes() for file in files)
    assert load_policy(path).sha256 == hashlib.sha256(joined).hexdigest()


def _save_apart(path: Path) -> None:
    onnx.save(
        onnx.load_from_string(linear(_WEIGHT)),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )


def test_nan_weights_are_found() -> None:
    weight = _WEIGHT.copy()
    weight[1] = np.nan
    with pytest.raises(ConfigError, match="weight 'weight' contains 1 NaN; the training diverged"):
        load_policy(linear(weight))


def test_nan_in_a_constant_inside_a_branch_is_found() -> None:
    def branch(value: float) -> onnx.GraphProto:
        tensor = onnx.numpy_helper.from_array(np.full((1, 2), value, np.float32), "k")
        return helper.make_graph(
            [helper.make_node("Constant", [], ["out"], value=tensor)],
            "branch",
            [],
            [helper.make_tensor_value_info("out", _FLOAT, [1, 2])],
        )

    nodes = [
        helper.make_node("ReduceSum", ["obs"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["is_set"], to=onnx.TensorProto.BOOL),
        helper.make_node(
            "If", ["is_set"], ["action"], then_branch=branch(1.0), else_branch=branch(np.nan)
        ),
    ]
    model = save(nodes, [("obs", _FLOAT, [1, 2])], [("action", _FLOAT, [1, 2])], {})
    with pytest.raises(ConfigError, match="weight 'k' contains 2 NaN"):
        load_policy(model)


def test_infinite_weights_are_allowed_because_masks_are_made_of_them() -> None:
    weight = _WEIGHT.copy()
    weight[1] = -np.inf
    assert _action_of(linear(weight)).size == 1


def test_an_opset_newer_than_onnxruntime_is_refused_with_its_fix() -> None:
    with pytest.raises(ConfigError, match=r"opset is too new for onnxruntime .*opset_version=17"):
        load_policy(linear(_WEIGHT, opset=99))


def test_an_ir_version_newer_than_onnxruntime_is_refused_with_its_fix() -> None:
    with pytest.raises(ConfigError, match=r"IR version 99 is too new for onnxruntime"):
        load_policy(linear(_WEIGHT, ir_version=99))


def test_an_ancient_opset_is_refused() -> None:
    with pytest.raises(ConfigError, match="opset 6 is too old, at least 8"):
        load_policy(linear(_WEIGHT, opset=6))


def test_an_operator_that_onnxruntime_does_not_have_is_named() -> None:
    nodes = [helper.make_node("Balance", ["obs"], ["action"])]
    model = save(nodes, [("obs", _FLOAT, [1, 2])], [("action", _FLOAT, [1, 2])], {})
    with pytest.raises(ConfigError, match=r"cannot run it:.*Balance"):
        load_policy(model)


def test_an_input_of_unknown_rank_is_refused() -> None:
    model = onnx.load_from_string(passthrough(2))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ConfigError, match="'obs' is not a tensor of known rank"):
        load_policy(model.SerializeToString())


def test_an_error_is_a_configuration_error_for_the_command_line() -> None:
    with pytest.raises(ConfigError) as raised:
        load_policy(b"")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("name", ["X[0]", "a: b", "on", "#x", "*", "step size", "é"])
def test_the_cure_for_a_dynamic_dimension_can_be_pasted_into_yaml(name: str) -> None:
    model = linear(_WEIGHT, [1, name])
    with pytest.raises(ConfigError) as caught:
        load_policy(model)
    cure = str(caught.value).split("`")[1]
    assert yaml.safe_load(cure) == {"fix_dimensions": {name: "<size>"}}
    fixed = load_policy(model, fix_dimensions={name: 3}).observation
    assert fixed is not None
    assert fixed.size == 3


def test_the_cure_keeps_the_dimensions_that_are_fixed_already() -> None:
    model = linear(_WEIGHT, ["batch", "width"])
    with pytest.raises(ConfigError, match=r"dynamic dimension 'width'.*{batch: 1, width: <size>}"):
        load_policy(model, fix_dimensions={"batch": 1})


def _data_dependent(operator: str) -> bytes:
    nodes = [
        helper.make_node(operator, ["obs"], ["found"]),
        helper.make_node("Cast", ["found"], ["cast"], to=_FLOAT),
        helper.make_node("Constant", [], ["flat"], value_ints=[1, -1]),
        helper.make_node("Reshape", ["cast", "flat"], ["action"]),
    ]
    return save(nodes, [("obs", _FLOAT, [1, 3])], [("action", _FLOAT, [1, None])], {})


@pytest.mark.parametrize("model", [_data_dependent("NonZero"), _data_dependent("Unique")])
def test_an_output_whose_shape_depends_on_the_data_is_refused_with_its_cure(model: bytes) -> None:
    with pytest.raises(
        ConfigError, match=r"the shape of output 'action' depends on the data \(\["
    ) as e:
        load_policy(model)
    assert "select a fixed number of elements" in str(e.value)


def test_an_output_that_the_trial_runs_cannot_vary_is_refused_by_its_operators() -> None:
    # At most one of these is non-zero, in a way that no trial value meets.
    nodes = [
        helper.make_node("Equal", ["obs", "rare"], ["is_rare"]),
        helper.make_node("Not", ["is_rare"], ["usual"]),
        helper.make_node("NonZero", ["usual"], ["found"]),
        helper.make_node("Cast", ["found"], ["cast"], to=_FLOAT),
        helper.make_node("Reshape", ["cast", "flat"], ["action"]),
    ]
    weights: dict[str, Any] = {
        "rare": np.full((1, 3), 12345.0, np.float32),
        "flat": np.array([1, -1], np.int64),
    }
    model = save(nodes, [("obs", _FLOAT, [1, 3])], [("action", _FLOAT, [1, None])], weights)
    with pytest.raises(ConfigError, match="depends on the data .it comes from NonZero"):
        load_policy(model)


def test_operators_of_variable_length_are_welcome_where_the_output_has_one_size() -> None:
    nodes = [
        helper.make_node("NonZero", ["obs"], ["found"]),
        helper.make_node("Cast", ["found"], ["cast"], to=_FLOAT),
        helper.make_node("ReduceSum", ["cast", "axes"], ["sum"], keepdims=1),
        helper.make_node("Reshape", ["sum", "row"], ["action"]),
    ]
    weights = {"axes": np.array([1], np.int64), "row": np.array([1, 2], np.int64)}
    model = save(nodes, [("obs", _FLOAT, [1, 3])], [("action", _FLOAT, [1, 2])], weights)
    assert _action_of(model).size == 2
