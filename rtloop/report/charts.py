"""The figures of a report: histograms, lateness over time, the stages of single cycles."""

import numpy as np

from rtloop.report.figures import Distribution, Microseconds, Range, Slices
from rtloop.report.svg import Axis, Drawing
from rtloop.report.typography import duration_us, plural
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.records import Records

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 26.0, 42.0
# Room at the end of an axis for the bar of what does not fit it, and that bar's width.
_BEYOND, _BEYOND_BAR = 58.0, 16.0
STAGES = ("release", "read", "infer", "write")


def histogram(
    values: Distribution,
    name: str,
    *,
    label: str,
    percentiles: dict[str, float] | None = None,
    width: float = 520.0,
    height: float = 236.0,
) -> str:
    """Counts (logarithmic) of durations in µs (linear), with the deadline as a line.

    Bars past the deadline have the colour of a miss. What does not fit the axis is counted in one
    hatched bar at its end.
    """
    drawing = Drawing(width, height, label)
    shown, deadline_us = values.shown, values.deadline_us
    plot_right = width - _RIGHT - (_BEYOND if shown.clipped else 0)
    base = height - _BOTTOM
    x = Axis(shown.low, shown.high, _LEFT, plot_right)
    edges, above = values.edges, values.above
    highest = max(int(values.counts.max()), above, 1)
    y = Axis(0.6, max(10.0, highest * 1.35), base, _TOP, log=True)

    drawing.y_axis(y, _LEFT, width - _RIGHT)
    drawing.text(_LEFT - 6, 12, "cycles", "unit", anchor="end")
    for low, high, n in zip(edges[:-1], edges[1:], values.counts.tolist(), strict=True):
        if n == 0:
            continue
        late = deadline_us is not None and low >= deadline_us * (1 - 1e-9)
        drawing.rect(
            x(low) + 0.25,
            y(n),
            max(x(high) - x(low) - 0.5, 0.6),
            base - y(n),
            "bar late" if late else "bar",
            f"{low:.1f} to {high:.1f} µs: {plural(n, 'cycle')}",
        )
    if shown.clipped:
        late = deadline_us is not None and shown.high >= deadline_us
        title = (
            f"above {shown.high:.0f} µs: {plural(above, 'cycle')}, up to {values.largest:.0f} µs"
        )
        css = "bar late beyond" if late else "bar beyond"
        middle = plot_right + _BEYOND / 2 + 6
        top = y(above)
        drawing.rect(middle - _BEYOND_BAR / 2, top, _BEYOND_BAR, base - top, css, title)
        drawing.text(
            middle,
            top - 5,
            f"to {duration_us(values.largest)}",
            "note" if late else "tick",
            anchor="middle",
        )
    _percentile_marks(drawing, x, percentiles or {}, base)
    drawing.x_axis(x, base, f"{name}, µs", about=7 if not shown.clipped else 6)
    if deadline_us is not None:
        _deadline_mark(drawing, x, deadline_us, shown, base)
    return str(drawing)


def _percentile_marks(
    drawing: Drawing, x: Axis, percentiles: dict[str, float], base: float
) -> None:
    """Small marks under the axis line: p50, p99, p99.9."""
    for name, value in percentiles.items():
        if x.low <= value <= x.high:
            at = x(value)
            title = f"{name}: {value:.1f} µs"
            points = f"M{at:.1f} {base + 1:.1f}l-4 7h8z"
            drawing.path(points, "mark", title)


def _deadline_mark(
    drawing: Drawing, x: Axis, deadline_us: float, shown: Range, base: float
) -> None:
    text = f"deadline {duration_us(deadline_us)}"
    if deadline_us <= shown.high:
        at = x(deadline_us)
        drawing.line(at, _TOP - 6, at, base, "deadline")
        near_right = at > (x.from_px + x.to_px) / 2
        drawing.text(
            at + (-5 if near_right else 5),
            14,
            text,
            "deadline-text",
            "end" if near_right else "start",
        )
    else:
        drawing.text(x.to_px, 14, f"{text} →", "deadline-text", anchor="end")


def lateness_over_time(
    slices: Slices,
    deadline_us: float,
    label: str,
    *,
    width: float = 1064.0,
    height: float = 262.0,
) -> str:
    """The largest lateness of each slice of the run, misses marked, skipped releases below."""
    drawing = Drawing(width, height, label)
    length_s, bins = slices.length_s, slices.n
    filled = np.flatnonzero(~np.isnan(slices.largest))
    largest, median = slices.largest[filled], slices.median[filled]
    n_missed, n_skipped = slices.missed[filled], slices.skipped[filled]

    low, high, clipped = _lateness_range(largest, median, deadline_us)
    base, scale, unit = height - _BOTTOM - 18, 1.0, "s"
    if length_s > 600:
        scale, unit = 60.0, "min"
    right = width - 64.0
    x = Axis(0.0, length_s / scale, _LEFT, right)
    y = Axis(low, high, base, _TOP)
    drawing.y_axis(y, _LEFT, right)
    drawing.text(_LEFT - 6, 12, "µs", "unit", anchor="end")

    def left(slot: int) -> float:
        return x(slot * length_s / bins / scale)

    top, bottom = [], []
    for slot, hi, mid in zip(filled.tolist(), largest.tolist(), median.tolist(), strict=True):
        for edge in (left(slot), left(slot + 1)):
            top.append(f"{edge:.1f} {y(hi):.1f}")
            bottom.append(f"{edge:.1f} {y(mid):.1f}")
    drawing.path("M" + "L".join(top + bottom[::-1]) + "Z", "band")
    drawing.path("M" + "L".join(top), "trace")
    drawing.path("M" + "L".join(bottom), "median")
    drawing.line(_LEFT, y(0), right, y(0), "deadline")

    for slot, hi, missed, skipped in zip(
        filled.tolist(), largest.tolist(), n_missed.tolist(), n_skipped.tolist(), strict=True
    ):
        centre = (left(slot) + left(slot + 1)) / 2
        when = f"{slot * length_s / bins:.3g} s"
        if missed:
            title = f"from {when}: {plural(missed, 'miss', 'misses')}, up to {duration_us(hi)} late"
            if hi > high:
                drawing.path(f"M{centre:.1f} {_TOP - 8:.1f}l-4.5 8h9z", "missed", title)
            else:
                drawing.dot(centre, y(hi), 2.6, "missed", title)
        if skipped:
            width_px = max(left(slot + 1) - left(slot), 1.6)
            title = f"from {when}: {plural(skipped, 'release')} skipped"
            drawing.rect(centre - width_px / 2, base + 7, width_px, 7, "skipped", title)
    drawing.text(right + 6, y(0) + 4, "deadline", "deadline-text")
    if int(n_skipped.sum()):
        drawing.text(_LEFT - 6, base + 14, "skipped", anchor="end")
    if clipped:
        drawing.text(
            _LEFT + 4,
            12,
            f"▲ beyond the scale, up to {duration_us(float(largest.max()))} late",
            "note",
        )
    drawing.x_axis(x, base + 18, f"time since the first release, {unit}", about=10)
    return str(drawing)


def _lateness_range(
    largest: Microseconds, median: Microseconds, deadline_us: float
) -> tuple[float, float, bool]:
    low = float(median.min())
    high = max(float(largest.max()), 0.0)
    # A single stall of many deadlines must not flatten everything else.
    usual = float(np.percentile(largest, 98))
    cap = max(2 * deadline_us, 1.5 * usual)
    clipped = high > 2 * cap
    if clipped:
        high = cap
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin, clipped


def stage_bar(record: Records, scale_us: float, deadline_us: float, unfinished: bool) -> str:
    """One cycle from its release on, by stage, on a scale up to ``scale_us``, with the deadline."""
    width, height = 220.0, 18.0
    label = "release latency, read, infer and write of this cycle"
    drawing = Drawing(width, height, label, stretched=True)
    x = Axis(0.0, scale_us, 0.0, width)
    if unfinished:
        drawing.rect(0, 3, width, 12, "bar late beyond", "this cycle never returned")
    else:
        begin = 0.0
        for stage, duration_us_ in zip(STAGES, stages_us(record), strict=True):
            end = begin + duration_us_
            drawing.rect(
                x(begin),
                3,
                x(end) - x(begin),
                12,
                f"stage-{stage}",
                f"{STAGE_NAMES[stage]}: {duration_us(duration_us_)}",
            )
            begin = end
        if begin > scale_us:
            drawing.path("M212 4l6 5-6 5z", "cut", f"goes on to {duration_us(begin)}")
    if deadline_us <= scale_us:
        drawing.line(x(deadline_us), 0, x(deadline_us), height, "deadline")
    return str(drawing)


STAGE_NAMES = {
    "release": "release latency",
    "read": "read",
    "infer": "infer",
    "write": "write",
}


def stage_scale_us(response_us: Microseconds, deadline_us: float) -> float:
    """A common scale for some cycles; one that took far longer than the rest is cut off.

    A deadline far beyond all of them is not on it: the stages are what the bars are for.
    """
    largest = float(response_us.max())
    if 3 * largest < deadline_us:
        return largest * 1.02
    usual = max(3 * float(np.median(response_us)), 2 * deadline_us)
    return max(min(largest, usual), deadline_us) * 1.02


def stages_us(record: Records) -> tuple[float, float, float, float]:
    """Durations of the four stages of one cycle (records of shape [1]), in µs."""
    release, read, infer, write = (
        float(duration(record)[0]) / 1e3
        for duration in (
            rec.release_latency_ns,
            rec.read_duration_ns,
            rec.infer_duration_ns,
            rec.write_duration_ns,
        )
    )
    return release, read, infer, write
