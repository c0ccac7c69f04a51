"""Loops in time that a test tells: cycles exactly on their grid, the same records for the same times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.run import Run
from rtloop.sim import LockStep
from rtloop.telemetry.mcap.reader import open_recording
from tests.running import POLICY, edited

MS = 1_000_000
LOOP = """\
recording: {{directory: {folder}/runs}}
loops:
  balance:
    class: hard
    rate_hz: 200
    inputs:
      cart: {{mailbox: {cart}, max_age_ms: 50, on_stale: {on_stale}}}
    policy:
      model: {policy}
      observation: [{{input: cart}}]
      action: {{scale: 10.0, clip: [-10, 10]}}
    outputs:
      force: {{mailbox: true, size: 1, safe: 0.0, max_rate_per_s: 400}}
    realtime: {{scheduler: fifo, thread_priority: 80, on_denied: fail}}
"""


def config_in(folder: Path, cart: str = "4", on_stale: str = "hold") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "loop.yaml"
    path.write_text(LOOP.format(folder=folder, policy=POLICY, cart=cart, on_stale=on_stale))
    return path


def at(time_ns: int) -> list[float]:
    return [math.sin(time_ns / 3e8), math.cos(time_ns / 2e8), 0.1 * math.sin(time_ns / 1e8), 0.0]


def stepped(folder: Path, times: Sequence[int], **config: str) -> tuple[Any, list[float]]:
    """The records of a run through these times, with an input before each; and its commands."""
    clock = LockStep()
    clock.advance(times[0])
    commands = []
    with Run(load(config_in(folder, **config)), timing=clock) as run:
        loop = run.loops["balance"]
        for time_ns in times[1:]:
            loop.write_input("cart", at(time_ns))
            clock.advance(time_ns)
            commands.append(float(loop.read_output("force")[0][0]))
    (told,) = open_recording(run.recording).loops.values()
    return told, commands


def test_the_same_times_and_inputs_make_the_same_records(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = [7 * MS, *(7 * MS + np.cumsum(rng.integers(1, 12 * MS, 200))).tolist()]
    first, commands = stepped(tmp_path / "a", times)
    second, again = stepped(tmp_path / "b", times)
    assert commands == again
    assert len(set(commands)) > 50
    assert first.records.tobytes() == second.records.tobytes()
    for name in ("inputs", "outputs"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_cycles_begin_exactly_on_a_grid_that_does_not_depend_on_the_start(tmp_path: Path) -> None:
    told, _ = stepped(tmp_path, [7 * MS, 8 * MS, 9 * MS, 31 * MS, 31 * MS, 40 * MS])
    records = told.records
    assert records["release_ns"].tolist() == [n * MS for n in (10, 15, 20, 25, 30, 35, 40)]
    assert records["start_ns"].tolist() == records["release_ns"].tolist()
    assert (records["skipped"].sum(), (records["finish_ns"] - records["start_ns"]).max()) == (0, 0)


def test_time_that_stands_still_holds_the_loop(tmp_path: Path) -> None:
    clock = LockStep()
    clock.advance(0)
    with Run(load(config_in(tmp_path)), timing=clock, record=False) as run:
        loop = run.loops["balance"]
        loop.write_input("cart", at(0))
        clock.advance(20 * MS)
        for _ in range(3):
            clock.advance(20 * MS)
        assert loop.status()["executed"] == 4


def test_nothing_begins_before_every_input_has_a_sample(tmp_path: Path) -> None:
    clock = LockStep()
    clock.advance(0)
    with Run(load(config_in(tmp_path)), timing=clock, record=False) as run:
        loop = run.loops["balance"]
        clock.advance(100 * MS)
        assert loop.status()["executed"] == 0
        loop.write_input("cart", at(0))
        clock.advance(105 * MS)
        assert loop.status()["first_release_ns"] == 105 * MS
        assert loop.status()["executed"] == 1


def test_a_sample_grows_old_in_simulated_time_only(tmp_path: Path) -> None:
    clock = LockStep()
    clock.advance(0)
    config = load(config_in(tmp_path, on_stale="fault"))
    with Run(config, timing=clock, record=False) as run:
        loop = run.loops["balance"]
        loop.write_input("cart", at(0))
        clock.advance(50 * MS)
        assert loop.status()["state"] == "active"
        clock.advance(60 * MS)
        assert loop.status()["state"] == "fault"
        assert loop.status()["executed"] == 11
        assert loop.read_output("force")[0].tolist() == [0.0]
        clock.advance(200 * MS)
        assert loop.status()["executed"] == 11


def test_time_that_goes_back_begins_anew(tmp_path: Path) -> None:
    clock = LockStep()
    clock.advance(0)
    run = Run(load(config_in(tmp_path, cart="[0, 0, 0.1, 0]")), timing=clock, record=False)

    def commands_until(end_ms: int) -> list[float]:
        told = []
        for time_ms in range(clock.now_ns() // MS + 5, end_ms, 5):
            assert not clock.follow(run, time_ms * MS)
            told.append(float(run.loops["balance"].read_output("force")[0][0]))
        return told

    with run:
        first = commands_until(200)
        assert clock.follow(run, 0), "it says that it began anew"
        assert run.state == "active"
        assert run.loops["balance"].status()["executed"] == 0
        assert commands_until(200) == first
        with pytest.raises(ValueError, match="expected no time before 195000000 ns"):
            clock.advance(0)


def test_time_that_jumps_ahead_begins_anew(tmp_path: Path) -> None:
    clock = LockStep()
    run = Run(load(config_in(tmp_path, cart="[0, 0, 0.1, 0]")), timing=clock, record=False)
    with run:
        assert not clock.follow(run, 1_000_000 * MS), "it was no time before"
        assert not clock.follow(run, 1_010_000 * MS)
        assert run.loops["balance"].status()["executed"] == 2000
        assert clock.follow(run, 1_020_001 * MS)
        assert run.loops["balance"].status()["executed"] == 0
        assert not clock.follow(run, 1_020_010 * MS)
        assert run.loops["balance"].status()["executed"] == 2


def test_loops_that_have_not_begun_wait_on_however_far_time_goes(tmp_path: Path) -> None:
    """Each activation takes seconds of a fast simulation: they would lead to one after the other."""
    clock = LockStep()
    with Run(load(config_in(tmp_path)), timing=clock, record=False) as run:
        loop = run.loops["balance"]
        for time_ms in (1_000, 100_000, 200_000):
            assert not clock.follow(run, time_ms * MS)
        loop.write_input("cart", at(0))
        assert not clock.follow(run, 300_000 * MS)
        assert loop.status()["executed"] == 0, "it begins now, and not a hundred seconds ago"
        assert not clock.follow(run, 300_010 * MS)
        assert loop.status()["executed"] == 2


def test_loops_that_read_each_other_are_stepped_in_order(tmp_path: Path) -> None:
    path = edited(
        config_in(tmp_path, cart="[0, 0, 0.1, 0]"),
        {
            "    realtime:": "    output: at_deadline\n    deadline_ms: 1\n    realtime:",
        },
    )
    text = path.read_text()
    path.write_text(
        text
        + f"""\
  follow:
    class: soft
    rate_hz: 1000
    inputs:
      force: {{loop: balance, max_age_ms: 50}}
      rest: {{mailbox: [0, 0, 0]}}
    policy: {{model: {POLICY}, observation: [{{input: force}}, {{input: rest}}]}}
    outputs:
      out: {{mailbox: true, size: 1, safe: 0.0}}
"""
    )
    clock = LockStep()
    clock.advance(0)
    with Run(load(path), timing=clock) as run:
        for time_ms in range(1, 60):
            clock.advance(time_ms * MS)
    told = open_recording(run.recording).loops
    # What is commanded at its deadline, 1 ms after each release, is read from then on.
    forces = told["follow"].inputs[:, 0].tolist()
    given = told["balance"].outputs[:, 0].tolist()
    released_ms = (told["follow"].records["release_ns"] // MS).tolist()
    assert forces[released_ms.index(6) : released_ms.index(11)] == [given[0]] * 5
    assert forces[released_ms.index(11) : released_ms.index(16)] == [given[1]] * 5
    assert given[0] != given[1]


def test_what_keeps_a_time_of_its_own_is_refused(tmp_path: Path) -> None:
    path = edited(
        config_in(tmp_path),
        {
            "{mailbox: 4, max_age_ms: 50, on_stale: hold}": "{link: cart, max_age_ms: 50, on_stale: hold}",
            "loops:\n": "links: {cart: {device: /dev/nothing}}\nloops:\n",
        },
    )
    clock = LockStep()
    with pytest.raises(
        ConfigError, match=r"loop.yaml:8:13: loops.balance.inputs.cart: found a link"
    ):
        Run(load(path), timing=clock).configure()
    paced = edited(
        config_in(tmp_path),
        {"    inputs:": "    clock: {input: cart, timeout_ms: 20}\n    inputs:"},
    )
    with pytest.raises(ConfigError, match=r"loops.balance.clock: found paced by input 'cart'"):
        Run(load(paced), timing=clock).configure()


def test_a_loop_may_be_active_before_anybody_says_what_time_it_is(tmp_path: Path) -> None:
    clock = LockStep()
    config = load(config_in(tmp_path, on_stale="fault"))
    with Run(config, timing=clock, record=False) as run:
        loop = run.loops["balance"]
        loop.write_input("cart", at(0))
        clock.advance(1_000_000 * MS)
        assert loop.status()["executed"] == 0
        clock.advance(1_000_010 * MS)
        assert loop.status()["executed"] == 0, "the sample of before is too old"
        loop.write_input("cart", at(0))
        clock.advance(1_000_020 * MS)
        assert (loop.status()["executed"], loop.status()["state"]) == (2, "active")
