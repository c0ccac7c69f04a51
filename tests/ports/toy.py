"""A kind of port that rtloop does not bring: a ramp that it reads, a log that it writes.

Nothing but this file knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from rtloop import core
from rtloop.config.problem import Keys, Problem
from rtloop.config.values import Name
from rtloop.ports.around import Around
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, Port, ServedLoop
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig


@INPUTS.register
class ToyInput(InputSection):
    """A ramp."""

    kind = "toy"
    named = True

    toy: Name = Field(description="name of a toy")
    step: float = Field(default=1.0, description="from one element to the next")

    @property
    def port_name(self) -> str:
        return self.toy

    @property
    def element_count(self) -> int:
        return 2

    @property
    def element_limit(self) -> int:
        return 2

    @property
    def element_names(self) -> tuple[str, ...]:
        return ("low", "high")

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        if self.step == 0:
            yield Problem((*here, "step"), "a ramp that rises or falls")

    def open(self, name: str, loop: ServedLoop, around: Around) -> ToyPort:
        return ToyPort(self.toy, self.step)


@OUTPUTS.register
class ToyOutput(OutputSection):
    """A log."""

    kind = "toy"

    toy: Name = Field(description="name of a toy")

    @property
    def port_name(self) -> str:
        return self.toy

    def open(self, name: str, loop: ServedLoop, around: Around) -> ToyPort:
        return ToyPort(self.toy, 1.0)


class ToyPort(Port):
    inputs = (Signal("low", "m"), Signal("high", "m"))
    outputs = (Signal("logged", "N"),)
    hardware_id = "/dev/toy"

    opened = 0
    closed = 0

    def __init__(self, name: str, step: float) -> None:
        self.name = name
        self.step = step
        ToyPort.opened += 1

    def prepare(self) -> None:
        self.core = core.Port("mailbox", {"inputs": 2, "safe": [0.0]})

    def arm(self, clear: bool) -> None:
        self.core.put(np.array([0.0, self.step], np.float32))

    def close(self) -> None:
        ToyPort.closed += 1
