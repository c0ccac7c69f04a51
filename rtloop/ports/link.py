"""The sections of a link to a microcontroller: samples, commands. What they open: rtloop/link/port.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop import core
from rtloop.config.problem import Keys, Problem, milliseconds, number, unknown
from rtloop.config.values import Name, nanoseconds
from rtloop.errors import ConfigError
from rtloop.link import (
    transports,
)
from rtloop.link.port import LinkPort
from rtloop.link.wire_cost import BITS_PER_BYTE, command_frame_bytes
from rtloop.ports.around import Around
from rtloop.ports.port import (
    INPUTS,
    OUTPUTS,
    InputSection,
    OutputSection,
    ServedLoop,
)

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig


@INPUTS.register
class LinkInput(InputSection):
    """The newest sensor packet of a link; its elements have the names that the device's schema gives them."""

    kind = "link"
    named = True
    can_pace = True
    waits_for_device = True

    link: Name = Field(description="name of a link")

    @property
    def port_name(self) -> str:
        return self.link

    @property
    def element_count(self) -> None:
        return None

    @property
    def element_limit(self) -> int:
        return core.LINK_VALUES_MAX

    def hardware_id(self, links: Mapping[str, LinkConfig]) -> str:
        return links[self.link].device

    def has_threads(self, links: Mapping[str, LinkConfig]) -> bool:
        return _has_threads(links[self.link].device)

    def opened_at(self, here: Keys) -> Keys:
        return ("links", self.link, "device")

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from _existence(here, self.link, links)
        yield from super().rules(here, loop, links)
        if self.link in links and links[self.link].on_lost == "reconnect":
            yield from _loss_rules(here, self.link, loop)
            if self.max_age_ms is None:
                expected = (
                    f"a max_age_ms: link '{self.link}' may be lost and come back (on_lost: reconnect), and "
                    "without one its last sample counts for as long as that takes"
                )
                on_lost = ("links", self.link, "on_lost")
                judged = ((*here, "max_age_ms"), on_lost)
                yield Problem(here, expected, "no max_age_ms", judged=judged, at_key=True)

    def open(self, name: str, loop: ServedLoop, around: Around) -> LinkPort:
        """Raises ConfigError, too, where every sample is stale before the next one comes."""
        port = LinkPort.open(self.link, loop, around.links[self.link])
        if self.max_age_ms is not None and nanoseconds(self.max_age_ms) < port.sensor_period_ns:
            port.close()
            raise ConfigError(
                f"input '{name}': max_age_ms is {number(self.max_age_ms)}, but the device of link "
                f"'{self.link}' sends a sample every {milliseconds(port.sensor_period_ns)} ms: each is stale "
                "before the next one comes. Raise max_age_ms, or the firmware's sensor rate"
            )
        timeout_ns = loop.timeout_of_ns(name)
        if timeout_ns is not None and timeout_ns <= port.sensor_period_ns:
            port.close()
            raise ConfigError(
                f"input '{name}' paces the loop with a timeout_ms of {milliseconds(timeout_ns)}, but the "
                f"device of link '{self.link}' sends a sample every {milliseconds(port.sensor_period_ns)} ms: "
                "none comes in time. Raise timeout_ms and lower the rate, or raise the firmware's sensor rate"
            )
        return port


@OUTPUTS.register
class LinkOutput(OutputSection):
    """The commands of a link, in the order of the device's schema; at most what a packet carries.
    `safe` is not sent: STOP is, and the device goes to the safe output of its firmware, which it has without a
    host, too. Give `safe` as the same values, or `{hold: NAME}` where it holds what it measures: the slew limit
    `max_rate_per_s` starts from them. A record with outcome `safe` holds NaN for them: what stands there is the
    device's.
    """

    kind = "link"
    named = True
    waits_for_device = True
    can_hold = True
    refused = {"size": "no size with a link: the schema of the device has it"}  # noqa: RUF012

    link: Name = Field(description="name of a link")

    @property
    def port_name(self) -> str:
        return self.link

    @property
    def element_limit(self) -> int:
        return core.LINK_VALUES_MAX

    def hardware_id(self, links: Mapping[str, LinkConfig]) -> str:
        return links[self.link].device

    def has_threads(self, links: Mapping[str, LinkConfig]) -> bool:
        return _has_threads(links[self.link].device)

    def opened_at(self, here: Keys) -> Keys:
        return ("links", self.link, "device")

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from _existence(here, self.link, links)
        if self.link in links and loop.is_paced:
            yield from self._wire_rules(here, loop, links[self.link])
        if self.link in links and links[self.link].on_lost == "reconnect":
            yield from _loss_rules(here, self.link, loop)
        if (self.element_count or 0) > core.LINK_VALUES_MAX:
            key = next(k for k, v in self.vectors.items() if isinstance(v, tuple))
            expected = f"at most {core.LINK_VALUES_MAX} values, which is what a packet carries"
            yield Problem((*here, key), expected)
        else:
            yield from self.vector_rules(here)

    def open(self, name: str, loop: ServedLoop, around: Around) -> LinkPort:
        return LinkPort.open(self.link, loop, around.links[self.link])

    def _wire_rules(self, here: Keys, loop: ServedLoop, link: LinkConfig) -> Iterator[Problem]:
        """What the loop asks of the link that it commands. The device's schema may refuse more."""
        judged = (*loop.pace_keys(here[:2]), here)
        gap_ns = loop.longest_gap_ns
        if link.command_timeout_ns <= gap_ns:
            found = f"{number(link.command_timeout_ms)} ms"
            what = "period" if gap_ns == loop.period_ns else "clock.timeout_ms"
            expected = (
                f"more than {milliseconds(gap_ns)} ms, the {what} of loop '{here[1]}' that "
                "commands it: the device goes SAFE between two commands"
            )
            keys = ("links", self.link, "command_timeout_ms")
            yield Problem(keys, expected, found, judged=(*judged, (*here[:2], "clock")))
        transport = transports.of(link.device)
        bit_rate = None if transport is None else transport.bit_rate(link.baud)
        size = command_frame_bytes(min(self.element_count or 1, core.LINK_VALUES_MAX))
        needed = -(-size * BITS_PER_BYTE * 1_000_000_000 // loop.period_ns)
        if bit_rate is not None and needed > bit_rate:
            expected = (
                f"at least {needed}: loop '{here[1]}' sends {size} bytes every "
                f"{milliseconds(loop.period_ns)} ms; raise the baud rate or lower the loop's rate"
            )
            yield Problem(("links", self.link, "baud"), expected, f"{bit_rate}", judged=judged)


def _existence(here: Keys, link: str, links: Mapping[str, LinkConfig]) -> Iterator[Problem]:
    if link not in links:
        yield unknown((*here, "link"), link, "link", list(links), ("links",))


def _has_threads(device: str) -> bool:
    transport = transports.of(device)
    return transport is not None and transport.has_threads


def _loss_rules(here: Keys, link: str, loop: ServedLoop) -> Iterator[Problem]:
    if loop.loop_class == "hard":
        expected = f"fault: loop '{here[1]}' is hard, and its loss is a failure"
        judged = ((*here[:2], "class"), here)
        yield Problem(("links", link, "on_lost"), expected, judged=judged)
