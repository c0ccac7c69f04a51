"""A policy in every so-many-th cycle: what runs when, what is commanded between, what is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.runner import runner, terminated_by
from tests.policy.models import linear, passthrough
from tests.policy.terms.harness import composed

Floats = npt.NDArray[np.float32]
EVERY = 4
CYCLE_S = Fraction(1, 200)


class Cycles:
    """A composed graph, cycle by cycle, some of which may be skipped."""

    def __init__(self, graph: ComposedGraph) -> None:
        self.graph = graph
        self.core = runner(graph)

    def run(
        self, cycle: int, *samples: npt.ArrayLike, applied: bool = True, last: Any = None
    ) -> list[float]:
        flat = [np.asarray(sample, np.float32).reshape(-1) for sample in samples]
        last = None if last is None else np.asarray(last, np.float32)
        command: list[float] = self.core.run(flat, applied, last, cycle).tolist()
        return command

    def tensor(self, name: str) -> Floats:
        value: Floats = self.core.tensor(list(self.graph.tensors).index(name)).reshape(-1)
        return value

    @property
    def observed(self) -> list[float]:
        (tensor,) = self.graph.observations.values()
        values: list[float] = self.tensor(tensor).tolist()
        return values


def cycles(
    folder: Path,
    observation: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, int] | None = None,
    *,
    size: int = 1,
    model: bytes | None = None,
    **section: Any,
) -> Cycles:
    keys = {"model": "p.onnx", "every": EVERY, "observation": list(observation), **section}
    files = {"p.onnx": model or passthrough(size)}
    return Cycles(composed(folder, keys, inputs or {"a": 1}, files, CYCLE_S))


# --- when it runs ---


def test_it_runs_in_the_first_cycle_of_each_of_its_periods(tmp_path: Path) -> None:
    loop = cycles(tmp_path, [{"input": "a"}])
    ran = []
    for cycle in (0, 1, 2, 3, 4, 6, 7, 9, 10, 12, 13, 22, 23, 24):
        loop.run(cycle, [cycle])
        if loop.core.policy_ran:
            ran.append(cycle)
    assert ran == [0, 4, 9, 12, 22, 24], "late where the cycle in which it was due was skipped"


def test_a_reset_begins_with_the_policy_whatever_cycle_it_is(tmp_path: Path) -> None:
    loop = cycles(tmp_path, [{"input": "a"}])
    for cycle in range(6):
        loop.run(cycle, [cycle])
    loop.core.reset()
    assert loop.run(5, [7.0]) == [7.0]
    assert loop.core.policy_ran


def test_between_its_runs_its_target_stands(tmp_path: Path) -> None:
    loop = cycles(tmp_path, [{"input": "a"}], action={"scale": 2.0})
    assert [loop.run(cycle, [cycle + 1])[0] for cycle in range(9)] == [2.0] * 4 + [10.0] * 4 + [18]


def test_a_group_that_is_commanded_stands_too(tmp_path: Path) -> None:
    groups = {"g": [{"input": "a"}]}
    loop = cycles(tmp_path, [{"input": "a"}], groups=groups, action={"group": "g"})
    assert [loop.run(cycle, [cycle])[0] for cycle in range(6)] == [0, 0, 0, 0, 4, 4]


def test_phases_histories_counters_and_averages_go_on_with_its_runs(tmp_path: Path) -> None:
    observation: list[Mapping[str, Any]] = [
        {"phase": {"frequency_hz": 5, "first_step": 1}, "show": ["ramp"]},
        {"input": "a", "history": {"steps": [1, 2], "start": "zero"}},
        {"last_action": True, "select": [0]},
    ]
    loop = cycles(tmp_path, observation, size=4, action={"smooth": 0.5})
    seen = []
    for cycle in range(16):
        loop.run(cycle, [cycle + 1])
        seen.append(loop.observed)
    assert all(seen[cycle] == seen[cycle - cycle % EVERY] for cycle in range(16))
    of_runs = np.array(seen[::EVERY])
    np.testing.assert_allclose(of_runs[:, 0], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert of_runs[:, 1:3].tolist() == [[0, 0], [1, 0], [5, 1], [9, 5]]
    averages = []
    average = 0.0
    for phase in (0.1, 0.2, 0.3):
        average = 0.5 * phase + 0.5 * average
        averages.append(average)
    np.testing.assert_allclose(of_runs[:, 3], [0, *averages], rtol=1e-6)


# --- what is remembered ---


def test_its_result_was_applied_where_one_of_its_cycles_was(tmp_path: Path) -> None:
    observation = [{"input": "a"}, {"last_action": True}]
    keys = {"model": "p.onnx", "every": EVERY, "observation": observation}
    model = linear(np.array([[1.0], [0.0]], np.float32))
    loop = Cycles(composed(tmp_path, keys, {"a": 1}, {"p.onnx": model}, CYCLE_S))
    applied = [
        [True, True, True, True],
        [False, False, False, False],
        [False, False, True, False],
        [True, False, False, False],
        [False] * 4,
    ]
    seen = []
    for run, flags in enumerate(applied):
        for number, is_applied in enumerate(flags):
            loop.run(run * EVERY + number, [run + 1.0], applied=is_applied)
        seen.append(loop.observed[1])
    assert seen == [0.0, 1.0, 1.0, 3.0, 4.0]


@settings(max_examples=25, deadline=None)
@given(
    every=st.integers(2, 6),
    lost=st.sets(st.integers(0, 40)),
    discarded=st.sets(st.integers(0, 40)),
    between=st.sampled_from(["hold", "interpolate"]),
)
def test_whatever_is_lost_it_does_what_one_at_its_own_rate_does(
    tmp_path_factory: pytest.TempPathFactory,
    every: int,
    lost: set[int],
    discarded: set[int],
    between: str,
) -> None:
    """The runs of the policy against a loop at the policy's rate; between them, numpy."""
    section = {
        "model": "p.onnx",
        "observation": [
            {"input": "a", "history": 3},
            {"last_action": True},
            {"phase": {"frequency_hz": 3}, "show": ["sin", "cos", "ramp"]},
        ],
        "action": {"scale": 0.5, "smooth": 0.7, "offset": 0.25},
    }
    weights = np.random.default_rng(5).standard_normal((7, 1)).astype(np.float32) * 0.4
    files = {"p.onnx": linear(weights)}
    folder = tmp_path_factory.mktemp("every")
    keys = {**section, "every": every, "between": between}
    loop = Cycles(composed(folder, keys, {"a": 1}, files, CYCLE_S))
    slow = runner(composed(folder, section, {"a": 1}, files, CYCLE_S * every))
    samples = np.random.default_rng(6).standard_normal((41, 1)).astype(np.float32)
    period, ran_at, was_applied, target, began = -1, 0, False, 0.0, 0.0
    due: Floats | None = None
    before: dict[str, Any] = {}
    last: float | None = None
    for cycle in range(41):
        if cycle in lost:
            continue
        if cycle // every != period:
            if due is not None:
                slow.set_state(before)
                slow.run([due], was_applied)
            before = slow.state()
            due, was_applied, period = samples[cycle], False, cycle // every
            target = float(slow.run([due], False)[0])
            began, ran_at = target if last is None else last, cycle % every
        is_applied = cycle not in discarded
        (got,) = loop.run(cycle, samples[cycle], applied=is_applied)
        rest = (every - 1 - cycle % every) / (every - ran_at) if between == "interpolate" else 0.0
        wanted = began * rest + target * (1 - rest)
        assert got == pytest.approx(wanted, abs=2e-5), cycle
        if is_applied:
            last, was_applied = got, True


# --- in each cycle ---


def test_a_torque_is_limited_in_each_cycle_and_the_last_action_sees_the_last_cut(
    tmp_path: Path,
) -> None:
    limit = {"stiffness": 10.0, "limit": 5.0, "position": "q"}  # ± 0.5 around q
    observation = [{"input": "a"}, {"last_action": True}]
    model = linear(np.array([[1.0], [0.0]], np.float32))
    for stays_cut, commands, remembered in (
        (False, [0.5, 1.0, 0.7, 1.0], 1.0),
        (True, [0.5, 0.5, 0.5, 0.7], 0.7),
    ):
        action = {"torque_limit": {**limit, "stays_cut": stays_cut}}
        keys = {"model": "p.onnx", "every": EVERY, "observation": observation, "action": action}
        graph = composed(tmp_path, keys, {"a": 1, "q": 1}, {"p.onnx": model}, CYCLE_S)
        loop = Cycles(graph)
        got = [loop.run(cycle, [1.0], [q])[0] for cycle, q in enumerate((0.0, 0.6, 0.2, 1.2))]
        assert got == pytest.approx(commands)
        assert loop.run(4, [1.0], [0.9])[0] == pytest.approx(1.0), "anew with each run"
        assert loop.observed[1] == pytest.approx(remembered)


def test_what_stays_cut_is_what_was_applied(tmp_path: Path) -> None:
    limit = {"stiffness": 10.0, "limit": 5.0, "position": "q", "stays_cut": True}
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "observation": [{"input": "a"}],
        "action": {"torque_limit": limit},
    }
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, {"p.onnx": passthrough(1)}, CYCLE_S))
    for cycle in range(EVERY):
        loop.run(cycle, [-3.0], [-3.0])
    assert loop.run(4, [1.0], [0.0], applied=False) == [0.5]
    assert loop.run(5, [1.0], [2.0], applied=False) == [1.5], "not from the run before"
    assert loop.run(6, [1.0], [0.25]) == [0.75]
    assert loop.run(7, [1.0], [1.0]) == [0.75]


def test_while_a_ramp_moves_its_target_nothing_stays_cut(tmp_path: Path) -> None:
    limit = {"stiffness": 10.0, "limit": 100.0, "position": "q", "stays_cut": True}
    start = {"ramp_s": 0.05, "from": "q", "to": 1.0}
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "observation": [{"input": "a"}],
        "action": {"start": start, "offset": 1.0, "torque_limit": limit},
    }
    files = {"p.onnx": passthrough(1)}
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, files, CYCLE_S))
    got = [loop.run(cycle, [0.5], [0.0])[0] for cycle in range(16)]
    assert got == pytest.approx([*np.linspace(0.1, 1, 10), 1, 1, 1.5, 1.5, 1.5, 1.5])


def test_a_start_goes_on_in_each_cycle_and_the_policy_acts_when_it_next_runs(
    tmp_path: Path,
) -> None:
    action = {"start": {"ramp_s": 0.03, "from": "q", "to": 1.2}, "offset": 1.2, "fade_in_s": 0.04}
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "observation": [{"input": "a"}, {"last_action": True}],
        "action": action,
    }
    model = linear(np.array([[1.0], [0.0]], np.float32))
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, {"p.onnx": model}, CYCLE_S))
    got = [loop.run(cycle, [8.0], [0.0])[0] for cycle in range(20)]
    ramp = [0.2 * (cycle + 1) for cycle in range(6)]
    assert got[:8] == pytest.approx([*ramp, 1.2, 1.2]), "it waits at the end of its ramp"
    assert got[8:12] == pytest.approx([1.2 + 4.0] * 4), "half of it"
    assert got[12:] == pytest.approx([1.2 + 8.0] * 8)


def test_a_line_to_the_next_target_begins_at_the_end_of_the_start(tmp_path: Path) -> None:
    action = {"start": {"ramp_s": 0.02, "from": "q", "to": 1.0}}
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "between": "interpolate",
        "observation": [{"input": "a"}],
        "action": action,
    }
    files = {"p.onnx": passthrough(1)}
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, files, CYCLE_S))
    got = [loop.run(cycle, [5.0], [0.0])[0] for cycle in range(8)]
    assert got == pytest.approx([0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 4.0, 5.0])


def test_a_relative_target_adds_to_what_left_before_the_policy_ran(tmp_path: Path) -> None:
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "observation": [{"input": "a"}],
        "action": {"relative": True, "from": "q"},
    }
    files = {"p.onnx": passthrough(1)}
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, files, CYCLE_S))
    last, got = [0.0], []
    for cycle in range(9):
        last = loop.run(cycle, [0.5], [3.0], last=last)
        got += last
        last = [min(last[0], 3.75)]  # the output's limit
    assert got == pytest.approx([3.5] * 4 + [4.0] * 4 + [4.25])


def test_terminations_are_judged_in_each_cycle(tmp_path: Path) -> None:
    limit = {"joint_pos_out_of_limit": {"position": "a", "min": -1, "max": 1}}
    loop = cycles(tmp_path, [{"input": "a"}], terminations=limit)
    for cycle, position in enumerate((0.0, 0.5, 2.0)):
        loop.run(cycle, [position])
        assert bool(terminated_by(loop.graph, loop.core)) == (position > 1)


def test_a_value_that_is_not_finite_is_seen_in_the_cycle_in_which_it_arises(
    tmp_path: Path,
) -> None:
    limit = {"stiffness": 10.0, "limit": 5.0, "position": "q"}
    keys = {
        "model": "p.onnx",
        "every": EVERY,
        "observation": [{"input": "a"}],
        "action": {"torque_limit": limit},
    }
    files = {"p.onnx": passthrough(1)}
    loop = Cycles(composed(tmp_path, keys, {"a": 1, "q": 1}, files, CYCLE_S))
    assert np.isfinite(loop.run(0, [1.0], [0.0]))
    assert np.isfinite(loop.run(1, [np.nan], [0.0])), "the policy did not read it"
    assert np.isnan(loop.run(2, [1.0], [np.nan]))
    loop.core.reset()
    assert np.isnan(loop.run(0, [np.inf], [0.0]))
    assert np.isnan(loop.run(1, [1.0], [0.0])), "and its command stands"


# --- what is refused ---


TEXT = """\
loops:
  l:
    class: soft
    rate_hz: 500
    inputs: {a: {mailbox: [0.0]}}
    policy:
      model: p.onnx
      observation: [{input: a}]
    outputs: {u: {mailbox: true, safe: [0]}}
"""


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("every: 0", "policy.every"),
        ("every: 2.5", "policy.every"),
        ("between: interpolate", "`every` beside it, of 2 cycles or more"),
        ("every: 2\n      between: jump", "policy.between"),
        (
            "every: 2\n      between: interpolate\n      action: {torque_limit: {stiffness: 1, limit: 1, "
            "position: a, stays_cut: true}}",
            "a target that moves in each cycle cannot stay cut",
        ),
    ],
)
def test_rates_that_are_none_are_refused(keys: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    (tmp_path / "l.yaml").write_text(TEXT.replace("      model:", f"      {keys}\n      model:"))
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "l.yaml")
    assert told in str(refused.value)


def test_check_and_show_say_both_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    path = tmp_path / "l.yaml"
    path.write_text(TEXT.replace("      model:", "      every: 10\n      model:"))
    assert main(["policy", "show", str(path)]) == 0
    assert "soft, 500 Hz, the policy 50 Hz" in capsys.readouterr().out
    assert main(["check", str(path)]) == 0
    assert "soft, 500 Hz, the policy 50 Hz, deadline 2 ms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("action: {controllers: [{low_pass: {cutoff_hz: 1}}]}", "policy.action.controllers[0]"),
        (
            "groups: {g: [{complementary: a, rate: a, time_constant_s: 1}]}",
            "policy.groups.g[0]",
        ),
    ],
)
def test_what_remembers_cycles_is_not_verified_by_runs_alone(
    keys: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    path = tmp_path / "l.yaml"
    path.write_text(TEXT.replace("      model:", f"      every: 2\n      {keys}\n      model:"))
    zeros = np.zeros((4, 1), np.float32)
    np.savez(tmp_path / "cases.npz", in_a=zeros, raw=zeros)
    assert main(["policy", "verify", str(path), str(tmp_path / "cases.npz")]) == 2
    told = capsys.readouterr().err
    assert f"loops.l.{place}: found cases of runs of the policy" in told
    np.savez(tmp_path / "cases.npz", in_a=zeros, raw=zeros[:2], every=2)
    assert main(["policy", "verify", str(path), str(tmp_path / "cases.npz")]) == 0
    assert main(["policy", "show", str(path), "--graph", str(tmp_path / "g.onnx")]) == 2
    assert not (tmp_path / "g.onnx").exists()


def test_steps_that_are_not_there_cannot_run_in_each_cycle() -> None:
    with pytest.raises(ValueError, match="step 1 runs in each cycle, but there are 1 steps"):
        _identity(each_cycle=[1])
    with pytest.raises(ValueError, match="in every 0th cycle: 1 or more"):
        _identity(every=0)
    with pytest.raises(ValueError, match="cycles are counted from 0"):
        _identity().run([np.zeros(1, np.float32)], cycle=-1)


def _identity(**keys: Any) -> core.Graph:
    from rtloop.policy.library import onnxruntime_library

    tensors = [("x", "float32", [1]), ("y", "float32", [1])]
    steps = [core.Node("Identity", [0], 1)]
    return core.Graph.of_steps(
        onnxruntime_library(), tensors, {}, steps, [0], 1, [], [], None, **keys
    )
