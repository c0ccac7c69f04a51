"""What one cycle does, in each class, decided on virtual time: every expectation is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop import core
from rtloop.policy.library import onnxruntime_library
from rtloop.telemetry.observe.records import RECORD_DTYPE
from tests.core.conftest import MS, Rig, identity_graph, stall

MakeRig = Callable[..., Rig]
HARD, FIRM, SOFT = core.LoopClass.hard, core.LoopClass.firm, core.LoopClass.soft
EVENT, OUTCOME, STAGE, REASON = core.EVENTS, core.OUTCOMES, core.STAGES, core.FAULT_REASONS


def test_a_cycle_in_time_writes_its_command(make_rig: MakeRig) -> None:
    rig = make_rig()
    records = rig.run(3, value=0.5)
    assert rig.command() == 0.5
    assert list(records["outcome"]) == [OUTCOME["written"]] * 3
    assert not records["events"].any()
    assert list(records["cycle"]) == [0, 1, 2]


def test_the_record_holds_the_time_of_every_stage(make_rig: MakeRig) -> None:
    stalls = [stall("release", 1, 10), stall("read", 1, 20), stall("infer", 1, 40)]
    rig = make_rig(stalls=[*stalls, stall("write", 1, 80)])
    record = rig.run(2)[1]
    release = record["release_ns"]
    assert record["start_ns"] - release == 10
    assert record["read_ns"] - release == 30
    assert record["infer_ns"] - release == 70
    assert record["finish_ns"] - release == 150
    assert record["deadline_ns"] - release == MS
    assert record["events"] == EVENT["injected"]


def test_releases_lie_on_the_grid_however_late_the_wake_up(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.clock.oversleep_ns = 70_000
    records = rig.run(50)
    assert (records["release_ns"] - records["release_ns"][0] == records["cycle"] * MS).all()
    assert (records["start_ns"] - records["release_ns"])[1:].tolist() == [70_000] * 49


def test_a_result_exactly_at_the_deadline_is_in_time(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=HARD, stalls=[stall("infer", 2, MS)])
    records = rig.run(5)
    assert len(records) == 5
    assert not (records["events"] & EVENT["miss"]).any()


def test_a_hard_miss_sends_the_safe_command_at_the_deadline_and_latches(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=HARD, stalls=[stall("infer", 2, 3 * MS)])
    records = rig.run(5)
    assert len(records) == 3
    missed = records[2]
    assert missed["events"] == sum(EVENT[e] for e in ("miss", "guard", "fault", "injected"))
    assert missed["outcome"] == OUTCOME["safe"]
    assert rig.safe_in_force()
    assert rig.command() == -1.0
    status = rig.loop.status()
    assert status["state"] == "fault"
    assert status["fault_reason"] == REASON["deadline_miss"]
    assert status["expired_cycle"] == 2
    assert status["expired_deadline_ns"] == missed["deadline_ns"]
    assert not rig.loop.step(), "FAULT is latched"
    assert len(rig.records()) == 3


def test_a_hard_fault_ends_with_a_new_activation(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=HARD, stalls=[stall("infer", 0, 3 * MS)])
    rig.run(3)
    rig.loop.end()
    assert rig.loop.status()["state"] == "fault"
    rig.start(0.25)
    assert rig.loop.status()["state"] == "active"
    assert rig.loop.status()["fault_reason"] == REASON["none"]
    assert not rig.safe_in_force()


def test_the_guard_acts_on_a_hard_cycle_that_was_never_started(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=HARD)
    rig.start()
    assert rig.loop.step()
    rig.clock.oversleep_ns = 5 * MS  # the loop thread gets no CPU
    assert not rig.loop.step()
    assert rig.safe_in_force()
    assert rig.loop.status()["expired_cycle"] == 1
    assert len(rig.records()) == 1, (
        "no record: the cycle never ran, observers learn it from the status"
    )


def test_a_late_firm_result_is_discarded_and_the_command_held(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=FIRM, stalls=[stall("infer", 1, 2 * MS)])
    rig.start(0.5)
    rig.loop.step()
    rig.put(0.9)
    rig.loop.step()
    assert rig.command() == 0.5
    missed = rig.records()[1]
    assert missed["outcome"] == OUTCOME["held"]
    assert missed["events"] & EVENT["miss"]
    assert missed["events"] & EVENT["guard"]
    rig.loop.step()
    assert rig.command() == pytest.approx(0.9)


def test_a_late_firm_result_can_be_replaced_by_the_default(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=FIRM, default_on_miss=True, stalls=[stall("infer", 1, 2 * MS)])
    records = rig.run(2)
    assert records[1]["outcome"] == OUTCOME["default"]
    assert rig.command() == -2.0


def test_a_late_soft_result_is_written_late(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=SOFT, stalls=[stall("infer", 1, 2 * MS)])
    rig.start(0.5)
    rig.loop.step()
    rig.put(0.75)
    rig.loop.step()
    assert rig.command() == 0.75
    assert rig.records()[1]["outcome"] == OUTCOME["written_late"]
    assert rig.loop.status()["misses"] == 1
    assert rig.loop.status()["state"] == "active"


@pytest.mark.parametrize("loop_class", [HARD, FIRM, SOFT])
def test_a_write_that_crosses_the_deadline_is_a_miss(
    make_rig: MakeRig, loop_class: core.LoopClass
) -> None:
    rig = make_rig(loop_class=loop_class, stalls=[stall("write", 1, MS + 1)])
    record = rig.run(2)[1]
    assert record["events"] & EVENT["miss"]
    assert record["longest_stage"] == STAGE["write"]
    assert record["outcome"] == OUTCOME["written_late"]
    assert rig.sent().tolist() == [1.0, 1.0], "the plant has had it"
    assert bool(record["events"] & EVENT["fault"]) == (loop_class == HARD)
    assert rig.safe_in_force() == (loop_class == HARD), "the safe command followed"


def test_a_fault_after_a_command_was_sent_does_not_unsay_it(make_rig: MakeRig) -> None:
    rig = make_rig(
        loop_class=SOFT,
        max_misses=0,
        window=10,
        fault_on_broken_limit=True,
        stalls=[stall("write", 1, MS + 1)],
    )
    record = rig.run(3, value=0.5)[-1]
    assert record["cycle"] == 1
    assert record["events"] & EVENT["fault"]
    assert record["outcome"] == OUTCOME["written_late"]
    assert rig.sent()[-1] == 0.5
    assert rig.command() == -1.0, "the safe command followed"


def test_a_command_that_left_one_output_of_two_is_not_unsaid_by_a_fault(tmp_path: Path) -> None:
    clock = core.VirtualClock(1_000 * MS)
    config = core.LoopConfig()
    config.name = "two"
    config.loop_class = HARD
    config.period_ns = config.deadline_ns = MS
    config.inputs = [core.InputConfig(0)]
    config.outputs = [core.OutputConfig(i, [], [], [], [-1.0], []) for i in (1, 2)]
    config.stalls = [stall("write", 0, MS + 1)]
    inputs = core.Port("mailbox", {"inputs": 2})
    outputs = [core.Port("mailbox", {"safe": [-1.0]}) for _ in range(2)]
    ring = core.RingWriter(str(tmp_path / "ring"), 64, 1, 2, 2, b"{}")
    loop = core.Loop(config, [inputs, *outputs], identity_graph(2), ring, clock)
    inputs.put(np.array([0.25, 0.5], np.float32), clock.now())
    loop.begin()
    outputs[1].write_safe()  # takes nothing any more
    assert not loop.step()
    raw, _ = core.RingReader(str(tmp_path / "ring")).read(64)
    row = np.ascontiguousarray(raw[0])
    record = row[: core.RECORD_SIZE].view(RECORD_DTYPE)[0]
    assert record["outcome"] == OUTCOME["dropped"]
    assert row.view("<f4")[-2:].tolist() == [0.25, -1.0]
    assert [box.newest()[0][0] for box in outputs] == [-1.0, -1.0]


@pytest.mark.parametrize("stage", ["release", "read", "infer", "write"])
def test_the_cause_of_a_miss_is_its_longest_stage(make_rig: MakeRig, stage: str) -> None:
    others = [stall(s, 1, 1000) for s in ("release", "read", "infer", "write")]
    rig = make_rig(loop_class=SOFT, stalls=[*others, stall(stage, 1, 2 * MS)])
    assert rig.run(2)[1]["longest_stage"] == STAGE[stage]


def test_a_deadline_shorter_than_the_period_is_judged_by_response_time(make_rig: MakeRig) -> None:
    rig = make_rig(deadline_ns=MS // 2, stalls=[stall("infer", 1, MS // 2 + 1)])
    records = rig.run(3)
    assert [bool(e & EVENT["miss"]) for e in records["events"]] == [False, True, False]
    assert rig.loop.status()["skipped"] == 0


def test_a_cycle_that_hangs_is_a_fault_in_every_class(make_rig: MakeRig) -> None:
    for loop_class in (FIRM, SOFT):
        rig = make_rig(
            loop_class=loop_class, hang_limit_ns=20 * MS, stalls=[stall("infer", 3, 50 * MS)]
        )
        records = rig.run(10)
        assert len(records) == 4
        assert rig.loop.status()["fault_reason"] == REASON["hang"]
        assert records[3]["outcome"] == OUTCOME["safe"]
        assert rig.safe_in_force()


def test_a_second_hang_is_seen_in_the_same_cycle_of_the_next_activation(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(hang_limit_ns=20 * MS, stalls=[stall("infer", 3, 50 * MS)])
    for _ in range(2):
        rig.start()
        assert [rig.loop.step() for _ in range(4)] == [True, True, True, False]
        assert rig.loop.status()["fault_reason"] == REASON["hang"]
        assert rig.safe_in_force()
        rig.loop.end()


def test_a_mailbox_does_not_show_the_command_of_the_activation_before(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.run(1, value=0.5)
    assert rig.command() == 0.5
    rig.loop.end()
    rig.loop.begin()
    assert rig.command() == -1.0
    assert rig.output.newest()[1] == -1
    rig.loop.step()
    assert rig.command() == 0.5


def test_misses_within_the_limit_go_on_and_one_more_is_a_fault(make_rig: MakeRig) -> None:
    rig = make_rig(
        max_misses=2,
        window=10,
        fault_on_broken_limit=True,
        deadline_ns=MS // 2,  # late, and no release skipped
        stalls=[stall("infer", 3, MS // 2 + 1, every=3)],
    )
    records = rig.run(40)
    missed = records["events"] & EVENT["miss"] != 0
    assert missed.sum() == 3
    assert records[-1]["events"] & EVENT["limit_broken"]
    assert records[-1]["window_misses"] == 3
    assert rig.loop.status()["fault_reason"] == REASON["limit_broken"]


def test_old_misses_leave_the_window(make_rig: MakeRig) -> None:
    rig = make_rig(
        max_misses=2,
        window=5,
        fault_on_broken_limit=True,
        stalls=[stall("infer", 3, MS + 1, every=5)],  # and the release after it is skipped
    )
    records = rig.run(400)
    assert len(records) == 400
    assert records["window_misses"].max() == 2


def test_a_limit_on_jobs_lost_in_a_row(make_rig: MakeRig) -> None:
    rig = make_rig(
        max_misses=100,
        window=200,
        max_consecutive=4,
        fault_on_broken_limit=True,
        stalls=[stall("infer", c, MS + 1) for c in (1, 3, 10, 12, 14)],
    )
    # Each miss also skips a release: 1 to 4, and 10 to 14, are lost in a row.
    records = rig.run(40)
    assert records[-1]["cycle"] == 14
    assert records[-1]["consecutive_misses"] == 5


def test_one_long_cycle_is_as_many_lost_jobs_as_it_covers_releases(make_rig: MakeRig) -> None:
    rig = make_rig(
        max_misses=100,
        window=1000,
        max_consecutive=2,
        fault_on_broken_limit=True,
        stalls=[stall("infer", 5, 40 * MS)],
    )
    rig.run(20)
    last = rig.records()[-1]
    assert last["cycle"] == 5
    assert last["events"] & EVENT["limit_broken"]
    assert last["outcome"] == OUTCOME["safe"], "no command of the cycle that comes too late"
    status = rig.loop.status()
    assert status["fault_reason"] == REASON["limit_broken"]
    assert (status["misses"], status["skipped"]) == (1, 39), "counted apart"


def test_a_limit_that_only_warns_is_broken_by_the_releases_that_were_skipped(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(
        max_misses=100, window=1000, max_consecutive=2, stalls=[stall("infer", 5, 40 * MS)]
    )
    late, next_one = rig.run(7)[-2:]
    assert (late["consecutive_misses"], late["events"] & EVENT["limit_broken"]) == (1, 0)
    assert (next_one["cycle"], next_one["skipped"]) == (45, 39)
    assert next_one["events"] & EVENT["limit_broken"]
    assert not next_one["events"] & EVENT["miss"]


@pytest.mark.parametrize("loop_class", [core.LoopClass.firm, core.LoopClass.soft])
@pytest.mark.parametrize(
    ("limit", "before", "periods"),
    [
        ({"max_misses": 100, "window": 1000, "max_consecutive": 2}, [], 2),
        ({"max_misses": 3, "window": 1000}, [], 3),
        ({"max_misses": 3, "window": 1000}, [6], 1),  # a miss, and a release skipped after it
        ({"max_misses": 3, "window": 5}, [2], 3),  # which have left the window again
        ({"max_misses": 100, "window": 1000, "max_consecutive": 2}, [8], 1),
        ({"max_misses": 0, "window": 1000}, [], 1),
    ],
)
def test_the_guard_sees_the_limit_break_while_the_cycle_still_runs(
    make_rig: MakeRig,
    loop_class: core.LoopClass,
    limit: dict[str, int],
    before: list[int],
    periods: int,
) -> None:
    def rig_of(running_ns: int) -> Rig:
        rig = make_rig(
            loop_class=loop_class,
            fault_on_broken_limit=True,
            stalls=[stall("infer", cycle, MS + 1) for cycle in before]
            + [stall("infer", 10, running_ns)],
            **limit,
        )
        rig.run(14)
        return rig

    assert rig_of(periods * MS).loop.status()["state"] == "active"
    rig = rig_of(periods * MS + 1)
    status = rig.loop.status()
    assert status["fault_reason"] == REASON["limit_broken"]
    assert status["expired_outcome"] == OUTCOME["safe"], "sent by the guard, not by the loop"
    last = rig.records()[-1]
    assert last["cycle"] == 10
    assert last["events"] & EVENT["limit_broken"]
    assert last["outcome"] == OUTCOME["safe"]
    assert rig.safe_in_force()


def test_where_the_grid_slips_one_long_cycle_is_one_lost_job(make_rig: MakeRig) -> None:
    rig = make_rig(
        max_misses=100,
        window=1000,
        max_consecutive=2,
        fault_on_broken_limit=True,
        on_overrun=core.Overrun.slip,
        stalls=[stall("infer", 5, 40 * MS)],
    )
    rig.run(10)
    assert rig.loop.status()["state"] == "active"


@pytest.mark.parametrize("overrun", ["skip", "catch_up"])
@pytest.mark.parametrize("seed", range(20))
def test_the_guard_breaks_the_limit_where_the_count_of_lost_jobs_does(
    make_rig: MakeRig, seed: int, overrun: str
) -> None:
    random = np.random.default_rng(seed)
    durations = [MS // 2, MS + 1, 2 * MS, 3 * MS + 1, 9 * MS]
    same: dict[str, Any] = {
        "max_misses": 6,
        "window": 20,
        "max_consecutive": int(random.integers(3, 6)),
        "on_overrun": core.Overrun[overrun],
        "max_catch_up": 2,
        "stalls": [
            stall("infer", int(cycle), int(random.choice(durations)))
            for cycle in np.flatnonzero(random.random(70) < 0.1)
        ]
        + [stall("infer", 75, 9 * MS)],
    }
    records = make_rig(**same).run(90)
    broken = int(np.flatnonzero(records["events"] & EVENT["limit_broken"])[0])
    first = records[broken]
    met = set(records["cycle"][records["events"] & EVENT["miss"] == 0].tolist())
    jobs = [cycle not in met for cycle in range(int(first["cycle"]))]  # lost, before it
    in_a_row = next((i for i, lost in enumerate(reversed(jobs)) if not lost), len(jobs))
    # Then it was broken while the cycle before it still ran.
    by_skipped = in_a_row > same["max_consecutive"] or sum(jobs[-20:]) > 6
    ended = make_rig(fault_on_broken_limit=True, **same).run(90)[-1]
    assert ended["cycle"] == records["cycle"][broken - by_skipped]
    assert ended["events"] & EVENT["limit_broken"]


@pytest.mark.parametrize("seed", range(12))
def test_the_limit_agrees_with_a_count_of_every_job_by_hand(make_rig: MakeRig, seed: int) -> None:
    random = np.random.default_rng(seed)
    window, max_consecutive = int(random.integers(2, 12)), int(random.integers(0, 5))
    max_misses = int(random.integers(0, window))
    overrun = [core.Overrun.skip, core.Overrun.catch_up][seed % 2]
    stalls = [
        stall("infer", int(cycle), int(random.choice([MS // 2, MS + 1, 3 * MS, 9 * MS])))
        for cycle in np.flatnonzero(random.random(300) < 0.2)
    ]
    rig = make_rig(
        max_misses=max_misses,
        window=window,
        max_consecutive=max_consecutive,
        on_overrun=overrun,
        max_catch_up=3,
        deadline_ns=MS * 3 // 4,
        stalls=stalls,
    )
    jobs: list[bool] = []  # lost, of every release from the first one on
    for record in rig.run(250):
        broken = False
        missed = bool(record["events"] & EVENT["miss"])
        for lost in [True] * int(record["skipped"]) + [missed]:
            jobs.append(lost)
            in_a_row = next((i for i, job in enumerate(reversed(jobs)) if not job), len(jobs))
            too_long = 0 < max_consecutive < in_a_row
            broken |= lost and (too_long or sum(jobs[-window:]) > max_misses)
        assert len(jobs) == record["cycle"] + 1
        assert record["consecutive_misses"] == in_a_row
        assert record["window_misses"] == sum(jobs[-window:])
        assert bool(record["events"] & EVENT["limit_broken"]) == broken
    assert sum(jobs) > 20
    status = rig.loop.status()
    assert status["misses"] + status["skipped"] >= sum(jobs)


def test_a_broken_limit_may_be_a_warning(make_rig: MakeRig) -> None:
    rig = make_rig(max_misses=0, window=10, stalls=[stall("infer", 1, MS + 1)])
    records = rig.run(5)
    assert len(records) == 5
    assert records[1]["events"] & EVENT["limit_broken"]
    assert rig.loop.status()["state"] == "active"


def test_a_stale_input_is_held_counted_and_no_miss(make_rig: MakeRig) -> None:
    rig = make_rig(inputs=[core.InputConfig(0, 2 * MS, core.OnStale.hold)])
    records = rig.run(6, value=0.5)
    stale = records["events"] & EVENT["stale_input"] != 0
    assert stale.tolist() == [False, False, False, True, True, True]
    assert records["outcome"][-1] == OUTCOME["held"]
    assert records["input_age_ns"].tolist() == [i * MS for i in range(6)]
    assert rig.loop.status()["misses"] == 0
    assert rig.command() == 0.5


def test_a_stale_input_may_be_a_fault(make_rig: MakeRig) -> None:
    rig = make_rig(inputs=[core.InputConfig(0, 2 * MS, core.OnStale.fault)])
    records = rig.run(10)
    assert len(records) == 4
    assert rig.loop.status()["fault_reason"] == REASON["stale_input"]
    assert rig.command() == -1.0


def test_a_stale_input_may_be_used(make_rig: MakeRig) -> None:
    rig = make_rig(inputs=[core.InputConfig(0, 2 * MS, core.OnStale.use)])
    records = rig.run(10)
    assert records[-1]["outcome"] == OUTCOME["written"]
    assert records[-1]["events"] & EVENT["stale_input"]


def test_an_input_that_never_arrived_is_never_used(make_rig: MakeRig) -> None:
    rig = make_rig(inputs=[core.InputConfig(0, 0, core.OnStale.use)])
    records = rig.run(3, value=None)
    assert (records["input_age_ns"] == -1).all()
    assert (records["outcome"] == OUTCOME["held"]).all()
    assert rig.command() == -1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_non_finite_command_is_never_written(make_rig: MakeRig, value: float) -> None:
    rig = make_rig()
    rig.start(0.5)
    rig.loop.step()
    rig.put(value)
    rig.loop.step()
    assert rig.command() == -1.0
    record = rig.records()[-1]
    assert record["events"] & EVENT["non_finite"]
    assert rig.loop.status()["fault_reason"] == REASON["non_finite"]


def test_a_command_is_clamped_and_slewed_by_the_nominal_period(make_rig: MakeRig) -> None:
    output = core.OutputConfig(1, [-5.0], [5.0], [1000.0], [0.0], [0.0])
    rig = make_rig(outputs=[output])
    rig.start(100.0)
    commands = []
    for _ in range(7):
        rig.loop.step()
        commands.append(rig.command())
    assert commands == [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0]
    events = rig.records()["events"]
    assert (events & EVENT["clamped"] != 0).all()
    assert (events & EVENT["slew_limited"] != 0).tolist() == [True] * 4 + [False] * 3


def test_an_output_at_the_deadline_leaves_so_that_it_is_out_at_the_deadline(
    make_rig: MakeRig,
) -> None:
    lead_ns = core.output_lead_ns(MS, MS // 2)
    assert 0 < lead_ns <= 200_000
    rig = make_rig(output_at_deadline=True, deadline_ns=MS // 2, stalls=[stall("infer", 1, 100)])
    rig.start()
    for _ in range(3):
        rig.loop.step()
        record = rig.records()[-1]
        assert rig.output.newest()[1] == record["deadline_ns"] - lead_ns
        assert record["finish_ns"] == record["deadline_ns"] - lead_ns, "when it was written"
        assert record["outcome"] == OUTCOME["written"]
    assert not (rig.records()["events"] & EVENT["miss"]).any()


def test_an_output_at_the_deadline_can_miss_it_too(make_rig: MakeRig) -> None:
    rig = make_rig(
        loop_class=SOFT,
        output_at_deadline=True,
        deadline_ns=MS // 2,
        stalls=[stall("infer", 1, MS // 2 + 1)],
    )
    records = rig.run(3)
    assert records["outcome"].tolist() == [
        OUTCOME["written"],
        OUTCOME["written_late"],
        OUTCOME["written"],
    ]


@pytest.mark.parametrize("loop_class", [HARD, FIRM, SOFT])
def test_a_command_that_waited_too_long_for_its_deadline_is_a_miss_with_its_real_time(
    make_rig: MakeRig, loop_class: core.LoopClass
) -> None:
    rig = make_rig(
        loop_class=loop_class,
        output_at_deadline=True,
        deadline_ns=MS // 2,
        hang_limit_ns=1_000 * MS,
    )
    # The first release is now: only the wait for d oversleeps, as in a process that is stopped there.
    rig.clock.oversleep_ns = 300 * MS
    record = rig.run(1, value=0.5)[0]
    assert record["events"] & EVENT["miss"]
    assert record["events"] & EVENT["guard"], "the guard was on duty while the command waited"
    assert record["longest_stage"] == STAGE["release"], "woken up late"
    assert record["finish_ns"] - record["deadline_ns"] >= 299 * MS
    expected = {HARD: ("safe", -1.0), FIRM: ("held", -1.0), SOFT: ("written_late", 0.5)}
    outcome, command = expected[loop_class]
    assert record["outcome"] == OUTCOME[outcome]
    assert rig.command() == command
    assert rig.loop.status()["expired_cycle"] == 0
    assert rig.loop.status()["misses"] == 1


def test_an_output_at_the_deadline_keeps_the_rate(make_rig: MakeRig) -> None:
    most_ns = MS - core.output_lead_ns(MS, MS)
    rig = make_rig(output_at_deadline=True, deadline_ns=most_ns)
    rig.clock.oversleep_ns = core.output_lead_ns(MS, MS)
    records = rig.run(20)
    assert not records["skipped"].any()
    assert not (records["events"] & EVENT["miss"]).any()


@pytest.mark.parametrize("deadline_ns", [MS, MS - core.output_lead_ns(MS, MS) + 1])
def test_an_output_at_the_end_of_the_period_is_refused(make_rig: MakeRig, deadline_ns: int) -> None:
    with pytest.raises(ValueError, match="a deadline before the end of the period"):
        make_rig(output_at_deadline=True, deadline_ns=deadline_ns)


def test_a_budget_overrun_is_an_event_of_its_own(make_rig: MakeRig) -> None:
    rig = make_rig(budget_ns=1000, stalls=[stall("infer", 1, 1001)])
    records = rig.run(3)
    assert records["cpu_ns"].tolist() == [0, 1001, 0]
    overrun = records["events"] & EVENT["budget_overrun"] != 0
    assert overrun.tolist() == [False, True, False]
    assert not (records["events"] & EVENT["miss"]).any()


def test_the_end_of_a_loop_sends_the_safe_command(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.run(3)
    rig.loop.end()
    assert rig.command() == -1.0
    assert rig.loop.status()["state"] == "inactive"


def test_parts_that_do_not_fit_are_refused(make_rig: MakeRig) -> None:
    with pytest.raises(ValueError, match="safe has 2 elements, the output has 1"):
        make_rig(outputs=[core.OutputConfig(1, safe=[0.0, 0.0])])
    with pytest.raises(ValueError, match="the graph takes 1 inputs"):
        make_rig(inputs=[])


def counting_graph() -> core.Graph:
    """Commands x + 1000 * (runs before) + the last action, whose raw output is x."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1, 1], [1.0])
    thousand = helper.make_tensor("thousand", TensorProto.FLOAT, [1, 1], [1000.0])
    vector = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])
        for name in ("x", "runs", "last", "y", "runs_next", "last_next")
    }
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["x"], ["last_next"]),
            helper.make_node("Add", ["runs", "one"], ["runs_next"]),
            helper.make_node("Mul", ["runs", "thousand"], ["thousands"]),
            helper.make_node("Add", ["thousands", "last"], ["remembered"]),
            helper.make_node("Add", ["remembered", "x"], ["y"]),
        ],
        "counting",
        [vector[name] for name in ("x", "runs", "last")],
        [vector[name] for name in ("y", "runs_next", "last_next")],
        [one, thousand],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return core.Graph(
        onnxruntime_library(),
        model.SerializeToString(),
        [("x", [1, 1])],
        ("y", [1, 1]),
        [("runs", ("runs_next", [1, 1])), ("last", ("last_next", [1, 1]))],
        of_applied=["last"],
    )


def test_the_last_action_follows_what_was_applied_and_state_what_was_observed(
    make_rig: MakeRig,
) -> None:
    stalls = [stall("infer", 1, MS // 2 + 1), stall("infer", 2, MS // 2 + 1)]
    for loop_class, last in ((FIRM, 1.0), (SOFT, 3.0)):
        rig = make_rig(
            loop_class=loop_class, deadline_ns=MS // 2, stalls=stalls, graph=counting_graph()
        )
        rig.start(1.0)
        for value in (2.0, 3.0, 4.0):
            rig.loop.step()
            rig.put(value)
        rig.loop.step()
        assert rig.command() == 3000.0 + last + 4.0, "the late results of 2 and 3 were discarded"


def test_a_command_that_no_output_took_does_not_become_the_last_action(make_rig: MakeRig) -> None:
    graph = counting_graph()
    rig = make_rig(graph=graph)
    rig.start(1.0)
    rig.loop.step()
    rig.put(2.0)
    rig.output.write_safe()
    rig.loop.step()
    assert rig.records()[1]["outcome"] == OUTCOME["dropped"]
    assert graph.state()["last"].item() == 1.0
    assert graph.state()["runs"].item() == 2.0
