"""What ``rtloop devices`` and ``rtloop link`` take."""

from __future__ import annotations

import argparse

from rtloop.cli.command import Commands, command, number, path, positive, seconds, whole

_DEVICE = "a path, or an address such as udp://HOST:PORT"
BAUD = 1_000_000


def add_devices(commands: Commands) -> None:
    devices = command(
        commands,
        "devices",
        "list the serial devices of this host: names that stay, drivers, who holds them",
        "rtloop devices --ask --baud 1000000",
    )
    devices.add_argument(
        "device", nargs="*", metavar="DEVICE", help=f"ask these instead: {_DEVICE}"
    )
    devices.add_argument(
        "--ask",
        action="store_true",
        help="open each and say HELLO; a board that resets when its line is opened does",
    )
    devices.add_argument(
        "--baud",
        action="append",
        type=_baud,
        default=[],
        metavar="N",
        help=f"to ask with; may be repeated (default {BAUD})",
    )
    devices.add_argument("--json", action="store_true", help="for machines")


def add_link(commands: Commands) -> None:
    link = commands.add_parser(
        "link", help="one device by hand: look at it, measure its line, arm, clear or stop it"
    )
    of_link = link.add_subparsers(required=True, metavar="COMMAND")
    _add(of_link, "info", "say what a device is, what it measures, and how it is", "/dev/ttyACM0")

    monitor = _add(
        of_link,
        "monitor",
        "show what a device measures, until Ctrl-C; it is not armed",
        "/dev/ttyACM0",
    )
    _add_duration(monitor)
    monitor.add_argument(
        "--every",
        type=positive,
        default=0.25,
        metavar="S",
        help="seconds between two pictures, or lines of JSON (default 0.25)",
    )

    ping = _add(
        of_link,
        "ping",
        "measure round trips to a device, and count what is lost",
        "/dev/ttyACM0 -n 1000",
    )
    ping.add_argument(
        "-n", type=whole, default=100, metavar="N", help="exchanges of times (default 100)"
    )
    ping.add_argument(
        "--every", type=seconds, default=0.01, metavar="S", help="between two (default 0.01)"
    )

    arm = _add(
        of_link,
        "arm",
        "arm a device: from then on the next valid command moves its machine",
        "/dev/ttyACM0 --yes",
    )
    arm.add_argument("--yes", action="store_true", help="its machine may move: without it refused")
    arm.add_argument("--clear", action="store_true", help="also where it is latched SAFE")
    arm.add_argument(
        "--class",
        dest="loop_class",
        choices=("hard", "firm", "soft"),
        default="hard",
        help="of the loop that is to command it; hard trips at the first late command (default hard)",
    )
    arm.add_argument(
        "--command-timeout-ms",
        type=_command_timeout_ms,
        metavar="MS",
        help="silence after which it goes SAFE by itself (default: the device's own)",
    )
    _add(
        of_link,
        "clear",
        "let a device that is latched SAFE go back to IDLE; it stays disarmed",
        "/dev/ttyACM0",
    )
    _add(of_link, "safe", "stop a device: it goes SAFE, in whatever state it is", "/dev/ttyACM0")

    sniff = command(
        of_link,
        "sniff",
        "decode what was recorded on a line into its packets",
        "rtloop link sniff line.bin --record /dev/ttyACM0 --duration 5",
    )
    sniff.set_defaults(command="link sniff")
    sniff.add_argument("file", type=path, metavar="FILE", help="bytes as they were on the line")
    sniff.add_argument(
        "--record", metavar="DEVICE", help="write FILE first, of what this device sends unasked"
    )
    _add_duration(sniff)
    _add_baud(sniff)
    sniff.set_defaults(baud=None)  # to record with; a file has none
    sniff.add_argument("--json", action="store_true", help="an object a packet, in lines")


def add_gateway(commands: Commands) -> None:
    gateway = command(
        commands,
        "gateway",
        "offer a device over ZeroMQ: samples and events to many, commands from one at a time",
        "rtloop gateway /dev/ttyACM0 --command tcp://127.0.0.1:5555 --pub tcp://127.0.0.1:5556",
    )
    gateway.add_argument("device", metavar="DEVICE", help=_DEVICE)
    _add_baud(gateway)
    gateway.add_argument(
        "--pub",
        default="tcp://127.0.0.1:5556",
        metavar="ADDRESS",
        help="where samples and events are published as JSON (default tcp://127.0.0.1:5556)",
    )
    gateway.add_argument(
        "--command",
        dest="command_address",
        default="tcp://127.0.0.1:5555",
        metavar="ADDRESS",
        help="where the one host connects that commands (default tcp://127.0.0.1:5555)",
    )
    gateway.add_argument(
        "--keys",
        type=path,
        metavar="FOLDER",
        help="CURVE keys, which addresses beyond this host need; made where there are none yet",
    )
    gateway.add_argument("--json", action="store_true", help="the addresses and the end, in lines")


def _add(commands: Commands, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    parser = command(commands, name, summary, f"rtloop link {name} {example}")
    parser.set_defaults(command=f"link {name}")
    parser.add_argument("device", metavar="DEVICE", help=_DEVICE)
    _add_baud(parser)
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


def _add_baud(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baud",
        type=_baud,
        default=BAUD,
        metavar="N",
        help=f"bits per second of a serial line (default {BAUD})",
    )


def _add_duration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--duration", type=seconds, metavar="S", help="seconds (default: until Ctrl-C)"
    )


def _command_timeout_ms(text: str) -> float:
    value = number(text)
    if not 0.1 <= value <= 60_000:  # as in a configuration
        raise argparse.ArgumentTypeError(f"{text} is no command timeout: 0.1 to 60000 ms")
    return value


def _baud(text: str) -> int:
    value = whole(text)
    if not 300 <= value <= 12_000_000:
        raise argparse.ArgumentTypeError(f"{text} is no baud rate: 300 to 12000000")
    return value
