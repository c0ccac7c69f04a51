"""Rotations in the graph: float32 [1, 9], a matrix row by row, from the frame of a body to the world's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtloop.policy.graph_builder import GraphBuilder

    Matrix = npt.NDArray[np.float64]

Order = Literal["wxyz", "xyzw", "rpy"]
Angles = tuple[float, float, float]
"""Roll, pitch and yaw in radians."""


def rotation_of(roll: float, pitch: float, yaw: float) -> Matrix:
    """Rz(yaw) Ry(pitch) Rx(roll), float64 [3, 3]."""
    import numpy as np

    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (roll, pitch, yaw))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def orientation(builder: GraphBuilder, name: str, order: Order, mount: Angles | None = None) -> str:
    """R of the orientation that an input or group gives; ``mount`` is that of its sensor in the body."""

    def make() -> str:
        value = builder.vector(name)
        matrix = (
            of_angles(builder, value) if order == "rpy" else of_quaternion(builder, value, order)
        )
        if mount is None:
            return matrix
        return product(builder, matrix, fixed(builder, rotation_of(*mount).T))

    return builder.once(("orientation", name, order, mount), make)


def of_quaternion(builder: GraphBuilder, value: str, order: str) -> str:
    """R(q): quadratic forms of the quaternion, over |q|²; one of zeros gives NaN."""
    import numpy as np

    w, x, y, z = (order.index(name) for name in "wxyz")
    pairs = [(w, w), (x, x), (y, y), (z, z), (x, y), (x, z), (y, z), (w, x), (w, y), (w, z)]
    ww, xx, yy, zz, xy, xz, yz, wx, wy, wz = np.eye(10)
    rows = [
        ww + xx - yy - zz, 2 * (xy - wz), 2 * (xz + wy),
        2 * (xy + wz), ww - xx + yy - zz, 2 * (yz - wx),
        2 * (xz - wy), 2 * (yz + wx), ww - xx - yy + zz,
    ]  # fmt: skip
    products = _products(builder, value, [a for a, _ in pairs], value, [b for _, b in pairs])
    above = _sums(builder, products, np.stack(rows), "turned")
    below = _sums(builder, products, np.tile(ww + xx + yy + zz, (9, 1)), "norm")
    return builder.node("Div", [above, below], "rotation")


def of_angles(builder: GraphBuilder, value: str) -> str:
    """Rz(yaw) Ry(pitch) Rx(roll) of [roll, pitch, yaw]."""
    import numpy as np

    sines, cosines = builder.node("Sin", [value], "sines"), builder.node("Cos", [value], "cosines")
    parts = builder.node("Concat", [sines, cosines], "sines_and_cosines", axis=1)
    about = []
    for axis in range(3):
        following, last = (axis + 1) % 3, (axis + 2) % 3
        forms = np.zeros((3, 3, 6))
        forms[following, following, 3 + axis] = forms[last, last, 3 + axis] = 1
        forms[last, following, axis], forms[following, last, axis] = 1, -1
        rest = np.zeros((3, 3))
        rest[axis, axis] = 1
        turning = _sums(builder, parts, forms.reshape(9, 6), "turning")
        about.append(builder.node("Add", [turning, fixed(builder, rest)], "about_axis"))
    x, y, z = about
    return product(builder, product(builder, z, y), x)


def fixed(builder: GraphBuilder, matrix: Matrix) -> str:
    """A matrix that never changes."""
    import numpy as np

    return builder.constant(matrix.reshape(1, 9).astype(np.float32), "matrix")


def product(builder: GraphBuilder, left: str, right: str) -> str:
    """The matrix product of two."""
    import numpy as np

    grid = [(row, column, k) for row in range(3) for column in range(3) for k in range(3)]
    of_left = [3 * row + k for row, _, k in grid]
    of_right = [3 * k + column for _, column, k in grid]
    products = _products(builder, left, of_left, right, of_right)
    return _sums(builder, products, np.repeat(np.eye(9), 3, axis=1), "product")


def transposed(builder: GraphBuilder, matrix: str) -> str:
    """The inverse rotation."""
    return _picked(builder, matrix, [0, 3, 6, 1, 4, 7, 2, 5, 8], "transposed")


def turned(builder: GraphBuilder, matrix: str, vector: str) -> str:
    """The matrix times a vector: float32 [1, 3]."""
    import numpy as np

    products = _products(builder, matrix, list(range(9)), vector, [0, 1, 2] * 3)
    return _sums(builder, products, np.repeat(np.eye(3), 3, axis=1), "turned")


def without_first_yaw(builder: GraphBuilder, matrix: str) -> str:
    """The rotation as if its yaw had been 0 in the first cycle: Rz(yaw)^T R.

    The yaw is the direction of the body's x axis on the ground.
    """
    import numpy as np

    heading = _picked(builder, matrix, [0, 3], "heading")
    square = builder.node("Mul", [heading, heading], "square")
    sum_of = builder.node("ReduceSum", [square], "sum", keepdims=1)
    length = builder.node("Sqrt", [sum_of], "length")
    now = builder.node("Div", [heading, length], "cos_and_sin_of_yaw")
    first = builder.feedback("first_yaw", (1, 2), lambda _: latched)
    latched = builder.node("Where", [builder.has_run, first, now], "yaw_at_first")
    back = np.zeros((3, 3, 2))
    back[0, 0, 0] = back[1, 1, 0] = back[0, 1, 1] = 1
    back[1, 0, 1] = -1
    turning = _sums(builder, latched, back.reshape(9, 2), "turning")
    upright = builder.node("Add", [turning, fixed(builder, np.diag([0.0, 0, 1]))], "yaw_back")
    return product(builder, upright, matrix)


def arctan2(builder: GraphBuilder, y: str, x: str) -> str:
    """The angle of (x, y), -pi to pi; 0 where both are 0. ONNX has Atan only."""
    import numpy as np

    def constant(value: float) -> str:
        return builder.constant(np.full((1, 1), value, np.float32), "angle_of")

    zero = constant(0.0)
    ahead = builder.node("Abs", [x], "ahead")  # -0 is ahead, too
    principal = builder.node("Atan", [builder.node("Div", [y, ahead], "slope")], "principal")
    half = builder.node(
        "Where",
        [builder.node("Less", [y, zero], "below"), constant(-np.pi), constant(np.pi)],
        "half",
    )
    behind = builder.node("Less", [x, zero], "behind")
    around = builder.node("Sub", [half, principal], "around")
    angle = builder.node("Where", [behind, around, principal], "angle")
    nowhere = builder.node(
        "And",
        [builder.node("Equal", [x, zero], "x_is_0"), builder.node("Equal", [y, zero], "y_is_0")],
        "nowhere",
    )
    return builder.node("Where", [nowhere, zero, angle], "arctan2")


def _picked(builder: GraphBuilder, value: str, indices: list[int], label: str) -> str:
    import numpy as np

    at = builder.constant(np.array(indices, np.int64), f"{label}_indices")
    return builder.node("Gather", [value, at], label, axis=1)


def _products(
    builder: GraphBuilder, left: str, of_left: list[int], right: str, of_right: list[int]
) -> str:
    """The products of elements of two vectors, pair by pair."""
    factors = [
        _picked(builder, left, of_left, "left"),
        _picked(builder, right, of_right, "right"),
    ]
    return builder.node("Mul", factors, "products")


def _sums(builder: GraphBuilder, values: str, weights: Matrix, label: str) -> str:
    """Weighted sums of a vector [1, n]; ``weights`` are [m, n]."""
    import numpy as np

    matrix = builder.constant(weights.T.astype(np.float32).copy(), f"{label}_weights")
    return builder.node("MatMul", [values, matrix], label)
