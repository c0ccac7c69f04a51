"""What each input and output of a model is for, and what no input or output can be for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.errors import ConfigError
from rtloop.policy import PolicyConfig
from tests.policy.models import Runner, Value, passthrough, save
from tests.policy.terms.harness import composed, place

_FLOAT = TensorProto.FLOAT
_ORDERED = """\
loops:
  l:
    class: soft
    rate_hz: 50
    inputs: {q: {mailbox: [0, 0], names: [a, b]}}
    policy: {model: p.onnx, joints: [b, a], observation: [{input: q}], action: {to: [a, b]}}
    outputs: {t: {mailbox: true, names: [a, b], safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""


def _sum(*others: Value, outputs: Sequence[str] = ("action",)) -> bytes:
    """obs [1, 1] plus each of the others, cast, as the first output; the rest are 100 times that."""
    nodes: list[onnx.NodeProto] = []
    value = "obs"
    for name, element, _ in others:
        as_float = name
        if element != _FLOAT:
            as_float = f"{name}_float"
            nodes.append(helper.make_node("Cast", [name], [as_float], to=_FLOAT))
        nodes.append(helper.make_node("Add", [value, as_float], [f"with_{name}"]))
        value = f"with_{name}"
    nodes.append(helper.make_node("Identity", [value], [outputs[0]]))
    nodes += [helper.make_node("Mul", [value, "hundred"], [name]) for name in outputs[1:]]
    shape = [1, 1]
    return save(
        nodes,
        [("obs", _FLOAT, shape), *others],
        [(name, _FLOAT, shape) for name in outputs],
        {"hundred": np.array([[100]], np.float32)} if len(outputs) > 1 else {},
    )


def _runner(folder: Path, model: bytes, **keys: Any) -> Runner:
    section = {"model": "p.onnx", "observation": [{"input": "a"}], **keys}
    return Runner(composed(folder, section, {"a": 1}, {"p.onnx": model}))


def _refused(folder: Path, model: bytes, **keys: Any) -> str:
    (folder / "p.onnx").write_bytes(model)
    section = {"model": "p.onnx", "observation": [{"input": "a"}], **keys}
    config = PolicyConfig.model_validate(section, context={"folder": str(folder)})
    with pytest.raises(ConfigError) as refused:
        config.load(place)
    return str(refused.value)


# --- the action as its own state ---


def test_an_action_that_is_fed_back_is_still_the_action(tmp_path: Path) -> None:
    model = _sum(("last_action", _FLOAT, [1, 1]), outputs=["action", "log_std"])
    runner = _runner(tmp_path, model, state={"last_action": "action"})
    assert [runner.step([1.0]).tolist() for _ in range(3)] == [[1], [2], [3]]


def test_an_action_of_another_name_that_is_fed_back_is_asked_for(tmp_path: Path) -> None:
    """The other output is not taken for it in silence."""
    model = _sum(("last_action", _FLOAT, [1, 1]), outputs=["mean", "log_std"])
    state = {"last_action": "mean"}
    assert "one output must be the action, found 2" in _refused(tmp_path, model, state=state)
    runner = _runner(tmp_path, model, state=state, action_output="mean")
    assert [runner.step([1.0]).tolist() for _ in range(2)] == [[1], [2]]


@pytest.mark.parametrize("outputs", [["mean", "log_std"], ["log_std", "mean"]])
def test_state_as_large_as_the_only_answer_may_be_the_action(
    tmp_path: Path, outputs: list[str]
) -> None:
    model = _sum(("last", _FLOAT, [1, 1]), outputs=outputs)
    told = _refused(tmp_path, model, state={"last": "mean"})
    assert "one output must be the action, found 2" in told


def test_any_state_may_be_named_as_the_action(tmp_path: Path) -> None:
    model = _sum(("h", _FLOAT, [1, 1]), outputs=["next", "value"])
    runner = _runner(tmp_path, model, state={"h": "next"}, action_output="next")
    assert [runner.step([1.0]).tolist() for _ in range(2)] == [[1], [2]]


# --- one thing for each input ---


@pytest.mark.parametrize(
    ("keys", "twice"),
    [
        ({"constants": {"x": 1}, "counters": {"x": 0}}, ("constants", "counters")),
        ({"state": {"x": "action"}, "constants": {"x": 1}}, ("state", "constants")),
        (
            {
                "observation": None,
                "observations": {"obs": [{"input": "a"}], "x": [{"input": "a"}]},
                "constants": {"x": 1},
            },
            ("observations", "constants"),
        ),
    ],
)
def test_an_input_is_filled_once(
    tmp_path: Path, keys: dict[str, Any], twice: tuple[str, str]
) -> None:
    told = _refused(tmp_path, _sum(("x", _FLOAT, [1, 1])), **keys)
    assert f"input 'x' under `{twice[0]}` and under `{twice[1]}`" in told


# --- numbers that a type holds ---


@pytest.mark.parametrize(
    ("element", "value", "expected"),
    [
        (TensorProto.UINT8, 300, "whole numbers from 0 to 255"),
        (TensorProto.UINT8, -1, "whole numbers from 0 to 255"),
        (TensorProto.INT32, 3 * 10**9, "whole numbers from -2147483648 to 2147483647"),
        (TensorProto.INT64, 1e23, "whole numbers from -9223372036854775808 to 9223372036854775807"),
        (TensorProto.INT64, 0.5, "whole numbers"),
        (TensorProto.BOOL, 0.5, "true or false"),
        (TensorProto.BOOL, 2, "true or false"),
        (TensorProto.FLOAT, 1e300, "numbers of a size up to 3.40282e+38"),
        (TensorProto.FLOAT16, 1e6, "numbers of a size up to 65504"),
        (TensorProto.FLOAT16, 10**400, "numbers of a size up to 65504"),
    ],
)
def test_a_constant_that_its_type_does_not_hold_is_refused(
    tmp_path: Path, element: int, value: float, expected: str
) -> None:
    told = _refused(tmp_path, _sum(("x", element, [1, 1])), constants={"x": value})
    assert f"{expected} for 'x'" in told


@pytest.mark.parametrize(
    ("element", "value", "expected"),
    [
        (TensorProto.BOOL, True, 1),
        (TensorProto.BOOL, 0, 0),
        (TensorProto.UINT8, 255, 255),
        (TensorProto.INT64, 16000.0, 16000),
        (TensorProto.FLOAT16, 0.1, np.float16(0.1)),
    ],
)
def test_a_constant_that_its_type_holds_arrives(
    tmp_path: Path, element: int, value: float, expected: float
) -> None:
    runner = _runner(tmp_path, _sum(("x", element, [1, 1])), constants={"x": value})
    assert runner.step([0.0])[0] == expected


@pytest.mark.parametrize(
    ("element", "shape", "first", "expected"),
    [
        (TensorProto.BOOL, [1, 1], 0, "an input of one number"),
        (TensorProto.INT64, [1, 2], 0, "an input of one number"),
        (TensorProto.UINT8, [1, 1], -1, "whole numbers from 0 to 255"),
        (TensorProto.INT32, [1, 1], 2**31, "whole numbers from -2147483648 to 2147483647"),
        (_FLOAT, [1, 1], 2**24 + 1, "at most 16777216, where it would stand still"),
    ],
)
def test_a_counter_that_its_input_cannot_count_is_refused(
    tmp_path: Path, element: int, shape: list[int], first: int, expected: str
) -> None:
    told = _refused(tmp_path, _sum(("x", element, shape)), counters={"x": first})
    assert expected in told


@pytest.mark.parametrize(
    ("element", "largest"),
    [
        (TensorProto.UINT8, 255),
        (TensorProto.INT32, 2**31 - 1),
        (TensorProto.FLOAT16, 2048),
        (_FLOAT, 2**24),
    ],
)
def test_a_counter_stands_still_where_its_type_ends(
    tmp_path: Path, element: int, largest: int
) -> None:
    runner = _runner(tmp_path, _sum(("x", element, [1, 1])), counters={"x": largest - 1})
    seen = [runner.step([0.0])[0] for _ in range(4)]
    assert seen == [np.float32(largest - 1), *[np.float32(largest)] * 3]


@pytest.mark.parametrize("element", [_FLOAT, TensorProto.INT64])
def test_an_input_without_axes_is_counted_and_observed(tmp_path: Path, element: int) -> None:
    model = _sum(("x", element, []))
    runner = _runner(tmp_path, model, counters={"x": 3})
    assert [runner.step([1.0])[0] for _ in range(2)] == [4, 5]
    observations = {"obs": [{"input": "a"}], "x": [{"input": "a"}]}
    runner = _runner(tmp_path, model, observation=None, observations=observations)
    assert runner.step([2.0])[0] == 4


# --- nothing observed ---


def test_a_model_may_observe_nothing(tmp_path: Path) -> None:
    """A clock of its own: what it counts, and what it remembers."""
    model = save(
        [
            helper.make_node("Add", ["h_in", "count"], ["h_out"]),
            helper.make_node("Identity", ["h_out"], ["action"]),
        ],
        [(name, _FLOAT, [1, 1]) for name in ("h_in", "count")],
        [(name, _FLOAT, [1, 1]) for name in ("h_out", "action")],
        {},
    )
    section = {"model": "p.onnx", "observations": {}, "counters": {"count": 1}}
    runner = Runner(composed(tmp_path, section, {"a": 1}, {"p.onnx": model}))
    assert [runner.step([0.0])[0] for _ in range(4)] == [1, 3, 6, 10]


def test_a_model_without_observation_must_be_filled_all_the_same(tmp_path: Path) -> None:
    model = _sum(("x", _FLOAT, [1, 1]))
    told = _refused(tmp_path, model, observation=None, observations={}, counters={"x": 0})
    assert "inputs that nothing fills ('obs' float32[1, 1])" in told


# --- metadata ---


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("joint_names", "['a','b','c']", "different names"),
        ("joint_names", "a, b, c,", "different names"),
        ("dof_names", "a,b,b", "different names"),
        ("joint_names", '{"a": 0}', "different names"),
        ("default_joint_pos", "[1, 2, x]", "finite numbers"),
        ("default_joint_pos", "[1, NaN, 3]", "finite numbers"),
        ("default_joint_pos", "1,inf,3", "finite numbers"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused_unless_the_configuration_says_it(
    tmp_path: Path, key: str, text: str, expected: str
) -> None:
    proto = onnx.load_from_string(_sum())
    helper.set_model_props(proto, {key: text})
    told = _refused(tmp_path, proto.SerializeToString())
    assert f"'{key}' of its metadata, which cannot be read: {text}" in told
    assert f"{expected}, as a JSON list" in told
    own: dict[str, Any] = {"joints": ["hip"]}
    if key == "default_joint_pos":
        own = {"default_joint_pos": [0.5]}
    _runner(tmp_path, proto.SerializeToString(), **own)


def test_joints_that_contradict_the_metadata_are_told_before_what_follows_from_them(
    tmp_path: Path,
) -> None:
    """The input has the order of the metadata: `joints: policy` would be no cure."""
    proto = onnx.load_from_string(passthrough(2))
    helper.set_model_props(proto, {"joint_names": "a,b"})
    (tmp_path / "p.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "loop.yaml").write_text(_ORDERED)
    (error,) = check(tmp_path / "loop.yaml").errors
    assert "loops.l.policy.joints: " in str(error)
    assert "joints that are not those of the model's metadata" in str(error)

    helper.set_model_props(proto, {"joint_names": "b,a"})
    (tmp_path / "p.onnx").write_bytes(proto.SerializeToString())
    (error,) = check(tmp_path / "loop.yaml").errors
    assert "policy.observation[0].input: found 'q'; expected `joints: policy`" in str(error)


# --- what a policy stands still for ---


def test_a_command_that_is_not_finite_does_not_mean_to_move(tmp_path: Path) -> None:
    hold = {"command": "go", "below": 0.1}
    terms = [{"input": "a"}, {"phase": {"period_s": 1.0, "hold": hold}, "show": ["ramp"]}]
    model = save(
        [helper.make_node("Identity", ["obs"], ["action"])],
        [("obs", _FLOAT, [1, 2])],
        [("action", _FLOAT, [1, 2])],
        {},
    )
    section = {"model": "p.onnx", "observation": terms}
    runner = Runner(composed(tmp_path, section, {"a": 1, "go": 2}, {"p.onnx": model}))
    assert np.isfinite(runner.step([1.0], [1.0, 0.0])).all()
    assert np.isnan(runner.step([1.0], [1.0, np.nan])).all()
