"""Every operator of the core against the same node in ONNX Runtime, and what it does where that is no guide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import helper

from rtloop import core
from tests.core.steps import ONNX_TYPES, Steps, typed_model, vector

Array = NDArray[Any]

BINARY_FLOAT = ["Add", "Sub", "Mul", "Div", "Max", "Min"]
BINARY_INT = ["Add", "Sub", "Mul", "Mod"]
COMPARE = ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"]
UNARY = ["Neg", "Abs", "Floor", "Sqrt"]
TRIGONOMETRY = {
    "Sin": np.sin, "Cos": np.cos, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
}  # fmt: skip
CAST_TYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]
OTHERS = {
    "And", "Or", "Not", "Where", "Identity", "Reshape", "Concat", "Gather", "Cast", "MatMul",
    "ReduceSum", "ReduceMax",
}  # fmt: skip

FLOATS = vector(
    0, -0.0, 1, -1, 0.1, -0.1, 1.5, -2.5, np.pi, -np.pi, 1e-45, -1e-45, 1e-39, 1.1754944e-38, 6e-8,
    3.4028235e38, -3.4028235e38, 1e10, -1e10, 16777217, 65519, 65520, np.inf, -np.inf, np.nan,
)  # fmt: skip
INTS = np.array([0, 1, -1, 2, -7, 13, 255, 2**31, -(2**31), 2**40 + 5, 2**63 - 1, -(2**63)])
BOOLS = np.array([False, True])
EXTREME: dict[str, Array] = {"float32": FLOATS, "int64": INTS, "bool": BOOLS}


def computed(
    operator: str, arrays: Sequence[Array], dtype: str, size: int, constant: bool = False
) -> Array:
    """What the core's node makes of the arrays, which are states or else constants of its graph."""
    steps = Steps()
    inputs = [steps.constant(f"i{k}", array) for k, array in enumerate(arrays)]
    if not constant:
        for index in inputs:
            name, kind, shape = steps.tensors[index]
            copy = steps.tensor(f"{name}_out", shape, kind)
            steps.steps.append(core.Node("Identity", [index], copy))
            steps.feedback.append((index, copy, False))
    output = steps.node(operator, inputs, size, dtype, "y")
    command = steps.node("Identity", [steps.constant("zero", vector(0))], 1)
    graph = steps.graph(command)
    graph.run([])
    return graph.tensor(output)


def expected(operator: str, arrays: Sequence[Array], dtype: str, **attributes: Any) -> Array:
    """What ONNX Runtime makes of them."""
    names = [f"i{k}" for k in range(len(arrays))]
    model = typed_model(
        [helper.make_node(operator, names, ["y"], **attributes)],
        {n: (a.dtype.name, a.shape) for n, a in zip(names, arrays, strict=True)},
        {"y": (dtype, None)},
    )
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: Array = session.run(["y"], dict(zip(names, arrays, strict=True)))[0]
    return result


def assert_same(found: Array, right: Array, signed_zeros: bool = True) -> None:
    """Bit for bit; but not-a-number is one value."""
    assert found.dtype == right.dtype
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found.ravel(), right.ravel())
        return
    a, b = found.ravel().copy(), right.ravel().copy()
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    a[np.isnan(a)] = b[np.isnan(b)] = 0
    if not signed_zeros:
        a, b = a + 0, b + 0
    differs = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
    assert not differs.any(), (a[differs], b[differs])


def check(operator: str, arrays: Sequence[Array], dtype: str) -> None:
    arrays = [np.atleast_1d(a)[None] for a in arrays]
    size = max(a.size for a in arrays)
    # Which of two zeros is the larger is nobody's promise; and ONNX Runtime's Where loses their sign.
    signed_zeros = operator not in ("Max", "Min", "Where")
    right = expected(operator, arrays, dtype)
    assert_same(computed(operator, arrays, dtype, size), right, signed_zeros)


def pairs(values: Array) -> tuple[Array, Array]:
    a, b = np.meshgrid(values, values)
    return a.ravel(), b.ravel()


def test_the_operators_are_those_that_are_tested_here() -> None:
    assert list(core.OPERATORS) == sorted(
        {*BINARY_FLOAT, *BINARY_INT, *COMPARE, *UNARY, *TRIGONOMETRY, *OTHERS}
    )


@pytest.mark.parametrize(
    ("operator", "dtype", "result"),
    [
        *((op, "float32", "float32") for op in BINARY_FLOAT),
        *((op, "int64", "int64") for op in BINARY_INT if op != "Mod"),
        *((op, kind, "bool") for op in COMPARE for kind in ("float32", "int64")),
        *((op, "bool", "bool") for op in ("And", "Or")),
    ],
)
def test_binary_operators_on_every_pair_of_extremes_and_broadcast(
    operator: str, dtype: str, result: str
) -> None:
    values = EXTREME[dtype]
    check(operator, pairs(values), result)
    for one in values:
        check(operator, [values, np.array([one])], result)
        check(operator, [np.array([one]), values], result)
    check(operator, [values[:1], values[-1:]], result)


@pytest.mark.parametrize("operator", UNARY)
def test_unary_operators_on_extremes(operator: str) -> None:
    check(operator, [FLOATS], "float32")


def test_not() -> None:
    check("Not", [BOOLS], "bool")


@pytest.mark.parametrize("operator", TRIGONOMETRY)
def test_trigonometry_is_true_to_a_last_place_and_near_onnxruntime(operator: str) -> None:
    rng = np.random.default_rng(5)
    values = np.concatenate([FLOATS, rng.normal(0, 3, 200), rng.uniform(-1, 1, 200)])
    values = values.astype(np.float32)[None]
    found = computed(operator, [values], "float32", values.size)
    with np.errstate(invalid="ignore"):
        truth = TRIGONOMETRY[operator](values.astype(np.float64))
    same = np.isnan(found) & np.isnan(truth)
    with np.errstate(invalid="ignore"):
        error = np.abs(found - truth) / np.spacing(np.abs(truth.astype(np.float32)))
        near = np.abs(found - expected(operator, [values], "float32"))
    assert (error[~same] <= 1).all()
    np.testing.assert_array_equal(np.isnan(near), same)
    assert (near[~same] <= 4 * np.spacing(np.float32(1))).all()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_where_takes_either_and_broadcasts_each_of_the_three(dtype: str) -> None:
    values = EXTREME[dtype]
    condition = np.arange(values.size) % 3 == 0
    for c in (condition, BOOLS[:1], BOOLS[1:]):
        for x in (values, values[-1:]):
            for y in (values[::-1].copy(), values[:1]):
                check("Where", [c, x, y], dtype)


def test_where_keeps_the_sign_of_zero() -> None:
    zeros = vector(0, -0.0, 0, -0.0)[None]
    condition = np.array([[True, True, False, False]])
    assert_same(computed("Where", [condition, zeros, zeros], "float32", 4), zeros)


def test_modulo_has_the_sign_of_the_divisor_and_never_traps() -> None:
    a, b = pairs(INTS)
    valid = (b != 0) & (b != -1)  # there ONNX Runtime traps
    check("Mod", [a[valid], b[valid]], "int64")
    found = computed("Mod", [a[None, ~valid], b[None, ~valid]], "int64", int((~valid).sum()))
    assert not found.any()


@pytest.mark.parametrize("to", CAST_TYPES)
@pytest.mark.parametrize("of", CAST_TYPES)
def test_cast_between_all_types(of: str, to: str) -> None:
    rng = np.random.default_rng(6)
    reals = np.concatenate([FLOATS, rng.normal(0, 1, 99), rng.normal(0, 1e-6, 99), [300.7, -300.7]])
    with np.errstate(all="ignore"):
        values = INTS.astype(of) if np.dtype(of).kind in "iu" else reals.astype(of)
    if of == "float16":  # all there are
        values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = values[None]
    right = expected("Cast", [values], to, to=ONNX_TYPES[to])
    assert_same(computed("Cast", [values], to, values.size), right)


def test_rounding_to_float16_is_to_nearest_even_at_every_border() -> None:
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    values = np.concatenate(
        [middles, np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(1e9))]
    )[None]
    found = computed("Cast", [values], "float16", values.size)
    assert_same(found, values.astype(np.float16))


@pytest.mark.parametrize("dtype", CAST_TYPES)
def test_moving_elements_of_any_type(dtype: str) -> None:
    values = np.arange(12).astype(dtype)[None]
    assert_same(computed("Identity", [values], dtype, 12), values)
    assert_same(computed("Reshape", [values], dtype, 12), values)
    assert_same(computed("Reshape", [values, np.array([3, 4])], dtype, 12, constant=True), values)
    parts = [values, values[:, 3:4], values[:, ::-1].copy()]
    assert_same(computed("Concat", parts, dtype, 25), expected("Concat", parts, dtype, axis=1))


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype", CAST_TYPES)
@pytest.mark.parametrize(
    "indices", [[3, 0, 11, -1, -12, 3], [4], [2, 3, 4, 5], [-4, -3], list(range(12)), [5, 4, 3]]
)
def test_gather_counts_from_either_end(indices: list[int], dtype: str, constant: bool) -> None:
    values = np.arange(20, 32).astype(dtype)[None]
    arrays = [values, np.array(indices)]
    found = computed("Gather", arrays, dtype, len(indices), constant)
    assert_same(found, expected("Gather", arrays, dtype, axis=1))


def test_a_computed_index_that_is_out_of_range_is_the_nearest_that_is_not() -> None:
    indices = np.array([3, 4, -4, -5, 2**63 - 1, -(2**63)])
    found = computed("Gather", [vector(10, 11, 12, 13)[None], indices], "float32", 6)
    assert found.tolist() == [[13, 13, 10, 10, 13, 10]]


def test_matmul_is_near_onnxruntime() -> None:
    rng = np.random.default_rng(7)
    for n, m in ((1, 1), (3, 3), (17, 5), (64, 48)):
        a = rng.normal(0, 1, (1, n)).astype(np.float32)
        b = rng.normal(0, 1, (n, m)).astype(np.float32)
        found = computed("MatMul", [a, b], "float32", m)
        size = np.abs(a) @ np.abs(b)
        assert (np.abs(found - expected("MatMul", [a, b], "float32")) <= 4e-7 * size).all()


def test_reductions_take_all_elements() -> None:
    rng = np.random.default_rng(8)
    for n in (1, 2, 33, 100):
        a = rng.normal(0, 1, (1, n)).astype(np.float32)
        assert_same(
            computed("ReduceMax", [a], "float32", 1),
            expected("ReduceMax", [a], "float32", keepdims=1),
        )
        difference = computed("ReduceSum", [a], "float32", 1) - expected(
            "ReduceSum", [a], "float32"
        )
        assert np.abs(difference).max() <= 1e-6 * np.abs(a).sum()


def test_a_maximum_of_something_that_is_no_number_is_none() -> None:
    """ONNX Runtime's ReduceMax drops it or not, by its place."""
    for values in ([np.nan, 1, 2], [1, np.nan, 2], [1, 2, np.nan]):
        assert np.isnan(computed("ReduceMax", [vector(*values)[None]], "float32", 1)).all()
    assert computed("ReduceMax", [vector(-np.inf, -3)[None]], "float32", 1) == -3


any_float = hnp.from_dtype(np.dtype(np.float32))
any_int = hnp.from_dtype(np.dtype(np.int64))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 40), st.sampled_from([*BINARY_FLOAT, *UNARY, *COMPARE]))
def test_random_vectors(data: st.DataObject, n: int, operator: str) -> None:
    count = 1 if operator in UNARY else 2
    one = data.draw(st.integers(-1, count - 1))  # which of them is broadcast, if any
    arrays = [
        data.draw(hnp.arrays(np.float32, 1 if k == one else n, elements=any_float))
        for k in range(count)
    ]
    check(operator, arrays, "bool" if operator in COMPARE else "float32")


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 40), st.sampled_from(["Add", "Sub", "Mul", *COMPARE]))
def test_random_integers(data: st.DataObject, n: int, operator: str) -> None:
    arrays = [data.draw(hnp.arrays(np.int64, n, elements=any_int)) for _ in range(2)]
    check(operator, arrays, "bool" if operator in COMPARE else "int64")


@pytest.mark.parametrize(
    ("operator", "arrays", "dtype", "size", "message"),
    [
        (
            "Tanh",
            [vector(1)],
            "float32",
            1,
            "node 'y': the core has no operator 'Tanh'; it has: Abs, ",
        ),
        (
            "Add",
            [vector(1, 2, 3), vector(1, 2)],
            "float32",
            3,
            r"node 'y': Add takes operands of as many elements as the result, or of one; "
            r"found \('i0' \(float32, 3 elements\), 'i1' \(float32, 2 elements\)\) → "
            r"'y' \(float32, 3 elements\)",
        ),
        ("Add", [vector(1), vector(2)], "float32", 2, "as many elements as the result"),
        (
            "Add",
            [vector(1), np.array([1])],
            "float32",
            1,
            r"Add takes \(float32, float32\) → float32 or \(int64, int64\) → int64; found",
        ),
        ("Less", [vector(1), vector(2)], "float32", 1, r"\(float32, float32\) → bool"),
        ("Neg", [vector(1), vector(2)], "float32", 1, r"Neg takes \(float32\) → float32"),
        ("Mod", [vector(1), vector(2)], "float32", 1, r"\(int64, int64\) → int64"),
        ("Concat", [vector(1), vector(2)], "float32", 3, "together have its size"),
        ("Concat", [vector(1), np.array([1])], "float32", 2, "of the result's type"),
        ("Concat", [], "float32", 1, "of the result's type"),
        ("Identity", [vector(1)], "float64", 1, "one tensor of the result's type and size"),
        ("Reshape", [vector(1, 2)], "float32", 1, "result's type and size"),
        ("Gather", [vector(1), vector(0)], "float32", 1, "int64 indices"),
        ("Gather", [vector(1), np.array([0, 0])], "float32", 1, "as many int64 indices"),
        ("Gather", [vector(1, 2), np.array([0, 2])], "float32", 2, "from -2 to 1, index 1 is 2"),
        ("Gather", [vector(1, 2), np.array([-3])], "float32", 1, "from -2 to 1, index 0 is -3"),
        ("Cast", [vector(1, 2)], "int64", 1, "one tensor of the result's size, between float32"),
        ("Cast", [vector(1)], "int16", 1, "between float32"),
        ("MatMul", [vector(1, 2), vector(1, 2)], "float32", 2, r"matrix \[n, m\]"),
        ("MatMul", [vector(1, 2), np.ones((3, 2), np.float32)], "float32", 2, r"matrix \[n, m\]"),
        ("ReduceSum", [vector(1, 2)], "float32", 2, "a result of one element"),
        ("ReduceMax", [np.array([1])], "int64", 1, "one float32 tensor"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_output(
    operator: str, arrays: list[Array], dtype: str, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        computed(operator, arrays, dtype, size, constant=True)
