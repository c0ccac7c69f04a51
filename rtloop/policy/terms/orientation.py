"""Terms of an orientation, which an input or a group gives as a quaternion or as angles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.values import Name, Number
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtloop.policy.graph_builder import GraphBuilder

Order = Literal["wxyz", "xyzw", "rpy"]
SIZES = {"wxyz": 4, "xyzw": 4, "rpy": 3}


def orientation_rules(keys: Keys, name: str, order: Order, scope: Scope) -> Iterator[Problem]:
    """Broken rules of an orientation that is read under a name, which stands at ``keys``."""
    vector = scope.vector(name)
    if vector is None:
        yield unknown(keys, name, "input or group", scope.vector_names, scope.inputs_at)
    elif vector.element_count not in (None, SIZES[order]):
        expected = f"{SIZES[order]} values in the order {order}; a group picks them: {{input: …, select: […]}}"
        found = f"'{name}', which has {vector.element_count}"
        yield Problem(keys, expected, found, judged=((*scope.inputs_at, name),))


@TERMS.register
class ProjectedGravityTerm(ObservationTerm):
    """The direction of gravity in the frame of the body: R(q)^T (0, 0, -1).

    The quaternion is normalised. One of zeros is no orientation: the loop goes to FAULT.
    """

    kind = "projected_gravity"

    projected_gravity: Name = Field(
        description="name of the input or group with the orientation of the body in the world"
    )
    order: Order = Field(
        default="wxyz", description="of its values; rpy is roll, pitch and yaw in radians"
    )
    mount: Annotated[tuple[Number, Number, Number], Strict(False)] | None = Field(
        default=None,
        description="roll, pitch and yaw of the sensor in the frame of the body, in radians",
    )

    @property
    def label(self) -> str:
        return f"projected_gravity of '{self.projected_gravity}'"

    def reads(self) -> tuple[str, ...]:
        return (self.projected_gravity,)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        yield from orientation_rules((*here, self.kind), self.projected_gravity, self.order, scope)

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, ("x", "y", "z"))

    def emit(self, builder: GraphBuilder) -> str:
        value = builder.vector(self.projected_gravity)
        gravity = (
            _of_angles(builder, value)
            if self.order == "rpy"
            else _of_quaternion(builder, value, self.order)
        )
        return gravity if self.mount is None else _mounted(builder, gravity, self.mount)


def _of_quaternion(builder: GraphBuilder, value: str, order: str) -> str:
    """The third row of R(q), turned round, over |q|²: quadratic forms of the quaternion."""
    import numpy as np

    w, x, y, z = (order.index(name) for name in "wxyz")
    left = builder.constant(np.array([x, w, y, w, w, x, y, z]), "left")
    right = builder.constant(np.array([z, y, z, x, w, x, y, z]), "right")
    products = builder.node(
        "Mul",
        [
            builder.node("Gather", [value, left], "quaternion_left", axis=1),
            builder.node("Gather", [value, right], "quaternion_right", axis=1),
        ],
        "products",
    )
    forms = np.array(
        [
            [-2, 2, 0, 0, 0, 0, 0, 0],  # 2 (wy - xz)
            [0, 0, -2, -2, 0, 0, 0, 0],  # -2 (yz + wx)
            [0, 0, 0, 0, -1, 1, 1, -1],  # x² + y² - w² - z²
        ],
        np.float32,
    )
    square = np.array([[0, 0, 0, 0, 1, 1, 1, 1]] * 3, np.float32)
    above = builder.node("MatMul", [products, builder.constant(forms.T.copy(), "forms")], "down")
    below = builder.node("MatMul", [products, builder.constant(square.T.copy(), "square")], "norm")
    return builder.node("Div", [above, below], "gravity")


def _of_angles(builder: GraphBuilder, value: str) -> str:
    """(sin p, -sin r cos p, -cos r cos p)."""
    import numpy as np

    def picked(index: int) -> str:
        return builder.node(
            "Gather", [value, builder.constant(np.array([index]), "axis")], "angle", axis=1
        )

    roll, pitch = picked(0), picked(1)
    minus_cos = builder.node("Neg", [builder.node("Cos", [pitch], "cos_pitch")], "down")
    parts = [
        builder.node("Sin", [pitch], "gravity_x"),
        builder.node("Mul", [builder.node("Sin", [roll], "sin_roll"), minus_cos], "gravity_y"),
        builder.node("Mul", [builder.node("Cos", [roll], "cos_roll"), minus_cos], "gravity_z"),
    ]
    return builder.node("Concat", parts, "gravity", axis=1)


def _mounted(builder: GraphBuilder, value: str, mount: tuple[float, float, float]) -> str:
    """A vector of the sensor's frame in that of the body."""
    import numpy as np

    matrix = rotation_of(*mount).astype(np.float32)
    return builder.node("MatMul", [value, builder.constant(matrix.T.copy(), "mount")], "mounted")


def rotation_of(roll: float, pitch: float, yaw: float) -> npt.NDArray[np.float64]:
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


@TERMS.register
class EulerTerm(ObservationTerm):
    """Roll, pitch and yaw of a quaternion, in radians: the rotations about x, then y, then z of the world."""

    kind = "euler_xyz"

    euler_xyz: Name = Field(description="name of the input or group with a quaternion")
    order: Literal["wxyz", "xyzw"] = Field(default="wxyz", description="of its values")

    def reads(self) -> tuple[str, ...]:
        return (self.euler_xyz,)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        yield from orientation_rules((*here, self.kind), self.euler_xyz, self.order, scope)

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, ("roll", "pitch", "yaw"))

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        matrix = rotation_matrix(builder, builder.vector(self.euler_xyz), self.order)

        def element(row: int, column: int) -> str:
            index = builder.constant(np.array([3 * row + column]), "index")
            return builder.node("Gather", [matrix, index], "element", axis=1)

        one = builder.constant(np.ones((1, 1), np.float32), "one")
        minus_one = builder.constant(-np.ones((1, 1), np.float32), "minus_one")
        sine = builder.node("Neg", [element(2, 0)], "sin_pitch")
        sine = builder.node(
            "Max", [builder.node("Min", [sine, one], "at_most"), minus_one], "at_least"
        )
        parts = [
            arctan2(builder, element(2, 1), element(2, 2)),
            builder.node("Asin", [sine], "pitch"),
            arctan2(builder, element(1, 0), element(0, 0)),
        ]
        return builder.node("Concat", parts, "euler", axis=1)


@TERMS.register
class RotationTerm(ObservationTerm):
    """The rotation matrix of a quaternion, row by row: from the frame of the body to that of the world."""

    kind = "rotation"

    rotation: Name = Field(description="name of the input or group with a quaternion")
    order: Literal["wxyz", "xyzw"] = Field(default="wxyz", description="of its values")

    def reads(self) -> tuple[str, ...]:
        return (self.rotation,)

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        yield from orientation_rules((*here, self.kind), self.rotation, self.order, scope)

    def elements(self, scope: Scope) -> Elements:
        return Vector(9, tuple(f"r{row}{column}" for row in range(3) for column in range(3)))

    def emit(self, builder: GraphBuilder) -> str:
        return rotation_matrix(builder, builder.vector(self.rotation), self.order)


def rotation_matrix(builder: GraphBuilder, value: str, order: str) -> str:
    """R(q), row by row, float32 [1, 9]; a quaternion of zeros gives NaN."""
    import numpy as np

    w, x, y, z = (order.index(name) for name in "wxyz")
    pairs = [(w, w), (x, x), (y, y), (z, z), (x, y), (x, z), (y, z), (w, x), (w, y), (w, z)]
    ww, xx, yy, zz, xy, xz, yz, wx, wy, wz = np.eye(10)
    rows = [
        ww + xx - yy - zz, 2 * (xy - wz), 2 * (xz + wy),
        2 * (xy + wz), ww - xx + yy - zz, 2 * (yz - wx),
        2 * (xz - wy), 2 * (yz + wx), ww - xx - yy + zz,
    ]  # fmt: skip
    forms = np.stack(rows).astype(np.float32)
    square = np.tile(ww + xx + yy + zz, (9, 1)).astype(np.float32)
    left = builder.constant(np.array([a for a, _ in pairs]), "left")
    right = builder.constant(np.array([b for _, b in pairs]), "right")
    products = builder.node(
        "Mul",
        [
            builder.node("Gather", [value, left], "quaternion_left", axis=1),
            builder.node("Gather", [value, right], "quaternion_right", axis=1),
        ],
        "products",
    )
    above = builder.node("MatMul", [products, builder.constant(forms.T.copy(), "forms")], "turned")
    below = builder.node("MatMul", [products, builder.constant(square.T.copy(), "square")], "norm")
    return builder.node("Div", [above, below], "rotation")


def arctan2(builder: GraphBuilder, y: str, x: str) -> str:
    """The angle of (x, y), -pi to pi; 0 where both are 0. ONNX has Atan only."""
    import numpy as np

    def constant(value: float) -> str:
        return builder.constant(np.full((1, 1), value, np.float32), "angle_of")

    zero = constant(0.0)
    principal = builder.node("Atan", [builder.node("Div", [y, x], "slope")], "principal")
    half = builder.node(
        "Where",
        [builder.node("Less", [y, zero], "below"), constant(-np.pi), constant(np.pi)],
        "half",
    )
    turned = builder.node("Add", [principal, half], "turned")
    angle = builder.node(
        "Where", [builder.node("Less", [x, zero], "behind"), turned, principal], "angle"
    )
    nowhere = builder.node(
        "And",
        [builder.node("Equal", [x, zero], "x_is_0"), builder.node("Equal", [y, zero], "y_is_0")],
        "nowhere",
    )
    return builder.node("Where", [nowhere, zero, angle], "arctan2")
