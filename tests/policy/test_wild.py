"""Policies as teams deploy them, from raw sensors, by their YAML alone: against what they did there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rtloop.build import assemble
from rtloop.config import load
from rtloop.ports.signal import Signal

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
SHARED = Path(os.environ.get("RTLOOP_POLICIES", Path(__file__).parents[3] / "shared" / "policies"))
#: As their specifications say, of all targets of 200 steps in closed loop.
TOLERANCE = {"falcon_g1": 5e-3}
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def _folder(name: str, tmp_path: Path) -> Path:
    """The YAML beside its models."""
    if not (SHARED / name / "policy.onnx").exists():
        pytest.skip(
            f"no policy '{name}' in {SHARED}: set RTLOOP_POLICIES to the folder that holds them"
        )
    for model in (SHARED / name).glob("*.onnx"):
        shutil.copy(model, tmp_path)
    shutil.copy(EXAMPLES / f"{name}.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_does_what_it_did_where_it_was_deployed(name: str, tmp_path: Path) -> None:
    config = load(_folder(name, tmp_path) / f"{name}.yaml")
    ((loop_name, loop),) = config.loops.items()
    expected = np.load(SHARED / name / "expected.npz")
    inputs = {
        key: [
            Signal(n) for n in section.element_names or map(str, range(section.element_count or 0))
        ]
        for key, section in loop.inputs.items()
    }
    ((key, sink),) = loop.outputs.items()
    outputs = {key: [Signal(n) for n in sink.element_names or ("0",)]}
    assembled = assemble(config, loop_name, inputs, outputs)
    graph = assembled.graph
    numbers = {tensor: number for number, tensor in enumerate(graph.tensors)}
    raw = numbers[graph.raw_action]
    worst: dict[str, float] = {}

    def compare(what: str, step: int, value: object) -> None:
        apart = float(np.abs(np.asarray(value).reshape(-1) - expected[what][step]).max())
        worst[what] = max(worst.get(what, 0.0), apart)

    for step in range(len(expected["targets"])):
        command = assembled.runner.run(
            [expected[f"in_{key}"][step].astype(np.float32) for key in inputs]
        )
        for observed, tensor in graph.observations.items():
            model, _, input_name = observed.partition(".")
            what = next(k for k in (f"obs_{input_name}", f"obs_{model}") if k in expected)
            compare(what, step, assembled.runner.tensor(numbers[tensor]))
        compare("raw", step, assembled.runner.tensor(raw))
        compare("targets", step, command)
    print(name, worst)
    limit = TOLERANCE.get(name, 1e-4)
    assert all(apart <= limit for apart in worst.values()), worst
