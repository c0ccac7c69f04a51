"""What a page says about the devices of a loop: how well their clocks were known, what they reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.report.device_account import device_account
from rtloop.report.svg import Axis, Drawing
from rtloop.report.tables import Cell, Column, wide_table
from rtloop.report.typography import NOTHING, count, duration_us, escape
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.devices import DeviceSummary
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.words import find

_CLOCK = core.PORT_EVENTS["clock"]
_WITH_LATENESS = tuple(core.PORT_EVENTS[name] for name in ("late_command", "deadline_miss"))
_BINS = 500
_FIRST_BIN_NS = 100_000_000
_WIDTH, _HEIGHT = 1064.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 64.0, 22.0, 42.0


class ErrorOverTime:
    """The largest error bound of a clock in equal spans of time, in memory that does not grow.

    ``largest_ns`` is int64 [500], -1 where nothing was told; spans double when they no longer do.
    """

    def __init__(self) -> None:
        self.largest_ns = np.full(_BINS, -1, np.int64)
        self.bin_ns = _FIRST_BIN_NS
        self._begin_ns = 0

    def add(self, time_ns: NDArray[np.int64], error_ns: NDArray[np.int64]) -> None:
        """Take in estimates, int64 [n], at least one."""
        if self.n == 0:
            self._begin_ns = int(time_ns.min())
        while (int(time_ns.max()) - self._begin_ns) // self.bin_ns >= _BINS:
            halved = self.largest_ns.reshape(-1, 2).max(axis=1)
            self.largest_ns = np.concatenate([halved, np.full(_BINS - len(halved), -1)])
            self.bin_ns *= 2
        bins = np.clip((time_ns - self._begin_ns) // self.bin_ns, 0, _BINS - 1)
        np.maximum.at(self.largest_ns, bins, error_ns)

    @property
    def n(self) -> int:
        """Spans in which something was told."""
        return int(np.count_nonzero(self.largest_ns >= 0))


@dataclass
class _Kind:
    """All events of one kind: when, how late, for loops of which class."""

    first_ns: int
    last_ns: int
    worst_us: int = 0
    classes: set[int] = field(default_factory=set)


class PortOutline:
    """What one port reported."""

    def __init__(self) -> None:
        self.clock = ErrorOverTime()
        self.kinds: dict[int, _Kind] = {}

    def add(self, events: PortEvents) -> None:
        """Take in events of this port, structured [n]."""
        for number in np.unique(events["kind"]).tolist():
            these = events[events["kind"] == number]
            if number == _CLOCK:
                self.clock.add(these["time_ns"], these["clock_error_ns"])
                continue
            first_ns, last_ns = int(these["time_ns"].min()), int(these["time_ns"].max())
            kind = self.kinds.setdefault(number, _Kind(first_ns, last_ns))
            kind.first_ns, kind.last_ns = min(kind.first_ns, first_ns), max(kind.last_ns, last_ns)
            kind.worst_us = max(kind.worst_us, int(these["lateness_us"].max()))
            if these["device_event"].any():
                kind.classes |= set(these["loop_class"].tolist())


class DevicesOutline:
    """What all ports of a loop reported."""

    def __init__(self) -> None:
        self.ports: dict[int, PortOutline] = {}

    def add(self, events: PortEvents) -> None:
        """Take in events, structured [n]."""
        for index in np.unique(events["port"]).tolist():
            port = self.ports.setdefault(index, PortOutline())
            port.add(events[events["port"] == index])


def devices(
    outline: DevicesOutline,
    names: tuple[str, ...],
    told: Mapping[str, DeviceSummary],
    lost: int,
    first_release_ns: int,
) -> Iterator[str]:
    """The section: of each port its clock and a table of what its device reported.

    ``told`` is the loop's summary of them by name, ``lost`` the events that nobody has.
    """
    silent = [name for name in told if name not in names or names.index(name) not in outline.ports]
    if not outline.ports and not silent:
        return
    yield "<h3>Devices</h3>"
    for index, port in sorted(outline.ports.items()):
        name = names[index] if index < len(names) else f"port_{index}"
        summary = told.get(name, DeviceSummary(events={}))
        yield from _clock(name, port.clock, summary)
        if port.kinds:
            rows = (
                _kind_row(name, number, kind, summary, first_release_ns)
                for number, kind in sorted(port.kinds.items())
            )
            yield from wide_table(_KIND_COLUMNS, rows)
        if summary.account is not None or port.clock.n:
            yield from device_account(name, summary)
    for name in silent:
        yield f"<p><b>{escape(name)}</b></p>"
        yield from device_account(name, told[name])
    if lost:
        yield f'<p class="quiet small">{count(lost)} events were lost and are not in here.</p>'


def _clock(name: str, clock: ErrorOverTime, summary: DeviceSummary) -> Iterator[str]:
    if summary.clock_error_ns is None or clock.n == 0:
        yield f"<p><b>{escape(name)}</b></p>"
        return
    text = (
        f"known to ±{duration_us(summary.clock_error_ns / 1e3)} at the end, to "
        f"±{duration_us((summary.clock_error_max_ns or 0) / 1e3)} at worst; "
        f"{_skew(summary.clock_skew_ppb)}. This error is part of every age."
    )
    if summary.clock_doubt:
        text += f" <b>The bound does not hold</b>: {escape(summary.clock_doubt)}."
    if clock.n < 2:
        yield f"<p><b>Clock of {escape(name)}</b>: {text}</p>"
        return
    svg = _error_over_time(clock, f"Error bound of the clock of {name} over time")
    yield (
        f'<figure class="wide">{svg}<figcaption><b>Error bound of the clock of {escape(name)}'
        f"</b>: {text}</figcaption></figure>"
    )


def _skew(skew_ppb: int | None) -> str:
    if skew_ppb is None:
        return "how fast it runs was not measured yet"
    which = "slower" if skew_ppb < 0 else "faster"
    return f"it runs {abs(skew_ppb) / 1e3:.1f}\u00a0ppm {which} than the host's"


def _error_over_time(clock: ErrorOverTime, label: str) -> str:
    drawing = Drawing(_WIDTH, _HEIGHT, label)
    filled = np.flatnonzero(clock.largest_ns >= 0)
    error_us = np.maximum(clock.largest_ns[filled] / 1e3, 1.0)
    seconds = filled * (clock.bin_ns / 1e9)
    scale, unit = (60.0, "min") if seconds[-1] > 600 else (1.0, "s")
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    x = Axis(0.0, float(seconds[-1]) / scale, _LEFT, right)
    low = 10.0 ** np.floor(np.log10(error_us.min()))
    high = 10.0 ** np.ceil(np.log10(error_us.max() * 1.01))
    y = Axis(float(low), float(high), base, _TOP, log=True)
    drawing.y_axis(y, _LEFT, right)
    drawing.text(_LEFT - 6, 12, "µs", "unit", anchor="end")
    points = [
        f"{x(at / scale):.1f} {y(error):.1f}"
        for at, error in zip(seconds.tolist(), error_us.tolist(), strict=True)
    ]
    drawing.path("M" + "L".join(points), "trace")
    drawing.x_axis(x, base, f"time since the first estimate, {unit}", about=10)
    return str(drawing)


_KIND_COLUMNS = (
    Column("Event", "words"),
    Column("Count"),
    Column("first, s"),
    Column("last, s"),
    Column("latest by"),
    Column("class", "words"),
    Column("what to do", "words"),
)


def _kind_row(
    port: str, number: int, kind: _Kind, summary: DeviceSummary, first_release_ns: int
) -> list[Cell]:
    name = rec.name_of(rec.PORT_EVENT_NAMES, number)
    word = find("port_events", name)
    classes = [rec.name_of(rec.CLASS_NAMES, value) for value in sorted(kind.classes)]
    title = "" if word is None else f' title="{escape(word.sentence)}"'
    return [
        f"<span{title}>{escape(port)}: {escape(name.replace('_', ' '))}</span>",
        count(summary.events.get(name, 0)),
        *(f"{(at - first_release_ns) / 1e9:.3f}" for at in (kind.first_ns, kind.last_ns)),
        (duration_us(kind.worst_us), "late") if number in _WITH_LATENESS else NOTHING,
        escape(", ".join(classes)) or NOTHING,
        "" if word is None else escape(word.remedy),
    ]
