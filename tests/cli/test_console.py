"""What a person reads at the end, and that the console knows no plant."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtloop import core
from rtloop.cli.console import Console
from rtloop.cli.terminal import Terminal
from rtloop.demos import Demo
from rtloop.demos.cartpole.demo import CartpoleDemo
from rtloop.realtime.rights import RightReport
from rtloop.run import exit_code
from rtloop.telemetry.observe.devices import DeviceSummary
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import RunSummary
from tests.telemetry.loops import cycles, metadata

UPRIGHT = {
    "fell": False, "upright_s": 2.0, "max_angle_rad": 0.1, "counters": {"late_commands": 3},
    "state": "SAFE", "reasons": ["HOST_STOP"],
}  # fmt: skip


class Kettle(Demo):
    name = "kettle"
    description = "water boils"

    def status(self, newest_inputs: Mapping[str, float], device: object = None) -> str:
        return f"{newest_inputs['kettle.celsius']:.0f} °C"

    def summarise_device(self, told: Mapping[str, Any]) -> str:
        return f"the water is {told['celsius']} °C"

    def is_well(self, told: Mapping[str, Any]) -> bool:
        return bool(told["celsius"] >= 100)


def said(summary: RunSummary, demo: Demo | None = None) -> str:
    stream = io.StringIO()
    Console(stream, demo).summarise(summary)
    return stream.getvalue()


def run_of(*loops: tuple[str, str], **what: Any) -> RunSummary:
    summaries = {}
    for name, loop_class in loops:
        statistics = LoopStatistics(metadata(name, loop_class))
        statistics.update(cycles(100, loop_class=loop_class, miss_every=50))
        summaries[name] = statistics.summary()
    return RunSummary(loops=summaries, **{"rights": (), **what})


def test_the_summary_is_by_class_and_says_where_everything_is() -> None:
    right = RightReport("lock_memory", "all", "none", granted=False, fix="x")
    text = said(
        run_of(
            ("arm", "soft"),
            ("brake", "hard"),
            rights=(right,),
            recording=Path("runs/run.mcap"),
            problems=("the disk is full",),
        )
    )
    assert text.index("hard brake: FAILED") < text.index("soft arm: 2 deadline misses")
    assert "2 deadline misses: a hard loop may miss none" in text
    assert "missed 2 %" not in text, "told once"
    assert "100 executed + 0 skipped" in text
    assert "98 written, 2 written late" in text
    assert "longest stage of 2: infer – the graph and the limits on its commands, or a" in text
    assert "not granted: lock_memory" in text
    assert "the disk is full" in text
    assert "recording  runs/run.mcap" in text
    assert "report  " not in text


def test_a_demo_tells_of_its_own_plant() -> None:
    run = run_of(devices={"cooker": {"celsius": 99}})
    assert "device cooker: the water is 99 °C" in said(run, Kettle())
    assert "device" not in said(run), "nobody else knows what it means"


def test_a_plant_that_fell_and_a_device_that_was_silent_are_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demo = CartpoleDemo()
    devices: dict[str, dict[str, Any]] = {
        "up": UPRIGHT,
        "fell": {**UPRIGHT, "fell": True},
        "silent": {},
        "half": {"state": 0},
    }
    fell, silent, half = problems = demo.problems(devices)
    assert fell.startswith("device fell: the pole fell")
    assert silent == "device silent: it did not say how it ended: a program of it died, or hung"
    assert half.startswith("device half: it did not say")
    monkeypatch.setattr(Terminal, "styled", lambda _, text, *styles: f"{text}{list(styles)}")
    summary = run_of(("arm", "soft"), devices=devices, problems=problems)
    assert exit_code(summary) == 1
    text = "".join(said(summary, demo).split())
    for problem in problems:
        assert text.count("".join(problem.split()) + "['red','bold']") == 1
        assert text.count("".join(problem.split())) == 1
    assert "deviceup:thepolestayedup" in text


def test_the_cartpole_tells_of_its_pole() -> None:
    demo = CartpoleDemo()
    assert demo.status({"cart.pole_angle": 0.1234}) == "pole +0.123 rad"
    assert demo.status({"arm.angle": 1.0}) == ""
    assert "stayed up" in demo.summarise_device(UPRIGHT)
    assert "3 late commands refused; ended SAFE (HOST_STOP)" in demo.summarise_device(UPRIGHT)
    assert "the pole fell" in demo.summarise_device({**UPRIGHT, "fell": True})
    assert demo.is_well(UPRIGHT)


def test_a_clock_whose_error_bound_does_not_hold_is_told() -> None:
    run = run_of(("arm", "soft"))
    for contradictions, told in ((0, False), (3, True)):
        device = DeviceSummary(events={}, clock_contradictions=contradictions)
        arm = replace(run.loops["arm"], devices={"cart": device})
        text = said(replace(run, loops={"arm": arm}))
        assert ("device cart: the error bound of its clock does not hold: 3" in text) == told
        assert ("no age of its samples is sure" in text) == told


def test_what_is_green_was_controlled() -> None:
    statistics = LoopStatistics(metadata("arm", "soft"))
    records = cycles(100, loop_class="soft")
    records["outcome"] = core.OUTCOMES["dropped"]
    statistics.update(records)
    text = said(RunSummary(loops={"arm": statistics.summary()}, rights=()))
    assert "soft arm: FAILED in 100 cycles" in text
    assert "dropped 100 % of the cycles, limit 1 %" in text
    assert "all deadlines met" not in text


def test_nothing_is_green_in_a_run_that_had_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "styled", lambda _, text, *styles: f"{text}{list(styles)}")
    statistics = LoopStatistics(metadata("arm", "hard"))
    statistics.update(cycles(100, loop_class="hard"))
    loops = {"arm": statistics.summary()}
    assert "all deadlines met['green']" in said(RunSummary(loops=loops, rights=()))
    problems = ("the device did not confirm STOP", "the recording lacks 3 cycles")
    summary = RunSummary(loops=loops, rights=(), problems=problems)
    assert exit_code(summary) == 1
    text = said(summary)
    assert "all deadlines met[]" in text
    assert "green" not in text
    head, *_, confirmed, lacks = text.split("\n")[1:-1]
    assert head == "FAILED: the run had 2 problems['red', 'bold']"
    assert (confirmed, lacks) == tuple(f"{problem}['red']" for problem in problems)


def test_a_loop_that_did_nothing_has_failed() -> None:
    idle = LoopStatistics(metadata("arm", "soft")).summary()
    text = said(RunSummary(loops={"arm": idle}, rights=()))
    assert "soft arm: FAILED in 0 cycles" in text
    assert "no cycle was executed" in text


def test_it_says_why_commands_were_held() -> None:
    statistics = LoopStatistics(metadata("arm", "firm"))
    records = cycles(200, loop_class="firm", miss_every=100)
    records["outcome"][50:53] = core.OUTCOMES["held"]
    records["events"][50:53] = core.EVENTS["stale_input"]
    records["infer_ns"][50:53] = records["read_ns"][50:53]
    statistics.update(records)
    text = said(RunSummary(loops={"arm": statistics.summary()}, rights=()))
    assert "195 written, 5 held (2 late, 3 stale)" in text
