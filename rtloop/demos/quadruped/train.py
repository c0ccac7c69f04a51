"""Trains the quadruped's policy: ``python -m rtloop.demos.quadruped.train``.

PPO (stable-baselines3) on the plant of the demo. It begins with an open trot (:mod:`.gait`), which
moves without regard to what the robot feels, and hardly gets anywhere; from there it learns. Every
episode draws another robot, other pushes, a delay of up to two steps of the policy and a share of
results that are discarded, as a firm loop does with late ones. Afterwards
:mod:`rtloop.demos.quadruped.score` judges the ONNX file, without torch.

Needs the extra ``quadruped`` and the dependency group ``train``.
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

from rtloop.demos.mlp import Layer, write_mlp
from rtloop.demos.quadruped.gait import swing_heights, trot, turns
from rtloop.demos.quadruped.plant import DEFAULT_JOINT_POS, STANDING_HEIGHT_M
from rtloop.demos.quadruped.score import POLICY, SCORE_SEED, score_all, write_score
from rtloop.demos.quadruped.scores import table
from rtloop.demos.quadruped.walk import (
    ACTION_SCALE,
    OBSERVED,
    PHASE_STEPS,
    STEP_S,
    Conditions,
    Walkers,
    gravity,
    in_heading,
)

ROBOTS = 32
ROLLOUT = 128  # steps of every robot between two updates
EPISODE_S = 12.0
COMMAND_S = 4.0  # how long one is held, on average
COMMAND_LOW = np.array([-0.3, -0.25, -0.8])
COMMAND_HIGH = np.array([0.8, 0.25, 0.8])
CONDITIONS = Conditions(
    push_newton=(0.0, 70.0), delay_ticks=(0, 20), missed_share=(-0.2, 0.6), phase=True
)

FOOT_RADIUS_M = 0.02


class WalkerVecEnv(VecEnv):  # type: ignore[misc]
    """The walk of ``count`` robots, with commands that change and a reward for following them."""

    def __init__(self, count: int, seed: int, conditions: Conditions = CONDITIONS) -> None:
        super().__init__(
            count,
            gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float32),
            gymnasium.spaces.Box(-10.0, 10.0, (12,), np.float32),
        )
        self.walkers = Walkers(count, conditions, seed)
        self._random = np.random.default_rng(seed + 1)
        self._end = np.zeros(count)
        self._before = np.zeros((count, 12))
        self._return = np.zeros(count)

    def _start(self, index: int) -> None:
        self.walkers.reset(index)
        # Staggered ends, so that the rollouts do not all hold the same part of an episode.
        self._end[index] = EPISODE_S / STEP_S * self._random.uniform(0.3, 1.0)
        self._before[index] = 0.0
        self._return[index] = 0.0
        self._command(index)

    def _command(self, index: int) -> None:
        command = self._random.uniform(COMMAND_LOW, COMMAND_HIGH)
        # Straight on, standing and turning alone are rare among random ones, and common in use.
        command *= self._random.random(3) < 0.7
        self.walkers.command[index] = command

    def reset(self) -> npt.NDArray[np.float32]:
        for index in range(self.num_envs):
            self._start(index)
        return self.walkers.observe(self.walkers.sense())

    def step_async(self, actions: npt.NDArray[np.float32]) -> None:
        self._next_action = actions.astype(np.float64)

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        walkers, action = self.walkers, self._next_action
        fallen = walkers.step(action)
        reward = self._reward(action) - 2.0 * fallen
        self._before = action.copy()
        self._return += reward
        for index in np.flatnonzero(self._random.random(self.num_envs) < STEP_S / COMMAND_S):
            self._command(int(index))
        late = walkers.steps >= self._end
        done = late | fallen
        observation = walkers.observe(walkers.sense())
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            for index in np.flatnonzero(done):
                infos[index]["terminal_observation"] = observation[index].copy()
                infos[index]["TimeLimit.truncated"] = bool(~fallen[index])
                infos[index]["episode"] = {
                    "r": float(self._return[index]),
                    "l": int(walkers.steps[index]),
                }
                self._start(int(index))
            observation[done] = walkers.observe(walkers.sense())[done]
        return observation, reward.astype(np.float32), done, infos

    def _reward(self, action: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        walkers = self.walkers
        qpos = np.array([plant.qpos for plant in walkers.plants])
        qvel = np.array([plant.qvel for plant in walkers.plants])
        torque = np.array([plant.torque for plant in walkers.plants])
        heights = np.array([plant.foot_heights() for plant in walkers.plants]) - FOOT_RADIUS_M
        down = gravity(qpos[:, 3:7])
        forward, left = in_heading(qpos, qvel)
        command = walkers.command
        missed = (forward - command[:, 0]) ** 2 + (left - command[:, 1]) ** 2
        missed_turn = (qvel[:, 5] - command[:, 2]) ** 2
        wanted = swing_heights(turns(walkers.phase_step))
        in_gait = np.where(
            wanted < 0.005, heights < 0.005, np.clip(heights / (wanted + 1e-9), 0, 1)
        )
        bent = qpos[:, 7:] - DEFAULT_JOINT_POS
        parts = {
            "velocity": 1.5 * np.exp(-missed / 0.08),
            "turn": 0.8 * np.exp(-missed_turn / 0.2),
            "gait": 1.0 * in_gait.mean(axis=1),
            "bounce": -1.5 * qvel[:, 2] ** 2 - 0.05 * (qvel[:, 3:5] ** 2).sum(axis=1),
            "tilt": -3.0 * (down[:, 0:2] ** 2).sum(axis=1),
            "height": -30.0 * (qpos[:, 2] - STANDING_HEIGHT_M + 0.01) ** 2,
            "torque": -4e-4 * (torque**2).sum(axis=1),
            "change": -0.015 * ((action - self._before) ** 2).sum(axis=1),
            "splay": -0.4 * (bent[:, 0::3] ** 2).sum(axis=1),
            "alive": np.full(self.num_envs, 0.3),
        }
        total: npt.NDArray[np.float64] = np.sum(list(parts.values()), axis=0)
        return total

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


def begin_with_trot(model: PPO, seed: int) -> None:
    """Fits the policy to an open trot, whatever else it observes: one that steps from the first rollout on."""
    random = np.random.default_rng(seed)
    policy = model.policy
    parameters = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    n = 1024
    for _ in range(1500):
        phase_step = random.integers(PHASE_STEPS, size=n)
        command = random.uniform(COMMAND_LOW, COMMAND_HIGH, (n, 3))
        observed = 0.3 * random.standard_normal((n, OBSERVED)).astype(np.float32)
        angle = 2 * np.pi * phase_step / PHASE_STEPS
        observed[:, -5] = np.sin(angle)
        observed[:, -4] = np.cos(angle)
        observed[:, -3:] = command
        wanted = (trot(phase_step, command) - DEFAULT_JOINT_POS) / ACTION_SCALE
        answer = policy.action_net(policy.mlp_extractor.policy_net(torch.from_numpy(observed)))
        loss = ((answer - torch.from_numpy(wanted.astype(np.float32))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"begins with a trot, to {float(loss.detach()) ** 0.5:.3f} of an action", flush=True)


def export(model: PPO, path: Path) -> None:
    """Writes the mean of the policy as ONNX: ``observation`` [1, 47] -> ``action`` [1, 12]."""
    net = model.policy.mlp_extractor.policy_net
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    layers: list[Layer] = [
        tuple(t.detach().cpu().numpy().astype(np.float32) for t in (layer.weight, layer.bias))
        for layer in (*linear, model.policy.action_net)
    ]
    write_mlp(path, "quadruped_policy", layers, "Elu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4_000_000, help="of all robots together")
    parser.add_argument("--output", type=Path, default=POLICY)
    parser.add_argument("--no-score", action="store_true", help="train and export only")
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # a 64-wide network is slower on more
    started = time.monotonic()
    model = PPO(
        "MlpPolicy",
        WalkerVecEnv(ROBOTS, arguments.seed),
        n_steps=ROLLOUT,
        batch_size=1024,
        n_epochs=5,
        learning_rate=lambda left: 7e-4 * max(left, 0.05),
        gamma=0.98,
        gae_lambda=0.95,
        clip_range=0.2,
        ent_coef=0.002,
        max_grad_norm=1.0,
        policy_kwargs={
            "net_arch": {"pi": [64, 64], "vf": [128, 128]},
            "log_std_init": -1.2,
            "activation_fn": torch.nn.ELU,
        },
        seed=arguments.seed,
        device="cpu",
        verbose=1,
    )

    begin_with_trot(model, arguments.seed)
    model.learn(total_timesteps=arguments.steps, log_interval=20)
    train_s = time.monotonic() - started
    export(model, arguments.output)
    print(f"trained in {train_s:.0f} s, wrote {arguments.output}", flush=True)

    if not arguments.no_score:
        scores = score_all(arguments.output, episodes=10, duration_s=600.0, seed=SCORE_SEED)
        training = {
            "algorithm": "PPO (stable-baselines3), begins with an open trot",
            "command": (
                f"python -m rtloop.demos.quadruped.train "
                f"--seed {arguments.seed} --steps {arguments.steps}"
            ),
            "seed": arguments.seed,
            "control_steps": arguments.steps,
            "train_s": round(train_s),
        }
        write_score(
            arguments.output, arguments.output.with_name("score.json"), scores, SCORE_SEED, training
        )
        print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
