"""What a command of the command line is made of: its parser, and the values that options take."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn, TypeAlias

from rtloop.errors import RtloopError


class UsageError(RtloopError):
    """An option or argument that there is not, or that is wrong."""

    exit_code = 2


class Parser(argparse.ArgumentParser):
    """Raises what is wrong: ``--json`` is for errors, too."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise UsageError(f"{message}\n{usage}")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""Where commands are added."""


def command(
    commands: Commands,
    name: str,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=name)
    return parser


def seconds(text: str) -> float:
    value = number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no duration in seconds")
    return value


def tolerance(text: str) -> float:
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no tolerance: a number above 0")
    return value


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


def whole(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")  # in no range: the caller says what would be right


def seed(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text} is no seed: a whole number from 0 to {2**32 - 1}")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text} is no NAME=VALUE")
    return name, value


def names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text} is no list of different names")
    return names


def path(text: str) -> Path:
    """A path; ``~`` is a home directory also where no shell has seen it, as in ``--out=~/x``."""
    path = os.path.expanduser(text)
    if text.startswith("~") and path == text:
        raise argparse.ArgumentTypeError(f"{text}: there is no such user of this host")
    return Path(path)
