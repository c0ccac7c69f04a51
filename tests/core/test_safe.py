"""`safe: {hold: …}`: the safe command is what was measured last, whoever sends it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from rtloop import core
from rtloop.policy.library import onnxruntime_library
from tests.core.conftest import MS, first_of, model_bytes, read_records, stall
from tests.core.fake_device import FakeDevice

HARD, FIRM, SOFT = core.LoopClass.hard, core.LoopClass.firm, core.LoopClass.soft
OUTCOME, REASON = core.OUTCOMES, core.FAULT_REASONS
NAN = math.nan


def negative(n: int) -> core.Graph:
    """Commands the opposite of what it reads: nobody takes one for the other."""
    model = model_bytes([helper.make_node("Neg", ["x"], ["y"])], n)
    return core.Graph(onnxruntime_library(), model, [("x", [1, n])], ("y", [1, n]), [])


class Leg:
    """A joint whose position is measured and commanded, and its damping, on virtual time."""

    def __init__(self, path: Path, output: dict[str, Any] | None = None, **changes: Any) -> None:
        config = core.LoopConfig()
        config.name = "leg"
        config.period_ns = config.deadline_ns = MS
        config.loop_class = SOFT
        config.inputs = [core.InputConfig(0)]
        config.outputs = [
            core.OutputConfig(1, **{"safe": [NAN, 2.0], "hold": [0, -1], **(output or {})})
        ]
        for name, value in changes.items():
            setattr(config, name, value)
        self.path = str(path / "ring")
        self.clock = core.VirtualClock(1_000 * MS)
        self.measured = core.Port("mailbox", {"inputs": 2})
        self.commanded = core.Port("mailbox", {"safe": [NAN, 2.0]})
        ring = core.RingWriter(self.path, 256, 1, 2, 2, b"{}")
        ports = [self.measured, self.commanded]
        self.loop = core.Loop(config, ports, negative(2), ring, self.clock)

    def measure(self, position: float, velocity: float = 0.0) -> None:
        self.measured.put(np.array([position, velocity], np.float32), self.clock.now())

    def command(self) -> list[float]:
        values: list[float] = self.commanded.newest()[0].tolist()
        return values

    def in_force(self) -> bool:
        return bool(self.commanded.counters()["safe_in_force"])

    def last_record(self) -> Any:
        return read_records(self.path)[-1]

    def recorded(self) -> list[float]:
        """What stood at the output after the last cycle, by its record."""
        raw, _ = core.RingReader(self.path).read(1 << 20)
        at = core.RECORD_SIZE + core.INPUT_RECORD_SIZE
        values: list[float] = np.ascontiguousarray(raw[-1:, at:]).view("<f4")[0, 2:].tolist()
        return values


def test_what_was_measured_last_is_in_force_when_a_loop_ends(tmp_path: Path) -> None:
    leg = Leg(tmp_path)
    values, time_ns = leg.commanded.newest()
    assert math.isnan(values[0])
    assert time_ns == -1, "nothing is measured, and nothing was commanded"
    leg.measure(1.0)
    leg.loop.begin()
    for position in (1.0, 2.0, 3.0):
        leg.measure(position, 5.0)
        assert leg.loop.step()
        assert leg.command() == [-position, -5.0]
    leg.loop.end()
    assert leg.in_force()
    assert leg.command() == [3.0, 2.0], "the damping is a constant"


def test_the_end_before_the_first_cycle_holds_what_was_there(tmp_path: Path) -> None:
    leg = Leg(tmp_path)
    leg.measure(4.0)
    leg.loop.begin()
    leg.loop.end()
    assert leg.command() == [4.0, 2.0]


def test_the_guard_of_a_hard_loop_holds_and_nobody_changes_it_any_more(tmp_path: Path) -> None:
    leg = Leg(tmp_path, loop_class=HARD, stalls=[stall("release", 1, 5 * MS)])
    leg.measure(1.0)
    leg.loop.begin()
    assert leg.loop.step()
    leg.measure(9.0)  # is read when the guard has judged
    assert not leg.loop.step()
    values, time_ns = leg.commanded.newest()
    assert values.tolist() == [1.0, 2.0]
    assert time_ns > 0
    record = leg.last_record()
    assert record["outcome"] == OUTCOME["safe"]
    assert leg.recorded() == [1.0, 2.0], "what the guard has sent, and not what was read afterwards"
    leg.loop.end()
    assert leg.command() == [1.0, 2.0]


@pytest.mark.parametrize("stage", ["infer", "write"])
def test_a_hang_holds_what_its_cycle_has_measured(tmp_path: Path, stage: str) -> None:
    leg = Leg(tmp_path, stalls=[stall(stage, 1, 500 * MS)], hang_limit_ns=100 * MS)
    leg.measure(1.0)
    leg.loop.begin()
    leg.loop.step()
    leg.measure(2.0)
    assert not leg.loop.step()
    assert leg.loop.status()["fault_reason"] == REASON["hang"]
    assert leg.command() == [2.0, 2.0]


def test_a_stale_sample_is_still_the_last_that_was_measured(tmp_path: Path) -> None:
    inputs = [core.InputConfig(0, 2 * MS, core.OnStale.fault)]
    leg = Leg(tmp_path, inputs=inputs)
    leg.measure(1.5)
    leg.loop.begin()
    while leg.loop.step():
        pass
    assert leg.loop.status()["fault_reason"] == REASON["stale_input"]
    assert leg.command() == [1.5, 2.0]
    assert leg.recorded() == [1.5, 2.0]


def test_it_is_within_the_limits_of_every_command(tmp_path: Path) -> None:
    leg = Leg(tmp_path, {"min": [-1.0, 0.0], "max": [1.0, 5.0]})
    leg.measure(7.0)
    leg.loop.begin()
    leg.loop.step()
    leg.loop.end()
    assert leg.command() == [1.0, 2.0]


def test_what_is_not_finite_was_not_measured(tmp_path: Path) -> None:
    leg = Leg(tmp_path)
    leg.measure(1.0)
    leg.loop.begin()
    leg.loop.step()
    leg.measure(NAN)
    assert not leg.loop.step()
    assert leg.loop.status()["fault_reason"] == REASON["non_finite"]
    assert leg.command() == [1.0, 2.0]
    assert leg.recorded() == [1.0, 2.0]


def test_the_first_command_starts_from_what_was_measured(tmp_path: Path) -> None:
    leg = Leg(tmp_path, {"max_rate_per_s": [100.0, 1e9]})  # 0.1 a period
    leg.measure(0.75)
    leg.loop.begin()
    leg.loop.step()
    assert leg.command()[0] == pytest.approx(0.65)


def test_nothing_is_commanded_before_it_is_known_what_is_safe(tmp_path: Path) -> None:
    leg = Leg(
        tmp_path,
        {"max_rate_per_s": [100.0, 1e9], "default_value": [9.0, 9.0]},
        loop_class=FIRM,
        default_on_miss=True,
        deadline_ns=MS // 2,
        stalls=[stall("infer", 1, 2 * MS)],
    )
    leg.loop.rearm()
    assert leg.loop.missing_input() == 0
    leg.measure(NAN)
    assert leg.loop.missing_input() == 0, "a sample, but none that could be held"
    leg.loop.begin()
    leg.loop.step()
    assert leg.last_record()["outcome"] == OUTCOME["held"]
    leg.loop.step()  # too late, and the default had nowhere to start from
    assert leg.commanded.newest()[1] == -1
    leg.measure(0.5)
    leg.loop.step()
    assert leg.command()[0] == pytest.approx(0.4), (
        "from what was measured, as the first command does"
    )
    leg.measure(0.25)
    assert leg.loop.missing_input() is None


def test_each_activation_measures_anew(tmp_path: Path) -> None:
    leg = Leg(tmp_path)
    for position in (1.0, 2.0):
        leg.loop.rearm()
        leg.measure(position)
        leg.loop.begin()
        leg.loop.step()
        leg.loop.end()
        assert leg.command() == [position, 2.0]


@pytest.mark.parametrize(
    ("output", "changes", "what"),
    [
        ({"hold": [2, -1]}, {}, "no input has the value 2"),
        ({"hold": [0]}, {}, "hold has 1 elements, the output has 2"),
        ({"hold": [-1, 0]}, {}, "min <= safe"),
        ({"safe": [NAN, 2.0]}, {"loop_class": FIRM, "default_on_miss": True}, "needs a default"),
    ],
)
def test_what_cannot_be_held_is_refused(
    tmp_path: Path, output: dict[str, Any], changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        Leg(tmp_path, output, **changes)


def test_of_a_device_the_slew_limit_starts_from_what_was_measured(tmp_path: Path) -> None:
    """Its own safe output is in force there; `safe` says that it holds, too."""
    device = FakeDevice()
    port = device.port()
    config = core.LoopConfig()
    config.name = "link"
    config.loop_class = SOFT
    config.period_ns = config.deadline_ns = 5 * MS
    config.inputs = [core.InputConfig(0)]
    config.outputs = [core.OutputConfig(0, max_rate_per_s=[20.0], safe=[NAN], hold=[1])]
    path = str(tmp_path / "ring")
    ring = core.RingWriter(path, 64, 1, 2, 1, b"{}")
    loop = core.Loop(config, [port], first_of(2), ring, core.MonotonicClock())
    loop.rearm()
    device.send_sensor([9.0, 4.0])
    while loop.missing_input() is not None:
        pass
    loop.begin()
    loop.step()
    raw, _ = core.RingReader(path).read(8)
    values = np.ascontiguousarray(raw[:, core.RECORD_SIZE + core.INPUT_RECORD_SIZE :]).view("<f4")
    assert values[0].tolist() == pytest.approx([9.0, 4.0, 4.1])
    loop.end()
    device.unplug()
