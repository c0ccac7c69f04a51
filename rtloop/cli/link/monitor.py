"""``rtloop link monitor``: what a device measures, how it is and what happens to it, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO, cast

from rtloop.cli.link.info import COUNTERS
from rtloop.cli.outlet import Outlet
from rtloop.cli.signals import Signals
from rtloop.cli.table import Row, table
from rtloop.cli.terminal import Block, Terminal
from rtloop.link import DeviceState, Link, Reason
from rtloop.link.messages import DeviceEvent, told_state
from rtloop.link.watch import ASK_S, Watch
from rtloop.stopping import stopped_when

#: Where nothing can be redrawn, a picture less often: it stays.
PLAIN_EVERY_S = 1.0


def monitor(options: argparse.Namespace) -> int:
    """0 when it is stopped, or the duration is over; 1 when nobody reads it any more.

    Raises LinkError when the line is lost.
    """
    outlet = Outlet(sys.stdout)  # a reader that stalls must not make samples wait
    stream = cast(TextIO, outlet)
    with Signals() as signals:
        stopped = signals.from_now_on()
        with stopped_when(stopped):
            link = Link.open(options.device, options.device, options.baud)
        seen = _Lines(stream) if options.json else _Screen(stream, options.device)
        try:
            _watch(link.watch(), seen, options, lambda: stopped() or outlet.has_failed)
        finally:
            link.close()
            outlet.finish()
    return 1 if outlet.has_failed else 0


def _watch(
    watch: Watch, seen: _Lines | _Screen, options: argparse.Namespace, stopped: Callable[[], object]
) -> None:
    end_s = time.monotonic() + (options.duration or math.inf)
    every_s = max(options.every, seen.every_s)
    next_s = time.monotonic() + every_s
    while not stopped() and time.monotonic() < end_s:
        for event in watch.until(min(next_s, end_s, time.monotonic() + 0.05)):
            seen.tell(event)
        if time.monotonic() >= next_s:
            next_s += every_s * max(1, (time.monotonic() - next_s) // every_s)
            seen.draw(watch)
    seen.draw(watch)


class _Lines:
    """JSON for machines: an object a picture, and one an event."""

    every_s = 0.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, event: DeviceEvent | str) -> None:
        told: dict[str, Any] = {"event": event}
        if isinstance(event, DeviceEvent):
            told = {**vars(event), "state": event.state.name, "reasons": _names(event.reasons)}
        self._write(told)

    def draw(self, watch: Watch) -> None:
        sample, status, age_ns = watch.sample, watch.status, watch.age_ns
        names = [field.name for field in watch.info.schema.sensors]
        values = sample.values if sample else ()
        self._write(
            {
                "state": sample.state.name if sample else None,
                "reasons": _names(sample.reasons) if sample else [],
                "rate_hz": watch.rate_hz,
                "age_us": None if age_ns is None else age_ns / 1000,
                "clock_error_us": watch.clock_error_ns / 1000,
                "samples": watch.samples,
                "lost": watch.lost,
                "damaged": watch.damaged,
                "silent_s": watch.silent_s,
                "values": {
                    name: value if math.isfinite(value) else None
                    for name, value in zip(names, values, strict=False)
                },
                "counters": {k: getattr(status, k) for k in COUNTERS} if status else None,
            }
        )

    def _write(self, told: dict[str, Any]) -> None:
        self._stream.write(json.dumps(told) + "\n")


class _Screen:
    """For people: a block that is drawn again and again, with events above it; or plain lines."""

    def __init__(self, stream: TextIO, device: str) -> None:
        self._terminal = Terminal(stream)
        self._block = Block(self._terminal)
        self._device = device
        self.every_s = 0.0 if self._terminal.redraws else PLAIN_EVERY_S

    def tell(self, event: DeviceEvent | str) -> None:
        self._block.erase()
        self._terminal.write(f"{self._terminal.wrapped(str(event))}\n")

    def draw(self, watch: Watch) -> None:
        lines = [self._head(watch), *self._table(watch)]
        if self._terminal.redraws:
            self._block.draw(lines)
        else:
            self._terminal.write("".join(f"{line}\n" for line in lines))

    def _head(self, watch: Watch) -> str:
        """As much of it as fits, from the most to the least."""
        sample, age_ns, terminal = watch.sample, watch.age_ns, self._terminal
        state = told_state(sample.state, sample.reasons) if sample else "no sample yet"
        styles = ("red", "bold") if sample and sample.state == DeviceState.SAFE else ("bold",)
        if watch.silent_s > ASK_S:
            state, styles = f"SILENT for {watch.silent_s:.0f} s", ("red", "bold")
        age = (
            ""
            if age_ns is None
            else f"age {age_ns / 1e6:.1f} ± {watch.clock_error_ns / 1e6:.1f} ms"
        )
        late = f"late commands {sample.late_commands}" if sample and sample.late_commands else ""
        losses = f"lost {watch.lost}  damaged {watch.damaged}"
        rest = filter(None, [f"{watch.rate_hz:.1f} Hz", age, losses, late, f"on {self._device}"])
        plain = f"{watch.info.name}  {state}"
        line = f"{watch.info.name}  {terminal.styled(state, *styles)}"
        if len(plain) > terminal.columns:
            return plain[: terminal.columns]
        for cell in rest:
            if len(plain) + 2 + len(cell) > terminal.columns:
                break
            plain, line = f"{plain}  {cell}", f"{line}  {cell}"
        return line

    def _table(self, watch: Watch) -> list[str]:
        values = watch.sample.values if watch.sample else ()
        rows: list[Row] = [
            (field.name, f"{value:.6g}", "" if field.unit == "-" else field.unit)
            for field, value in zip(watch.info.schema.sensors, values, strict=False)
        ]
        return list(table(("", "value", "unit"), rows, self._terminal)) if rows else []


def _names(reasons: Reason) -> list[str]:
    return [reason.name or "" for reason in Reason if reason in reasons]
