"""What the exporters of docs/verify.md touch of Isaac Lab, mjlab and Stable-Baselines3, computed in numpy.

Attributes have the names that they have there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.policy.importing.loops import gravity

Row = npt.NDArray[Any]

torch = SimpleNamespace(inference_mode=nullcontext, no_grad=nullcontext)


class Tensor(np.ndarray):
    """As far as the exporters ask."""

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Row:
        return np.asarray(self)


def tensor(values: npt.ArrayLike) -> Tensor:
    return np.array(values, np.float32).view(Tensor)


class ManagerBased:
    """A ManagerBasedRLEnv of one environment, in which everything moves at random."""

    observe: Callable[[], list[Row]]
    lin_vel: Row
    ang_vel: Row
    command: Row
    gravity: Row
    joint_pos: Row

    def __init__(
        self,
        group: str,
        command: str,
        joints: Sequence[str],
        pose: Sequence[float],
        acted: Sequence[str],
        scale: float | Row,
        clip: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        """``group`` is that of the observations, ``command`` a name, ``acted`` are the joints of the action."""
        self.pose, self.last = np.array(pose), np.zeros(len(acted))
        self._random = np.random.default_rng(0)
        self._group, self._command = group, command
        self._order = [list(joints).index(name) for name in acted]
        self._scale, self._clip = scale, clip
        self._robot = SimpleNamespace(joint_names=list(joints))
        self._term = SimpleNamespace(
            IO_descriptor=SimpleNamespace(joint_names=list(acted)), target_names=list(acted)
        )
        self.unwrapped = self
        self.scene = {"robot": self._robot}
        self.action_manager = SimpleNamespace(get_term={"joint_pos": self._term}.__getitem__)
        self.command_manager = SimpleNamespace(
            get_command=lambda name: {self._command: tensor([self.command])}[name]
        )
        self.joint_vel = np.zeros(len(joints))
        self._move()
        self.joint_vel_before = self.joint_vel  # a history begins with the first step

    def _move(self) -> None:
        self.joint_vel_before = self.joint_vel
        self.lin_vel, self.ang_vel, self.command = self._random.normal(size=(3, 3))
        quaternion = self._random.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        self.gravity = gravity(quaternion)
        self.joint_pos, self.joint_vel = self._random.normal(size=(2, len(self.pose)))
        data = {
            "quat_w": quaternion, "lin_vel_b": self.lin_vel, "ang_vel_b": self.ang_vel,
        }  # fmt: skip
        self._robot.data = SimpleNamespace(
            joint_pos=tensor([self.joint_pos]),
            joint_vel=tensor([self.joint_vel]),
            **{f"root_{name}": tensor([value]) for name, value in data.items()},
            **{f"root_link_{name}": tensor([value]) for name, value in data.items()},
        )

    def policy(self, weight: Row) -> Callable[[dict[str, Tensor]], Tensor]:
        return lambda obs: tensor(obs[self._group] @ weight)

    def get_observations(self) -> dict[str, Tensor]:
        return {self._group: tensor([np.concatenate(self.observe())])}

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], None, list[bool], None]:
        self.last = np.array(actions[0])
        targets = np.clip(self.last * self._scale + self.pose[self._order], *self._clip)
        self._term.processed_actions = self._term._processed_actions = tensor([targets])
        self._move()
        return self.get_observations(), None, [False], None


class Gym:
    """An environment of Gymnasium that observes noise."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._random = np.random.default_rng(0)
        self.action_space = SimpleNamespace(low=np.array([-2.0]), high=np.array([2.0]))

    def _observed(self) -> Row:
        return self._random.normal(size=self._size).astype(np.float32) * 3

    def reset(self, seed: int) -> tuple[Row, None]:
        return self._observed(), None

    def step(self, action: Row) -> tuple[Row, float, bool, bool, None]:
        return self._observed(), 0.0, False, False, None


class Model:
    """An actor-critic that was trained on observations times ``normalized_by``."""

    def __init__(self, weight: Row, normalized_by: float) -> None:
        self._normalized_by = normalized_by
        self.policy = self._Policy(weight)

    def get_vec_normalize_env(self) -> Any:
        return SimpleNamespace(normalize_obs=lambda obs: obs * self._normalized_by)

    class _Policy:
        def __init__(self, weight: Row) -> None:
            self._weight = weight

        def obs_to_tensor(self, obs: Row) -> tuple[Tensor, bool]:
            return tensor([obs]), False

        def __call__(self, obs: Tensor, deterministic: bool) -> tuple[Tensor]:
            assert deterministic
            return (tensor(obs @ self._weight),)
