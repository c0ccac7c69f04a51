"""What a page says of a device's own account: its loop, and how old the samples were that it acted on."""

from __future__ import annotations

from collections.abc import Iterator

from rtloop import core
from rtloop.report.svg import Axis, Drawing
from rtloop.report.typography import count, duration_us, escape, plural
from rtloop.telemetry.observe.device_account import DeviceAccount, DeviceHistogram
from rtloop.telemetry.observe.devices import DeviceSummary

_WIDTH, _HEIGHT = 520.0, 226.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 26.0, 42.0
#: Where a logarithm begins: what took no whole microsecond is drawn from here.
_LEAST_US = 0.5


def device_account(name: str, summary: DeviceSummary) -> Iterator[str]:
    """Of the device behind the port ``name``."""
    account = summary.account
    if account is None:
        yield (
            '<p class="quiet">What its own loop missed, and how old the samples were that it acted on, is not '
            "known: its firmware keeps no account, or could not be asked for it in time.</p>"
        )
        return
    yield f"<p>{_loop_in_words(account)}{_since(summary)}</p>"
    yield '<div class="figures">'
    if account.loop_class is not None and account.response_us.n:
        yield _figure(
            account.response_us,
            "Response time",
            f"Response times of the loop of {name}",
            "from the release to the end of a job, by the device's clock",
            deadline_us=account.deadline_us,
        )
    if account.sample_to_actuation_us.n:
        yield _figure(
            account.sample_to_actuation_us,
            "Sample to actuation",
            f"Sample to actuation of {name}",
            _about_ages(account, summary),
        )
    yield "</div>"


def _loop_in_words(account: DeviceAccount) -> str:
    if account.loop_class is None:
        return "It accounts for no loop of its own."
    told = (
        f"<b>Its own loop</b>, {escape(account.loop_class)}, {duration_us(account.period_us)}, deadline "
        f"{duration_us(account.deadline_us)}: {plural(account.jobs, 'job')}, "
        f"{count(account.skipped)} skipped, {plural(account.misses, 'miss', 'misses')}"
    )
    if account.misses and account.first_miss_after_us is not None:
        told += (
            f", the first {account.first_miss_after_us / 1e6:.3f}\u00a0s after it was armed (job "
            f"{count(account.first_miss_job or 0)}), the latest by {duration_us(account.lateness_max_us)} at "
            f"{account.worst_after_us / 1e6:.3f}\u00a0s (job {count(account.worst_job)}), at most "
            f"{count(account.most_consecutive)} lost in a row"
        )
    elif account.jobs:
        told += f"; the latest job had {duration_us(-account.lateness_max_us)} to spare"
    failures = "".join(f" <b>{escape(failure)}.</b>" for failure in account.failures)
    return f"{told}.{failures}"


def _since(summary: DeviceSummary) -> str:
    told = ""
    if summary.account is not None and not summary.account.is_final:
        told += (
            " It could not be asked at the end: this is what it said last, which has no histograms."
        )
    if summary.events.get("reconnected"):
        told += " It was lost and came back: this is since it was armed the last time."
    return told


def _about_ages(account: DeviceAccount, summary: DeviceSummary) -> str:
    told = (
        "from the newest sample that the host had until its command was applied, both by the device's clock "
        "alone: right to its step of 1\u00a0µs"
    )
    if summary.clock_error_max_ns is not None:
        told += f", where ages on the host are right to ±{duration_us(summary.clock_error_max_ns / 1e3)}"
    if account.untraced:
        told += f". {plural(account.untraced, 'command')} more could not be told"
    return told


def _figure(
    histogram: DeviceHistogram, title: str, label: str, about: str, deadline_us: int | None = None
) -> str:
    numbers = " · ".join(
        f"{name} {duration_us(histogram.percentile_us(share) or 0)}"
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
    )
    svg = _drawn(histogram, title.lower(), label, deadline_us)
    return (
        f"<figure>{svg}<figcaption><b>{title}</b>, N = {count(histogram.n)}: {about}. {numbers} · max "
        f"{duration_us(histogram.max_us)}; percentiles to a quarter of themselves.</figcaption></figure>"
    )


def _drawn(histogram: DeviceHistogram, name: str, label: str, deadline_us: int | None) -> str:
    """Both axes logarithmic, as the counts are kept; bars past the deadline in the colour of a miss."""
    drawing = Drawing(_WIDTH, _HEIGHT, label)
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    edges = [float(edge) for edge in core.HISTOGRAM_EDGES_US]
    edges = [max(edge, _LEAST_US) for edge in (*edges, max(edges[-1] * 1.25, histogram.max_us))]
    filled = [bucket for bucket, n in enumerate(histogram.counts) if n]
    low = 10.0 ** _floor_log(edges[filled[0]])
    high = max(edges[filled[-1] + 1], float(deadline_us or 0) * 1.1, low * 10)
    x = Axis(low, high, _LEFT, right, log=True)
    y = Axis(0.6, max(10.0, max(histogram.counts) * 1.35), base, _TOP, log=True)
    drawing.y_axis(y, _LEFT, right)
    drawing.text(_LEFT - 6, 12, "jobs" if deadline_us else "commands", "unit", anchor="end")
    for bucket in filled:
        n, begin, end = histogram.counts[bucket], edges[bucket], edges[bucket + 1]
        late = deadline_us is not None and begin > deadline_us
        title = f"{begin:g} to {end:g} µs: {count(n)}"
        width = max(x(end) - x(begin) - 0.5, 0.6)
        css = "bar late" if late else "bar"
        drawing.rect(x(begin) + 0.25, y(n), width, base - y(n), css, title)
    drawing.x_axis(x, base, f"{name}, µs")
    if deadline_us is not None:
        at = x(deadline_us)
        drawing.line(at, _TOP - 6, at, base, "deadline")
        text = f"deadline {duration_us(deadline_us)}"
        drawing.text(at - 5, 14, text, "deadline-text", anchor="end")
    return str(drawing)


def _floor_log(value: float) -> int:
    power = 0
    while 10.0 ** (power + 1) <= value:
        power += 1
    return power if value >= 1 else -1
