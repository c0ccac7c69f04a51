"""A trot by geometry: what training begins with, and which feet it wants on the floor when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtloop.demos.quadruped.plant import LEGS
from rtloop.demos.quadruped.walk import PHASE_STEPS, STEP_S

Floats = npt.NDArray[np.float64]

_LINK_M = 0.18
_HEIGHT_M = 0.25  # of the hips above the feet
_SWING_HEIGHT_M = 0.06
#: Where the legs stand, from the middle of the trunk: forward and left.
_FEET_M = np.array([[0.16, 0.13], [0.16, -0.13], [-0.16, 0.13], [-0.16, -0.13]])
#: fl and rr stand in the first half of a turn, the other two in the second.
_AHEAD = np.where(np.isin(LEGS, ("fl", "rr")), 0.0, 0.5)


def turns(phase_step: npt.NDArray[np.int64]) -> Floats:
    """Of each leg, [n, 4]: 0 to 0.5 it stands, 0.5 to 1 it swings."""
    return (phase_step[:, None] / PHASE_STEPS + _AHEAD) % 1.0


def swing_heights(turn: Floats) -> Floats:
    """How high the feet should be above the floor, in m; 0 is standing."""
    return np.maximum(0.0, -_SWING_HEIGHT_M * np.sin(2 * np.pi * turn))


def trot(phase_step: npt.NDArray[np.int64], command: Floats) -> Floats:
    """Positions of the joints [n, 12] of a trot at the commands [n, 3], without any feedback."""
    turn = turns(phase_step)
    # From the front of the step to its back while the foot stands, and back through the air.
    along = np.where(turn < 0.5, 1 - 4 * turn, -np.cos(2 * np.pi * (turn - 0.5)))
    half_step_s = PHASE_STEPS * STEP_S / 4
    forward = along * half_step_s * (command[:, 0:1] - command[:, 2:3] * _FEET_M[:, 1])
    left = along * half_step_s * (command[:, 1:2] + command[:, 2:3] * _FEET_M[:, 0])
    down = _HEIGHT_M - swing_heights(turn)
    length = np.hypot(forward, down)
    half_knee = np.arccos(np.clip(length / (2 * _LINK_M), -1, 1))
    thigh = half_knee - np.arcsin(forward / length)
    joints = np.stack([np.arctan2(left, down), thigh, -2 * half_knee], axis=2)
    return joints.reshape(len(command), 12)
