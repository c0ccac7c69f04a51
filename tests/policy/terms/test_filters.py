"""A matrix and a complementary filter as terms, against numpy."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.errors import ConfigError
from rtloop.policy.runner import runner
from tests.policy.models import Runner, passthrough
from tests.policy.terms.harness import composed

CYCLE_S = Fraction(1, 100)


def section(term: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    return {"model": "p.onnx", "observation": [term], **keys}


def test_state_feedback_is_a_matrix_of_a_difference_that_is_commanded(tmp_path: Path) -> None:
    gains = np.random.default_rng(3).normal(size=(2, 4)).astype(np.float32)
    groups = {
        "error": [{"input": "x", "minus": "reference"}],
        "u": [{"linear": "error", "matrix": (-gains).tolist(), "clip": [-2, 2]}],
    }
    keys = section({"input": "x"}, groups=groups, action={"group": "u"})
    inputs: Mapping[str, Any] = {"x": 4, "reference": 4}
    loop = Runner(composed(tmp_path, keys, inputs, {"p.onnx": passthrough(4)}))
    random = np.random.default_rng(4)
    for _ in range(10):
        x, reference = random.normal(size=4), random.normal(size=4)
        expected = np.clip(-gains @ (x - reference), -2, 2)
        np.testing.assert_allclose(loop.step(x, reference), expected, atol=1e-5)


@pytest.mark.parametrize("every", [1, 4])
def test_a_complementary_filter_runs_in_each_cycle(every: int, tmp_path: Path) -> None:
    term = {"complementary": "tilt", "rate": "gyro", "time_constant_s": 0.5}
    keys = section(term, every=every)
    inputs: Mapping[str, Any] = {"tilt": 2, "gyro": 2}
    graph = composed(tmp_path, keys, inputs, {"p.onnx": passthrough(2)}, CYCLE_S)
    loop, share = runner(graph), 0.5 / 0.51
    random = np.random.default_rng(5)
    mixed: Any = np.zeros(2)
    for cycle in range(40):
        tilt, gyro = (random.normal(size=2).astype(np.float32) for _ in range(2))
        mixed = share * (mixed + 0.01 * gyro) + (1 - share) * tilt if cycle else tilt
        got = loop.run([tilt, gyro], True, None, cycle)
        if cycle % every == 0:
            np.testing.assert_allclose(got, mixed, atol=1e-5)


@pytest.mark.parametrize(
    ("term", "inputs", "told"),
    [
        ({"linear": "z", "matrix": [[1.0]]}, {"x": 1}, "linear: found 'z'"),
        ({"linear": "x", "matrix": [[1.0]]}, {"x": 2}, "rows of 2 numbers, as many as 'x' has"),
        (
            {"linear": "x", "matrix": [[1.0, 2.0], [3.0]]},
            {"x": 2},
            "2 numbers, as in the first row",
        ),
        (
            {"complementary": "x", "rate": "z", "time_constant_s": 1},
            {"x": 1},
            "rate: found 'z'",
        ),
        (
            {"complementary": "x", "rate": "y", "time_constant_s": 1},
            {"x": 2, "y": 3},
            "2 values, as many as 'x' has",
        ),
        (
            {"complementary": "x", "rate": "y", "time_constant_s": 1},
            {"x": ["a", "b"], "y": ["b", "a"]},
            "a group that brings them into the order of 'x'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    term: Mapping[str, Any], inputs: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        composed(tmp_path, section(term), inputs, {"p.onnx": passthrough(2)})
    assert told in str(refused.value)
