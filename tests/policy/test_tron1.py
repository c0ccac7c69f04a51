"""LimX Tron 1 at 500 Hz, cycle by cycle, against its controller written down in numpy from its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from rtloop.config import load
from rtloop.policy.verify import verify
from tests.policy.test_wild import folder_of

NAME = "tron1_pointfoot_500hz"
EVERY = 10
TO_POLICY = [0, 3, 1, 4, 2, 5]
STIFFNESS, DAMPING, LIMIT, SCALE = 42.0, 3.5, 80.0, 0.25

Floats = npt.NDArray[np.float64]


class Controller:
    """PointfootController.handle_walk_mode of tron1-rl-deploy-python, of type "isaaclab"."""

    def __init__(self, folder: Path) -> None:
        self._encoder, self._policy = (
            onnxruntime.InferenceSession(
                folder / f"{name}.onnx", providers=["CPUExecutionProvider"]
            )
            for name in ("encoder", "policy")
        )
        self._history: list[Floats] = []
        self._runs = 0
        self.actions = np.zeros(6)
        self.cut = 0

    def cycle(self, number: int, sample: dict[str, Floats]) -> Floats:
        if number % EVERY == 0:
            self._run(sample)
        still = sample["joint_pos"] + DAMPING * sample["joint_vel"] / STIFFNESS
        low, high = (still - LIMIT / STIFFNESS) / SCALE, (still + LIMIT / STIFFNESS) / SCALE
        limited = np.maximum(low, np.minimum(high, self.actions))  # in place: it stays cut
        self.cut += int((limited != self.actions).any())
        self.actions = limited
        return self.actions * SCALE

    def _run(self, sample: dict[str, Floats]) -> None:
        self._runs += 1
        w, x, y, z = sample["imu_quat_wxyz"] / np.linalg.norm(sample["imu_quat_wxyz"])
        gravity = -np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
        turn = 2 * np.pi * (self._runs % 25) * 0.04
        frame = np.concatenate(
            [
                0.25 * sample["base_ang_vel"],
                gravity,
                sample["joint_pos"][TO_POLICY],
                0.05 * sample["joint_vel"][TO_POLICY],
                self.actions[TO_POLICY],
                [np.sin(turn), np.cos(turn), 2.0, 0.5, 0.5, 0.1],
            ]
        )
        self._history = [*(self._history or [frame] * 10), frame][-10:]
        (code,) = self._encoder.run(None, _fed(self._encoder, np.concatenate(self._history)))
        command = sample["command"] * [1.5, 1.0, 0.5]
        observed = np.concatenate([code.reshape(-1), np.clip(frame, -100, 100), command])
        (raw,) = self._policy.run(None, _fed(self._policy, observed))
        self.actions[TO_POLICY] = np.clip(raw.reshape(-1), -100, 100)


def _fed(
    session: onnxruntime.InferenceSession, values: Floats
) -> dict[str, npt.NDArray[np.float32]]:
    (spec,) = session.get_inputs()
    return {spec.name: values.astype(np.float32).reshape(spec.shape)}


def test_every_cycle_commands_what_its_makers_controller_does(tmp_path: Path) -> None:
    folder = folder_of(NAME, tmp_path)
    given = np.load(folder / "expected.npz")
    random = np.random.default_rng(8)
    samples: dict[str, Floats] = {}
    for key in ("imu_quat_wxyz", "base_ang_vel", "joint_pos", "joint_vel", "command"):
        values = np.repeat(given[f"in_{key}"].astype(float)[:60], EVERY, axis=0)
        wide = {"joint_pos": 0.2, "joint_vel": 12.0}.get(key, 0.0)  # legs that are pushed
        noisy = values + wide * random.standard_normal(values.shape)
        samples[key] = noisy.astype(np.float32).astype(float)
    controller = Controller(folder)
    targets = [
        controller.cycle(number, {key: values[number] for key, values in samples.items()}).copy()
        for number in range(60 * EVERY)
    ]
    assert controller.cut > 100, "the limit was not exercised"
    cases: dict[str, Any] = {f"in_{key}": values for key, values in samples.items()}
    np.savez(folder / "cycles.npz", targets=np.array(targets), every=EVERY, **cases)
    found = verify(load(folder / f"{NAME}.yaml"), "tron1", folder / "cycles.npz", 1e-4)
    assert found.first is None, found.as_dict()
    assert found.steps == 60 * EVERY
