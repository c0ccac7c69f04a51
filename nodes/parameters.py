"""The parameters of loop_node: one table, which also makes that of docs/ros2.md. It needs no ROS."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Value: TypeAlias = bool | float | str
When: TypeAlias = Literal["at start", "unconfigured", "any time"]


@dataclass(frozen=True)
class NodeParameter:
    """A parameter; ``<link>`` in its name stands for the name of any link of the configuration."""

    name: str
    default: Value
    description: str
    when: When
    """It may be changed: never once the node is there, while the node is unconfigured, or at any time."""
    range: tuple[float, float] | None = None
    words: tuple[str, ...] = ()

    @property
    def type_name(self) -> str:
        """In the words of ROS."""
        if self.words:
            return ", ".join(f"`{word}`" for word in self.words)
        word = {bool: "bool", float: "double", str: "string"}[type(self.default)]
        return word if self.range is None else f"{word}, {self.range[0]:g} to {self.range[1]:g}"

    def names(self, name: str) -> bool:
        """Whether a parameter of that name is this one."""
        pattern = re.escape(self.name).replace("<link>", "[^.]+")
        return re.fullmatch(pattern, name) is not None


def _thresholds() -> Iterable[NodeParameter]:
    counted = {
        "misses": "deadlines missed, of the cycles",
        "skipped": "releases skipped or slipped away, of the releases",
        "stale": "cycles without fresh input, of the cycles",
    }
    for name, what in counted.items():
        for level, default in (("warn", 0.0), ("error", 1.0)):
            text = f"a larger share of {what} since the previous message is {level.upper()}"
            yield NodeParameter(
                f"diagnostics.threshold.{name}.{level}", default, text, "any time", (0.0, 1.0)
            )


PARAMETERS = (
    NodeParameter(
        "config", "", "path of the YAML configuration; read when configuring", "unconfigured"
    ),
    NodeParameter(
        "links.<link>.device",
        "",
        "device of a link in place of the file's; empty leaves the file's",
        "unconfigured",
    ),
    NodeParameter(
        "recording_directory",
        "",
        "folder of the recordings in place of the file's; empty leaves the file's",
        "unconfigured",
    ),
    NodeParameter(
        "record",
        True,
        "false records nothing, whatever the configuration says; read when activating",
        "any time",
    ),
    NodeParameter(
        "autostart",
        False,
        "configure and activate without being asked, again and again until it has worked once",
        "at start",
    ),
    NodeParameter(
        "autostart_retry_s",
        2.0,
        "until the second attempt of autostart; each later pause is twice as long, up to 30 s",
        "at start",
        (0.1, 3600.0),
    ),
    NodeParameter(
        "on_fault",
        "stay",
        "what a loop in FAULT does to the node: nothing, deactivate it, or end the process with exit code 5",
        "any time",
        words=("stay", "deactivate", "exit"),
    ),
    NodeParameter(
        "diagnostics_rate_hz", 1.0, "how often /diagnostics is published", "at start", (0.1, 100.0)
    ),
    NodeParameter(
        "deadline_miss_limit_hz",
        20.0,
        "how many misses of a loop are told in a second on ~/deadline_miss",
        "at start",
        (0.1, 100.0),
    ),
    NodeParameter(
        "statistics_rate_hz",
        1.0,
        "how often ~/statistics/<loop> is published",
        "at start",
        (0.1, 100.0),
    ),
    *_thresholds(),
)

_GONE = {
    "clear": "a latch is no longer cleared by a parameter that stays, but once, by the service ~/rearm"
}
"""What older versions had, and what is there instead."""


def parameter(name: str) -> NodeParameter | None:
    """That of the table; None for a name that is not there."""
    return next((known for known in PARAMETERS if known.names(name)), None)


def as_meant(name: str, value: object) -> object:
    """The value, a whole number as a number with a fraction where such a one is meant."""
    known = parameter(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return float(value) if known and isinstance(known.default, float) else value


def refusal(name: str, value: object, state: str) -> str:
    """Why it must not have the value while the node is ``state``; empty when it may."""
    known = parameter(name)
    if known is None:
        return ""
    if known.words and value not in known.words:
        return f"{name}: found '{value}'; expected one of {', '.join(known.words)}"
    if known.when == "unconfigured" and state != "unconfigured":
        return (
            f"{name} is read when configuring, and the node is {state}: it may be changed while the node is "
            "unconfigured; expected a cleanup first"
        )
    return ""


def unknown(name: str, others: Iterable[str] = ()) -> str:
    """What to tell of a name that is no parameter; ``others`` are there, too. Empty where it is one."""
    if parameter(name) or name in others:
        return ""
    if name in _GONE:
        return f"unknown parameter {name}: {_GONE[name]}"
    known = [*(known.name for known in PARAMETERS), *others]
    near = difflib.get_close_matches(name, known, 1)
    return f"unknown parameter {name}, which does nothing" + (
        f"; did you mean {near[0]}?" if near else ""
    )


def table() -> str:
    """A row for each parameter, for docs/ros2.md."""
    rows = "".join(
        f"| `{p.name}` | {p.type_name} | {_shown(p.default)} | {p.when} | {p.description} |\n"
        for p in PARAMETERS
    )
    return f"| parameter | type | default | may change | |\n|---|---|---|---|---|\n{rows}"


def _shown(value: Value) -> str:
    return f"`{str(value).lower()}`" if value != "" else '`""`'
