"""examples/policies as something that moves: what is left behind, and the short way round."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from rtloop.config import load
from rtloop.policy.opened import opened
from rtloop.ports.command import numbers
from tests.policy.importing.loops import linear
from tests.policy.test_wild import EXAMPLES

ROBOTS = {path.stem: "held" for path in EXAMPLES.glob("*.yaml")} | {
    "b2w_lstm": "held, its wheels stand",
    "px4_x500_hover": "no thrust",
    "silero_vad": "no robot",
}


@pytest.mark.parametrize("name", sorted(ROBOTS))
def test_what_ends_leaves_no_machine_moving(name: str, tmp_path: Path) -> None:
    for model in ("policy.onnx", "encoder.onnx"):
        (tmp_path / model).touch()
    shutil.copy(EXAMPLES / f"{name}.yaml", tmp_path)
    (loop,) = load(tmp_path / f"{name}.yaml").loops.values()
    (output,) = loop.outputs.values()
    names = output.known_names or ()
    stands_at_0 = {
        element
        for element, value in zip(names, numbers(output.safe, names, 0.0), strict=True)
        if not math.isnan(value) and value == 0
    }
    is_held = ROBOTS[name].startswith("held")
    wheels = {element for element in names if is_held and element.endswith("_foot")}
    assert stands_at_0 == (wheels if is_held else set(names))
    if is_held:
        assert 'docs/deploy.md, "On the robot"' in (EXAMPLES / f"{name}.yaml").read_text()


def test_a_drone_turns_the_short_way_round(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "px4_x500_hover.yaml", tmp_path)
    (tmp_path / "policy.onnx").write_bytes(linear(18, 3)[0])
    config = load(tmp_path / "px4_x500_hover.yaml")
    runner = opened(config, "x500").assembled.runner
    inputs = {
        key: np.zeros(section.element_count or 0, np.float32)
        for key, section in config.loops["x500"].inputs.items()
    }
    for key, yaw in {"attitude_wxyz": 3.1, "setpoint_wxyz": -3.1}.items():
        inputs[key] = np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)], np.float32)
    command = runner.run(list(inputs.values()))
    assert command[2] == pytest.approx(0.5 * (2 * math.pi - 6.2), abs=1e-5)
