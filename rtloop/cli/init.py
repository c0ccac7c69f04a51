"""The command ``init``: writes the configuration of a loop, and lists what it could not know."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from rtloop.cli.command import UsageError
from rtloop.cli.outlet import say
from rtloop.errors import ConfigError, RtloopError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def init(options: argparse.Namespace) -> int:
    """Writes the file; returns the exit code. Raises ConfigError, RtloopError."""
    from rtloop.policy.importing import draft

    to_stdout = options.out == "-"
    out = Path(options.out).expanduser()
    if to_stdout and options.json:
        raise UsageError("-o - and --json both want stdout")
    if not to_stdout and out.exists() and not options.force:
        raise ConfigError(f"{out} is there already; --force overwrites it, -o names another file")
    for read in (options.model, options.deploy):
        if (
            not to_stdout
            and read is not None
            and out.exists()
            and read.exists()
            and out.samefile(read)
        ):
            raise ConfigError(f"{out} is what is read; -o names another file")
    written = draft(
        options.model,
        options.deploy,
        Path() if to_stdout else out.parent,
        names=_renamed(options.rename),
        joints=options.joints,
        fix_dimensions=_fixed(options.fix_dimension),
    )
    name = "stdout" if to_stdout else str(out)
    if to_stdout:
        told = say(written.text.rstrip("\n"))
    else:
        _write(out, written.text, options.force)
        told = True
    say(f"rtloop: {name}: {len(written.todos)} things are left to you:", sys.stderr)
    for line, words in written.todos:
        say(f"  line {line}: {words}", sys.stderr)
    if options.json:
        todos = [{"line": line, "todo": words} for line, words in written.todos]
        told = say(json.dumps({"file": str(out), "todos": todos}, indent=2))
    return 0 if told else 1


def _write(path: Path, text: str, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; --force overwrites it") from None
    except OSError as error:
        raise RtloopError(f"{path}: cannot be written: {error.strerror}") from None


def _renamed(pairs: list[tuple[str, str]]) -> dict[str, str]:
    for _, name in pairs:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--rename: '{name}' is no name: a-z, then a-z, 0-9 and _, 32 at most")
    return _once("--rename", pairs)


def _fixed(pairs: list[tuple[str, str]]) -> dict[str, int]:
    for name, size in pairs:
        if not size.isdecimal() or int(size) < 1:
            raise UsageError(f"--fix-dimension: {name}={size} is no size")
    return {name: int(size) for name, size in _once("--fix-dimension", pairs).items()}


def _once(option: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise UsageError(f"{option}: {name} is given as {found[name]} and as {value}")
    return found
