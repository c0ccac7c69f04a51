"""Models that are compiled here: that they compute what onnxruntime does, and what is not compiled."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtloop.config import load
from rtloop.policy.aot import choice
from rtloop.policy.aot.layout import along_rows
from rtloop.policy.aot.store import Store
from rtloop.policy.aot.tools import NotCompiledError, compile_model, find_tools
from rtloop.policy.opened import Opened, opened
from rtloop.policy.runner import model_steps
from rtloop.progress import told_to
from tests.core.compiled import built
from tests.policy.aot.conftest import LOOP, needs_tools, opened_loop, runs
from tests.policy.models import linear, recurrent, save

pytestmark = needs_tools
FLOAT = TensorProto.FLOAT


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> Any:
    return helper.make_node(operator, inputs, outputs, **more)


def of(nodes: Sequence[Any], n: int, m: int, **weights: Any) -> bytes:
    """obs [1, n] → action [1, m]."""
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    return save(nodes, [("obs", FLOAT, [1, n])], [("action", FLOAT, [1, m])], arrays)


def both(model: bytes, n: int, m: int, **keys: Any) -> tuple[Opened, Opened]:
    return opened_loop(model, n, m, **keys), opened_loop(model, n, m, "ort", **keys)


def reason(found: Opened) -> str:
    assert found.assembled.backends.by_model["policy"] == "ort"
    return found.assembled.backends.reasons["policy"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_recurrent_policy_computes_the_same(dtype: str) -> None:
    model, _ = recurrent(5, 16, 3, dtype)
    aot, ort = both(model, 5, 3, state="{h_in: h_out}")
    assert aot.assembled.backends.by_model == {"policy": "aot"}
    random = np.random.default_rng(1)
    samples = random.standard_normal((50, 5))
    np.testing.assert_allclose(runs(aot, *samples), runs(ort, *samples), rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_is_a_fault_and_state_does_not_hide_it() -> None:
    model, _ = recurrent(5, 16, 3)
    aot, _ = both(model, 5, 3, state="{h_in: h_out}")
    good, bad = np.ones(5), np.array([1, 1, np.inf, 1, 1])
    commands = np.array(runs(aot, good, bad, good))
    assert np.isfinite(commands[0]).all()
    assert np.isnan(commands[1:]).all(), "a state that came of it goes on being it"
    assert np.isfinite(runs(aot, good)).all(), "and a reset forgets it"


def test_what_becomes_infinite_inside_stays_it() -> None:
    model = of([node("Exp", ["obs"], ["e"]), node("Sub", ["e", "e"], ["action"])], 2, 2)
    aot, ort = both(model, 2, 2)
    assert aot.assembled.backends.by_model == {"policy": "aot"}
    for found in (aot, ort):
        assert runs(found, [1, 2])[0] == [0, 0]
        assert np.isnan(runs(found, [1000, 1])).all()
    clipped = of(
        [node("Exp", ["obs"], ["e"]), node("Clip", ["e", "low", "high"], ["action"])],
        2, 2, low=np.float32(-1), high=np.float32(3),
    )  # fmt: skip
    aot, ort = both(clipped, 2, 2)
    assert runs(aot, [1000, 0]) == runs(ort, [1000, 0]) == [[3, 1]]


def of_nan(*nodes: Any, **weights: Any) -> bytes:
    """obs [1, 4] → action [1, 4] by way of ``d``, which is obs where that is not 0, and NaN where it is."""
    first = [node("Div", ["obs", "obs"], ["one"]), node("Mul", ["one", "obs"], ["d"])]
    return of([*first, *nodes], 4, 4, **weights)


LOW, HIGH = np.float32(-1), np.float32(1)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([node("Clip", ["d", "low", "high"], ["action"])], {"low": LOW, "high": HIGH}),
        (
            [node("Max", ["d", "low"], ["a"]), node("Min", ["high", "a"], ["action"])],
            {"low": LOW, "high": HIGH},
        ),
        ([node("HardSigmoid", ["d"], ["action"])], {}),
        ([node("Relu", ["d"], ["action"])], {}),
        ([node("LeakyRelu", ["d"], ["action"])], {}),
        ([node("Elu", ["d"], ["action"])], {}),
        ([node("Tanh", ["d"], ["action"])], {}),
    ],
    ids=["Clip", "Max, Min", "HardSigmoid", "Relu", "LeakyRelu", "Elu", "Tanh"],
)
def test_a_clip_inside_does_not_hide_nan(nodes: Any, weights: Any) -> None:
    aot, ort = both(of_nan(*nodes, **weights), 4, 4)
    assert aot.assembled.backends.by_model == {"policy": "aot"}
    samples = np.array([[0.5, 0, -0.25, 3], [0, -3, 1, 0]], np.float32)
    answers = np.array([np.array(runs(found, *samples)) for found in (aot, ort)])
    assert np.isnan(answers[:, samples == 0]).all()
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-6)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin", "ArgMax", "Hardmax"])
def test_what_may_hide_nan_is_not_compiled(operator: str) -> None:
    last = "d" if operator == "Hardmax" else "r"
    reduced = [node(operator, ["d"], [last], axis=1, keepdims=1)]
    if operator.startswith("Reduce"):
        reduced = [node(operator, ["d"], [last], axes=[1], keepdims=1)]
    if operator == "Hardmax":
        reduced, last = [node(operator, ["d"], ["r"])], "r"
    nodes = [*reduced, node("Cast", [last], ["f"], to=FLOAT), node("Add", ["f", "obs"], ["action"])]
    assert reason(opened_loop(of_nan(*nodes), 4, 4)) == f"'{operator}' may hide NaN in compiled C"


def test_whole_numbers_that_c_leaves_undefined_are_not_compiled() -> None:
    whole = [node("Cast", ["obs"], ["i"], to=TensorProto.INT64)]
    cast = of([*whole, node("Cast", ["i"], ["action"], to=FLOAT)], 2, 2)
    told = "'Cast' makes whole numbers of others, which may be out of their range"
    assert reason(opened_loop(cast, 2, 2)) == told
    for operator in ("Div", "Mod"):
        model = of(
            [
                node("Greater", ["obs", "zero"], ["b"]),
                node("Cast", ["b"], ["i"], to=TensorProto.INT64),
                node("Add", ["i", "one"], ["divisor"]),
                node(operator, ["one", "divisor"], ["q"]),
                node("Cast", ["q"], ["action"], to=FLOAT),
            ],
            2, 2, zero=np.float32(0), one=np.ones((1, 2), np.int64),
        )  # fmt: skip
        told = f"'{operator}' divides whole numbers by what is computed, perhaps 0"
        assert reason(opened_loop(model, 2, 2)) == told


def test_every_type_at_the_border_and_scalars() -> None:
    model = save(
        [
            node("Cast", ["count"], ["c"], to=FLOAT),
            node("Cast", ["flag"], ["o"], to=FLOAT),
            node("Cast", ["small"], ["s"], to=FLOAT),
            node("Mul", ["obs", "c"], ["a"]),
            node("Add", ["a", "o"], ["b"]),
            node("Add", ["b", "s"], ["action"]),
        ],
        [
            ("obs", FLOAT, [1, 2]),
            ("count", TensorProto.INT64, []),
            ("flag", TensorProto.BOOL, [1]),
            ("small", TensorProto.INT32, [1, 1]),
        ],
        [("action", FLOAT, [1, 2])],
        {},
    )
    keys = {"constants": "{flag: true, small: 7}", "counters": "{count: 3}"}
    aot, ort = both(model, 2, 2, **keys)
    assert aot.assembled.backends.by_model == {"policy": "aot"}
    assert runs(aot, [1, 2], [1, 2]) == runs(ort, [1, 2], [1, 2]) == [[11, 14], [12, 16]]


def test_an_operator_that_the_core_lacks_is_compiled_too() -> None:
    aot, ort = both(linear(np.eye(3, dtype=np.float32)), 3, 3, action="{scale: 0.5, smooth: 0.5}")
    steps = model_steps(aot.assembled.graph).values()
    assert {step.label for step in steps} == set(aot.assembled.backends.by_model)
    assert runs(aot, [1, 2, 3], [1, 1, 1]) == runs(ort, [1, 2, 3], [1, 1, 1])


def test_it_is_compiled_once_and_told(cache: Path) -> None:
    model = linear(np.ones((3, 2), np.float32))
    told: list[str] = []
    with told_to(told.append):
        opened_loop(model, 3, 2)
        assert told == ["compiling 'policy' for this CPU …"]
        assert opened_loop(model, 3, 2).assembled.backends.by_model == {"policy": "aot"}
        assert len(told) == 1
        next(cache.glob("*.so")).write_bytes(b"damaged")
        assert opened_loop(model, 3, 2).assembled.backends.by_model == {"policy": "aot"}
        assert len(told) == 2, "what was damaged is compiled again"
        opened_loop(linear(2 * np.ones((3, 2), np.float32)), 3, 2)
        assert len(told) == 3, "another model is another object"


def test_what_tools_made_for_this_cpu_runs_whatever_the_kernel_calls_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sandboxes leave out flags that the compiler sees."""
    monkeypatch.setattr("rtloop.policy.aot.store.cpu_features", lambda: frozenset())
    told: list[str] = []
    with told_to(told.append):
        for _ in range(2):
            found = opened_loop(linear(np.ones((3, 2), np.float32)), 3, 2)
            assert found.assembled.backends.by_model == {"policy": "aot"}
    assert len(told) == 1
    (entry,) = found.assembled.backends.entries.values()
    assert Store().any_of(entry.model) is None or not entry.features


def test_other_tools_make_another_object(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear(np.ones((3, 2), np.float32))
    opened_loop(model, 3, 2)
    here = find_tools()
    for tools in (
        replace(here, version="another"),
        replace(here, generator="newer"),
        replace(here, macros="another CPU"),
    ):
        monkeypatch.setattr(choice, "find_tools", lambda tools=tools: tools)
        before = len(list(cache.glob("*.so")))
        opened_loop(model, 3, 2)
        assert len(list(cache.glob("*.so"))) == before + 1, tools


def test_metadata_of_a_file_make_no_other_object(cache: Path) -> None:
    proto = onnx.ModelProto.FromString(linear(np.ones((3, 2), np.float32)))
    opened_loop(proto.SerializeToString(), 3, 2)
    proto.producer_name, proto.doc_string = "another exporter", "at another time"
    helper.set_model_props(proto, {"run": "17"})
    opened_loop(proto.SerializeToString(), 3, 2)
    assert len(list(cache.glob("*.so"))) == 1


def test_an_operator_that_is_not_covered_runs_in_onnxruntime(cache: Path) -> None:
    told: list[str] = []
    with told_to(told.append):
        first = reason(opened_loop(SEQUENCES, 2, 2))
        assert first.startswith("emx-onnx-cgen: ")
        assert len(told) == 1
        assert reason(opened_loop(SEQUENCES, 2, 2)) == first
        assert len(told) == 1, "what these tools said is kept"
    assert json.loads(next(cache.glob("*.json")).read_text())["failure"] == first
    assert not list(cache.glob("*.so"))


#: How many rounds this takes is decided by its input: no code of static shapes.
SEQUENCES = of(
    [
        node("NonZero", ["obs"], ["where"]),
        node("Shape", ["where"], ["shape"]),
        node("ReduceProd", ["shape"], ["n"], keepdims=0),
        node("Cast", ["n"], ["f"], to=FLOAT),
        node("Add", ["obs", "f"], ["action"]),
    ],
    2,
    2,
)


def test_an_index_that_is_computed_is_not_compiled() -> None:
    """onnxruntime refuses one that is out of range; C reads what is there."""
    model = of(
        [node("Cast", ["obs"], ["i"], to=7), node("Gather", ["table", "i"], ["action"])],
        2, 2, table=np.arange(5, dtype=np.float32),
    )  # fmt: skip
    told = "'Gather' takes an index or a size that is computed, which compiled C does not check"
    assert reason(opened_loop(model, 2, 2)) == told
    fixed = of([node("Gather", ["obs", "i"], ["action"], axis=1)], 3, 2, i=np.array([2, 0]))
    assert opened_loop(fixed, 3, 2).assembled.backends.by_model == {"policy": "aot"}


def test_an_index_within_a_function_or_a_branch_is_found_too() -> None:
    function = helper.make_function(
        "own", "Chosen", ["t", "x"], ["y"],
        [node("Cast", ["x"], ["i"], to=7), node("Gather", ["t", "i"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    proto = onnx.ModelProto.FromString(
        of([node("Chosen", ["table", "obs"], ["action"], domain="own")], 2, 2,
           table=np.arange(5, dtype=np.float32))
    )  # fmt: skip
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert "'Gather' takes an index" in reason(opened_loop(proto.SerializeToString(), 2, 2))
    branch = helper.make_graph(
        [node("Cast", ["obs"], ["j"], to=7), node("Gather", ["table", "j"], ["z"])],
        "branch", [], [helper.make_tensor_value_info("z", FLOAT, [1, 2])],
    )  # fmt: skip
    other = helper.make_graph(
        [node("Identity", ["obs"], ["w"])],
        "other", [], [helper.make_tensor_value_info("w", FLOAT, [1, 2])],
    )  # fmt: skip
    model = of(
        [
            node("ReduceSum", ["obs"], ["sum"], keepdims=0),
            node("Cast", ["sum"], ["on"], to=TensorProto.BOOL),
            node("If", ["on"], ["action"], then_branch=branch, else_branch=other),
        ],
        2, 2, table=np.arange(5, dtype=np.float32),
    )  # fmt: skip
    assert "'Gather' takes an index" in reason(opened_loop(model, 2, 2))


def test_an_operator_of_somebody_else_is_not_compiled() -> None:
    proto = onnx.ModelProto.FromString(
        of([node("Gelu", ["obs"], ["action"], domain="com.microsoft")], 2, 2)
    )
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    told = reason(opened_loop(proto.SerializeToString(), 2, 2))
    assert told == "'Gelu' is no operator of ONNX itself, but of com.microsoft"


def test_what_onnxruntime_refuses_to_read_is_no_difference() -> None:
    """One model of two takes an index that random inputs put out of range; the other is compiled."""
    table = {"table": np.arange(5, dtype=np.float32)}
    nodes = [node("Cast", ["obs"], ["i"], to=7), node("Gather", ["table", "i"], ["action"])]
    Path("chosen.onnx").write_bytes(of(nodes, 2, 2, **table))
    Path("doubled.onnx").write_bytes(linear(2 * np.eye(2, dtype=np.float32)))
    models = (
        "{first: {model: chosen.onnx, observation: [{input: x}]}, "
        "last: {model: doubled.onnx, observation: [{output: first.action}]}}"
    )
    text = LOOP.format(inputs=[0.0, 0.0], outputs=2, more="backend: aot\n      models: " + models)
    text = text.replace("      model: policy.onnx\n      observation: [{input: x}]\n", "")
    Path("loop.yaml").write_text(text)
    found = opened(load(Path("loop.yaml")), "a")
    assert found.assembled.backends.by_model == {"first": "ort", "last": "aot"}
    assert runs(found, [3, 1]) == [[6, 2]]


def test_a_model_that_needs_a_large_stack_is_not_compiled() -> None:
    n = 40_000
    model = of(
        [
            node("MatMul", ["obs", "wide"], ["a"]),
            node("Softmax", ["a"], ["b"]),
            node("MatMul", ["b", "tall"], ["action"]),
        ],
        1, 1, wide=np.ones((1, n), np.float32), tall=np.ones((n, 1), np.float32),
    )  # fmt: skip
    assert "frame" in reason(opened_loop(model, 1, 1))


def test_a_model_that_does_not_compute_the_same_is_told() -> None:
    """What is rounded in another order is another angle."""
    weight = np.random.default_rng(0).standard_normal((64, 1)).astype(np.float32)
    model = of(
        [
            node("MatMul", ["obs", "weight"], ["sum"]),
            node("Mul", ["sum", "many"], ["angle"]),
            node("Sin", ["angle"], ["action"]),
        ],
        64, 1, weight=weight, many=np.float32(1e5),
    )  # fmt: skip
    told = reason(opened_loop(model, 64, 1))
    assert told.startswith("it does not compute the same: 'action[0]' is ")


def test_what_allocates_does_not_link() -> None:
    model = linear(np.ones((3, 2), np.float32))
    wrapper = "#include <stdlib.h>\nvoid *grab(void) { return malloc(17); }\n"
    with pytest.raises(NotCompiledError, match="undefined reference to `__wrap_malloc'"):
        compile_model(find_tools(), model, wrapper)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is a register of x86")
def test_loading_one_leaves_the_floating_point_environment_as_it_was(tmp_path: Path) -> None:
    """GCC links what flushes denormal numbers to zero into what is linked with -ffast-math."""
    library = tmp_path / "mxcsr.so"
    library.write_bytes(
        built('#include <xmmintrin.h>\n__attribute__((visibility("default"))) unsigned mxcsr(void)'
              " { return _mm_getcsr(); }")
    )  # fmt: skip
    control = 0xFFC0  # all but the flags of what has happened
    mxcsr = ctypes.CDLL(str(library)).mxcsr
    mxcsr.restype = ctypes.c_uint
    before = mxcsr() & control
    found = opened_loop(linear(np.ones((3, 2), np.float32)), 3, 2)
    assert found.assembled.backends.by_model == {"policy": "aot"}
    runs(found, [1, 2, 3])
    assert mxcsr() & control == before


def test_a_compiler_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear(np.ones((3, 2), np.float32))
    monkeypatch.setenv("CC", "nowhere-cc -m64")
    assert reason(opened_loop(model, 3, 2)) == "CC is 'nowhere-cc -m64', which is no program here"
    monkeypatch.setenv("CC", "false")
    assert reason(opened_loop(model, 3, 2)).startswith("the C compiler does not work: ")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "/nowhere")
    told = "there is no C compiler here: apt-get install gcc"
    assert reason(opened_loop(model, 3, 2)) == told


def test_a_compiler_that_writes_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "true")
    told = reason(opened_loop(linear(np.ones((3, 2), np.float32)), 3, 2))
    assert told == "its code is not there: model.so: No such file or directory"


def test_what_stopped_a_compiler_is_not_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, as GCC does of its cc1 that the kernel killed; next time there is memory."""
    full = tmp_path / "full"
    full.touch()
    compiler = tmp_path / "cc"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *model.o*) if [ -e {full} ]; then '
        "echo 'cc: fatal error: Killed signal terminated program cc1' >&2; exit 1; fi;; esac\n"
        'exec gcc "$@"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    model = linear(np.ones((3, 2), np.float32))
    assert "Killed signal terminated" in reason(opened_loop(model, 3, 2))
    assert not list(cache.glob("*.json"))
    full.unlink()
    assert opened_loop(model, 3, 2).assembled.backends.by_model == {"policy": "aot"}


def test_a_stop_ends_the_compilation() -> None:
    from rtloop.errors import StoppedError
    from rtloop.stopping import stopped_when

    opened_loop(linear(np.ones((3, 2), np.float32)), 3, 2, "ort")
    told: list[str] = []
    with (
        told_to(told.append),
        stopped_when(lambda: "Ctrl-C" if told else ""),
        pytest.raises(StoppedError),
    ):
        opened_loop(linear(np.ones((3, 2), np.float32)), 3, 2)


@pytest.mark.parametrize("shape", [[4], [1, 4], [1, 1, 4]])
def test_products_go_along_rows(shape: list[int]) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    model = save(
        [node("MatMul", ["obs", "weight"], ["y"]), node("Relu", ["y"], ["action"])],
        [("obs", FLOAT, shape)],
        [("action", FLOAT, [*shape[:-1], 3])],
        {"weight": weight},
    )
    again = onnx.ModelProto.FromString(along_rows(model))
    onnx.checker.check_model(again, full_check=True)
    operators = [n.op_type for n in again.graph.node]
    assert operators == ["Reshape", "Gemm", "Reshape", "Max"]
    kept = {t.name: numpy_helper.to_array(t) for t in again.graph.initializer}
    assert "weight" not in kept
    np.testing.assert_array_equal(kept["weight/transposed"], weight.T)
    aot, ort = both(model, 4, 3)
    assert aot.assembled.backends.by_model == {"policy": "aot"}
    np.testing.assert_allclose(runs(aot, [1, 2, 3, 4]), runs(ort, [1, 2, 3, 4]), rtol=1e-5)


def test_a_gemm_goes_along_rows_and_keeps_what_it_says() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    gemm = node("Gemm", ["obs", "w", "b"], ["action"], alpha=0.5, beta=2.0)
    model = of([gemm], 2, 3, w=weight, b=np.ones(3, np.float32))
    again = onnx.ModelProto.FromString(along_rows(model))
    attributes = {a.name: helper.get_attribute_value(a) for a in again.graph.node[0].attribute}
    assert attributes == {"alpha": 0.5, "beta": 2.0, "transB": 1}
    assert along_rows(along_rows(model)) == along_rows(model)
    aot, _ = both(model, 2, 3)
    assert runs(aot, [1, 1]) == [[3.5, 4.5, 5.5]]


def test_the_compiled_code_is_for_this_cpu_and_has_no_flushing_start_up() -> None:
    tools = find_tools()
    assert "-march=native" in tools.flags
    assert "-ffast-math" in tools.flags
    linked = subprocess.run(
        [*tools.compiler, "-shared", "-###", "x.o"], capture_output=True, text=True, check=False
    ).stderr
    assert "crtfast" not in linked
