"""``rtloop gateway``: a device offered over ZeroMQ until Ctrl-C; then it gets a STOP."""

from __future__ import annotations

import argparse
import json

from rtloop.cli.outlet import say
from rtloop.cli.signals import Signals
from rtloop.errors import LinkError
from rtloop.link.gateway import Gateway
from rtloop.stopping import stopped_when


def gateway(options: argparse.Namespace) -> int:
    """0 when it was stopped and the device said that it is SAFE. Raises LinkError where it did not."""
    with Signals() as signals:
        stopped = signals.from_now_on()
        with stopped_when(stopped):
            opened = Gateway(
                options.device, options.baud, options.pub, options.command_address, options.keys
            )
            try:
                _tell_ready(opened, options)
                opened.serve(
                    stopped, lambda text: None if options.json else say(f"gateway: {text}")
                )
            finally:
                is_safe = opened.stop()
                opened.close()
    if not is_safe:
        raise LinkError(
            f"the device on {options.device} did not confirm STOP: whether it is SAFE is not known. It goes "
            "SAFE by its command timeout, if it obeys that; go and look"
        )
    told = {"device": options.device, "state": "SAFE", "exit_code": 0}
    return (
        0
        if say(json.dumps(told) if options.json else "gateway: stopped, the device is SAFE")
        else 1
    )


def _tell_ready(opened: Gateway, options: argparse.Namespace) -> None:
    """With its addresses: port 0 was any free one."""
    info = opened.info
    told = {
        "device": options.device,
        "name": info.name,
        "pub": opened.pub,
        "command": opened.command,
    }
    if options.json:
        say(json.dumps(told))
    else:
        say(
            f"gateway: '{info.name}' on {options.device}: samples and events at {opened.pub}, commands at "
            f"{opened.command} (device: zmq+{opened.command})"
        )
