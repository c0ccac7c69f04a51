"""``rtloop link sniff``: the packets of a recorded line, one in each row, with what is damaged between them."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from rtloop import core
from rtloop.cli.command import UsageError
from rtloop.cli.link.arguments import BAUD
from rtloop.cli.outlet import say
from rtloop.cli.signals import Signals
from rtloop.cli.terminal import Terminal
from rtloop.errors import RtloopError
from rtloop.link.capture import Captured, decoded
from rtloop.link.messages import EVENTS, DeviceState, Reason
from rtloop.link.transports import open_line
from rtloop.stopping import stopped_when

_PIECE = 1 << 16


def sniff(options: argparse.Namespace) -> int:
    """0 where the file holds a packet, else 1. Raises RtloopError when it cannot be read or written."""
    if options.file.is_char_device():
        device = quote(options.record or str(options.file))
        raise UsageError(
            f"{options.file} is a device, and would be sent what comes; expected a file: "
            f"`rtloop link sniff line.bin --record {device}` writes one, and sends nothing"
        )
    for name in ("duration", "baud"):
        if getattr(options, name) is not None and options.record is None:
            raise UsageError(
                f"--{name}: nothing is recorded; expected --record DEVICE beside it, or FILE alone, which is "
                "decoded to its end"
            )
    if options.record is not None:
        _record(options)
    counts: Counter[str] = Counter()
    terminal = Terminal(sys.stdout)
    if not options.json and not say(terminal.styled(_HEADER, "dim")):
        return 1
    for found in decoded(_pieces(options.file)):
        counts["packets"] += found.is_packet
        counts["damaged"] += not found.is_packet
        counts["missing"] += found.missing
        line = _as_json(found) if options.json else _line(found, terminal)
        if not say(line):
            return 1
    told = (
        f"{counts['packets']} packets, {counts['damaged']} damaged frames, {counts['missing']} missing "
        "by their numbers"
    )
    if not options.json:
        say(terminal.styled(told, "bold"))
    if counts["packets"]:
        return 0
    raise RtloopError(
        f"{options.file} holds no packet: a device says nothing before HELLO (`rtloop link info` says it); if "
        "there are bytes, they have another baud rate, or are no packets of rtloop"
    )


_HEADER = f"{'offset':>9}     {'seq':>5} {'ack':>5} {'time µs':>10}  packet"


def _line(found: Captured, terminal: Terminal) -> str:
    if not found.is_packet:
        return terminal.styled(
            f"{found.offset:>9}  !! {found.size} bytes: {found.error}"[: terminal.columns], "red"
        )
    way = "→" if found.is_of_host else "←"
    contents = found.error or _contents(found.fields or {})
    missing = f"  ({found.missing} missing before)" if found.missing else ""
    head = (
        f"{found.offset:>9}  {way}  {found.seq:>5} {found.ack:>5} {found.time_us:>10}  {found.type}"
    )
    styles = ("red",) if found.error else ("yellow",) if missing else ()
    return terminal.styled(f"{head}{missing} {contents}".rstrip()[: terminal.columns], *styles)


def _contents(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_word(name, value)}" for name, value in fields.items())


def _word(name: str, value: Any) -> str:
    if name == "state" and value in DeviceState.__members__.values():
        return DeviceState(value).name
    if name in ("reasons", "reason_bits"):
        return Reason(value & sum(Reason)).names()
    if name == "event":
        return EVENTS.get(value, str(value))
    if isinstance(value, bytes):
        return repr(value.decode("ascii", "replace"))
    if isinstance(value, list):
        return "[" + " ".join(f"{x:.6g}" for x in value) + "]"
    if isinstance(value, str):  # a device's own: it must not control a terminal
        return "".join(c if c.isprintable() else "?" for c in value)
    return str(value)


def _as_json(found: Captured) -> str:
    told = {**vars(found)}
    told["fields"] = {name: _plain(value) for name, value in (found.fields or {}).items()}
    return json.dumps(told)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    if isinstance(value, list):
        return [x if math.isfinite(x) else None for x in value]
    return value


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise RtloopError(f"{path} cannot be read: {error.strerror}") from error


def _record(options: argparse.Namespace) -> None:
    """Listens, and sends nothing. Packets of a line that keeps them apart are framed as on a serial one."""
    with Signals() as signals:
        stopped = signals.from_now_on()
        with stopped_when(stopped):
            line = open_line(options.record, options.baud or BAUD)
        end_s = time.monotonic() + (options.duration or math.inf)
        try:
            with options.file.open("wb") as file:
                while not stopped() and (left_s := end_s - time.monotonic()) > 0:
                    data = line.read(min(left_s, 0.1))
                    file.write(_framed(data) if line.keeps_packets else data)
        except OSError as error:
            raise RtloopError(f"{options.file} cannot be written: {error.strerror}") from error
        finally:
            line.close()


def _framed(packet: bytes) -> bytes:
    return core.frame_encode(packet) if 0 < len(packet) <= 540 else b""
