"""A result as text for a terminal, or as Markdown for docs/benchmarks.md."""

from __future__ import annotations

import math

from benchmarks.result import Cell, Result, Table, Target


def text(result: Result) -> str:
    lines = [result.title, ""]
    if result.unavailable:
        return "\n".join([*lines, f"NOT RUN  {result.unavailable}"])
    for table in result.tables:
        lines += [*_aligned(table), ""]
    lines += [f"  {note}" for note in result.notes]
    lines += [f"  {key}: {value}" for key, value in result.machine.items()]
    lines += [f"  denied: {right}" for right in result.denied]
    return "\n".join([*lines, "", *_verdicts(result)])


def markdown(result: Result) -> str:
    lines = [f"### {result.benchmark}", "", result.title, ""]
    if result.unavailable:
        return "\n".join([*lines, f"Not run: {result.unavailable}", ""])
    for table in result.tables:
        if table.title:
            lines += [f"{table.title}:", ""]
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("|" + "|".join(["---", *["---:"] * (len(table.columns) - 1)]) + "|")
        lines += ["| " + " | ".join(map(cell, row)) + " |" for row in table.rows]
        lines.append("")
    lines += [f"- {line}" for line in _verdicts(result)]
    lines += [f"- {note}" for note in result.notes]
    return "\n".join([*lines, ""])


def cell(value: Cell) -> str:
    """Three significant digits or so; integers whole."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:.{digits}f}"


def _aligned(table: Table) -> list[str]:
    rows = [table.columns, *[[cell(value) for value in row] for row in table.rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [table.title] if table.title else []
    for row in rows:
        first, *others = (
            value.ljust(width) if i == 0 else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    lines.insert(len(lines) - len(table.rows), "-" * (sum(widths) + 2 * len(widths) - 2))
    return lines


def _verdicts(result: Result) -> list[str]:
    if result.denied:
        return [f"NOT JUDGED  {_target(target)}: a right was denied" for target in result.targets]
    return [
        f"{'PASS' if target.passed else 'FAIL'}  {_target(target)}" for target in result.targets
    ]


def _target(target: Target) -> str:
    found = "not measured" if target.value is None else f"{cell(target.value)}{target.unit}"
    return f"{target.text}: {found} (target {target.relation} {target.limit:g}{target.unit})"
