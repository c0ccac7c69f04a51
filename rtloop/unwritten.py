"""Mailboxes in a process where no program writes them: that of a command, or of a node."""

from __future__ import annotations

from rtloop.config import Config, LoopConfig
from rtloop.errors import ConfigError, Finding


def refuse_empty(config: Config) -> None:
    """Raises ConfigError where a loop would wait in vain for its first sample."""
    expected = (
        "a device, values to start with, or a program of your own, which writes it with "
        "`Loop.write_input`: nobody does here"
    )
    wrong = [
        Finding.of(config.where("loops", name, "inputs", key), "a mailbox without values", expected)
        for name, loop in config.loops.items()
        for key, section in loop.inputs.items()
        if section.first_sample == "program" and section.stand_in is None
    ]
    if wrong:
        raise ConfigError(wrong)


def unwritten(loop: LoopConfig, here: str = "here") -> str:
    """A sentence on the mailboxes of a loop that nobody writes, ``here``; empty where it has none."""
    found = []
    told = {
        "file": "stays at the values of the file",
        "program": "is awaited in vain",
    }
    for first_sample, becomes in told.items():
        keys = [
            f"'{k}'"
            for k, s in loop.inputs.items()
            if s.first_sample == first_sample and s.stand_in is None
        ]
        if keys:
            found.append(f"input {', '.join(keys)} {becomes}")
    stale = [
        f"'{k}'"
        for k, s in loop.inputs.items()
        if s.stand_in is not None and s.first_sample in told
    ]
    if stale:
        found.append(f"input {', '.join(stale)} is stale, and on_stale stands in for it")
    return f"nobody writes mailboxes {here}: {'; '.join(found)}" if found else ""
