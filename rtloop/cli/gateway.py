"""``rtloop gateway``: a device offered over ZeroMQ until Ctrl-C; then it gets a STOP."""

from __future__ import annotations

import argparse
import json
import sys

from rtloop.cli.outlet import Outlet, say
from rtloop.cli.signals import Signals
from rtloop.errors import LinkError
from rtloop.link.gateway import Gateway
from rtloop.stopping import stopped_when


def gateway(options: argparse.Namespace) -> int:
    """0 when it was stopped and the device said that it is SAFE. Raises LinkError where it did not."""
    outlet = Outlet(sys.stdout)  # a reader that stalls must not make packets wait, nor a STOP
    with Signals() as signals:
        stopped = signals.from_now_on()
        with stopped_when(stopped):
            opened = Gateway(
                options.device, options.baud, options.pub, options.command_address, options.keys
            )
            try:
                outlet.write(f"{_ready(opened, options)}\n")
                opened.serve(
                    stopped,
                    lambda text: None if options.json else outlet.write(f"gateway: {text}\n"),
                )
            finally:
                is_safe = opened.stop()
                opened.close()
    outlet.finish()
    if not is_safe:
        raise LinkError(
            f"the device on {options.device} did not confirm STOP: whether it is SAFE is not known. ACTIVE it "
            "goes SAFE by its command timeout, if it obeys that; ARMED it stays so. Go and look"
        )
    told = {"device": options.device, "state": "SAFE", "exit_code": 0}
    return (
        0
        if say(json.dumps(told) if options.json else "gateway: stopped, the device is SAFE")
        else 1
    )


def _ready(opened: Gateway, options: argparse.Namespace) -> str:
    """With its addresses: port 0 was any free one."""
    info = opened.info
    told = {
        "device": options.device,
        "name": info.name,
        "pub": opened.pub,
        "command": opened.command,
    }
    if options.json:
        return json.dumps(told)
    return (
        f"gateway: '{info.name}' on {options.device}: samples and events at {opened.pub}, commands at "
        f"{opened.command} (device: zmq+{opened.command})"
    )
