"""A toy transport: a device that measures what it was told. ``{echo: NAME}`` in both directions."""

from __future__ import annotations

import os

from pydantic import Field

from rtloop import core
from rtloop.config.values import Name
from rtloop.ports.around import Around
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, Port, ServedLoop
from rtloop.ports.signal import Signal


@INPUTS.register
class EchoInput(InputSection):
    """What the device measures."""

    kind = "echo"
    named = True

    echo: Name = Field(description="name of the device")
    fails_after: int = Field(default=0, ge=0, description="cycles until it breaks; 0 is never")
    deaf: bool = Field(default=False, description="whether it takes no command")

    @property
    def port_name(self) -> str:
        return self.echo

    @property
    def element_count(self) -> int:
        return 1

    @property
    def element_limit(self) -> int:
        return 1

    @property
    def element_names(self) -> tuple[str, ...]:
        return ("level",)

    def open(self, name: str, loop: ServedLoop, around: Around) -> EchoPort:
        return EchoPort(self.echo, self.fails_after, self.deaf)


@OUTPUTS.register
class EchoOutput(OutputSection):
    """What the device is told."""

    kind = "echo"

    echo: Name = Field(description="name of the device")

    @property
    def port_name(self) -> str:
        return self.echo

    @property
    def element_count(self) -> int:
        return 1

    def open(self, name: str, loop: ServedLoop, around: Around) -> EchoPort:
        return EchoPort(self.echo)


class EchoPort(Port):
    """The library is the C++ file of this kind, compiled: in the tree it would be part of the core."""

    inputs = (Signal("level", "V"),)
    outputs = (Signal("level", "V"),)

    def __init__(self, name: str, fails_after: int = 0, deaf: bool = False) -> None:
        self.name = name
        self._options = {"fails_after": fails_after, "deaf": int(deaf)}

    def prepare(self) -> None:
        self.core = core.Port("echo", self._options, os.environ["ECHO_LIBRARY"])

    def arm(self, clear: bool) -> None:
        pass

    def loss(self, errno: int) -> str:
        return f"the echo '{self.name}' fell silent: {os.strerror(errno)}. Shout again"
