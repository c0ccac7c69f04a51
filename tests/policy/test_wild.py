"""Policies as teams deploy them, from raw sensors, by their YAML alone: against what they did there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rtloop.config import load
from rtloop.policy.verify import verify

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
SHARED = Path(os.environ.get("RTLOOP_POLICIES", Path(__file__).parents[3] / "shared" / "policies"))
#: As their specifications say, of all targets of 200 steps in closed loop.
TOLERANCE = {"falcon_g1": 5e-3}
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def folder_of(name: str, tmp_path: Path) -> Path:
    """The YAML beside its models, and what they did in ``expected.npz``."""
    policy = SHARED / name.removesuffix("_500hz")
    if not (policy / "policy.onnx").exists():
        pytest.skip(
            f"no policy '{policy.name}' in {SHARED}: set RTLOOP_POLICIES to the folder that holds them"
        )
    for file in [*policy.glob("*.onnx"), policy / "expected.npz"]:
        shutil.copy(file, tmp_path)
    shutil.copy(EXAMPLES / f"{name}.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("_500hz")])
def test_a_policy_does_what_it_did_where_it_was_deployed(name: str, tmp_path: Path) -> None:
    folder = folder_of(name, tmp_path)
    config = load(folder / f"{name}.yaml")
    (loop,) = config.loops
    found = verify(config, loop, folder / "expected.npz", TOLERANCE.get(name, 1e-4))
    assert found.first is None, found.as_dict()
    assert {array.name.partition("_")[0] for array in found.compared} == {"obs", "raw", "targets"}
    assert not found.ignored
    assert found.steps == 200
