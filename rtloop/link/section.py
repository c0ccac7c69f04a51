"""The section of a link: its keys, and the rules between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of, number
from rtloop.config.section import Section
from rtloop.config.values import Milliseconds, PathText, nanoseconds
from rtloop.link import transports


class ReconnectConfig(Section):
    """How a lost link is opened anew, and what its device may do then without a person."""

    rearm: Literal["automatic", "never"] = Field(
        description="whether the device is armed again without a person"
    )
    first_ms: Milliseconds = Field(
        default=100, description="from the loss to the first attempt; doubled after each"
    )
    max_ms: Milliseconds = Field(default=5000, description="longest time between two attempts")
    give_up_s: float | None = Field(
        default=None, gt=0, le=1e9, description="after so long it is a fault; null is never"
    )

    def rules(self, here: Keys) -> Iterator[Problem]:
        if self.max_ms < self.first_ms:
            expected = f"at least first_ms, {number(self.first_ms)}"
            yield Problem((*here, "max_ms"), expected, number(self.max_ms))


class LinkConfig(Section):
    """A connection to one microcontroller."""

    device: PathText = Field(
        description="path of the serial device, which may be a pty or a symlink; or scheme://HOST:PORT"
    )
    baud: int = Field(
        default=1_000_000, ge=300, le=12_000_000, description="bits per second of a serial line"
    )
    command_timeout_ms: float = Field(
        default=20,
        ge=0.1,
        le=60_000,
        description="silence after which the device goes SAFE by itself; as long without a sensor "
        "packet is a port error on the host",
    )
    on_lost: Literal["fault", "reconnect"] = Field(
        default="fault", description="what becomes of the loop when the link is lost"
    )
    reconnect: ReconnectConfig | None = Field(
        default=None, description="with on_lost: reconnect, how it is opened anew"
    )

    @property
    def command_timeout_ns(self) -> int:
        return nanoseconds(self.command_timeout_ms)

    def rules(self, here: Keys) -> Iterator[Problem]:
        device, baud = (*here, "device"), (*here, "baud")
        transport = transports.of(self.device)
        if transport is None:
            yield Problem(device, any_of(transports.expected(self.device)))
        elif transport.bit_rate(self.baud) is None and "baud" in self.model_fields_set:
            expected = "no baud: only serial lines have one"
            yield Problem(baud, expected, f"device: {self.device}", judged=(device,), at_key=True)
        on_lost, reconnect = (*here, "on_lost"), (*here, "reconnect")
        if self.on_lost == "reconnect" and self.reconnect is None:
            expected = (
                "'reconnect: {rearm: automatic}' or 'reconnect: {rearm: never}' beside it: whether the "
                "device may move again without a person is yours to say"
            )
            yield Problem(on_lost, expected, judged=(reconnect,))
        elif self.on_lost == "fault" and self.reconnect is not None:
            expected = "on_lost: reconnect beside it, or no reconnect"
            yield Problem(reconnect, expected, "on_lost: fault", judged=(on_lost,), at_key=True)
        if self.reconnect is not None:
            yield from self.reconnect.rules(reconnect)
