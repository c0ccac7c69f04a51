"""Trains the demo's policy: ``python -m rtloop.demos.cartpole.train``.

PPO (stable-baselines3) on the firmware's own simulated plant, compiled from C. The policy sees
one noisy sample [cart_position m, cart_velocity m/s, pole_angle rad, pole_rate rad/s], has no
memory, and answers with one value in [-1, 1] (times 10 N in the loop's action term).

It is trained at 100 to 250 Hz, drawn per episode, because at 1 kHz one action changes too little
for a reward to tell; noise, pushes and a wire latency of 0 to 5 ms are drawn per episode as well.
Afterwards :mod:`rtloop.demos.cartpole.score` judges the ONNX file, without torch, at 1 kHz.

Needs a source checkout, a C compiler and the dependency group ``train``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from rtloop.demos.cartpole.plant import STEPS_PER_S, Plants
from rtloop.demos.cartpole.score import ACTION_SCALE_N, write_score
from rtloop.demos.mlp import Layer, write_mlp

POLICY = Path(__file__).resolve().parent / "policy.onnx"

#: Typical size of each observation; the division is folded into the first layer on export.
OBSERVATION_SCALE = np.array([1.0, 1.0, 0.2, 1.0], dtype=np.float32)

PLANTS = 64
ROLLOUT = 128  # control steps of every plant between two updates
EPISODE_S = 8.0
SMOOTHNESS = 2.0  # weight of (change of action)^2


class CartpoleVecEnv(VecEnv):  # type: ignore[misc]
    """``count`` plants stepped by one C call. Observations are scaled, actions in [-1, 1]."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(
            count,
            gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32),
            gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32),
        )
        self._plants = Plants(count)
        self._random = np.random.default_rng(seed)
        self._steps = np.zeros(count, dtype=np.uint32)
        self._end_s = np.zeros(count)
        self._time_s = np.zeros(count)
        self._action = np.zeros(count, dtype=np.float32)

    def _start(self, index: int) -> None:
        random = self._random
        self._plants.reset(
            index,
            seed=int(random.integers(2**63)),
            start=random.uniform([-1.5, -1.0, -0.3, -1.0], [1.5, 1.0, 0.3, 1.0]),
            extra_delay_s=random.uniform(0.0, 0.005),
            noise=random.uniform(0.5, 1.5),
            push_newton=random.uniform(0.0, 5.0),
            push_interval_s=random.uniform(1.0, 4.0),
        )
        self._steps[index] = STEPS_PER_S // random.integers(100, 251)
        # Staggered ends, so that the rollouts do not all hold the same part of an episode.
        self._end_s[index] = EPISODE_S * random.uniform(0.5, 1.0)
        self._time_s[index] = 0.0
        self._action[index] = 0.0

    def reset(self) -> npt.NDArray[np.float32]:
        for index in range(self.num_envs):
            self._start(index)
        return self._plants.sense() / OBSERVATION_SCALE

    def step_async(self, actions: npt.NDArray[np.float32]) -> None:
        self._next_action = np.clip(actions[:, 0], -1.0, 1.0)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        action = self._next_action
        stood = self._plants.step(ACTION_SCALE_N * action, self._steps)
        self._time_s += self._steps / STEPS_PER_S
        position, velocity, angle, rate = self._plants.state().T
        reward = (
            1.0
            - 0.5 * np.minimum(position**2, 2.0)
            - 0.05 * velocity**2
            - 2.0 * angle**2
            - 0.02 * rate**2
            - 0.05 * action**2
            - SMOOTHNESS * (action - self._action) ** 2
        )
        self._action = action
        late = self._time_s >= self._end_s
        done = late | ~stood
        observation = self._plants.sense() / OBSERVATION_SCALE
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for index in np.flatnonzero(done):
                infos[index]["terminal_observation"] = observation[index].copy()
                infos[index]["TimeLimit.truncated"] = bool(stood[index])
                self._start(int(index))
            observation[done] = self._plants.sense()[done] / OBSERVATION_SCALE
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def make_odd(model: PPO) -> None:
    """Takes the biases out of the policy: tanh layers without bias are an odd function.

    The plant is the same mirrored, and a policy that is not comes to rest beside the middle.
    """
    policy = model.policy
    for layer in (*policy.mlp_extractor.policy_net, policy.action_net):
        if isinstance(layer, torch.nn.Linear):
            layer.bias.data.zero_()
            layer.bias.requires_grad_(False)


def export(model: PPO, path: Path) -> None:
    """Writes the mean of the policy as ONNX: ``observation`` [1, 4] -> ``action`` [1, 1]."""
    net = model.policy.mlp_extractor.policy_net
    layers: list[Layer] = [
        (layer.weight.detach().cpu().numpy().astype(np.float32), None)
        for layer in (net[0], net[2], model.policy.action_net)
    ]
    first, _ = layers[0]
    layers[0] = (first / OBSERVATION_SCALE, None)
    write_mlp(path, "cartpole_policy", layers, "Tanh", limit=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3_000_000, help="control steps in all")
    parser.add_argument("--output", type=Path, default=POLICY)
    parser.add_argument("--no-score", action="store_true", help="train and export only")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # a 64-wide network is slower on more
    started = time.monotonic()
    model = PPO(
        "MlpPolicy",
        CartpoleVecEnv(PLANTS, arguments.seed),
        n_steps=ROLLOUT,
        batch_size=2048,
        n_epochs=8,
        learning_rate=lambda left: 1e-3 * left,
        gamma=0.995,
        gae_lambda=0.95,
        ent_coef=0.0,
        policy_kwargs={"net_arch": [64, 64], "log_std_init": -1.0},
        seed=arguments.seed,
        device="cpu",
        verbose=1,
    )
    make_odd(model)
    model.learn(total_timesteps=arguments.steps, log_interval=20)
    train_s = time.monotonic() - started
    export(model, arguments.output)
    print(f"trained in {train_s:.0f} s, wrote {arguments.output}")

    if not arguments.no_score:
        write_score(
            arguments.output,
            arguments.output.with_name("score.json"),
            training={
                "algorithm": "PPO (stable-baselines3), no warm start",
                "command": (
                    f"python -m rtloop.demos.cartpole.train "
                    f"--seed {arguments.seed} --steps {arguments.steps}"
                ),
                "seed": arguments.seed,
                "control_steps": arguments.steps,
                "train_s": round(train_s),
            },
        )


if __name__ == "__main__":
    main()
