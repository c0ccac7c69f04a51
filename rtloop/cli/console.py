"""What a person sees in the terminal: a live block while loops run, a summary by class afterwards."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from rtloop.demos import Demo
from rtloop.realtime.rights import denied
from rtloop.telemetry.observe.summary import LoopSummary, RunSummary
from rtloop.telemetry.observe.words import explain, find

if TYPE_CHECKING:
    from rtloop.run import Run

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_REFRESH_S = 0.25
#: Without a terminal, a line now and then shows that it lives.
_PLAIN_EVERY_S = 10.0


class Console:
    """Writes for people to ``stream``; colour and redrawing only on a terminal."""

    def __init__(self, stream: TextIO | None = None, demo: Demo | None = None) -> None:
        """``demo`` tells what only it knows of its plant."""
        self._stream = stream or sys.stdout
        self._demo = demo
        self._is_terminal = self._stream.isatty()
        self._lines_drawn = 0
        self._next_s = 0.0
        self._warned: set[str] = set()

    def say(self, text: str = "") -> None:
        self._lines_drawn = 0
        print(text, file=self._stream, flush=True)

    def styled(self, text: str, *styles: str) -> str:
        if not self._is_terminal or not styles:
            return text
        codes = ";".join(_COLOURS[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    # --- while loops run ---

    def announce(self, run: Run) -> None:
        """The loops, and every right that was denied, once they are active."""
        for loop in run.loops.values():
            config = loop.loop_config
            self.say(
                f"{loop.name}: {self.styled(config.loop_class, 'bold')} real-time, "
                f"{config.nominal_rate_hz:g} Hz, deadline {config.deadline_ns / 1e6:g} ms"
            )
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
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_REFRESH_S if self._is_terminal else _PLAIN_EVERY_S)
        lines = [self._live_line(run, name) for name in run.observed]
        if self._is_terminal:
            if self._lines_drawn:
                self._stream.write(f"\x1b[{self._lines_drawn}F")
            self._stream.write("".join(f"\x1b[2K{line}\n" for line in lines))
            self._stream.flush()
            self._lines_drawn = len(lines)
        else:
            for line in lines:
                self.say(line)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self.say(self.styled(text, "red"))

    def _live_line(self, run: Run, name: str) -> str:
        observed = run.observed[name]
        statistics = observed.statistics
        window = statistics.window()
        p50, p99 = window.response_p50_us, window.response_p99_us
        response = (
            "response      –  "
            if p50 is None or p99 is None
            else f"response p50 {p50:5.0f}  p99 {p99:5.0f}  "
        )
        longest_ns = statistics.response.max
        longest = "" if longest_ns is None else f"max {longest_ns / 1e3:6.0f} µs  "
        loop_class = run.loops[name].loop_config.loop_class
        misses = self.styled(
            f"{loop_class} misses {statistics.misses}", *(["yellow"] if statistics.misses else [])
        )
        state = run.loops[name].status()["state"]
        if state == "active":
            end = self._demo.status(observed.newest_inputs) if self._demo else ""
        else:
            end = self.styled(state.upper(), "red", "bold")
        line = f"{name:>14}  {window.rate_hz:7.1f} Hz  {response}{longest}{misses}"
        return f"{line}  {end}" if end else line

    # --- afterwards ---

    def summarise(self, summary: RunSummary) -> None:
        """The verdict by class, and where everything is."""
        self.say()
        order = ("hard", "firm", "soft")
        loops = sorted(summary.loops.items(), key=lambda item: order.index(item[1].loop_class))
        for name, loop in loops:
            self._summarise_loop(name, loop)
        missing = [right.name for right in denied(summary.rights)]
        if missing:
            listed = ", ".join(missing)
            self.say(f"{self.styled('not granted', 'yellow')}: {listed} (see `rtloop check`)")
        for name, device in summary.devices.items():
            self._summarise_device(name, device)
        for problem in set(summary.problems) - self._warned:
            self.say(self.styled(problem, "red"))
        if summary.recording is not None:
            self.say(f"recording  {summary.recording}")
        if summary.report is not None:
            self.say(f"report     {summary.report}")

    def _summarise_device(self, name: str, told: Mapping[str, Any]) -> None:
        if self._demo is None or not told:
            return
        styles = () if self._demo.is_well(told) else ("red",)
        self.say(f"device {name}: {self.styled(self._demo.summarise_device(told), *styles)}")

    def _summarise_loop(self, name: str, loop: LoopSummary) -> None:
        misses = loop.misses
        verdict = self.styled("all deadlines met", "green")
        if loop.state == "fault":
            verdict = self.styled(f"FAULT ({loop.fault_reason})", "red", "bold")
        elif misses:
            verdict = self.styled(f"{misses} deadline misses", "yellow")
        self.say(
            f"{self.styled(loop.loop_class, 'bold'):>4} {name}: {verdict} "
            f"in {loop.executed} cycles of {loop.period_ms:g} ms"
        )
        self.say(
            f"     {loop.elapsed_periods} periods elapsed = {loop.executed} executed + "
            f"{loop.skipped} skipped; {loop.records_lost} records lost"
        )
        done = ", ".join(f"{n} {what}" for what, n in loop.outcomes.items() if n)
        self.say(f"     commands: {done.replace('_', ' ') or 'none'}")
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

    def _explain_misses(self, loop: LoopSummary) -> None:
        stage = max(loop.causes, key=lambda name: loop.causes[name], default="")
        word = find("stages", stage)
        if word is not None:
            self.say(f"     longest stage of {loop.causes[stage]}: {stage} – {explain(word)}")
