"""The section of a link: its keys, and the rules between them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.config.section import Section
from rtloop.config.values import PathText, nanoseconds
from rtloop.link import transports


class LinkConfig(Section):
    """A connection to one microcontroller."""

    device: PathText = Field(description="path of the serial device; may be a pty or a symlink")
    baud: int = Field(default=1_000_000, ge=300, le=12_000_000, description="bits per second")
    command_timeout_ms: float = Field(
        default=20,
        ge=0.1,
        le=60_000,
        description="silence after which the device goes SAFE by itself; as long without a sensor "
        "packet is a port error on the host",
    )

    @property
    def command_timeout_ns(self) -> int:
        return nanoseconds(self.command_timeout_ms)

    def rules(self, here: Keys) -> Iterator[Problem]:
        if transports.of(self.device) is None:
            yield Problem((*here, "device"), any_of(transports.devices()))
