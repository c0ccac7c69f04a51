"""``rtloop devices``: what is plugged in, and, where it is asked, which rtloop firmware answers on it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from rtloop.cli.command import UsageError
from rtloop.cli.link.arguments import BAUD
from rtloop.cli.outlet import say
from rtloop.cli.table import Row, table
from rtloop.cli.terminal import Terminal
from rtloop.errors import LinkError
from rtloop.link import Link, LinkInfo
from rtloop.link.devices import SerialDevice, serial_devices
from rtloop.link.messages import told_state
from rtloop.link.transports import latency_problem

NOTHING = (
    "no serial device is plugged in. Check that the board has power and that its cable carries data, and "
    "`dmesg | tail` after plugging it in again; in a container or a virtual machine, that the device is "
    "passed on. Devices on a network are not searched for: `rtloop devices udp://HOST:PORT` asks one"
)


@dataclass(frozen=True)
class Answer:
    """What became of a HELLO: either ``info`` or ``error``. ``baud`` is the one that it answered at."""

    device: str
    baud: int
    info: LinkInfo | None = None
    error: str = ""
    latency_problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        info = self.info
        return {
            "device": self.device,
            "baud": self.baud,
            "name": info.name if info else None,
            "state": info.device_state.name if info else None,
            "schema_id": info.schema_id if info else None,
            "sensors": len(info.schema.sensors) if info else None,
            "commands": len(info.schema.commands) if info else None,
            "latency_problem": self.latency_problem or None,
            "error": self.error or None,
        }


def devices(options: argparse.Namespace) -> int:
    """0, also where nothing is plugged in; of those that were named, 1 where one does not answer.

    Raises UsageError.
    """
    if options.baud and not (options.ask or options.device):
        raise UsageError(
            "--baud: nobody is asked; expected --ask beside it, or the devices that are to be asked"
        )
    found = [] if options.device else serial_devices()
    asked = options.device or [device.path for device in found if options.ask]
    answers = ask(asked, options.baud or [BAUD])
    code = int(bool(options.device) and any(answer.error for answer in answers))
    if options.json:
        told = {
            "devices": [_as_dict(device) for device in found],
            "answers": [answer.as_dict() for answer in answers],
            "exit_code": code,
        }
        return code if say(json.dumps(told, indent=2)) else 1
    terminal = Terminal(sys.stdout)
    lines = [] if options.device else list(_told(found, terminal))
    lines += _answered(answers, terminal)
    if found and not asked:
        lines.append("which of them runs rtloop firmware: `rtloop devices --ask`")
    return code if say("\n".join(lines)) else 1


def ask(devices: Sequence[str], bauds: Sequence[int]) -> list[Answer]:
    """HELLO on each, all of them at once: one that is silent takes seconds."""
    if not devices:
        return []
    with ThreadPoolExecutor(len(devices)) as pool:
        return list(pool.map(lambda device: _ask(device, bauds), devices))


def _ask(device: str, bauds: Sequence[int]) -> Answer:
    errors = []
    for baud in bauds:
        try:
            link = Link.open(device, device, baud)
        except LinkError as error:
            errors.append(str(error))
            continue
        link.close()
        return Answer(device, baud, link.info, latency_problem=latency_problem(device))
    return Answer(device, bauds[-1], error=errors[-1])


def _as_dict(device: SerialDevice) -> dict[str, Any]:
    told = asdict(device)
    latency = told.pop("latency")
    return {
        **told,
        "usb_id": device.usb_id or None,
        "driver": latency["driver"],
        "latency_timer_ms": latency["timer_ms"],
        "low_latency": latency["low_latency"],
    }


def _told(found: Sequence[SerialDevice], terminal: Terminal) -> Iterator[str]:
    if not found:
        yield terminal.wrapped(NOTHING)
        return
    header = ("device", "usb", "product", "serial number", "driver", "latency", "held by")
    spare = ("serial number", "latency", "usb", "driver")
    yield from table(header, [_row(device) for device in found], terminal, spare)
    for device in found:
        if device.by_id:
            yield terminal.wrapped(f"  {device.path} stays {device.by_id}")
        if device.problem:
            yield terminal.styled(terminal.wrapped(f"  {device.path}: {device.problem}"), "yellow")


def _row(device: SerialDevice) -> Row:
    product = f"{device.manufacturer} {device.product}".strip()
    held = ", ".join(map(str, device.holders))
    driver = device.latency.driver
    return (
        device.path,
        device.usb_id,
        product,
        device.serial_number,
        driver,
        _latency(device),
        held,
    )


def _latency(device: SerialDevice) -> str:
    """As it is now. A run asks the driver for low latency when it opens the line."""
    if device.latency.timer_ms is not None:
        return f"{device.latency.timer_ms} ms"
    return {True: "low", False: "ordinary", None: ""}[device.latency.low_latency]


def _answered(answers: Sequence[Answer], terminal: Terminal) -> Iterator[str]:
    for answer in answers:
        if (info := answer.info) is None:
            yield terminal.styled(terminal.wrapped(answer.error), "red")
            continue
        state = told_state(info.device_state, info.reasons)
        yield terminal.wrapped(
            f"{terminal.styled(info.name, 'bold')} on {answer.device} is {state}: "
            f"{len(info.schema.sensors)} sensor values every {info.sensor_period_us / 1000:g} ms, "
            f"{len(info.schema.commands)} command values, round trip {info.round_trip_ns / 1000:.0f} µs"
        )
        if answer.latency_problem:
            yield terminal.styled(terminal.wrapped(f"  {answer.latency_problem}"), "yellow")
