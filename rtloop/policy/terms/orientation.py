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
        yield from orientation_rules(
            (*here, self.kind), self.projected_gravity, self.order, scope
        )

    def elements(self, scope: Scope) -> Elements:
        return Vector(3, ("x", "y", "z"))

    def emit(self, builder: GraphBuilder) -> str:
        value = builder.vector(self.projected_gravity)
        gravity = _of_angles(builder, value) if self.order == "rpy" else _of_quaternion(
            builder, value, self.order
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
        return builder.node("Gather", [value, builder.constant(np.array([index]), "axis")], "angle", axis=1)

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


def rotation_of(roll: float, pitch: float, yaw: float) -> object:
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
