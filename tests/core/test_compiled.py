"""Steps that were compiled ahead of time: what they read and write, and what is refused of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from tests.core.compiled import built, compiled, needs_compiler
from tests.core.steps import Steps, vector

pytestmark = needs_compiler

TWICE = """\
const float *x = inputs[0];
float *y = outputs[0];
for (int i = 0; i < 3; ++i) y[i] = 2.0f * x[i];
"""


def graph_of(code: bytes, n_inputs: int = 1, n: int = 3) -> core.Graph:
    steps = Steps()
    inputs = [steps.input(f"x{i}", n) for i in range(n_inputs)]
    y = steps.tensor("y", n)
    steps.compiled(code, inputs, [y])
    return steps.graph(y)


def test_it_computes_from_its_inputs_to_its_outputs() -> None:
    graph = graph_of(compiled(TWICE, [12], [12]))
    assert graph.run([vector(1, -2, 3)]).tolist() == [2, -4, 6]
    assert graph.run([vector(0.5, 0, 0)]).tolist() == [1, 0, 0]


def test_it_stands_between_nodes_and_models_of_every_type_and_its_state_is_fed_back() -> None:
    code = compiled(
        """\
        const float *x = inputs[0]; const int64_t *n = inputs[1]; const _Bool *on = inputs[2];
        const double *d = inputs[3];
        float *y = outputs[0]; int64_t *next = outputs[1];
        for (int i = 0; i < 2; ++i) y[i] = on[0] ? x[i] * (float)d[0] + (float)n[0] : -1;
        next[0] = n[0] + 1;
        """,
        [8, 8, 1, 8],
        [8, 8],
    )
    steps = Steps()
    x = steps.input("x", 2)
    negated = steps.node("Neg", [x], 2)
    count = steps.constant("count", np.array([5]))
    on = steps.constant("on", np.array([True]))
    factor = steps.constant("factor", np.array([10.0]))
    y, following = steps.tensor("y", 2), steps.tensor("next", [1], "int64")
    steps.compiled(code, [negated, count, on, factor], [y, following])
    steps.feedback = [(count, following, False)]
    graph = steps.graph(steps.node("Abs", [y], 2))
    assert graph.run([vector(1, 2)]).tolist() == [5, 15]
    assert graph.run([vector(1, 2)]).tolist() == [4, 14]
    assert graph.state()["count"].tolist() == [7]
    graph.reset()
    assert graph.run([vector(1, 2)]).tolist() == [5, 15]


def test_graphs_of_one_object_have_nothing_in_common() -> None:
    code = compiled(
        "static float count; *(float *)outputs[0] = *(const float *)inputs[0] + count++;", [4], [4]
    )
    first, second = graph_of(code, n=1), graph_of(code, n=1)
    # Each has run once, while it was made.
    assert [first.run([vector(0)])[0] for _ in range(3)] == [1, 2, 3]
    assert second.run([vector(0)])[0] == 1
    del first, second
    assert graph_of(code, n=1).run([vector(0)])[0] == 1
    other = compiled("*(float *)outputs[0] = -*(const float *)inputs[0];", [4], [4])
    assert graph_of(other, n=1).run([vector(2)])[0] == -2, "in place of one that was let go"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_computed_from_what_is_not_finite(dtype: str, value: float) -> None:
    size = np.dtype(dtype).itemsize
    code = compiled(
        """\
        ((float *)outputs[0])[0] = 1; ((double *)outputs[1])[0] = 1; ((uint16_t *)outputs[2])[0] = 1;
        ((int64_t *)outputs[3])[0] = 1; ((_Bool *)outputs[4])[0] = 1;
        """,
        [4, 2 * size],
        [4, 8, 2, 8, 1],
    )
    steps = Steps()
    inputs = [steps.input("whole", 1), steps.input("x", 2)]
    typed = steps.node("Cast", [inputs[1]], 2, dtype) if dtype != "float32" else inputs[1]
    outputs = [
        steps.tensor(kind, [1], kind) for kind in ("float32", "float64", "float16", "int64", "bool")
    ]
    steps.compiled(code, [inputs[0], typed], outputs)
    graph = steps.graph(outputs[0])
    assert graph.run([vector(1), vector(1, 1)]).tolist() == [1]
    assert [graph.tensor(output)[0] for output in outputs[3:]] == [1, True]
    assert np.isnan(graph.run([vector(1), vector(1, value)]))
    assert np.isnan([float(graph.tensor(output)[0]) for output in outputs[:3]]).all()
    assert [graph.tensor(output)[0] for output in outputs[3:]] == [0, False]
    assert graph.run([vector(1), vector(1, 1)]).tolist() == [1], "and then it goes on"


def test_it_runs_on_zeros_in_place_of_what_is_not_finite() -> None:
    """So that warm-up, which is on zeros, makes it warm also where terms make NaN of them."""
    code = compiled(
        """\
        static float runs; ++runs;
        const float *x = inputs[0]; const float *last = inputs[1];
        ((float *)outputs[0])[0] = runs;
        ((int64_t *)outputs[1])[0] = x[0] == 0 && x[1] == 0 && last[0] == 0 ? 1 : -1;
        """,
        [8, 4],
        [4, 8],
    )
    steps = Steps()
    inputs = [steps.input("x", 2), steps.input("last", 1)]
    runs, is_zero = steps.tensor("runs", 1), steps.tensor("is_zero", 1, "int64")
    steps.compiled(code, inputs, [runs, is_zero])
    graph = steps.graph(steps.node("Identity", [runs], 1))
    before = graph.run([vector(1, 2), vector(3)])[0]
    assert graph.tensor(is_zero)[0, 0] == -1
    assert np.isnan(graph.run([vector(1, np.nan), vector(3)])[0])
    assert graph.run([vector(0, 0), vector(0)])[0] == before + 2
    assert graph.tensor(is_zero)[0, 0] == 1


def test_a_constant_may_be_infinite() -> None:
    steps = Steps()
    x, y = steps.input("x", 3), steps.tensor("y", 3)
    steps.compiled(
        compiled(TWICE, [12, 4], [12]),
        [x, steps.constant("mask", np.array([-np.inf], np.float32))],
        [y],
    )
    assert steps.graph(y).run([vector(1, 2, 3)]).tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ([16], [12], "has 16 bytes as its input 0: tensor 'x0' (float32, 3 elements) has 12"),
        ([12], [8], "has 8 bytes as its output 0: tensor 'y' (float32, 3 elements) has 12"),
        ([12, 12], [12], "has 2 inputs and 1 outputs: the graph gives it 1 and 1"),
        ([12], [12, 12], "has 1 inputs and 2 outputs: the graph gives it 1 and 1"),
    ],
)
def test_other_tensors_are_refused(
    inputs: Sequence[int], outputs: Sequence[int], told: str
) -> None:
    with pytest.raises(RuntimeError) as raised:
        graph_of(compiled(TWICE, inputs, outputs))
    assert str(raised.value) == f"the compiled model 'test' {told}"


def test_another_abi_is_refused() -> None:
    with pytest.raises(RuntimeError, match="'test' is of ABI 7, this rtloop reads 1: compile it"):
        graph_of(compiled(TWICE, [12], [12], abi="7"))


def test_an_object_that_is_no_model_is_refused() -> None:
    with pytest.raises(RuntimeError, match="'test' has no symbol 'rtloop_compiled_model'"):
        graph_of(compiled(TWICE, [12], [12], symbol="another"))


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not an object" * 100])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(RuntimeError, match="the compiled model 'test' cannot be loaded: .+"):
        graph_of(content)


def test_an_object_that_needs_what_is_not_here_is_refused_before_it_runs() -> None:
    code = built("void nowhere(void); void call(void) { nowhere(); }")
    with pytest.raises(RuntimeError, match="cannot be loaded: .*undefined symbol: nowhere"):
        graph_of(code)


def test_a_cut_object_is_refused_or_fails_to_load() -> None:
    code = compiled(TWICE, [12], [12])
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        graph_of(code[:512])


def test_a_step_reads_what_was_computed_before_it() -> None:
    steps = Steps()
    later, y = steps.tensor("later", 3), steps.tensor("y", 3)
    steps.compiled(compiled(TWICE, [12], [12]), [later], [y])
    with pytest.raises(ValueError, match="'later' .* nothing before that yields it"):
        steps.graph(y)


def test_no_descriptor_is_left_behind() -> None:
    code = compiled(TWICE, [12], [12])

    def count() -> int:
        return sum("rtloop-model" in os.readlink(path) for path in _descriptors())

    before = count()
    graph = graph_of(code)
    assert count() == before + 1
    del graph
    for _ in range(20):
        with pytest.raises(RuntimeError):
            graph_of(b"no object")
    assert count() == before


def _descriptors() -> list[Path]:
    return [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
