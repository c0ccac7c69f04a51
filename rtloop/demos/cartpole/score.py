"""Scores the demo's policy as it will be run: ``python -m rtloop.demos.cartpole.score``.

The ONNX file through onnxruntime, one noisy sample in, one force out, 1000 times a second of
simulated time. Every episode draws its start (pole within 0.2 rad), its pushes and a wire latency
between 0 and 5 ms, which adds to the 2 ms of the actuator.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.demos.cartpole.plant import STEPS_PER_S, Plants

ACTION_SCALE_N = 10.0
RATE_HZ = 1000

#: (name, episodes, seconds, seed, strongest push in newton); the demo pushes with 4 N.
SCORED = (
    ("100 episodes", 100, 60.0, 2007, 4.0),
    ("one long episode", 1, 600.0, 2008, 4.0),
    ("no pushes", 10, 60.0, 2009, 0.0),
    ("pushed harder than the demo", 20, 60.0, 2010, 5.0),
)


def evaluate(
    policy: Path,
    *,
    episodes: int,
    duration_s: float,
    seed: int,
    push_newton: float,
    push_interval_s: float = 3.0,
    latency_s: tuple[float, float] = (0.0, 0.005),
) -> dict[str, Any]:
    """Runs ``episodes`` of ``duration_s`` at 1 kHz and returns what happened, over all of them.

    ``rms_force_change_n`` is taken from one command to the next, 1 ms later. A fallen episode
    keeps running and spoils the maxima, on purpose.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(policy), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    random = np.random.default_rng(seed)
    plants = Plants(episodes)
    for index in range(episodes):
        plants.reset(
            index,
            seed=int(random.integers(2**63)),
            start=random.uniform([-0.5, -0.2, -0.2, -0.2], [0.5, 0.2, 0.2, 0.2]),
            extra_delay_s=random.uniform(*latency_s),
            push_newton=push_newton,
            push_interval_s=push_interval_s,
        )
    cycles = round(duration_s * RATE_HZ)
    force = np.zeros(episodes)
    before = np.zeros(episodes)
    stood = np.ones(episodes, dtype=np.bool_)
    furthest = np.zeros(4)
    position_squares = force_squares = change_squares = 0.0
    saturated = 0
    for cycle in range(cycles):
        samples = plants.sense()
        for index in range(episodes):
            feed = {name: samples[index : index + 1]}
            force[index] = session.run(None, feed)[0][0, 0]
        force *= ACTION_SCALE_N
        stood &= plants.step(force, STEPS_PER_S // RATE_HZ)
        state = plants.state()
        np.maximum(furthest, np.abs(state).max(axis=0), out=furthest)
        position_squares += float(state[:, 0] @ state[:, 0])
        force_squares += float(force @ force)
        if cycle:
            change_squares += float((force - before) @ (force - before))
        saturated += int((np.abs(force) >= ACTION_SCALE_N).sum())
        before[:] = force
    total = cycles * episodes
    return {
        "episodes": episodes,
        "duration_s": duration_s,
        "rate_hz": RATE_HZ,
        "seed": seed,
        "push_newton": push_newton,
        "push_interval_s": push_interval_s,
        "wire_latency_ms": [1e3 * value for value in latency_s],
        "fraction_upright": float(stood.mean()),
        "max_angle_rad": round(float(furthest[2]), 4),
        "max_position_m": round(float(furthest[0]), 4),
        "rms_position_m": round(float(np.sqrt(position_squares / total)), 4),
        "rms_force_n": round(float(np.sqrt(force_squares / total)), 4),
        "rms_force_change_n": round(float(np.sqrt(change_squares / total)), 4),
        "fraction_saturated": round(saturated / total, 6),
    }


def closed_loop(policy: Path) -> dict[str, float]:
    """Numbers by name; ``score`` is the share of 10 episodes of 10 s that stay upright."""
    found = evaluate(policy, episodes=10, duration_s=10.0, seed=2011, push_newton=4.0)
    told = ("max_angle_rad", "rms_position_m", "rms_force_n", "rms_force_change_n")
    return {"score": found["fraction_upright"], **{name: found[name] for name in told}}


def write_score(policy: Path, score: Path, training: dict[str, Any]) -> None:
    """Evaluates ``policy`` and writes ``score``: results, sha256, versions and the training."""
    content = {
        "policy": policy.name,
        "sha256": hashlib.sha256(policy.read_bytes()).hexdigest(),
        "training": training,
        "upright": "|angle| < 0.5 rad and |position| < 2.4 m at every 0.1 ms of an episode",
        "score": {
            name: evaluate(
                policy, episodes=episodes, duration_s=duration_s, seed=seed, push_newton=push_newton
            )
            for name, episodes, duration_s, seed, push_newton in SCORED
        },
        "versions": {
            "python": platform.python_version(),
            **{
                package: importlib.metadata.version(package)
                for package in (
                    "stable-baselines3",
                    "torch",
                    "gymnasium",
                    "numpy",
                    "onnx",
                    "onnxruntime",
                )
            },
        },
    }
    text = json.dumps(content, indent=2) + "\n"
    score.write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--duration-s", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--push-newton", type=float, default=4.0)
    arguments = parser.parse_args()
    result = evaluate(
        arguments.policy,
        episodes=arguments.episodes,
        duration_s=arguments.duration_s,
        seed=arguments.seed,
        push_newton=arguments.push_newton,
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
