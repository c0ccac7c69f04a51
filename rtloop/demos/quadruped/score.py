"""Scores the policy as it will be run: ``python -m rtloop.demos.quadruped.score``.

The ONNX file through onnxruntime on the plant of the demo, 0.5 m/s straight on for 10 minutes, with pushes,
noise, robots that differ and a delay of up to 20 ms from a sample to the command that follows from
it. Each row is another fate of results that come late.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.demos.quadruped.plant import (
    DAMPING,
    DEFAULT_JOINT_POS,
    JOINTS,
    SENSORS,
    STIFFNESS,
    TORQUE_LIMIT_NM,
)
from rtloop.demos.quadruped.scores import Score, table
from rtloop.demos.quadruped.walk import (
    ACTION_SCALE,
    STEP_S,
    Conditions,
    Floats,
    Walkers,
)

POLICY = Path(__file__).resolve().parent / "policy.onnx"
SPEED = (0.5, 0.0)  # m/s forward and left; the heading is 0

SCORE_SEED = 2026

#: What becomes of results: discarded ones leave the last target in place (firm, on_miss: hold),
#: late ones are applied after more than a step (soft).
ROWS = {
    "all in time": Conditions(),
    "firm, every 4th missed": Conditions(missed=(1, 4)),
    "firm, every 2nd missed": Conditions(missed=(1, 2)),
    "firm, every 4th 10 ms late, the next release skipped": Conditions(
        missed=(2, 5), skipped=(1, 5)
    ),
    "firm, every 2nd 10 ms late, the next release skipped": Conditions(
        missed=(2, 3), skipped=(1, 3)
    ),
    "firm, 3 of 4 missed": Conditions(missed=(3, 4)),
    "firm, 7 of 8 missed": Conditions(missed=(7, 8)),
    "firm, all missed": Conditions(missed=(1, 1)),
    "firm, all missed after 10 s": Conditions(missed=(1, 1), missed_from_s=10.0, phase=True),
    "soft, all 10 ms late": Conditions(delay_ticks=(15, 15)),
    "soft, all 20 ms late": Conditions(delay_ticks=(20, 20)),
    "no pushes": Conditions(push_newton=(0.0, 0.0)),
    "pushed with 80 N": Conditions(push_newton=(80.0, 80.0)),
}


class Policy:
    """The ONNX file, one robot at a time."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def act(self, observation: Any) -> Floats:
        """Raw answers [count, 12] to observations [count, 47]."""
        run = self._session.run
        return np.array([run(None, {self._input: row[None]})[0][0] for row in observation], float)


def evaluate(
    policy: Path, conditions: Conditions, *, episodes: int, duration_s: float, seed: int
) -> Score:
    """Runs ``episodes`` of ``duration_s`` and returns what happened in all of them."""
    network = Policy(policy)
    walkers = Walkers(episodes, conditions, seed)
    walkers.command[:, 0:2] = SPEED
    walks = np.ones(episodes, np.bool_)
    lasted = np.zeros(episodes)
    place = np.zeros((episodes, 2))
    sideways = 0.0
    tilt = 0.0
    for _ in range(round(duration_s / STEP_S)):
        samples = walkers.sense()
        walkers.turn_to(0.0, samples)
        walks &= ~walkers.step(network.act(walkers.observe(samples)))
        poses = np.array([plant.qpos for plant in walkers.plants])
        place[walks] = poses[walks, 0:2]
        sideways = max(sideways, float(np.abs(place[:, 1]).max()))
        lasted[walks] += STEP_S
        up = 1 - 2 * (poses[:, 4] ** 2 + poses[:, 5] ** 2)
        tilt = max(tilt, float(np.arccos(up[walks].min()))) if walks.any() else tilt
    return Score(
        episodes=episodes,
        duration_s=duration_s,
        falls=int((~walks).sum()),
        distance_m=round(float(place[:, 0].mean()), 2),
        sideways_m=round(sideways, 2),
        upright_s=round(float(lasted.mean()), 1),
        mean_speed_m_s=round(float(place[:, 0].sum() / max(lasted.sum(), STEP_S)), 3),
        largest_tilt_rad=round(tilt, 3),
    )


def closed_loop(policy: Path) -> dict[str, float]:
    """Numbers by name; ``score`` is the mean time that 5 pushed robots stay upright, of 20 s."""
    found = evaluate(policy, Conditions(), episodes=5, duration_s=20.0, seed=SCORE_SEED)
    told = asdict(found)
    names = ("falls", "distance_m", "sideways_m", "mean_speed_m_s", "largest_tilt_rad")
    return {"score": found.upright_s, **{name: float(told[name]) for name in names}}


def write_cases(policy: Path, path: Path, *, steps: int = 200, seed: int = 7) -> None:
    """What one robot's samples were and what became of them here, for ``rtloop policy verify``."""
    network = Policy(policy)
    walkers = Walkers(1, Conditions(), seed)
    random = np.random.default_rng(seed)
    heading = 0.0
    rows: dict[str, list[Floats]] = {
        name: [] for name in ("in_robot", "in_command", "obs_policy", "raw", "targets")
    }
    for step in range(steps):
        if step % 40 == 0:
            walkers.command[0, 0:2] = random.uniform([-0.2, -0.2], [0.7, 0.2])
            heading = random.uniform(-np.pi, np.pi)
        samples = walkers.sense()
        walkers.turn_to(heading, samples)
        observation = walkers.observe(samples)
        raw = network.act(observation)
        target = DEFAULT_JOINT_POS + ACTION_SCALE * raw
        torque = STIFFNESS * (target - samples[:, 7:19]) - DAMPING * samples[:, 19:31]
        torque = np.clip(torque, -TORQUE_LIMIT_NM, TORQUE_LIMIT_NM)
        command = np.append(walkers.command[:, 0:2], [[heading]], axis=1)
        values: tuple[Any, ...] = (samples, command, observation, raw, torque)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value[0].copy())
        walkers.step(raw)
    arrays: dict[str, Any] = {name: np.array(row, np.float32) for name, row in rows.items()}
    np.savez_compressed(
        path,
        names_in_robot=SENSORS,
        names_targets=[f"{joint}_torque" for joint in JOINTS],
        **arrays,
    )


def score_all(policy: Path, *, episodes: int, duration_s: float, seed: int) -> dict[str, Score]:
    """Each row on the same robots."""
    return {
        name: evaluate(policy, row, episodes=episodes, duration_s=duration_s, seed=seed)
        for name, row in ROWS.items()
    }


def write_score(
    policy: Path, path: Path, scores: dict[str, Score], seed: int, training: dict[str, Any]
) -> None:
    """Scores, sha256, versions and the training, as JSON."""
    packages = ("mujoco", "stable-baselines3", "torch", "gymnasium", "numpy", "onnxruntime")
    content = {
        "policy": policy.name,
        "sha256": hashlib.sha256(policy.read_bytes()).hexdigest(),
        "training": training,
        "speed_m_s": SPEED,
        "seed": seed,
        "score": {name: asdict(score) for name, score in scores.items()},
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("policy", type=Path, nargs="?", default=POLICY)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--duration-s", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=SCORE_SEED)
    parser.add_argument("--cases", type=Path, help="write cases for `rtloop policy verify` there")
    arguments = parser.parse_args()
    if arguments.cases:
        write_cases(arguments.policy, arguments.cases)
        return
    scores = score_all(
        arguments.policy,
        episodes=arguments.episodes,
        duration_s=arguments.duration_s,
        seed=arguments.seed,
    )
    print("\n".join(table(scores)))


if __name__ == "__main__":
    main()
