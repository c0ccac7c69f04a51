"""Summaries in a line, and as the small table that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtloop.telemetry.observe.summary import LoopSummary, Percentiles

_COLUMNS = (
    *("loop", "class", "rate", "executed", "skipped", "misses"),
    *("response p50, µs", "p99", "p99.9", "max", "N", "control"),
)


def in_words(loop: LoopSummary) -> str:
    """``firm, 1000 Hz, 2000 executed, 0 skipped, 0 misses, response p50 21 p99 40 max 80 µs, in control``."""
    durations = loop.response_us
    told = [(name, getattr(durations, name)) for name in ("p50", "p99", "max")]
    response = " ".join(f"{name} {value:.0f}" for name, value in told if value is not None)
    return ", ".join(
        (
            loop.loop_class,
            f"{1e3 / loop.period_ms:g} Hz",
            f"{loop.executed} executed",
            f"{loop.skipped} skipped",
            f"{loop.misses} misses",
            f"response {response} µs" if response else "no response times",
            "; ".join(loop.failures) or "in control",
        )
    )


def table(loops: Mapping[str, LoopSummary], problems: Iterable[str] = ()) -> str:
    """A row for each loop, then a line for each problem; HTML."""
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(f"<tr>{_cells(name, loop)}</tr>" for name, loop in loops.items())
    below = "".join(f"<p>{escape(problem)}</p>" for problem in problems)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{below}"


def _cells(name: str, loop: LoopSummary) -> str:
    counts = (loop.executed, loop.skipped, loop.misses)
    cells = (
        *(name, loop.loop_class, f"{1e3 / loop.period_ms:g} Hz", *counts),
        *_of(loop.response_us),
        "; ".join(loop.failures) or "in control",
    )
    return "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)


def _of(durations: Percentiles) -> tuple[object, ...]:
    values = (durations.p50, durations.p99, durations.p99_9, durations.max)
    return (*("" if value is None else f"{value:.1f}" for value in values), durations.n)
