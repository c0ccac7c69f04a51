"""Where the parts of a robot are, from its pose: the geometry of ``quadruped.xml`` without MuJoCo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Half of the trunk's length and height, and where its head begins and ends.
TRUNK_M = (0.19, 0.05)
HEAD_M = (0.17, 0.23, -0.018, 0.042)
FOOT_RADIUS_M = 0.02

#: From the trunk's middle to the hips, in the order of the legs: fl, fr, rl, rr.
_HIPS = np.array([[0.16, 0.07, 0], [0.16, -0.07, 0], [-0.16, 0.07, 0], [-0.16, -0.07, 0]])
_HIP_TO_THIGH_M = 0.06
_LINK_M = 0.18


def rotations(quaternions: Floats) -> Floats:
    """Matrices [n, 3, 3] from the trunk to the world, of orientations wxyz [n, 4]."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def legs(qpos: Floats) -> Floats:
    """Points of the legs in the world, in m, of poses [n, 19]: hip, thigh, knee and foot of each of the
    four, [n, 4, 4, 3]."""
    hip, thigh, calf = np.moveaxis(qpos[:, 7:].reshape(-1, 4, 3), 2, 0)
    left = np.sign(_HIPS[:, 1])
    to_thigh = _turned(hip, np.stack([0 * hip, left * _HIP_TO_THIGH_M + 0 * hip, 0 * hip], -1))
    to_knee = _turned(hip, _down(thigh))
    to_foot = _turned(hip, _down(thigh + calf))
    hips = np.broadcast_to(_HIPS, to_thigh.shape)
    points = np.cumsum(np.stack([hips, to_thigh, to_knee, to_foot], axis=2), axis=2)
    found: Floats = in_world(qpos, points.reshape(len(qpos), 16, 3)).reshape(points.shape)
    return found


def in_world(qpos: Floats, points: Floats) -> Floats:
    """Points of the trunk [n, m, 3], in the world [n, m, 3]."""
    turned: Floats = np.einsum("nij,nmj->nmi", rotations(qpos[:, 3:7]), points)
    return turned + qpos[:, None, :3]


def _down(angle: Floats) -> Floats:
    """A link that hangs down, turned about y."""
    return -_LINK_M * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)


def _turned(hip: Floats, points: Floats) -> Floats:
    """Points [n, 4, 3] turned about x."""
    x, y, z = np.moveaxis(points, -1, 0)
    cosine, sine = np.cos(hip), np.sin(hip)
    return np.stack([x, cosine * y - sine * z, sine * y + cosine * z], -1)
