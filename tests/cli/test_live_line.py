"""The live lines: they fit the terminal and are redrawn in their place, whatever its size becomes."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.cli.console import Console
from rtloop.demos.cartpole.demo import CartpoleDemo
from rtloop.demos.firmware import FirmwareProcess
from rtloop.demos.quadruped.demo import QuadrupedDemo, Robot
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import PortLosses
from tests.cli.screen import Screen
from tests.demos import write_rows
from tests.telemetry.loops import cycles, metadata

LOST = PortLosses(
    loop="balance", port="cart", hardware_id="/dev/x", losses=1, reconnections=0, lost_ms=1
)

UNARMED = replace(LOST, reconnections=1, is_armed=False)


class Loops:
    """As much of a run as the live lines look at."""

    def __init__(
        self,
        *names: str,
        state: str = "active",
        miss_every: int = 0,
        losses: tuple[PortLosses, ...] = (),
    ) -> None:
        self.recording_error = ""
        self.told: list[str] = []
        self.loops: dict[str, Any] = {}
        self.observed: dict[str, Any] = {}
        for name in names:
            statistics = LoopStatistics(metadata(name))
            statistics.update(cycles(1000, miss_every=miss_every))
            self.observed[name] = SimpleNamespace(
                statistics=statistics, newest_inputs={"cart.pole_angle": 0.0123}
            )
            self.loops[name] = SimpleNamespace(
                fault=lambda: "",
                loop_config=SimpleNamespace(loop_class="firm"),
                status=lambda: {"state": state},
                losses=lambda: losses,
                reconnections_told=lambda: self.told,
            )


def drawn(console: Console, run: Any) -> None:
    """Once more, as if a quarter of a second had passed."""
    console._next_s = 0.0
    console.draw(run)


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("names", [("balance",), ("hard_balance", "x"), ("a" * 32,)])
@pytest.mark.parametrize("state", ["active", "fault"])
def test_each_loop_takes_one_row_of_the_terminal(
    columns: int, names: tuple[str, ...], state: str
) -> None:
    run = Loops(*names, state=state, miss_every=7)
    with Screen(columns) as screen:
        console = Console(screen.stream, CartpoleDemo())
        for _ in range(5):
            drawn(console, run)
        rows = screen.rows()
        assert len(rows) == len(names), rows
        assert all(len(row) < columns for row in rows)


def test_eighty_columns_are_enough_for_all_that_the_demo_tells() -> None:
    with Screen(80) as screen:
        drawn(Console(screen.stream, CartpoleDemo()), Loops("balance"))
        (row,) = screen.rows()
    assert row.startswith("balance  ")
    assert all(word in row for word in ("Hz", "p50", "p99", "max", "misses 0", "pole +0.012 rad"))


def test_what_is_less_important_gives_way_and_a_fault_never_does() -> None:
    run = Loops("hard_balance", state="fault", miss_every=7)
    with Screen(40) as screen:
        drawn(Console(screen.stream, CartpoleDemo()), run)
        assert screen.rows() == ["hard_balance  firm misses 142  FAULT"]
        screen.resize(27)
        console = Console(screen.stream, CartpoleDemo())
        drawn(console, run)
        assert screen.rows()[-1] == "hard_b…  misses 142  FAULT"


@pytest.mark.parametrize(("losses", "word"), [(LOST, "LOST"), (UNARMED, "NOT ARMED")])
def test_a_loop_without_its_device_says_so_where_nothing_gives_way(
    losses: PortLosses, word: str
) -> None:
    run = Loops("hard_balance", losses=(losses,), miss_every=7)
    with Screen(40) as screen:
        drawn(Console(screen.stream, CartpoleDemo()), run)
        (row,) = screen.rows()
        assert row.startswith("hard_balance  ")
        assert row.endswith(f"misses 142  {word}")


def test_what_happens_to_a_device_is_told_once_above_the_line() -> None:
    run = Loops("balance")
    with Screen(80) as screen:
        console = Console(screen.stream)
        drawn(console, run)
        for i in range(3):
            run.told.append("'cart' was lost")
            drawn(console, run)
            drawn(console, run)
            *told, line = screen.rows()
            assert told == ["'cart' was lost"] * (i + 1), "again, if it happens again"
            assert line.split()[0] == "balance"


def test_a_window_made_narrower_or_wider_leaves_no_debris() -> None:
    run = Loops("balance", "walk")
    with Screen(120) as screen:
        console = Console(screen.stream, CartpoleDemo())
        console.say("not granted: kernel")
        for columns in (120, 61, 40, 80, 33, 200):
            screen.resize(columns)
            drawn(console, run)
            first, *lines = screen.rows()
            assert first == "not granted: kernel", "and nothing above is erased"
            assert len(lines) == 2
            assert lines[0].split()[0] == "balance"
            assert lines[1].split()[0] == "walk"


def test_more_loops_than_rows_do_not_scroll() -> None:
    with Screen(80, lines=5) as screen:
        console = Console(screen.stream)
        for _ in range(3):
            drawn(console, Loops(*(f"loop_{i}" for i in range(9))))
        rows = screen.rows()
    assert len(rows) == 4
    assert rows[-1] == "and 6 more"


def test_a_warning_stands_above_the_live_lines() -> None:
    run = Loops("balance")
    with Screen(40) as screen:
        console = Console(screen.stream)
        drawn(console, run)
        run.recording_error = "the recorder ended: the disk that holds the recordings is full"
        drawn(console, run)
        drawn(console, run)
        assert screen.rows()[:2] == [
            "the recorder ended: the disk that",
            "holds the recordings is full",
        ]
        assert len(screen.rows()) == 3


def test_sentences_break_between_words_and_paths_stay_whole() -> None:
    path = "/srv/recordings/a-robot/20260101T120000-walk/run.mcap"
    with Screen(40) as screen:
        console = Console(screen.stream)
        console.say("     longest stage of 2: infer – the graph and its limits\nand a second line")
        console.say(path)
        assert screen.rows() == [
            "     longest stage of 2: infer – the",
            "     graph and its limits",
            "and a second line",
            path[:40],
            path[40:],
        ]


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Loops("balance", state="fault", miss_every=7)
    with Screen(80) as screen:
        drawn(Console(screen.stream), run)
        screen.rows()
        assert "\x1b[31;1mFAULT" in screen.received
    monkeypatch.setenv("NO_COLOR", "1")
    with Screen(80) as screen:
        console = Console(screen.stream)
        drawn(console, run)
        drawn(console, run)
        assert len(screen.rows()) == 1, "it is redrawn all the same"
        assert set(re.findall(r"\x1b\[[\d;]*(.)", screen.received)) == {"F", "J"}


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Screen(80) as screen:
        console = Console(screen.stream)
        drawn(console, Loops("balance", state="fault"))
        drawn(console, Loops("balance", state="fault"))
        assert len(screen.rows()) == 2
        assert "\x1b" not in screen.received


def test_a_file_gets_whole_lines() -> None:
    stream = io.StringIO()
    drawn(Console(stream), Loops("a" * 32))
    (line,) = stream.getvalue().splitlines()
    assert "response p50" in line
    assert "firm misses 0" in line


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_what_comes_to_nothing_shows_while_it_runs(columns: int) -> None:
    run = Loops("balance")
    with Screen(columns) as screen:
        console = Console(screen.stream, CartpoleDemo())
        drawn(console, run)
        assert "stale" not in screen.rows()[0]
        late = cycles(2000, first=1000)
        late["events"][::2] = core.EVENTS["stale_input"]
        run.observed["balance"].statistics.update(late)
        drawn(console, run)
        (row,) = screen.rows()
        assert row.endswith("stale 33.3 %"), row


class Pack(Loops):
    """Loops whose robot's board can be asked, too."""

    def __init__(self, device: FirmwareProcess) -> None:
        super().__init__("walk")
        self.config = SimpleNamespace(links={})
        section = SimpleNamespace(hardware_id=lambda links: str(device.link))
        nothing = SimpleNamespace(hardware_id=lambda links: "")
        self.loops["walk"].loop_config.inputs = {"command": nothing, "robot": section}
        self.observed["walk"].newest_inputs = {f"robot.quat_{axis}": 0.0 for axis in "xyz"}


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (50, "walk  firm misses 0  10.0 m  1.41 m/s  tilt  0.0°"),
        (80, "walk  1000.0 Hz  p99   87 max    96 µs  misses 0  10.0 m  1.41 m/s  tilt  0.0°"),
    ],
)
def test_how_far_a_robot_went_is_shown_on_any_width(columns: int, row: str) -> None:
    robot = Robot(Path("/nowhere"))
    write_rows(robot.track, 11)
    with Screen(columns) as screen:
        drawn(Console(screen.stream, QuadrupedDemo(), [robot]), Pack(robot))
        (found,) = screen.rows()
    assert found == row


def test_a_loop_slower_than_the_line_keeps_its_rate_while_its_next_cycle_may_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr("rtloop.cli.console.time.monotonic", lambda: now_s)
    run = Loops("slow")
    statistics = run.observed["slow"].statistics = LoopStatistics(metadata("slow"))
    one_by_one = slow_cycles(5)
    with Screen(80) as screen:
        console = Console(screen.stream)
        shown: list[str] = []
        for _ in range(3):
            statistics.update(one_by_one[len(shown) // 4 : len(shown) // 4 + 1])
            for _ in range(4):  # four looks to a cycle
                drawn(console, run)
                shown.append(screen.rows()[-1].split()[1])
                now_s += 0.25
        assert shown == ["–"] * 4 + ["1.0"] * 8
        now_s += 3.0
        drawn(console, run)
        assert screen.rows()[-1].split()[1] == "0.0", "it hangs"


def slow_cycles(n: int) -> Any:
    """A cycle a second."""
    records = cycles(n)
    records["start_ns"] = records["start_ns"][0] + np.arange(n) * 1_000_000_000
    return records
