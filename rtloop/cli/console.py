"""What a person sees in the terminal: a live block while loops run, a summary by class afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rtloop.cli.terminal import Block, Terminal
from rtloop.demos import Demo
from rtloop.demos.firmware import FirmwareProcess
from rtloop.realtime.rights import denied
from rtloop.telemetry.observe.summary import LoopSummary, RunSummary
from rtloop.telemetry.observe.words import explain, find
from rtloop.unwritten import unwritten

if TYPE_CHECKING:
    from rtloop.run import Run
    from rtloop.telemetry.observe.statistics import LoopStatistics, Window

_REFRESH_S = 0.25
#: Without a terminal that can redraw, a line now and then shows that it lives.
_PLAIN_EVERY_S = 10.0
#: What the live lines show, from the most to the least: the first that fits is taken, for all loops.
_LIVE_FORMS = (
    "name rate response class_misses status",
    "name rate percentiles misses status",
    "name rate p99_max misses status",
    "name rate p99 class_misses status",
    "name rate class_misses status",
    "name class_misses status",
    "name misses status",
    "name rate p99 misses",
    "name rate misses",
    "name misses",
)
_SHORTEST_NAME = 4
#: Of more switches between policies, the newest are told.
SWITCHES_TOLD = 8

_Cell = tuple[str, tuple[str, ...]]
"""A text and its styles."""


class Console:
    """Writes for people to ``stream``; colour and redrawing only on a terminal that has them."""

    def __init__(
        self,
        stream: TextIO | None = None,
        demo: Demo | None = None,
        devices: Sequence[FirmwareProcess] = (),
    ) -> None:
        """``demo`` tells what only it knows of its plant, which is one of its ``devices``."""
        self._terminal = Terminal(stream or sys.stdout)
        self._live = Block(self._terminal)
        self._demo = demo
        self._devices = {device.device: device for device in devices}
        self._next_s = 0.0
        self._warned: set[str] = set()
        self._told: dict[str, int] = {}
        self._rates: dict[str, tuple[float, float]] = {}

    def say(self, text: str = "") -> None:
        """A line of its own, below what is there."""
        self._live.leave()
        self._terminal.write(f"{self._terminal.wrapped(text)}\n")

    def styled(self, text: str, *styles: str) -> str:
        return self._terminal.styled(text, *styles)

    # --- while loops run ---

    def announce(self, run: Run) -> None:
        """Loops that are active: notes on policies, mailboxes that nobody writes, rights that were denied."""
        for loop in run.loops.values():
            config = loop.loop_config
            self.say(
                f"{loop.name}: {self.styled(config.loop_class, 'bold')} real-time, "
                f"{config.rates}, deadline {config.deadline_ns / 1e6:g} ms"
            )
            for note in loop.notes:
                self.say(f"{loop.name}: {note}")
            if self._demo is None and (nobody := unwritten(config)):
                self.say(f"{self.styled('warning', 'yellow')}: {loop.name}: {nobody}")
        by_fix: dict[str, list[str]] = {}
        for right in denied(run.rights):
            by_fix.setdefault(right.fix, []).append(
                f"{right.name} ({right.actual}, not {right.requested})"
            )
        for fix, names in by_fix.items():
            self.say(f"{self.styled('not granted', 'yellow')}: {', '.join(names)}. {fix}")

    def draw(self, run: Run) -> None:
        """Call often: redraws a few times a second."""
        now_s = time.monotonic()
        for text in [fault for loop in run.loops.values() if (fault := loop.fault())]:
            self._warn(text)
        if run.recording_error:
            self._warn(run.recording_error)
        self._tell_reconnections(run)
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_REFRESH_S if self._terminal.redraws else _PLAIN_EVERY_S)
        lines = self._live_lines([self._live_cells(run, name) for name in run.observed])
        if self._terminal.redraws:
            self._live.draw(lines)
        else:
            for line in lines:
                self.say(line)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._live.erase()
            self.say(self.styled(text, "red"))

    def _tell_reconnections(self, run: Run) -> None:
        """Each once, however often the same happens."""
        for name, loop in run.loops.items():
            told = loop.reconnections_told()
            for text in told[self._told.get(name, 0) :]:
                self._live.erase()
                self.say(self.styled(text, "yellow"))
            self._told[name] = len(told)

    def _live_cells(self, run: Run, name: str) -> dict[str, _Cell]:
        """All that may stand in the live line of a loop, by the words of ``_LIVE_FORMS``."""
        observed = run.observed[name]
        statistics = observed.statistics
        window = statistics.window()
        p50, p99 = _whole_us(window.response_p50_us), _whole_us(window.response_p99_us)
        longest_ns = statistics.response.max
        longest = _whole_us(None if longest_ns is None else longest_ns / 1e3, 5)
        misses = f"misses {statistics.misses}"
        style = ("yellow",) if statistics.misses else ()
        state = run.loops[name].status()["state"]
        cells: dict[str, _Cell] = {
            "name": (name, ()),
            "rate": (f"{_rate(self._newest_rate(name, statistics, window))} Hz", ()),
            "response": (f"response p50 {p50}  p99 {p99}  max {longest} µs", ()),
            "percentiles": (f"p50 {p50} p99 {p99} max {longest} µs", ()),
            "p99_max": (f"p99 {p99} max {longest} µs", ()),
            "p99": (f"p99 {p99} µs", ()),
            "misses": (misses, style),
            "class_misses": (f"{run.loops[name].loop_config.loop_class} {misses}", style),
        }
        over = [share for share in statistics.recent_shares() if share.is_over]
        if state != "active":
            cells["state"] = (state.upper(), ("red", "bold"))
        elif any(losses.is_lost for losses in run.loops[name].losses()):
            cells["state"] = ("LOST", ("yellow", "bold"))
        elif not all(losses.is_armed for losses in run.loops[name].losses()):
            cells["state"] = ("NOT ARMED", ("red", "bold"))
        elif over:
            worst = max(over, key=lambda share: share.value)
            cells["state"] = (worst.brief, ("red", "bold"))
        elif acting := statistics.switches.acting:
            cells["status"] = (acting, ())
        elif self._demo:
            device = self._device_of(run, name)
            if status := self._demo.status(observed.newest_inputs, device):
                cells["status"] = (status, ())
        return cells

    def _newest_rate(self, name: str, statistics: LoopStatistics, window: Window) -> float | None:
        """That of the newest look in which a cycle began, as long as the next one may be still to come; None
        before there were two."""
        now_s = time.monotonic()
        if window.rate_hz > 0:
            self._rates[name] = (window.rate_hz, now_s)
        rate_hz, seen_s = self._rates.get(name, (None, now_s))
        if rate_hz is None:
            return None if statistics.executed < 2 else 0.0
        return rate_hz if now_s - seen_s <= 2 / rate_hz + _REFRESH_S else 0.0

    def _device_of(self, run: Run, name: str) -> FirmwareProcess | None:
        """What the demo put at the end of a loop's line."""
        if not self._devices:
            return None
        inputs = run.loops[name].loop_config.inputs.values()
        lines = (section.hardware_id(run.config.links) for section in inputs)
        return next((self._devices[line] for line in lines if line in self._devices), None)

    def _live_lines(self, loops: Sequence[dict[str, _Cell]]) -> list[str]:
        """One line a loop, in the richest form in which all of them fit the terminal."""
        columns = self._terminal.columns
        for form in _LIVE_FORMS:
            # A state that is not active, or of which too much is lost, never gives way.
            words = [*form.split(), "state"]
            rows = [[cells[word] for word in words if word in cells] for cells in loops]
            name_width = max((len(row[0][0]) for row in rows), default=0)
            others = max((_width(row[1:]) for row in rows), default=0)
            if name_width + others <= columns:
                break
        name_width = max(min(name_width, columns - others), _SHORTEST_NAME)
        return [self._live_line(row, name_width, columns) for row in rows]

    def _live_line(self, row: Sequence[_Cell], name_width: int, columns: int) -> str:
        (name, _), *others = row
        if name_width + _width(others) > columns:  # no room for anything: no colour either
            return "  ".join(text for text, _ in row)[:columns]
        if len(name) > name_width:
            name = f"{name[: name_width - 1]}…"
        styled = [self.styled(text, *styles) for text, styles in others]
        return "  ".join([f"{name:>{name_width}}", *styled])

    # --- afterwards ---

    def summarise(self, summary: RunSummary) -> None:
        """The verdict by class, and where everything is."""
        self.say()
        problems = len(summary.problems)
        if problems:
            had = f"FAILED: the run had {problems} problem{'' if problems == 1 else 's'}"
            self.say(self.styled(had, "red", "bold"))
        order = ("hard", "firm", "soft")
        loops = sorted(summary.loops.items(), key=lambda item: order.index(item[1].loop_class))
        for name, loop in loops:
            # What became of the plant is not all: nothing is green where the exit code is 1.
            self._summarise_loop(name, loop, () if problems else ("green",))
        missing = [right.name for right in denied(summary.rights)]
        if missing:
            listed = ", ".join(missing)
            self.say(f"{self.styled('not granted', 'yellow')}: {listed} (see `rtloop check`)")
        for name, device in summary.devices.items():
            self._summarise_device(name, device)
        for name, times in summary.functions.items():
            self.say(f"     {name}: {times}")
        for losses in summary.losses:
            self.say(self.styled(str(losses), "yellow"))
        for told in filter(None, map(str, summary.packets)):
            self.say(self.styled(told, "yellow"))
        for problem in dict.fromkeys(summary.problems):
            if problem not in self._warned:
                self.say(self.styled(problem, "red"))
        if summary.recording is not None:
            self.say(f"recording  {summary.recording}")
        if summary.report is not None:
            self.say(f"report     {summary.report}")

    def _summarise_device(self, name: str, told: Mapping[str, Any]) -> None:
        if self._demo is None:
            return
        problems = self._demo.problems({name: told})
        styles = ("red", "bold") if problems else ()
        self.say(self.styled(f"device {name}: {self._demo.account(told)}", *styles))
        self._warned.update(problems)

    def _summarise_loop(self, name: str, loop: LoopSummary, well: tuple[str, ...]) -> None:
        """``well``: the styles of a good verdict."""
        misses, failures = loop.misses, loop.failures
        verdict = self.styled("all deadlines met", *well)
        if loop.fault_reason != "none":
            verdict = self.styled(f"FAULT ({loop.fault_reason})", "red", "bold")
        elif failures:
            verdict = self.styled("FAILED", "red", "bold")
        elif misses:
            verdict = self.styled(f"{misses} deadline misses", "yellow")
        self.say(
            f"{self.styled(loop.loop_class, 'bold'):>4} {name}: {verdict} "
            f"in {loop.executed} cycles of {loop.period_ms:g} ms"
        )
        # A fault has a sentence of its own, among what went wrong.
        for failure in failures[loop.fault_reason != "none" :]:
            self.say(f"     {self.styled(failure, 'red')}")
        slipped = f"; {loop.slipped_periods} slipped away" if loop.slipped_periods else ""
        self.say(
            f"     {loop.elapsed_periods} periods elapsed = {loop.executed} executed + "
            f"{loop.skipped} skipped{slipped}; {loop.records_lost} records lost"
        )
        self.say(f"     commands: {_commands(loop) or 'none'}")
        self._tell_switches(loop)
        if misses:
            self._explain_misses(loop)
        for p, label in (
            (loop.release_latency_us, "release latency"),
            (loop.response_us, "response time"),
            (loop.infer_us, "inference"),
        ):
            if p.n:
                self.say(
                    f"     {label:<15} p50 {p.p50:7.1f}  p99 {p.p99:7.1f}  "
                    f"p99.9 {p.p99_9:7.1f}  max {p.max:8.1f} µs"
                )

        for port, device in loop.devices.items():
            if (account := device.account) is not None:
                told = "; ".join(filter(None, (account.loop_in_words, account.ages_in_words)))
                styled = self.styled(told, "red") if any(device.failures) else told
                self.say(f"     device {port}: {styled or 'accounted for nothing'}")
            if device.clock_doubt:
                doubt = f"the error bound of its clock does not hold: {device.clock_doubt}"
                self.say(f"     device {port}: {self.styled(doubt, 'yellow')}")

    def _tell_switches(self, loop: LoopSummary) -> None:
        n, newest = loop.events.get("switched", 0), loop.switches[-SWITCHES_TOLD:]
        if n:
            earlier = f"{n - len(newest)} earlier, " if n > len(newest) else ""
            self.say(f"     policies: {earlier}{', '.join(map(str, newest))}")
        if refused := loop.events.get("switch_refused", 0):
            word = find("events", "switch_refused")
            meaning = "" if word is None else f": {explain(word)}"
            self.say(f"     {self.styled(f'{refused} cycles switch refused', 'yellow')}{meaning}")

    def _explain_misses(self, loop: LoopSummary) -> None:
        stage = max(loop.causes, key=lambda name: loop.causes[name], default="")
        word = find("stages", stage)
        if word is not None and loop.causes[stage]:
            self.say(f"     longest stage of {loop.causes[stage]}: {stage} – {explain(word)}")


def _commands(loop: LoopSummary) -> str:
    """What was done with the results, by outcome; those that were held by why."""
    done = {what: f"{n} {what.replace('_', ' ')}" for what, n in loop.outcomes.items() if n}
    if loop.held_late or loop.held_stale:
        done["held"] += f" ({loop.held_late} late, {loop.held_stale} stale)"
    return ", ".join(done.values())


def _rate(rate_hz: float | None) -> str:
    return f"{'–':>6}" if rate_hz is None else f"{rate_hz:6.1f}"


def _whole_us(value: float | None, digits: int = 4) -> str:
    return f"{'–':>{digits}}" if value is None else f"{value:{digits}.0f}"


def _width(cells: Sequence[_Cell]) -> int:
    """Columns that the cells take behind a name."""
    return sum(2 + len(text) for text, _ in cells)
