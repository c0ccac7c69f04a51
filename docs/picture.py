"""Draws the picture of README.md from a recording, with the charts, colours and words of its report.

rtloop demo --overload
python docs/picture.py rtloop-runs/*/run.mcap > docs/report.svg
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from rtloop.report import charts
from rtloop.report.outline import LoopOutline, Outline, outline
from rtloop.report.page import CLASS_ORDER, SIGNS
from rtloop.report.svg import Drawing
from rtloop.report.typography import count, escape
from rtloop.report.verdict import judge

WIDTH, GAP, MARGIN = 1064.0, 20.0, 24.0
CARD_HEIGHT, HISTOGRAM_HEIGHT, LATENESS_HEIGHT = 178.0, 236.0, 262.0
#: Characters of a line at 13 px, for each pixel of its width; no text is measured here.
PER_PIXEL = 1 / 7.2
LINE = 19.0
STYLE = """
.paper { fill: var(--paper); stroke: var(--rule); } .card { fill: var(--card); }
svg .on-card { stroke: none; font-size: 13px; fill: var(--ink); } svg .name { font-weight: 650; }
svg .badge { font-size: 11px; letter-spacing: 0.07em; fill: var(--soft); }
svg .headline { font-size: 16px; font-weight: 650; }
svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); }
"""


def picture(recording: Outline) -> str:
    """An SVG of its own: the verdict on each loop, and the figures of the one that shows most."""
    names = sorted(
        recording.loops,
        key=lambda name: CLASS_ORDER.index(recording.loops[name].metadata.loop_class),
    )
    # One that went on to the end, with misses if there are any.
    shown = max(names, key=lambda n: (recording.loops[n].n, n))
    height = CARD_HEIGHT + 2 * LINE + HISTOGRAM_HEIGHT + 2 * LINE + LATENESS_HEIGHT
    box = f"{-MARGIN:g} {-MARGIN:g} {WIDTH + 2 * MARGIN:g} {height + 2 * MARGIN:g}"
    label = f"Report of a run: {'; '.join(_in_words(n, recording.loops[n]) for n in names)}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" '
        f'aria-label="{escape(label)}">',
        f"<style>{_colours()}{STYLE}</style>",
        f'<rect class="paper" x="{0.5 - MARGIN:g}" y="{0.5 - MARGIN:g}" '
        f'width="{WIDTH + 2 * MARGIN - 1:g}" height="{height + 2 * MARGIN - 1:g}" rx="8"/>',
        *_cards(recording, names),
        *_figures(shown, recording.loops[shown]),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _colours() -> str:
    """What the report's style says of colours and drawings."""
    css = files("rtloop.report").joinpath("report.css").read_text(encoding="utf-8")
    roots, _, rest = css.partition("\n* {")
    return roots + "\n" + "\n".join(re.findall(r"^svg .*$", rest, re.MULTILINE))


def _in_words(name: str, loop: LoopOutline) -> str:
    return f"{name}, {loop.metadata.loop_class}: {judge(loop.summary).headline}"


def _cards(recording: Outline, names: list[str]) -> Iterator[str]:
    width = (WIDTH - GAP * (len(names) - 1)) / len(names)
    for i, name in enumerate(names):
        loop, x = recording.loops[name], i * (width + GAP)
        verdict = judge(loop.summary)
        colour = f"fill: var(--{verdict.level.value})"
        yield f'<rect class="card" x="{x:.1f}" y="0" width="{width:.1f}" height="{CARD_HEIGHT:g}" rx="6"/>'
        yield f'<rect style="{colour}" x="{x:.1f}" y="0" width="{width:.1f}" height="3"/>'
        loop_class = loop.metadata.loop_class.upper()
        yield (
            f'<text class="on-card" x="{x + 18:.1f}" y="30"><tspan class="badge">{loop_class}</tspan>'
            f'<tspan class="name" dx="10">{escape(name)}</tspan></text>'
        )
        headline = f"{SIGNS[verdict.level]} {verdict.headline}"
        yield (
            f'<text class="on-card headline" style="{colour}" x="{x + 18:.1f}" y="60">'
            f"{escape(headline)}</text>"
        )
        yield from _paragraph(verdict.sentences, x + 18, 84, width - 32)


def _paragraph(sentences: tuple[str, ...], x: float, y: float, width: float) -> Iterator[str]:
    """The sentences that have room."""
    room = int((CARD_HEIGHT - y) // LINE) + 1
    for sentence in sentences:
        lines = textwrap.wrap(sentence, int(width * PER_PIXEL))
        if len(lines) > room:
            return
        for line in lines:
            yield f'<text class="on-card" x="{x:.1f}" y="{y:.1f}">{escape(line)}</text>'
            y += LINE
        room -= len(lines)


def _figures(name: str, loop: LoopOutline) -> Iterator[str]:
    if loop.figures is None:
        return
    deadline_us = loop.metadata.deadline_ns / 1e3
    y = CARD_HEIGHT + 2 * LINE
    half = (WIDTH - 24) / 2
    n = count(loop.summary.response_us.n)
    for x, title, values in (
        (0.0, "response time", loop.figures.response),
        (half + 24, "release latency", loop.figures.release_latency),
    ):
        yield _title(x, y, f"{name}: {title} of {n} cycles")
        svg = charts.histogram(values, title, label=title)
        yield _placed(svg, x, y, half, HISTOGRAM_HEIGHT)
    y += HISTOGRAM_HEIGHT + 2 * LINE
    yield _title(0, y, f"{name}: maximum lateness over time; dots are misses")
    svg = charts.lateness_over_time(loop.figures.lateness, deadline_us, "lateness over time")
    yield _placed(svg, 0, y, WIDTH, LATENESS_HEIGHT)


def _title(x: float, y: float, text: str) -> str:
    drawing = Drawing(0, 0, "")
    drawing.text(x, y - 8, text, "title")
    return drawing.parts[0]


def _placed(svg: str, x: float, y: float, width: float, height: float) -> str:
    """A figure of the report inside the picture."""
    place = f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
    return svg.replace("<svg ", place, 1)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(picture(outline(Path(sys.argv[1]))), end="")
