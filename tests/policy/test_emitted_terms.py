"""What a kind of term adds to the graph is what the term said it would be, or nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from pydantic import Field

from rtloop.config import loads
from rtloop.errors import ConfigError
from rtloop.policy.compose import compose
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.memory import PreviousActionTerm
from rtloop.policy.terms.term import TERMS, ObservationTerm
from tests.policy.models import Runner, linear, passthrough


def _int64(*values: int) -> Any:
    return np.array(values, np.int64)


def _raise() -> Any:
    raise RuntimeError("no idea\nhow")


MISTAKES: dict[str, Callable[[GraphBuilder, str], Any]] = {
    "right": lambda b, x: x,
    "wide": lambda b, x: b.node("Concat", [x, x], "wide", axis=1),
    "narrow": lambda b, x: b.node("Gather", [x, b.constant(_int64(0), "first")], "narrow", axis=1),
    "rank": lambda b, x: b.node("Reshape", [x, b.constant(_int64(2), "shape")], "flat"),
    "double": lambda b, x: b.node("Cast", [x], "double", to=TensorProto.DOUBLE),
    "constant": lambda b, x: b.constant(_int64(1, 2), "constant"),
    "varying": lambda b, x: b.node("NonZero", [x], "found"),
    "nothing": lambda b, x: None,
    "name": lambda b, x: "nothing_of_that_name",
    "policy": lambda b, x: "obs",
    "reads": lambda b, x: b.node("Identity", ["nothing_of_that_name"], "copy"),
    "raises": lambda b, x: _raise(),
    "input": lambda b, x: b.input("arm"),
    "early": lambda b, x: b.raw_action,
    "unheard": lambda b, x: b.node("NoSuchOperator", [x], "copy"),
    "newer": lambda b, x: b.node("Gelu", [x], "gelu"),
    "attribute": lambda b, x: b.node("Identity", [x], "copy", to=1),
    "type": lambda b, x: b.node("Concat", [x, b.constant(_int64(1), "one")], "both", axis=1),
    "state": lambda b, x: b.feedback("s", (1, 2), lambda _: b.node("Neg", ["none"], "minus")),
    "wide_state": lambda b, x: b.feedback(
        "s", (1, 2), lambda s: b.node("Concat", [s, s], "s2", axis=1)
    ),
    "raising_state": lambda b, x: b.feedback("s", (1, 2), lambda _: _raise()),
}


class ClumsyTerm(ObservationTerm):
    """Says two elements, and emits what its mistake is called."""

    kind = "clumsy"

    clumsy: str = Field(description="the mistake")

    def elements(self, scope: Scope) -> Elements:
        return Vector(2)

    def emit(self, builder: GraphBuilder) -> str:
        return MISTAKES[self.clumsy](builder, builder.input("hand"))  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def clumsy() -> Iterator[None]:
    TERMS.register(ClumsyTerm)
    yield
    TERMS.unregister("clumsy")


SHAPE = "; expected float32 [1, 2], one value for each of its elements"
NODES = "; expected nodes that the policy's graph can hold"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("wide", "a term that yields float32 [1, 4]" + SHAPE),
        ("narrow", "a term that yields float32 [1, 1]" + SHAPE),
        ("rank", "a term that yields float32 [2]" + SHAPE),
        ("double", "a term that yields float64 [1, 2]" + SHAPE),
        ("constant", "a term that yields int64 [2]" + SHAPE),
        ("varying", "a term that yields int64 [2, ?]" + SHAPE),
        ("nothing", "a term that yields NoneType, no name of a tensor" + SHAPE),
        ("name", "a term that yields 'nothing_of_that_name', which is no tensor" + SHAPE),
        ("policy", "a term that yields 'obs', which is no tensor" + SHAPE),
        (
            "reads",
            "a term whose nodes fail (ValueError: Identity reads 'nothing_of_that_name', which is "
            "no tensor)" + NODES,
        ),
        ("raises", "a term whose nodes fail (RuntimeError: no idea how)" + NODES),
        ("input", "a term whose nodes fail (KeyError: 'arm')" + NODES),
        ("early", "a term whose nodes fail (RuntimeError: the raw action is known behind the "),
        (
            "unheard",
            "a term whose nodes fail (ValueError: ONNX has no operator NoSuchOperator)" + NODES,
        ),
        (
            "newer",
            "a term whose nodes fail (ValueError: opset 17 of rtloop's nodes has no operator Gelu, "
            "which came with opset 20)" + NODES,
        ),
        ("attribute", "a term whose nodes fail (ValidationError: Unrecognized attribute: to"),
        ("type", "a term whose nodes fail (InferenceError: "),
        (
            "state",
            "a term whose nodes fail (ValueError: Neg reads 'none', which is no tensor)" + NODES,
        ),
        ("wide_state", "a term that yields float32 [1, 4]" + SHAPE),
        ("raising_state", "a term whose nodes fail (RuntimeError: no idea how)" + NODES),
    ],
)
def test_a_term_that_emits_something_else_is_refused_at_its_place(
    mistake: str, message: str, tmp_path: Path
) -> None:
    text = f"""\
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {{hand: {{mailbox: [0, 0]}}}}
    policy:
      model: policy.onnx
      observation: [{{input: hand}}, {{clumsy: {mistake}, select: [0]}}]
    outputs: {{all: {{mailbox: true, size: 3, safe: 0}}}}
"""
    (tmp_path / "policy.onnx").write_bytes(passthrough(3))
    config = loads(text, str(tmp_path / "a.yaml"))
    where = partial(config.where, "loops", "a", "policy")
    with pytest.raises(ConfigError) as caught:
        config.loops["a"].policy.compose({"hand": ("0", "1")}, where)
    place = f"{tmp_path}/a.yaml:8:45: loops.a.policy.observation[1].clumsy: found "
    assert str(caught.value).startswith(place + message)
    assert "\n" not in str(caught.value)


def test_every_wrong_term_is_named_at_once() -> None:
    terms = [ClumsyTerm(clumsy="wide"), InputTerm(input="hand"), ClumsyTerm(clumsy="raises")]
    with pytest.raises(ConfigError) as caught:
        compose(passthrough(6), {"hand": 2}, terms)
    places = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert places == ["observation[0].clumsy", "observation[2].clumsy"]


def test_an_update_may_use_what_the_policy_answers_whatever_its_type() -> None:
    terms = [ClumsyTerm(clumsy="right"), PreviousActionTerm(previous_action=True)]
    runner = Runner(compose(linear(np.ones((3, 1), np.float64)), {"hand": 2}, terms))
    assert [runner.step([1, 2]).tolist() for _ in range(3)] == [[3], [6], [9]]


@pytest.mark.parametrize("method", ["elements", "source_rules", "declared_at"])
@pytest.mark.parametrize("error", [KeyError("arm"), ValueError("no\nidea"), AssertionError()])
def test_a_term_that_cannot_tell_its_elements_is_a_problem_with_its_place(
    method: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ClumsyTerm, method, fail)
    text = """\
loops:
  a:
    class: soft
    rate_hz: 100
    policy: {model: policy.onnx, observation: [{clumsy: right}, {previous_action: true}]}
    outputs: {all: {mailbox: true, size: 3, safe: 0}}
"""
    (tmp_path / "policy.onnx").write_bytes(passthrough(3))
    with pytest.raises(ConfigError) as caught:
        loads(text, str(tmp_path / "a.yaml"))
    place = f"{tmp_path}/a.yaml:5:49: loops.a.policy.observation[0].clumsy: "
    name = type(error).__name__
    assert str(caught.value).startswith(f"{place}found a kind whose own code fails ({name}")
    # Composing judges once more, with what is known by then.
    with pytest.raises(ConfigError, match=r"observation\[0\].clumsy: found a kind whose own code"):
        compose(passthrough(3), {"a": 3}, [ClumsyTerm(clumsy="right")])
