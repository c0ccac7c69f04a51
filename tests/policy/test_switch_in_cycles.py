"""A switch between policies in a loop on virtual time: who acts, from when, and what is commanded meanwhile."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from rtloop import core
from rtloop.policy.runner import runner
from tests.core.conftest import MS, read_records, stall
from tests.policy.models import linear, save
from tests.policy.terms.harness import composed

OUTCOME, EVENT = core.OUTCOMES, core.EVENTS
SAFE, DEFAULT = (-1.0, 2.0), (0.5, -0.5)
BLEND = 8
EVERY = 3
#: stand: 0 → walk; walk: 1 → stand, jump; jump: 2 → walk.
FOLLOWING = [[1], [0, 2], [1]]
Floats = npt.NDArray[np.float32]


def vec(values: npt.ArrayLike) -> Floats:
    return np.array(values, np.float32)


def summing() -> bytes:
    """obs [1, 2], h_in [1, 2] → action, h_out: the sum of all that it has observed."""
    values = [1, 2]
    return save(
        [
            helper.make_node("Add", ["obs", "h_in"], ["h_out"]),
            helper.make_node("Identity", ["h_out"], ["action"]),
        ],
        [("obs", TensorProto.FLOAT, values), ("h_in", TensorProto.FLOAT, values)],
        [("action", TensorProto.FLOAT, values), ("h_out", TensorProto.FLOAT, values)],
        {},
    )


SEEN: Mapping[str, Any] = {"model": "sum.onnx", "observation": [{"input": "seen"}]}
POLICIES: dict[str, Mapping[str, Any]] = {
    "stand": {**SEEN, "model": "gain.onnx"},
    "walk": {**SEEN, "state": {"h_in": "h_out"}},
    "jump": {**SEEN, "model": "gain.onnx", "every": EVERY, "action": {"scale": -1.0}},
}


class Rig:
    """A loop at 1 kHz of two inputs, what is seen and the selector, and a command of two elements."""

    def __init__(
        self,
        folder: Path,
        sections: Sequence[Mapping[str, Any]] = tuple(POLICIES.values()),
        following: Sequence[Sequence[int]] = tuple(FOLLOWING),
        blend_cycles: int = BLEND,
        **changes: Any,
    ) -> None:
        files = {"gain.onnx": linear(np.eye(2, dtype=np.float32)), "sum.onnx": summing()}
        inputs = {"seen": 2, "mode": 1}
        period_s = Fraction(1, 1000)
        self.graphs = [runner(composed(folder, s, inputs, files, period_s)) for s in sections]
        self.switch = core.Switch(self.graphs, 1, 0, blend_cycles, following)
        config = core.LoopConfig()
        config.name = "rig"
        config.period_ns = config.deadline_ns = MS
        config.inputs = [core.InputConfig(0), core.InputConfig(1)]
        config.outputs = [core.OutputConfig(2, safe=list(SAFE), default_value=list(DEFAULT))]
        for name, value in changes.items():
            assert hasattr(config, name), name
            setattr(config, name, value)
        self.clock = core.VirtualClock(1_000 * MS)
        self.ports = [core.Port("mailbox", {"inputs": n}) for n in (2, 1)]
        self.ports.append(core.Port("mailbox", {"safe": list(SAFE)}))
        self.path = str(folder / "ring")
        self.ring = core.RingWriter(self.path, 4096, 2, 3, 2, b"{}")
        self.loop = core.Loop(config, self.ports, self.switch, self.ring, self.clock)

    def put(self, seen: Sequence[float], mode: float) -> None:
        for port, values in zip(self.ports, (seen, [mode]), strict=False):
            port.put(np.array(values, np.float32), self.clock.now())

    def run(self, rows: Sequence[tuple[Sequence[float], float]]) -> npt.NDArray[Any]:
        """A cycle for each row (what is seen, selector), from a new activation; the records."""
        self.put(*rows[0])
        self.loop.begin()
        for row in rows:
            self.put(*row)
            if not self.loop.step():
                break
        return self.records()

    def records(self) -> npt.NDArray[Any]:
        return read_records(self.path)

    def vectors(self) -> tuple[Floats, Floats]:
        """What was read, [n, 3], and what stood at the outputs, [n, 2]."""
        raw, _ = core.RingReader(self.path).read(1 << 20)
        values = raw[:, core.RECORD_SIZE + 2 * core.INPUT_RECORD_SIZE :]
        floats = np.ascontiguousarray(values).view("<f4")
        return floats[:, :3], floats[:, 3:5]


def expected(records: npt.NDArray[Any], read: Floats) -> tuple[list[Floats], list[int]]:
    """What stands after each of these cycles, and the policy that acts in it."""
    sent, acting, entered, is_entered, has_left = vec(SAFE), 0, 0, False, False
    total = begin = held = vec((0, 0))
    period = -1
    stood, acted = [], []
    for record, (*seen, mode) in zip(records, read, strict=True):
        cycle = int(record["cycle"])
        if mode in FOLLOWING[acting]:
            acting, entered, is_entered, has_left = int(mode), cycle, True, False
            total, period = vec((0, 0)), -1
        total = total + vec(seen)
        if (cycle - entered) // EVERY != period:
            period, held = (cycle - entered) // EVERY, -vec(seen)
        command = [vec(seen), total, held][acting]
        begin = begin if has_left else sent
        share = np.float32(min(1, (cycle - entered + 1) / BLEND))
        if is_entered and share < 1:
            command = begin + share * (command - begin)
        if record["outcome"] in (OUTCOME["written"], OUTCOME["written_late"]):
            sent, has_left = command, True
        elif record["outcome"] == OUTCOME["default"]:
            sent = vec(DEFAULT)
        stood.append(sent)
        acted.append(acting)
    return stood, acted


number = st.floats(-10, 10, width=32)
selector = st.sampled_from([0, 0, 1, 1, 2, 2, 0.5, -1, 3, 1e30, math.nan, math.inf])
#: A selector stays for a while: blends end, or are cut short.
phases = st.lists(st.tuples(selector, st.integers(1, 14)), min_size=1, max_size=8)
late = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 5 * MS)), max_size=8)


@settings(max_examples=120, deadline=None)
@given(
    phases=phases,
    late=late,
    kind=st.sampled_from(["hold", "default", "soft"]),
    chance=st.integers(0, 1 << 30),
)
@example([(0, 3), (1, 12), (2, 12)], [(3, MS), (4, 4 * MS)], "default", 1)
@example([(1, 9), (0, 2), (1, 20)], [(0, MS)], "hold", 2)
def test_what_stands_is_what_the_model_says_whatever_is_selected_late_or_skipped(
    phases: list[tuple[float, int]], late: list[tuple[int, int]], kind: str, chance: int
) -> None:
    modes = [mode for mode, n in phases for _ in range(n)]
    seen = np.random.default_rng(chance).uniform(-10, 10, (len(modes), 2))
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(
            Path(folder),
            loop_class=core.LoopClass.soft if kind == "soft" else core.LoopClass.firm,
            default_on_miss=kind == "default",
            stalls=[stall("infer", cycle, ns) for cycle, ns in dict(late).items()],
        )
        records = rig.run([(row.tolist(), mode) for row, mode in zip(seen, modes, strict=True)])
        read, sent = rig.vectors()
        status = rig.loop.status()
    stood, acted = expected(records, read)
    np.testing.assert_allclose(sent, stood, rtol=1e-5, atol=1e-5)
    assert len(records) == len(modes), "no fault, whatever the selector was"
    assert status["elapsed_periods"] == status["executed"] + status["skipped"]
    switched = (records["events"] & EVENT["switched"]) != 0
    assert switched.tolist() == (np.diff(acted, prepend=0) != 0).tolist()
    refused = (records["events"] & EVENT["switch_refused"]) != 0
    assert refused.tolist() == (read[:, 2] != acted).tolist()


@settings(max_examples=60, deadline=None)
@given(
    targets=st.lists(number, min_size=6, max_size=6),
    modes=st.lists(st.sampled_from([0, 1, 2]), min_size=20, max_size=60),
    late=late,
)
def test_the_command_never_jumps_further_than_the_blend_allows(
    targets: list[float], modes: list[float], late: list[tuple[int, int]]
) -> None:
    """Between constant poses: in each period by the part of the way that the blend takes in it."""
    poses = [targets[i : i + 2] for i in (0, 2, 4)]
    sections = [{**POLICIES["stand"], "action": {"scale": 0.0, "offset": pose}} for pose in poses]
    everywhere = [[1, 2], [0, 2], [0, 1]]
    with tempfile.TemporaryDirectory() as folder:
        stalls = [stall("infer", cycle, ns) for cycle, ns in dict(late).items()]
        rig = Rig(Path(folder), sections, everywhere, loop_class=core.LoopClass.firm, stalls=stalls)
        # From a pose that was sent: before that the safe command stands, which nothing is blended from.
        records = rig.run([((0, 0), 0)] * 2 + [((0, 0), mode) for mode in modes])
        _, sent = rig.vectors()
    began = int(np.argmax(records["outcome"] == OUTCOME["written"]))
    reach = np.ptp(vec([*poses, *sent[: began + 1]]), axis=0)
    cycles = np.diff(records["cycle"][began:])
    lost = 0  # cycles since something left: it goes on by all of their parts
    for step, n, outcome in zip(
        np.abs(np.diff(sent[began:], axis=0)), cycles, records["outcome"][began + 1 :], strict=True
    ):
        lost += int(n)
        assert (step <= reach * min(1, lost / BLEND) + 1e-5).all()
        lost = 0 if outcome == OUTCOME["written"] else lost


def test_without_a_blend_a_policy_commands_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path, blend_cycles=0)
    rig.run([((1, 2), 0), ((1, 2), 1), ((1, 2), 2)])
    assert rig.vectors()[1].tolist() == [[1, 2], [1, 2], [-1, -2]]


def test_only_the_policy_that_acts_runs_and_each_begins_anew(tmp_path: Path) -> None:
    """Their states are sums of what they have observed: each counts its own cycles, since it took over."""
    counting = {**SEEN, "state": {"h_in": "h_out"}}
    rig = Rig(tmp_path, [counting] * 3, [[1, 2], [0, 2], [0, 1]], 0)
    modes = [0] * 3 + [1] * 4 + [0] * 2 + [1] * 1 + [2] * 5
    rig.run([((1, 1), mode) for mode in modes])
    states = [next(iter(graph.state().values()))[0, 0] for graph in rig.graphs]
    assert states == [2, 1, 5]
    assert rig.vectors()[1][:, 0].tolist() == [1, 2, 3, 1, 2, 3, 4, 1, 2, 1, 1, 2, 3, 4, 5]


def test_the_policy_of_several_cycles_is_due_in_the_one_in_which_it_takes_over(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, following=[[2], [2], [0]], blend_cycles=0)
    rows = [((float(k), 0.0), 0.0 if k < 4 else 2.0) for k in range(12)]
    records = rig.run(rows)
    ran = records["cycle"][(records["events"] & EVENT["policy"]) != 0]
    # Those of the policy before, which ran in each cycle, are told beside them.
    assert ran.tolist() == [0, 1, 2, 3, 4, 7, 10]
    assert rig.vectors()[1][4:, 0].tolist() == [-4, -4, -4, -7, -7, -7, -10, -10]


def test_what_left_last_is_known_to_the_policy_that_takes_over(tmp_path: Path) -> None:
    """Of a relative action: it adds to the target that stands, however that came about."""
    relative = {**POLICIES["stand"], "action": {"relative": True, "from": "seen", "scale": 0.0}}
    rig = Rig(tmp_path, [POLICIES["stand"], relative], [[1], [0]], 0)
    rig.run([((3, 4), 0), ((7, 8), 1), ((9, 9), 1)])
    first, second, third = rig.vectors()[1].tolist()
    assert first == [3, 4]
    assert second == third, "it stands still"


@pytest.mark.parametrize("asked", [math.nan, math.inf, -math.inf, 0.5, -1.0, 3.0, 2.0, 1e30])
def test_what_is_no_policy_that_may_follow_changes_nothing_and_is_counted(
    tmp_path: Path, asked: float
) -> None:
    rig = Rig(tmp_path)
    records = rig.run([((1, 1), 0)] * 2 + [((1, 1), asked)] * 3 + [((1, 1), 0)])
    refused = (records["events"] & EVENT["switch_refused"]) != 0
    assert refused.tolist() == [False, False, True, True, True, False]
    assert rig.vectors()[1].tolist() == [[1, 1]] * 6
    assert not (records["events"] & (EVENT["switched"] | EVENT["fault"])).any()


def test_a_switch_in_a_late_cycle_is_not_lost(tmp_path: Path) -> None:
    """Nothing of it left: the blend starts from what stands then, where the grid has got to."""
    rig = Rig(
        tmp_path,
        blend_cycles=4,
        loop_class=core.LoopClass.firm,
        default_on_miss=True,
        stalls=[stall("infer", 2, MS // 2 + MS // 4), stall("infer", 3, MS + 1)],
        deadline_ns=MS // 2,
    )
    records = rig.run([((0, 0), 0)] * 2 + [((8, 8), 1)] * 3)
    assert records["cycle"].tolist() == [0, 1, 2, 3, 5]
    assert [(int(e) & EVENT["switched"]) != 0 for e in records["events"]] == [0, 0, 1, 0, 0]
    assert rig.vectors()[1][2:4].tolist() == [list(DEFAULT)] * 2
    assert rig.vectors()[1][4].tolist() == [24, 24], "the fourth cycle of four: all of its own"


def test_terminations_are_those_of_the_policy_that_acts(tmp_path: Path) -> None:
    within = {"joint_pos_out_of_limit": {"position": "seen", "min": -0.5, "max": 0.5}}
    guarded = {**POLICIES["stand"], "terminations": within}
    rig = Rig(tmp_path, [POLICIES["stand"], guarded], [[1], [0]], 0)
    records = rig.run([((1, 0), 0)] * 3 + [((1, 0), 1)] * 3)
    assert records["cycle"].tolist() == [0, 1, 2, 3]
    assert rig.loop.status()["fault_reason"] == core.FAULT_REASONS["terminated"]
    assert records["events"][3] & EVENT["switched"]
    assert rig.switch.acting == 1


def test_a_new_activation_begins_with_the_first_policy(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run([((1, 1), 0), ((1, 1), 1)])
    rig.loop.end()
    assert rig.switch.acting == 1
    rig.put((5, 5), 0)
    rig.loop.begin()
    assert rig.switch.acting == 0
    assert rig.loop.step()
    assert rig.vectors()[1][-1].tolist() == [5, 5], "no blend: nothing was taken over from"


def test_warming_up_takes_all_policies_and_tells_the_time_of_the_slowest(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.switch.run([vec((1, 1)), vec([1])], cycle=0)
    _, run_ns = rig.switch.warm_up(20)
    assert len(run_ns) == 20
    assert rig.switch.acting == 0
    assert not next(iter(rig.graphs[1].state().values())).any()


def slow() -> bytes:
    """obs [1, 2] → action [1, 2], by way of 20 layers of 256."""
    names = ["obs", *(f"x{layer}" for layer in range(20)), "action"]
    sizes = [2, *[256] * 20, 2]
    weights = {
        f"w{layer}": np.zeros(shape, np.float32) for layer, shape in enumerate(pairwise(sizes))
    }
    nodes = [
        helper.make_node("MatMul", [names[layer], f"w{layer}"], [names[layer + 1]])
        for layer in range(21)
    ]
    side = [("obs", TensorProto.FLOAT, [1, 2])], [("action", TensorProto.FLOAT, [1, 2])]
    return save(nodes, *side, weights)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_time_of_the_slowest_is_told_wherever_it_stands(tmp_path: Path, place: int) -> None:
    """By which a run is refused: a hundred times the work is more than three times the time."""
    (tmp_path / "slow.onnx").write_bytes(slow())
    sections = [POLICIES["stand"]] * 3
    sections[place] = {**SEEN, "model": "slow.onnx"}
    rig = Rig(tmp_path, sections)
    _, quick_ns = rig.graphs[(place + 1) % 3].warm_up(50)
    _, run_ns = rig.switch.warm_up(50)
    assert np.median(run_ns) > 3 * np.median(quick_ns)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"blend": -1}, "no negative number"),
        ({"input": 2}, "no element of an input"),
        ({"element": 1}, "no element of an input"),
        ({"following": [[1]]}, "of each policy"),
        ({"following": [[1], [2]]}, "a policy that there is not"),
        ({"n": 1}, "two policies or more"),
    ],
)
def test_what_is_no_switch_is_refused(
    tmp_path: Path, changes: Mapping[str, Any], told: str
) -> None:
    graphs = Rig(tmp_path).graphs[: changes.get("n", 2)]
    with pytest.raises(ValueError, match=told):
        core.Switch(
            graphs,
            changes.get("input", 1),
            changes.get("element", 0),
            changes.get("blend", 4),
            changes.get("following", [[1], [0]]),
        )


def test_policies_between_other_vectors_are_refused(tmp_path: Path) -> None:
    inputs = {"seen": 2, "mode": 1}
    files = {"one.onnx": linear(np.ones((2, 1), np.float32))}
    other = runner(composed(tmp_path, {**SEEN, "model": "one.onnx"}, inputs, files))
    graphs = Rig(tmp_path).graphs
    with pytest.raises(ValueError, match="policy 1 has other inputs, or a command of another size"):
        core.Switch([graphs[0], other], 1, 0, 4, [[1], [0]])
    with pytest.raises(ValueError, match="or is there twice"):
        core.Switch([graphs[0], graphs[0]], 1, 0, 4, [[1], [0]])
