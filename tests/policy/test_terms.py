"""Observation and action terms against a reference in numpy."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from pydantic import ValidationError

from rtloop.config.problem import written
from rtloop.config.values import FLOAT32_MAX
from rtloop.errors import ConfigError, Place
from rtloop.policy import ActionTerm, ObservationTerm, PolicyConfig, compose
from rtloop.policy.composed import NodeStep
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import PreviousActionTerm
from rtloop.policy.terms.shape import Shape
from tests.kinds import filled
from tests.policy.models import Runner, linear, passthrough, save

_numbers = st.floats(-100.0, 100.0, width=32)
_Floats = npt.NDArray[np.float32]


def _bounds() -> st.SearchStrategy[tuple[float, float]]:
    pair = st.tuples(_numbers, _numbers).filter(lambda p: p[0] != p[1]).map(sorted)
    one_sided = st.sampled_from([(-FLOAT32_MAX, 1.0), (-1.0, FLOAT32_MAX)])
    return pair.map(lambda p: (p[0], p[1])) | one_sided


def _per_element(size: int) -> st.SearchStrategy[Any]:
    return _numbers | st.tuples(*[_numbers] * size)


def _shape(size: int) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the keys of a shape; a step that is left out takes another way through the builder."""
    keys = {"scale": _per_element(size), "offset": _per_element(size), "clip": _bounds()}
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def _loops(draw: st.DrawFn) -> tuple[dict[str, int], list[InputTerm], ActionTerm, int]:
    inputs = {f"in{i}": draw(st.integers(1, 5)) for i in range(draw(st.integers(1, 3)))}
    terms = []
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(inputs)))
        index = st.integers(0, inputs[name] - 1)
        select = draw(st.none() | st.lists(index, min_size=1, max_size=6, unique=True))
        size = inputs[name] if select is None else len(select)
        chosen = None if select is None else tuple(select)
        terms.append(InputTerm(input=name, select=chosen, **draw(_shape(size))))
    total = sum(len(t.select) if t.select else inputs[t.input] for t in terms)
    return inputs, terms, ActionTerm(**draw(_shape(total))), total


def _reference(term: Shape, values: _Floats) -> _Floats:
    """Slice, scale, offset, clip in float32, one after the other."""
    if isinstance(term, ObservationTerm) and term.select is not None:
        values = np.array([values[int(index)] for index in term.select])
    values = values * np.asarray(term.scale, np.float32)
    values = values + np.asarray(term.offset, np.float32)
    return values if term.clip is None else np.clip(values, *np.asarray(term.clip, np.float32))


@settings(max_examples=60, deadline=None)
@given(loop=_loops(), seed=st.integers(0, 2**32 - 1))
def test_any_terms_give_what_numpy_gives(
    loop: tuple[dict[str, int], list[InputTerm], ActionTerm, int], seed: int
) -> None:
    inputs, terms, action, total = loop
    random = np.random.default_rng(seed)
    samples = {name: random.normal(size=n).astype(np.float32) for name, n in inputs.items()}

    graph = compose(passthrough(total), inputs, terms, action)
    command = Runner(graph).step(*samples.values())

    observation = np.concatenate([_reference(term, samples[term.input]) for term in terms])
    expected = _reference(action, observation)
    # A fused multiply-add rounds once where numpy rounds twice.
    np.testing.assert_allclose(command, expected, rtol=1e-5, atol=1e-3)
    assert graph.observation_size == total


def test_terms_apply_in_the_order_slice_scale_offset_clip() -> None:
    term = InputTerm(input="a", select=(2, 0), scale=(10.0, 0.5), offset=1.0, clip=(-2.0, 25.0))
    graph = compose(passthrough(2), {"a": 3}, [term])
    # 3 * 10 + 1 = 31, clipped; -8 * 0.5 + 1 = -3, clipped
    assert Runner(graph).step([-8, 99, 3]).tolist() == [25.0, -2.0]
    assert Runner(graph).step([2, 99, 1]).tolist() == [11.0, 2.0]


def test_the_action_term_turns_policy_output_into_the_command() -> None:
    graph = compose(
        passthrough(2), {"a": 2}, (), ActionTerm(scale=10.0, offset=(1.0, -1.0), clip=(-5.0, 5.0))
    )
    assert Runner(graph).step([0.2, 0.3]).tolist() == [3.0, 2.0]
    assert Runner(graph).step([9.0, -9.0]).tolist() == [5.0, -5.0]


def test_without_terms_all_inputs_are_joined_in_order() -> None:
    graph = compose(passthrough(5), {"b": 2, "a": 3})
    assert Runner(graph).step([1, 2], [3, 4, 5]).tolist() == [1, 2, 3, 4, 5]
    assert [spec.name for spec in graph.inputs] == ["input/b", "input/a"]
    assert [spec.shape for spec in graph.inputs] == [(1, 2), (1, 3)]


def test_an_input_that_no_term_reads_is_still_an_input_of_the_graph() -> None:
    graph = compose(passthrough(2), {"used": 2, "watched": 3}, [InputTerm(input="used")])
    assert [spec.size for spec in graph.inputs] == [2, 3]
    assert Runner(graph).step([1, 2], [np.nan] * 3).tolist() == [1, 2]


def test_the_same_input_may_be_observed_twice() -> None:
    terms = [InputTerm(input="a"), InputTerm(input="a", scale=-1.0)]
    graph = compose(passthrough(4), {"a": 2}, terms)
    assert Runner(graph).step([1, 2]).tolist() == [1, 2, -1, -2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("element", [0, 1])
@pytest.mark.parametrize("clipped", ["by the term", "by the policy", "by the action term"])
def test_a_broken_sample_never_becomes_a_plausible_command(
    bad: float, element: int, clipped: str
) -> None:
    """Also where a clip would swallow it: the core refuses what is not finite, if it sees it."""
    node = helper.make_node("Clip", ["obs", "low", "high"], ["action"])
    limits = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    value = ("obs", onnx.TensorProto.FLOAT, [1, 2])
    model = save([node], [value], [("action", value[1], value[2])], limits)
    graph = compose(
        model if clipped == "by the policy" else passthrough(2),
        {"a": 2},
        [InputTerm(input="a", clip=(-1.0, 1.0) if clipped == "by the term" else None)],
        ActionTerm(clip=(-1.0, 1.0) if clipped == "by the action term" else None),
    )
    runner = Runner(graph)
    sample = [0.5, 0.5]
    assert runner.step(sample).tolist() == [0.5, 0.5]
    sample[element] = bad
    assert not np.isfinite(runner.step(sample)).any()


def test_an_infinite_policy_output_is_not_clipped_to_a_command() -> None:
    node = helper.make_node("Div", ["obs", "zero"], ["action"])
    value = ("obs", onnx.TensorProto.FLOAT, [1, 1])
    weights = {"zero": np.zeros((1, 1), np.float32)}
    model = save([node], [value], [("action", value[1], value[2])], weights)
    graph = compose(model, {"a": 1}, (), ActionTerm(clip=(-1.0, 1.0)))
    assert np.isnan(Runner(graph).step([1.0])).all()


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_policy_of_another_float_type_is_cast_at_its_border(dtype: str) -> None:
    weight = np.array([[0.5, 2.0], [1.0, -4.0]], dtype)
    graph = compose(linear(weight), {"a": 2}, (), ActionTerm(scale=2.0))
    assert Runner(graph).step([2, 3]).tolist() == [8.0, -16.0]


@pytest.mark.parametrize("shape", [[3], [1, 3], [1, 1, 3]])
def test_an_observation_of_any_rank_is_filled(shape: list[int]) -> None:
    weight = np.array([[1.0], [10.0], [100.0]], np.float32)
    graph = compose(linear(weight, shape), {"a": 3})
    assert Runner(graph).step([1, 2, 3]).tolist() == [321.0]


@pytest.mark.parametrize(("opset", "ir_version"), [(8, 3), (9, 4), (13, 7), (17, 8), (21, 10)])
def test_terms_fit_the_opset_of_the_policy(opset: int, ir_version: int) -> None:
    weight = np.array([[2.0], [3.0]], np.float32)
    model = onnx.load_from_string(linear(weight, opset=opset, ir_version=ir_version))
    if ir_version < 4:  # where every weight is an input as well
        model.graph.input.append(
            helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [2, 1])
        )
    terms = [InputTerm(input="a", select=(1, 0), scale=2.0, offset=1.0, clip=(0.0, 9.0))]
    graph = compose(
        model.SerializeToString(),
        {"a": 2},
        terms,
        ActionTerm(scale=-1.0, offset=0.5, clip=(-99.0, 99.0)),
    )
    assert Runner(graph).step([1, 2]).tolist() == [-18.5]
    assert onnx.load_from_string(graph.model).opset_import[0].version == opset


def test_names_of_the_policy_may_be_names_that_rtloop_would_take() -> None:
    element = onnx.TensorProto.FLOAT
    model = save(
        [helper.make_node("Neg", ["input/a"], ["rtloop/action"])],
        [("input/a", element, [1, 2])],
        [("rtloop/action", element, [1, 2])],
        {},
    )
    graph = compose(model, {"a": 2}, [InputTerm(input="a", scale=2.0)], ActionTerm(scale=10.0))
    assert Runner(graph).step([1, 2]).tolist() == [-20.0, -40.0]


def test_a_step_that_a_term_does_not_use_is_no_node() -> None:
    terms = [
        InputTerm(input="a"),
        InputTerm(input="a", scale=2.0),
        InputTerm(input="a", offset=1.0, clip=(-1.0, 1.0)),
    ]
    graph = compose(passthrough(6), {"a": 2}, terms)
    kinds = [step.operator for step in graph.steps if isinstance(step, NodeStep)]
    assert kinds == ["Mul", "Add", "Max", "Min", "Concat", "Identity"]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            [InputTerm(input="b")],
            "observation[0].input: found 'b'; expected the name of an input: a",
        ),
        (
            [InputTerm(input="a", select=(0, 3))],
            "observation[0].select[1]: found 3; expected an index below 3, the size of the vector",
        ),
        (
            [InputTerm(input="a", select=("x",))],
            "observation[0].select[0]: found 'x'; expected an index from 0: the elements of input 'a' "
            "have no names",
        ),
        (
            [PreviousActionTerm(previous_action=True, select=(3,))],
            "observation[0].select[0]: found 3; expected an index below 3, the size of the vector",
        ),
        (
            [InputTerm(input="a", scale=(1.0, 2.0))],
            "observation[0].scale: found a list of 2; expected 3 as in 'inputs.a', or one number "
            "for all",
        ),
        (
            [InputTerm(input="a", clip=(1.0, -1.0))],
            "observation[0].clip: found [1, -1]; expected [lowest, highest] with lowest < highest",
        ),
        (
            [
                InputTerm(input="b"),
                PreviousActionTerm(previous_action=True, offset=(1.0,)),
            ],
            "observation[0].input: found 'b'; expected the name of an input: a\n"
            "observation[1].offset: found a list of 1; expected 3 as in "
            "'previous_action', or one number for all",
        ),
        (
            [InputTerm(input="a"), PreviousActionTerm(previous_action=True)],
            "observation: found an observation of 6 values (input 'a': 3, previous_action: 3); expected "
            "3, the size of the policy's input 'obs' float32[1, 3]",
        ),
    ],
)
def test_a_wrong_term_is_named(terms: list[ObservationTerm], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(passthrough(3), {"a": 3}, terms)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({}, "found <none of terms>; expected exactly one of"),
        ({"input": "a", "previous_action": True}, "found both input and previous_action; expected"),
        ({"input": "a", "select": [-1]}, "greater than or equal to 0"),
        ({"input": "a", "select": []}, "at least 1 item"),
        ({"input": "a", "offset": math.nan}, "finite number"),
        ({"input": "a", "clip": [math.nan, 1.0]}, "finite number"),
    ],
)
def test_a_term_that_no_policy_could_have_is_refused_by_its_section(
    term: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=filled(message)):
        PolicyConfig.model_validate({"model": "p.onnx", "observation": [term]})


def test_a_wrong_action_term_is_named() -> None:
    with pytest.raises(ConfigError, match="action.scale: found a list of 2; expected 3 as in"):
        compose(passthrough(3), {"a": 3}, (), ActionTerm(scale=(1.0, 2.0)))


def test_elements_are_selected_by_the_names_that_a_device_gives_them() -> None:
    term = InputTerm(input="arm", select=("elbow", 0))
    names = {"arm": ("shoulder", "wrist", "elbow")}
    graph = compose(passthrough(2), names, [term])
    assert Runner(graph).step([1, 2, 3]).tolist() == [3, 1]


def test_a_name_that_no_element_has_is_shown_at_its_place() -> None:
    policy = PolicyConfig(
        model=Path("p.onnx"), observation=(InputTerm(input="arm", select=(0, "elbo")),)
    )
    names = ("shoulder", "elbow")
    with pytest.raises(ConfigError) as caught:
        compose(
            passthrough(2),
            {"arm": names},
            policy.observation or (),
            where=lambda *keys: Place("arm.yaml", 7, 9, f"policy.{written(keys)}"),
        )
    assert str(caught.value) == (
        "arm.yaml:7:9: policy.observation[0].select[1]: found 'elbo'; expected a field of input "
        "'arm': shoulder or elbow; nearest 'elbow'"
    )


def test_the_names_of_the_selected_elements_are_known() -> None:
    scope = Scope({"arm": Vector(3, ("shoulder", "elbow", "wrist"))}, Vector(1))
    assert InputTerm(input="arm").element_names(scope) == ("shoulder", "elbow", "wrist")
    term = InputTerm(input="arm", select=(2, "elbow"))
    assert term.element_names(scope) == ("wrist", "elbow")
    assert term.size(scope) == 2
    assert PreviousActionTerm(previous_action=True).element_names(scope) is None


def test_a_loop_without_inputs_has_nothing_to_observe() -> None:
    with pytest.raises(ConfigError, match="no input to observe"):
        compose(passthrough(3), {})


def test_importing_the_package_does_not_import_onnx() -> None:
    program = "import sys, rtloop.policy; print([m for m in sys.modules if m.startswith('onnx')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
