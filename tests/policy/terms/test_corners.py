"""Values at which formulas change: quadrants, whole turns, no orientation at all, many steps."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field, ValidationError

from rtloop.config.values import Name
from rtloop.errors import ConfigError
from rtloop.policy import PolicyConfig
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.shaping import gathered
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.rotations import arctan2
from rtloop.policy.terms.term import TERMS, ObservationTerm
from tests.policy.models import Runner, passthrough
from tests.policy.terms.harness import Beside, agree, composed


class AngleTerm(ObservationTerm):
    """The angle of (x, y)."""

    kind = "angle"

    angle: Name = Field(description="an input [x, y]")

    def elements(self, scope: Scope) -> Elements:
        return Vector(1)

    def emit(self, builder: GraphBuilder) -> str:
        value = builder.input(self.angle)
        return arctan2(
            builder, gathered(builder, value, [1], "y"), gathered(builder, value, [0], "x")
        )


@pytest.fixture
def angle_term() -> Iterator[None]:
    TERMS.register(AngleTerm)
    yield
    TERMS.unregister("angle")


@pytest.mark.usefixtures("angle_term")
def test_the_angle_of_a_point_is_right_in_every_quadrant_and_on_every_axis(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [{"angle": "a"}]}
    runner = Runner(composed(tmp_path, section, {"a": 2}, {"p.onnx": passthrough(1)}))
    values = np.array([0.0, 1e-30, 0.3, 1.0, 1e6], np.float32)
    for x in (*values, *-values):
        for y in (*values, *-values):
            expected = np.arctan2(np.float64(y), np.float64(x))
            if x == 0 and y == 0:
                expected = 0.0
            if x < 0 and y == 0:
                expected = np.pi  # of -0, too: it is the same angle
            assert runner.step([x, y])[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("quaternion", "angles"),
    [
        ([1, 0, 0, 0], [0, 0, 0]),
        ([0, 1, 0, 0], [np.pi, 0, 0]),
        ([0, 0, 0, 1], [0, 0, np.pi]),
        ([1, 0, 1, 0], [0, np.pi / 2, 0]),  # where roll and yaw are one: all of it is called yaw
        ([1, 0, -1, 0], [0, -np.pi / 2, 0]),
    ],
)
def test_the_angles_of_quarter_and_half_turns(
    tmp_path: Path, quaternion: list[float], angles: list[float]
) -> None:
    section = {"model": "p.onnx", "observation": [{"euler_xyz": "q"}]}
    runner = Runner(composed(tmp_path, section, {"q": 4}, {"p.onnx": passthrough(3)}))
    assert runner.step(quaternion) == pytest.approx(angles, abs=1e-6)


@pytest.mark.parametrize("kind", ["projected_gravity", "euler_xyz", "rotation"])
@pytest.mark.parametrize("clip", [None, [-1, 1]])
def test_a_quaternion_of_zeros_is_no_orientation_and_no_command(
    tmp_path: Path, kind: str, clip: list[float] | None
) -> None:
    term = {kind: "q", "select": [0], **({} if clip is None else {"clip": clip})}
    section = {"model": "p.onnx", "observation": [term, {"input": "a"}]}
    runner = Runner(composed(tmp_path, section, {"q": 4, "a": 1}, {"p.onnx": passthrough(2)}))
    assert np.isfinite(runner.step([0, 0, 0, 0.5], [1])).all()
    assert np.isnan(runner.step([0, 0, 0, 0], [1])).all()


def test_a_phase_begins_its_turn_at_0_and_never_ends_it_at_1(tmp_path: Path) -> None:
    """0.7 + 0.3 is a turn."""
    phase = {"period_s": 0.2, "offsets": [0.3, 0.1, 0.9]}
    terms = [{"phase": phase, "show": ["ramp"]}]
    beside = Beside(tmp_path, terms, {"a": 1}, size=3, period_s=Fraction(1, 50))
    agree(beside, lambda _: {"a": [0.0]}, 40, atol=1e-6)


@pytest.mark.parametrize(
    ("phase", "period_s"),
    [
        ({"frequency_hz": 1.3}, Fraction(1, 50)),  # 500 steps are 13 turns
        ({"period_s": 3.967}, Fraction(1, 50)),
        ({"period_s": 0.9, "offsets": [0, 0.5]}, Fraction(3, 250)),
    ],
)
def test_a_phase_of_no_whole_number_of_steps_does_not_drift(
    tmp_path: Path, phase: dict[str, object], period_s: Fraction
) -> None:
    terms = [{"phase": phase, "show": ["sin", "cos", "ramp"]}]
    size = 3 * len(phase.get("offsets", [0]))  # type: ignore[arg-type]
    beside = Beside(tmp_path, terms, {"a": 1}, size=size, period_s=period_s)
    agree(beside, lambda _: {"a": [0.0]}, 1500, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_command_that_is_no_number_neither_moves_nor_stands(tmp_path: Path, bad: float) -> None:
    """The policy itself does not observe it."""
    phase = {"period_s": 1.0, "hold": {"command": "a", "below": 0.1}}
    section = {"model": "p.onnx", "observation": [{"phase": phase}]}
    runner = Runner(composed(tmp_path, section, {"a": 2}, {"p.onnx": passthrough(2)}))
    assert np.isfinite(runner.step([1, 0])).all()
    assert np.isnan(runner.step([0, bad])).all()


def test_a_length_of_no_elements_is_refused() -> None:
    hold = {"command": "a", "below": 0.1, "each": [[]]}
    term = {"phase": {"period_s": 1.0, "hold": hold}}
    with pytest.raises(ValidationError, match="at least 1 item"):
        PolicyConfig.model_validate({"model": "p.onnx", "observation": [term]})


@pytest.mark.parametrize(
    ("phase", "rate_hz", "steps", "turns"),
    [
        ({"frequency_hz": 2.0}, "83.3333333", 125, 3),
        ({"frequency_hz": 1.333333}, "50", 75, 2),
        ({"period_s": 0.6666667}, "50", 100, 3),
    ],
)
def test_a_period_of_rounded_digits_repeats_as_it_was_meant(
    tmp_path: Path, phase: dict[str, float], rate_hz: str, steps: int, turns: int
) -> None:
    term = {"phase": phase, "show": ["ramp"]}
    section = {"model": "p.onnx", "observation": [term]}
    models, period_s = {"p.onnx": passthrough(1)}, 1 / Fraction(rate_hz)
    runner = Runner(composed(tmp_path, section, {"a": 1}, models, period_s))
    seen = [float(runner.step([0.0])[0]) for _ in range(steps + 1)]
    assert seen[:steps] == pytest.approx([i * turns / steps % 1 for i in range(steps)], abs=1e-6)
    assert seen[steps] == 0


def test_a_period_that_no_cycle_of_steps_comes_near_is_refused(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [{"phase": {"period_s": 3e6}, "show": ["ramp"]}]}
    with pytest.raises(ConfigError, match=r"repeats within 100000 steps.*a shorter one"):
        composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(1)}, Fraction(1, 50))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-np.pi, np.pi), (-1.0, 0.1), (5.0, 5.5)])
def test_what_is_wrapped_is_below_the_upper_bound_and_not_below_the_lower(
    tmp_path: Path, bounds: tuple[float, float]
) -> None:
    low, high = map(np.float32, bounds)
    section = {"model": "p.onnx", "observation": [{"input": "a", "wrap": list(bounds)}]}
    runner = Runner(composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(1)}))
    beside = [np.nextafter(x, np.float32(to)) for x in (low, high) for to in (-np.inf, np.inf)]
    tiny = [low - np.float32(1e-9), np.float32(-1e-9), np.float32(1e-9)]
    turns = [x + n * (high - low) for n in (-7, -1, 1, 2, 1000) for x in (*beside, low, high)]
    for value in (*beside, *tiny, *turns, low, high):
        wrapped = runner.step([value])[0]
        assert low <= wrapped < high, value
    assert runner.step([low])[0] == runner.step([high])[0] == low
    assert np.isnan(runner.step([np.nan])[0])


def test_bounds_that_are_one_number_in_float32_are_refused(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [{"input": "a", "wrap": [1.0, 1.00000001]}]}
    with pytest.raises(ConfigError, match=r"\[1.0, 1.00000001\], which are one number in float32"):
        composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(1)})
