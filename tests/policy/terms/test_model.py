"""A term that is a model: its inputs, its state, its answer, and what is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.assembly import assemble
from rtloop.assumed import assumed_inputs
from rtloop.config import load, loads
from rtloop.errors import ConfigError
from rtloop.policy import PolicyConfig
from rtloop.policy.composed import ModelStep
from rtloop.ports.signal import Signal
from tests.policy.models import Runner, passthrough, save
from tests.policy.terms.harness import composed, place

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


def _filter() -> bytes:
    """x [1, 2], y_in [1, 2] -> y_out = 0.5 y_in + x, and sum [1, 1] of it."""
    nodes = [
        helper.make_node("Mul", ["y_in", "half"], ["kept"]),
        helper.make_node("Add", ["kept", "x"], ["y_out"]),
        helper.make_node("ReduceSum", ["y_out", "axes"], ["sum"], keepdims=1),
    ]
    weights: dict[str, Any] = {"half": np.array([0.5], np.float32), "axes": np.array([1], np.int64)}
    tensors: list[Any] = [("x", FLOAT, ["batch", 2]), ("y_in", FLOAT, [1, 2])]
    return save(nodes, tensors, [("sum", FLOAT, [1, 1]), ("y_out", FLOAT, [1, 2])], weights)


def _table(rows: Any) -> bytes:
    """step [1] int64 -> row [n]: what a motion of known steps is."""
    nodes = [
        helper.make_node("Min", ["step", "last"], ["index"]),
        helper.make_node("Gather", ["rows", "index"], ["row"], axis=0),
    ]
    weights = {"rows": rows, "last": np.array([len(rows) - 1], np.int64)}
    return save(nodes, [("step", INT64, [1])], [("row", FLOAT, [1, rows.shape[1]])], weights)


def _outer() -> bytes:
    """a [3], b [1, 3] int64 -> product [3, 3], and first [3] of it."""
    nodes = [
        helper.make_node("Reshape", ["a", "column"], ["a_column"]),
        helper.make_node("Cast", ["b"], ["b_float"], to=FLOAT),
        helper.make_node("MatMul", ["a_column", "b_float"], ["product"]),
        helper.make_node("Gather", ["product", "zero"], ["first"], axis=0),
    ]
    weights: dict[str, Any] = {"column": np.array([3, 1], np.int64), "zero": np.array(0, np.int64)}
    return save(
        nodes,
        [("a", FLOAT, [3]), ("b", INT64, [1, 3])],
        [("product", FLOAT, [3, 3]), ("first", FLOAT, [3])],
        weights,
    )


FILTERED = {"model": "filter.onnx", "inputs": {"x": "a"}}
FILES = {"filter.onnx": _filter(), "outer.onnx": _outer()}


def _runner(folder: Path, terms: list[Any], size: int, **section: Any) -> Runner:
    keys = {"model": "p.onnx", "observation": terms, **section}
    files = {**FILES, "p.onnx": passthrough(size)}
    return Runner(composed(folder, keys, {"a": 2, "b": 3}, files))


def test_every_model_that_runs_is_told_by_its_sha256(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    another = onnx.load_from_string(_filter())
    another.doc_string = "another one"
    (other / "filter.onnx").write_bytes(another.SerializeToString())
    terms = [FILTERED, {**FILTERED, "scale": 2.0}, {**FILTERED, "model": "other/filter.onnx"}]
    models = {
        "encoder": {"model": "encoder.onnx", "observation": terms},
        "policy": {"model": "p.onnx", "observation": [{"output": "encoder.action"}]},
    }
    files = {**FILES, "encoder.onnx": passthrough(3), "p.onnx": passthrough(3)}
    graph = composed(tmp_path, {"models": models}, {"a": 2, "b": 3}, files)
    assert graph.models_sha256 == {
        name: hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
        for name, file in {
            "encoder": "encoder.onnx",
            "policy": "p.onnx",
            "term/filter": "filter.onnx",
            "term/filter_2": "other/filter.onnx",
        }.items()
    }
    assert graph.sha256 == graph.models_sha256["policy"]


def test_a_model_has_a_state_of_its_own_that_follows_what_was_observed(tmp_path: Path) -> None:
    term = {**FILTERED, "scale": 2.0, "history": {"steps": [0, 1], "start": "zero"}}
    runner = _runner(tmp_path, [term], 2)
    for _ in range(2):
        y, before = np.zeros(2), 0.0
        for step in range(6):
            x = np.array([step, -0.5])
            y = 0.5 * y + x
            applied = step != 3
            command = runner.step(x, np.zeros(3), applied=applied)
            np.testing.assert_allclose(command, [2 * y.sum(), before], rtol=1e-6)
            before = 2 * y.sum()
        runner.reset()


def test_a_model_stands_wherever_a_term_may_stand_and_runs_once(tmp_path: Path) -> None:
    """In the observation, in a group that another model reads, and in the command."""
    groups = {
        "two": [FILTERED, {"input": "a", "select": [0]}],
        "again": [{"model": "filter.onnx", "inputs": {"x": "two"}}],
    }
    runner = _runner(
        tmp_path,
        [{"group": "again"}, {**FILTERED, "offset": 1}],
        2,
        groups=groups,
        action={"plus": "two"},
    )
    steps = [s for s in runner.graph.steps if isinstance(s, ModelStep)]
    assert [step.label for step in steps] == ["filter", "filter", "policy"]
    assert runner.step([1, 2], [0] * 3).tolist() == [(3 + 1) + 3, (3 + 1) + 1]


def test_a_motion_is_a_table_and_a_counter(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    (tmp_path / "motion.onnx").write_bytes(_table(rows))
    runner = _runner(tmp_path, [{"model": "motion.onnx", "counters": {"step": 1}}], 3)
    for step in range(8):
        np.testing.assert_array_equal(runner.step([0, 0], [0] * 3), rows[min(step + 1, 4)])


def test_an_answer_of_several_is_named_and_a_matrix_is_read_row_by_row(tmp_path: Path) -> None:
    outer = {"model": "outer.onnx", "inputs": {"a": "b"}, "constants": {"b": [1, 2, 3]}}
    terms = [{**outer, "answer": "product"}, {**outer, "answer": "first", "select": [2]}]
    runner = _runner(tmp_path, terms, 10)
    expected = [*np.outer([1, 10, 100], [1, 2, 3]).reshape(-1), 3]
    assert runner.step([0, 0], [1, 10, 100]).tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_so_behind_a_model(tmp_path: Path, bad: float) -> None:
    """Comparisons and clips inside would make plausible numbers of it."""
    value = [1, 2]
    nodes = [
        helper.make_node("Greater", ["x", "x"], ["never"]),
        helper.make_node("Cast", ["never"], ["y"], to=FLOAT),
    ]
    (tmp_path / "zero.onnx").write_bytes(
        save(nodes, [("x", FLOAT, value)], [("y", FLOAT, value)], {})
    )
    runner = _runner(tmp_path, [{"model": "zero.onnx", "inputs": {"x": "a"}}], 2)
    assert runner.step([1, 2], [0] * 3).tolist() == [0, 0]
    assert np.isnan(runner.step([1, bad], [0] * 3)).all()


def test_what_was_guessed_of_a_model_is_told(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [FILTERED]}
    files = {**FILES, "p.onnx": passthrough(1)}
    for name, model in files.items():
        (tmp_path / name).write_bytes(model)
    config = PolicyConfig.model_validate(section, context={"folder": str(tmp_path)})
    assert config.load(place).notes == [
        "filter: dimension 'batch' is a batch and was fixed to 1",
        "filter: state {y_in: y_out} was guessed from the names",
    ]


@pytest.mark.parametrize(
    ("term", "at", "message"),
    [
        (
            {"inputs": {"x": "c"}},
            "inputs.x",
            "found 'c'; expected the name of an input or group: a, b or g",
        ),
        (
            {"inputs": {"x": "b"}},
            "inputs.x",
            "found 'b', which has 3; expected 2 values, which the model reads",
        ),
        (
            {"inputs": {"x": "g"}},
            "inputs.x",
            "found 'g', which has 5; expected 2 values, which the model reads",
        ),
        (
            {"inputs": {"z": "a"}},
            "inputs",
            "inputs names input 'z', which the policy does not have; its inputs:",
        ),
        (
            {"inputs": {}},
            "model",
            "inputs that nothing fills ('x' float32[1, 2]); each under one of `inputs`,",
        ),
        (
            {"answer": "y"},
            "answer",
            "found 'y'; expected the output that is observed as `answer`: 'sum'",
        ),
        (
            {"state": {"y_in": "sum"}},
            "state",
            "'y_in' float32[1, 2] cannot be fed from 'sum' float32[1, 1]",
        ),
        (
            {"counters": {"z": 1}},
            "counters",
            "counters names input 'z', which the policy does not have",
        ),
        (
            {"sha256": "0" * 64},
            "sha256",
            f"whose sha256 is {hashlib.sha256(_filter()).hexdigest()}; expected",
        ),
        (
            {"model": "outer.onnx", "inputs": {"a": "b"}, "constants": {"b": 1}},
            "model",
            "found 2 outputs; expected the output that is observed as `answer`: 'product' or 'first'",
        ),
    ],
)
def test_what_is_wrong_with_a_model_is_said_at_its_place(
    tmp_path: Path, term: dict[str, Any], at: str, message: str
) -> None:
    groups = {"g": [{"input": "a"}, {"input": "b"}]}
    with pytest.raises(ConfigError) as caught:
        _runner(tmp_path, [{**FILTERED, **term}], 1, groups=groups)
    assert str(caught.value).startswith(f"observation[0].{at}: ")
    assert message in str(caught.value)


LOOP = """\
loops:
  a:
    class: soft
    rate_hz: 50
    inputs: {a: {mailbox: [0, 0]}}
    policy:
      model: p.onnx
      observation:
        - {model: nets/filter.onnx, inputs: {x: a}}
    outputs: {y: {mailbox: true, size: 1, safe: 0}}
"""


def test_the_model_of_a_term_is_relative_to_the_file_and_missed_when_that_is_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP)
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "filtre.onnx").write_bytes(_filter())
    with pytest.raises(ConfigError, match=r"loop.yaml:9:19: .*nearest 'filtre.onnx'"):
        load(path)
    (tmp_path / "nets" / "filtre.onnx").rename(tmp_path / "nets" / "filter.onnx")
    config = load(path)
    signals = {"a": [Signal("0"), Signal("1")]}
    assembled = assemble(config, "a", signals, {"y": [Signal("0")]})
    assert assembled.runner.run([np.array([1, 2], np.float32)]).tolist() == [3.0]


def test_a_model_that_is_none_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP)
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "filter.onnx").write_bytes(b"PK")
    config = load(path)
    with pytest.raises(ConfigError, match=r"loop.yaml:9:19: .*a zip archive"):
        assemble(config, "a", {"a": [Signal("0"), Signal("1")]}, {"y": [Signal("0")]})


def test_what_a_device_sends_to_a_model_has_the_size_that_it_reads(tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "filter.onnx").write_bytes(_filter())
    text = "links: {robot: {device: ./tty}}\n" + LOOP.replace("{mailbox: [0, 0]}", "{link: robot}")
    config = loads(text, str(tmp_path / "loop.yaml"))
    policy = config.loops["a"].policy.load(place)
    assert [signal.name for signal in assumed_inputs(config, "a", policy)["a"]] == ["0", "1"]
