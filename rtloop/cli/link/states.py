"""``rtloop link arm``, ``clear`` and ``safe``: a device's state, by hand."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress

from rtloop import core
from rtloop.cli.command import UsageError
from rtloop.cli.outlet import say
from rtloop.cli.signals import Signals
from rtloop.cli.terminal import Terminal
from rtloop.errors import LinkError
from rtloop.link import DeviceState, DeviceStatus, Link, Reason
from rtloop.link.link import stop_device
from rtloop.link.messages import told_state
from rtloop.link.packet_stream import PacketStream
from rtloop.link.transports import open_line
from rtloop.stopping import go_on, stopped_when


def change_state(options: argparse.Namespace) -> int:
    """0 where the device says that it is in the state that was asked for, and that could be told.

    Raises LinkError, UsageError, StoppedError. A device is left ARMED with 0 only.
    """
    what = {"link arm": _arm, "link clear": _clear, "link safe": _safe}[options.command]
    with Signals() as signals, stopped_when(signals.from_now_on()):
        status, told = what(options)
    with suppress(KeyboardInterrupt):  # a terminal may stand still
        if _is_told(options, status, told):
            return 0
    if what is _arm:
        with Signals():  # another Ctrl-C does not keep it from its STOP
            _safe(options)  # nobody knows that it is ARMED
    return 1


def _is_told(options: argparse.Namespace, status: DeviceStatus, told: str) -> bool:
    if options.json:
        reasons = [reason.name for reason in Reason if reason in status.reasons]
        fields = {"device": options.device, "state": status.state.name, "reasons": reasons}
        return say(json.dumps({**fields, "told": told, "exit_code": 0}, indent=2))
    return say(Terminal(sys.stdout).wrapped(told))


def _arm(options: argparse.Namespace) -> tuple[DeviceStatus, str]:
    if not options.yes:
        raise UsageError(
            f"nothing was sent: once {options.device} is armed, the next valid command on its line moves its "
            "machine. See that it may move and that nobody is near it, then say --yes"
        )
    timeout_us = round(1000 * (options.command_timeout_ms or 0))
    link = Link.open(options.device, options.device, options.baud)
    try:
        link.refuse_unready(link.info.device_state, link.info.reasons, _clearable(options.clear))
        status = _armed(link, options, timeout_us)
    finally:
        link.close()
    timeout_ms = (timeout_us or link.info.command_timeout_us) / 1000
    return status, (
        f"'{link.info.name}' is ARMED, and no command was sent: its output stays safe until the first one. "
        f"That makes it ACTIVE; {timeout_ms:g} ms without another, and it latches SAFE by itself "
        "(COMMAND_TIMEOUT). Without any command it stays ARMED until it is stopped: "
        f"`rtloop link safe {options.device}`"
    )


def _armed(link: Link, options: argparse.Namespace, timeout_us: int) -> DeviceStatus:
    try:
        status = link.arm(
            loop_class=core.CLASSES[options.loop_class],
            max_late_commands=1 if options.loop_class == "hard" else 0,
            command_timeout_us=timeout_us,
            clear=_clearable(options.clear),
        )
        go_on()
        return status
    except BaseException:
        link.stop()  # it may be ARMED, and the answer lost
        raise


def _clearable(clear: bool) -> Reason:
    return ~Reason(0) if clear else Reason.HOST_STOP


def _clear(options: argparse.Namespace) -> tuple[DeviceStatus, str]:
    link = Link.open(options.device, options.device, options.baud)
    try:
        return _cleared(link)
    finally:
        link.close()


def _cleared(link: Link) -> tuple[DeviceStatus, str]:
    before = link.status()
    told = told_state(before.state, before.reasons)
    if before.state != DeviceState.SAFE:
        return before, f"'{link.info.name}' is {told}: there is nothing to clear"
    status = link.clear()
    if status.state != DeviceState.IDLE:
        now = told_state(status.state, status.reasons)
        raise LinkError(
            f"'{link.info.name}' was not cleared: it is {now}. Its machine objects, or the cause is still "
            "there: remove it"
        )
    return status, (
        f"'{link.info.name}' was {told}. It is IDLE now, and not armed: find out why it was SAFE before it is"
    )


def _safe(options: argparse.Namespace) -> tuple[DeviceStatus, str]:
    """STOP is obeyed from anyone: it is the first word on the line, and no handshake comes before."""
    line = open_line(options.device, options.baud)
    try:
        status = stop_device(PacketStream(line))
    finally:
        line.close()
    if status is None:
        raise LinkError(
            f"the device on {options.device} did not confirm STOP: whether it is SAFE is not known. Stop the "
            "machine by its own means, and go and look"
        )
    return status, f"the device on {options.device} is {told_state(status.state, status.reasons)}"
