"""The simulated quadruped: MuJoCo with the robot of ``quadruped.xml``, stepped by ticks of 2 ms.

Training, scores and the running demo use this one. It needs the extra ``quadruped`` (mujoco).
"""

from __future__ import annotations

import math
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

#: Of the physics, and of the controllers of the joints.
TICK_S = 0.002

LEGS = ("fl", "fr", "rl", "rr")
JOINTS = tuple(f"{leg}_{joint}" for leg in LEGS for joint in ("hip", "thigh", "calf"))
DEFAULT_JOINT_POS = np.tile(np.array([0.0, 0.8, -1.6]), 4)
#: Nm/rad and Nms/rad of the controllers of the joints; the motors give up to TORQUE_LIMIT_NM.
STIFFNESS = 40.0
DAMPING = 1.0
TORQUE_LIMIT_NM = 18.0

#: The order of a sample: orientation wxyz, angular velocity rad/s, positions rad, velocities rad/s.
SENSORS = (
    *(f"quat_{axis}" for axis in "wxyz"),
    *(f"gyro_{axis}" for axis in "xyz"),
    *(f"{joint}_pos" for joint in JOINTS),
    *(f"{joint}_vel" for joint in JOINTS),
)
#: One standard deviation of each at ``noise=1``.
_NOISE = np.repeat([0.004, 0.05, 0.004, 0.2], [4, 3, 12, 12])

_MODEL = Path(__file__).resolve().parent / "quadruped.xml"
#: Height of the trunk's middle when all feet stand in the default pose.
STANDING_HEIGHT_M = 0.27
_FALLEN_HEIGHT_M = 0.12
_FALLEN_TILT_RAD = math.acos(0.6)


class Plant:
    """One robot on a flat floor. It stands in its default pose until told otherwise."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(_MODEL))
        self.data = mujoco.MjData(self.model)
        self._trunk = self.model.body("trunk").id
        self._trunk_mass = float(self.model.body_mass[self._trunk])
        self._trunk_inertia = self.model.body_inertia[self._trunk].copy()
        self._feet = [self.model.geom(f"{leg}_foot").id for leg in LEGS]
        self._sensed: npt.NDArray[np.float64] = self.data.sensordata
        # Views into the simulation, exact: for rewards and scores, never for a policy.
        self.qpos: npt.NDArray[np.float64] = self.data.qpos
        self.qvel: npt.NDArray[np.float64] = self.data.qvel
        self.torque: npt.NDArray[np.float64] = self.data.actuator_force
        self._geom_xpos = self.data.geom_xpos
        self.reset(seed=1)

    def reset(
        self,
        *,
        seed: int,
        friction: float = 0.8,
        payload_kg: float = 0.0,
        motor_strength: float = 1.0,
        noise: float = 1.0,
    ) -> None:
        """Puts the robot back on its feet at the origin, another one by what is drawn of it."""
        model = self.model
        self._random = np.random.default_rng(seed)
        self._noise = noise * _NOISE
        self._strength = motor_strength
        share = (self._trunk_mass + payload_kg) / self._trunk_mass
        model.body_mass[self._trunk] = share * self._trunk_mass
        model.body_inertia[self._trunk] = share * self._trunk_inertia
        model.geom_friction[self._feet, 0] = friction
        mujoco.mj_setConst(model, self.data)
        mujoco.mj_resetData(model, self.data)
        self.data.qpos[2] = STANDING_HEIGHT_M
        self.data.qpos[7:] = DEFAULT_JOINT_POS
        self._mode = ""
        self._act("torques", np.zeros(12), 0)
        mujoco.mj_forward(model, self.data)

    def step(self, torque_nm: npt.ArrayLike, ticks: int = 1) -> None:
        """Holds ``torque_nm`` ([12], in the order of JOINTS) for some ticks."""
        self._act("torques", torque_nm, ticks)

    def step_targets(self, target_rad: npt.ArrayLike, ticks: int = 1) -> None:
        """Holds the target positions [12] for some ticks, with the joints' controllers in each.

        As ``step`` in each tick with STIFFNESS * (target - position) - DAMPING * velocity, only faster.
        """
        self._act("targets", target_rad, ticks)

    def step_damped(self, ticks: int = 1) -> None:
        """Lets it sink: the motors only damp."""
        self._act("damped", np.zeros(12), ticks)

    def _act(self, mode: str, control: npt.ArrayLike, ticks: int) -> None:
        if self._mode != mode:
            self._mode = mode
            self._set_motors(mode)
        self.data.ctrl[:] = control
        if ticks:
            mujoco.mj_step(self.model, self.data, nstep=ticks)

    def _set_motors(self, mode: str) -> None:
        """A motor gives gain * control + bias, and no more than it has."""
        gain = {"torques": 1.0, "targets": STIFFNESS, "damped": 0.0}[mode]
        stiffness = STIFFNESS if mode == "targets" else 0.0
        damping = 0.0 if mode == "torques" else DAMPING
        model = self.model
        model.actuator_forcerange[:] = np.array([-1.0, 1.0]) * TORQUE_LIMIT_NM * self._strength
        model.actuator_gainprm[:, 0] = self._strength * gain
        model.actuator_biastype[:] = mujoco.mjtBias.mjBIAS_AFFINE
        model.actuator_biasprm[:, 1] = -self._strength * stiffness
        model.actuator_biasprm[:, 2] = -self._strength * damping

    def push(self, force_n: npt.ArrayLike) -> None:
        """A force [3] of the world on the trunk, from now on; zeros end it."""
        self.data.xfrc_applied[self._trunk, :3] = force_n

    def is_pushed(self) -> bool:
        return bool(self.data.xfrc_applied[self._trunk].any())

    def sense(self) -> npt.NDArray[np.float64]:
        """A noisy sample, float64 [31], in the order of SENSORS; that of the last tick's beginning."""
        return self._sensed + self._noise * self._random.standard_normal(len(SENSORS))

    def foot_heights(self) -> npt.NDArray[np.float64]:
        """Of the middles of the feet above the floor, in m, [4] in the order of LEGS."""
        heights: npt.NDArray[np.float64] = self._geom_xpos[self._feet, 2]
        return heights

    def has_fallen(self) -> bool:
        """Whether it lies: the trunk near the floor, or tilted by more than 53 degrees."""
        return bool(self.qpos[2] < _FALLEN_HEIGHT_M or self.tilt() > _FALLEN_TILT_RAD)

    def tilt(self) -> float:
        """Of the trunk, from upright, in rad."""
        _, x, y, _ = self.qpos[3:7]
        return math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (x * x + y * y))))
