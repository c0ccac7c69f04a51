"""The walk as it is trained and scored: what the policy observes, what disturbs it, when it falls.

Many robots at once, each step one of the policy, 20 ms. What a result that comes late does is what
rtloop's classes do with it: a discarded one leaves the target where it was, and is no last action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, TICK_S, Plant

Floats = npt.NDArray[np.float64]

TICKS = 10  # of a step of the policy
STEP_S = TICKS * TICK_S
PHASE_STEPS = 22  # of a turn of the gait
ACTION_SCALE = 0.25
GYRO_SCALE = 0.25
VELOCITY_SCALE = 0.05
OBSERVED = 47
TURN_PER_HEADING = 1.0  # rad/s for a heading that is wrong by a radian
TURN_LIMIT = 0.6

_PUSH_STEPS = 5
_LONGEST_DELAY = 2  # steps


@dataclass(frozen=True)
class Conditions:
    """What each episode is drawn from, uniformly: (least, most)."""

    friction: tuple[float, float] = (0.5, 1.1)
    payload_kg: tuple[float, float] = (-0.5, 1.5)
    motor_strength: tuple[float, float] = (0.85, 1.1)
    noise: tuple[float, float] = (0.5, 1.5)
    push_newton: tuple[float, float] = (0.0, 50.0)
    push_interval_s: float = 3.0
    delay_ticks: tuple[int, int] = (0, 10)  # from a sample to the command that follows from it
    missed_share: tuple[float, float] = (0.0, 0.0)  # of results that are discarded, at random
    missed: tuple[int, int] = (0, 1)  # (n, m): of m consecutive results the last n are discarded
    missed_from_s: float = 0.0  # since when they are
    skipped: tuple[int, int] = (
        0,
        1,
    )  # (n, m): of m releases the last n are skipped, without a cycle
    phase: bool = False  # true to begin anywhere in the gait


class Walkers:
    """``count`` robots, reset one by one. Arrays have one row for each."""

    def __init__(self, count: int, conditions: Conditions, seed: int) -> None:
        self.count = count
        self.conditions = conditions
        self.plants = [Plant() for _ in range(count)]
        self._random = np.random.default_rng(seed)
        self.command = np.zeros((count, 3))  # m/s forward, m/s left, rad/s
        self.last_action = np.zeros((count, 12))
        self.phase_step = np.zeros(count, np.int64)
        self.steps = np.zeros(count, np.int64)
        self._targets = np.zeros((count, 1 + _LONGEST_DELAY, 12))  # the newest first
        self._delay = np.zeros(count, np.int64)
        self._missed_share = np.zeros(count)
        self._push_newton = np.zeros(count)
        self._next_push = np.zeros(count, np.int64)
        for index in range(count):
            self.reset(index)

    def reset(self, index: int) -> None:
        """Begins an episode of another robot."""
        random, drawn = self._random, self.conditions
        self.plants[index].reset(
            seed=int(random.integers(2**63)),
            friction=random.uniform(*drawn.friction),
            payload_kg=random.uniform(*drawn.payload_kg),
            motor_strength=random.uniform(*drawn.motor_strength),
            noise=random.uniform(*drawn.noise),
        )
        self._delay[index] = random.integers(drawn.delay_ticks[0], drawn.delay_ticks[1] + 1)
        self._missed_share[index] = random.uniform(*drawn.missed_share)
        self._push_newton[index] = random.uniform(*drawn.push_newton)
        self._next_push[index] = self._push_pause()
        self._targets[index] = DEFAULT_JOINT_POS
        self.last_action[index] = 0.0
        self.phase_step[index] = random.integers(PHASE_STEPS) if drawn.phase else 0
        self.steps[index] = 0

    def _push_pause(self) -> int:
        return int(self._random.exponential(self.conditions.push_interval_s) / STEP_S) + 10

    def sense(self) -> Floats:
        """Noisy samples [count, 31]."""
        return np.array([plant.sense() for plant in self.plants])

    def observe(self, samples: Floats) -> npt.NDArray[np.float32]:
        """What the policy observes of these samples, [count, 47]: as the loop file's terms say it."""
        angle = 2 * np.pi * self.phase_step / PHASE_STEPS
        return np.concatenate(
            [
                gravity(samples[:, 0:4]),
                GYRO_SCALE * samples[:, 4:7],
                samples[:, 7:19] - DEFAULT_JOINT_POS,
                VELOCITY_SCALE * samples[:, 19:31],
                self.last_action,
                np.sin(angle)[:, None],
                np.cos(angle)[:, None],
                self.command,
            ],
            axis=1,
            dtype=np.float32,
        )

    def turn_to(self, heading_rad: float | Floats, samples: Floats) -> None:
        """Commands the turn towards a heading, of what the robots' own sensors say of theirs."""
        wrong = yaw(samples[:, 0:4]) - heading_rad
        wrong = (wrong + np.pi) % (2 * np.pi) - np.pi
        self.command[:, 2] = np.clip(-TURN_PER_HEADING * wrong, -TURN_LIMIT, TURN_LIMIT)

    def step(self, action: Floats) -> npt.NDArray[np.bool_]:
        """One step of 20 ms after ``action`` [count, 12]; tells who has fallen."""
        self.steps += 1
        runs = ~self._are_last(*self.conditions.skipped)
        self.phase_step = (self.phase_step + runs) % PHASE_STEPS
        applied = runs & ~self._misses()
        self._targets[:, 1:] = self._targets[:, :-1]
        self._targets[applied, 0] = DEFAULT_JOINT_POS + ACTION_SCALE * action[applied]
        self.last_action[applied] = action[applied]
        fallen = np.zeros(self.count, np.bool_)
        for index, plant in enumerate(self.plants):
            self._push(index)
            whole, ticks = divmod(int(self._delay[index]), TICKS)
            if ticks:
                plant.step_targets(self._targets[index, whole + 1], ticks)
            plant.step_targets(self._targets[index, whole], TICKS - ticks)
            fallen[index] = plant.has_fallen()
        return fallen

    def _misses(self) -> npt.NDArray[np.bool_]:
        """Whose result is discarded in this step."""
        missed = self._random.random(self.count) < self._missed_share
        since = self.steps * STEP_S > self.conditions.missed_from_s
        result: npt.NDArray[np.bool_] = missed | (self._are_last(*self.conditions.missed) & since)
        return result

    def _are_last(self, count: int, window: int) -> npt.NDArray[np.bool_]:
        last: npt.NDArray[np.bool_] = (self.steps - 1) % window >= window - count
        return last

    def _push(self, index: int) -> None:
        since = self.steps[index] - self._next_push[index]
        if since == 0:
            angle = self._random.uniform(0.0, 2 * np.pi)
            force = self._push_newton[index] * np.array([np.cos(angle), np.sin(angle), 0.0])
            self.plants[index].push(force)
        elif since == _PUSH_STEPS:
            self.plants[index].push(np.zeros(3))
            self._next_push[index] += _PUSH_STEPS + self._push_pause()


def gravity(quaternions: Floats) -> Floats:
    """The direction of gravity in the frames of bodies, [n, 3], of orientations wxyz [n, 4]."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    return np.stack([2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1], axis=1)


def yaw(quaternions: Floats) -> Floats:
    """Headings in rad, [n], of orientations wxyz [n, 4]."""
    w, x, y, z = quaternions.T
    angle: Floats = np.arctan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
    return angle


def in_heading(qpos: Floats, qvel: Floats) -> tuple[Floats, Floats]:
    """Velocities forward and left, in m/s, of where robots look: of [n, 19] and [n, 18] of plants."""
    heading = yaw(qpos[:, 3:7])
    cosine, sine = np.cos(heading), np.sin(heading)
    return cosine * qvel[:, 0] + sine * qvel[:, 1], cosine * qvel[:, 1] - sine * qvel[:, 0]
