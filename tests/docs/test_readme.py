"""The loop of the README is one that check takes, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import load
from rtloop.judge import judge
from tests.policy.models import linear

README = Path(__file__).parents[2] / "README.md"


def test_the_loop_of_the_readme_can_run(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n# robot.yaml\n(.*?)```", README.read_text(), re.DOTALL)
    # Gravity, two joints five times, the last action of two.
    (tmp_path / "policy.onnx").write_bytes(linear(np.ones((15, 2), np.float32)))
    (tmp_path / "robot.yaml").write_text(text)
    config = load(tmp_path / "robot.yaml")
    judged = judge(config, record=False)
    judged.refuse()
    policy = judged.policies["reach"][""]
    (names,) = (assumed_inputs(config, "reach", policy)).values()
    assert {"imu_w", "shoulder_pos", "elbow_pos"} <= {signal.name for signal in names}
    (targets,) = assumed_outputs(config.loops["reach"], policy).values()
    assert [signal.name for signal in targets] == ["shoulder_target", "elbow_target"]
