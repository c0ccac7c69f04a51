"""How a robot went all the time: distance, height and tilt, and below what its loop missed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtloop.demos.quadruped.skeleton import Floats, rotations
from rtloop.demos.quadruped.track import Rows
from rtloop.report.svg import Axis, Drawing
from rtloop.report.typography import plural

_WIDTH = 1064.0
_LEFT, _RIGHT = 58.0, 1050.0
_PANEL, _GAP, _TOP = 74.0, 34.0, 22.0
_STRIP, _MARK = 18.0, 10.0

_CSS = """
text{font:11px Inter,system-ui,"DejaVu Sans",sans-serif;fill:#5b636d;font-variant-numeric:tabular-nums}
.unit{fill:#8a929c}.name{font-weight:600;fill:#1b1f24}
.axis{stroke:#8a929c}.grid{stroke:#e4e6e9}
.trace{fill:none;stroke:#5b7a9d;stroke-width:1.3;stroke-linejoin:round}
.pushed{fill:#f08c26;fill-opacity:.28}.missed{fill:#c8500a}.skipped{fill:#5b636d}
.fell{stroke:#bd2f0d;stroke-width:1.5;stroke-dasharray:5 3}
@media (prefers-color-scheme:dark){text{fill:#a5adb7}.unit{fill:#77808b}.name{fill:#e7e9ec}.grid{stroke:#30363e}
.trace{stroke:#7f9fc4}.missed{fill:#f08a48}.skipped{fill:#a5adb7}.fell{stroke:#ff7d57}}
"""


def course(
    robot: str, rows: Rows, missed_ns: npt.NDArray[np.int64], skipped_ns: npt.NDArray[np.int64]
) -> str:
    """An SVG image over the time of the rows; ``missed_ns`` and ``skipped_ns`` are releases of its loop."""
    begin_ns = int(rows["time_ns"][0])
    seconds = (rows["time_ns"] - begin_ns) / 1e9
    qpos = rows["qpos"].astype(np.float64)
    up = rotations(qpos[:, 3:7])[:, 2, 2]
    panels = {  # and the largest value at which an axis may begin
        "ahead, m": (qpos[:, 0] - qpos[0, 0], 0.0),
        "height of the trunk, cm": (100 * qpos[:, 2], 20.0),
        "tilt, °": (np.degrees(np.arccos(np.clip(up, -1.0, 1.0))), 0.0),
    }
    scale, unit = (60.0, "min") if seconds[-1] > 600 else (1.0, "s")
    x = Axis(0.0, float(seconds[-1]) / scale, _LEFT, _RIGHT)
    pixels = np.array([x(t) for t in (seconds / scale).tolist()])
    strips = _TOP + len(panels) * (_PANEL + _GAP)
    base = strips + 2 * _STRIP
    drawing = Drawing(_WIDTH, base + 42, "")
    _draw_pushes(drawing, pixels, rows["is_pushed"], strips - _GAP)
    for number, (name, (values, least)) in enumerate(panels.items()):
        top = _TOP + number * (_PANEL + _GAP)
        y = Axis(min(least, float(values.min())), float(values.max()) + 1e-6, top + _PANEL, top)
        drawing.y_axis(y, _LEFT, _RIGHT, about=3)
        drawing.text(_LEFT, top - 8, name, "name")
        drawing.path(_trace(pixels, np.array([y(v) for v in values.tolist()])), "trace")
    if rows["has_fallen"].any():
        at = float(pixels[rows["has_fallen"].argmax()])
        drawing.line(at, _TOP - 8, at, strips - _GAP, "fell")
        drawing.text(at, _TOP - 9, "it fell", "", "middle")
    for number, (name, times_ns) in enumerate((("missed", missed_ns), ("skipped", skipped_ns))):
        top = strips + number * _STRIP
        drawing.text(_LEFT - 6, top + _MARK, name, "", "end")
        at_s = (times_ns - begin_ns) / 1e9 / scale
        inside = at_s[(at_s >= 0) & (at_s <= x.high)]
        _draw_marks(drawing, np.array([x(t) for t in inside.tolist()]), top, name)
    drawing.x_axis(x, base, f"time since it was driven first, {unit}", about=10)
    misses = plural(len(missed_ns), "deadline miss", "deadline misses")
    told = f"{misses} of its loop, releases skipped {plural(len(skipped_ns), 'time')}; orange: it was pushed"
    return drawing.as_image(f"{robot} all the time", told, _CSS)


def _trace(pixels: Floats, y: Floats) -> str:
    """A line; where there is more than a row to a pixel, through the lowest and the highest of each."""
    columns = np.floor(pixels).astype(np.int64)
    starts = np.flatnonzero(np.r_[True, columns[1:] != columns[:-1]])
    if len(starts) == len(columns):
        points = zip(pixels.tolist(), y.tolist(), strict=True)
        return "M" + "L".join(f"{x:.1f} {v:.1f}" for x, v in points)
    lowest, highest = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    return "M" + "L".join(
        f"{x:.1f} {a:.1f}L{x:.1f} {b:.1f}"
        for x, a, b in zip(pixels[starts].tolist(), lowest.tolist(), highest.tolist(), strict=True)
    )


def _draw_pushes(
    drawing: Drawing, pixels: Floats, pushed: npt.NDArray[np.bool_], bottom: float
) -> None:
    edges = np.flatnonzero(np.diff(np.r_[False, pushed, False].astype(np.int8)))
    for begin, end in edges.reshape(-1, 2).tolist():
        left, right = float(pixels[begin]), float(pixels[min(end, len(pixels) - 1)])
        drawing.rect(left, _TOP, max(right - left, 1.0), bottom - _TOP, "pushed")


def _draw_marks(drawing: Drawing, at: Floats, y: float, css: str) -> None:
    """One for all that fall on the same pixel."""
    for column in np.unique(np.floor(at)).tolist():
        drawing.rect(column, y + 1, 1.4, _MARK, css)
