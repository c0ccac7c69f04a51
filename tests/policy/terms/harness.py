"""A policy from the mapping that a file would hold, run in the core beside its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtloop.config.problem import written
from rtloop.errors import Place
from rtloop.policy import ComposedGraph, PolicyConfig, Sink
from tests.policy.models import Runner, linear
from tests.policy.terms.reference import Floats, Reference

Inputs = Mapping[str, int | Sequence[str]]
PERIOD_S = Fraction(1, 50)


def place(*keys: str | int) -> Place:
    return Place(key=written(keys))


def composed(
    folder: Path,
    section: Mapping[str, Any],
    inputs: Inputs,
    models: Mapping[str, bytes] | None = None,
    period_s: Fraction = PERIOD_S,
    outputs: Mapping[str, Sink] | None = None,
) -> ComposedGraph:
    """The graph of a section ``policy``, whose models are written into ``folder``."""
    for name, model in (models or {}).items():
        (folder / name).write_bytes(model)
    config = PolicyConfig.model_validate(section, context={"folder": str(folder)})
    policy = config.load(place)
    return config.compose(inputs, place, policy, outputs, period_s)


class Beside:
    """``observation`` before a linear policy: rtloop's graph and the reference, step by step."""

    def __init__(
        self,
        folder: Path,
        observation: Sequence[Mapping[str, Any]],
        inputs: Inputs,
        *,
        size: int,
        groups: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        joints: Sequence[str] = (),
        pose: Sequence[float] = (),
        n_actions: int = 3,
        period_s: Fraction = PERIOD_S,
        outputs: Mapping[str, Sink] | None = None,
        models: Mapping[str, bytes] | None = None,
    ) -> None:
        """``size`` is that of the observation."""
        weight = np.random.default_rng(1).normal(0, 0.3 / size, (size, n_actions))
        section: dict[str, Any] = {
            "model": "linear.onnx",
            "observation": list(observation),
            "groups": dict(groups or {}),
        }
        if joints:
            section |= {"joints": list(joints), "default_joint_pos": [float(p) for p in pose]}
        if outputs is not None:  # as many actions, in their order
            names = [name for sink in outputs.values() for name in sink.names or ()]
            section["action"] = {"to": names}
        files = {"linear.onnx": linear(weight.astype(np.float32)), **(models or {})}
        self.graph = composed(folder, section, inputs, files, period_s, outputs)
        self.runner = Runner(self.graph)
        numbers = {name: number for number, name in enumerate(self.graph.tensors)}
        self._observed = numbers[self.graph.observations["policy.obs"]]
        self._raw = numbers[self.graph.raw_action]
        names_of = {n: list(e) for n, e in inputs.items() if not isinstance(e, int)}
        self.reference = Reference(observation, groups or {}, names_of, joints, pose, period_s)
        self.names = list(inputs)
        self._last_action = np.zeros(n_actions)

    def step(
        self,
        samples: Mapping[str, npt.ArrayLike],
        *,
        applied: bool = True,
        last_target: npt.ArrayLike | None = None,
    ) -> tuple[Floats, Floats]:
        """What is observed, and what the reference says of it."""
        last = last_target if self.graph.last_command else None
        self.runner.step(
            *(samples[name] for name in self.names), applied=applied, last_command=last
        )
        target = np.zeros(0) if last_target is None else np.asarray(last_target, np.float64)
        expected = self.reference.step(samples, self._last_action, target)
        if applied:
            self._last_action = self.runner.core.tensor(self._raw).reshape(-1).astype(np.float64)
        observed = self.runner.core.tensor(self._observed).reshape(-1)
        return observed.astype(np.float64), expected

    def reset(self) -> None:
        self.runner.reset()
        self.reference.reset()
        self._last_action = np.zeros_like(self._last_action)


def agree(
    beside: Beside,
    samples: Callable[[int], Mapping[str, npt.ArrayLike]],
    steps: int,
    *,
    atol: float = 1e-4,
    **options: Any,
) -> None:
    """The graph observes what the reference does, in every one of the steps."""
    for step in range(steps):
        observed, expected = beside.step(samples(step), **options)
        np.testing.assert_allclose(observed, expected, rtol=1e-4, atol=atol, err_msg=f"step {step}")
