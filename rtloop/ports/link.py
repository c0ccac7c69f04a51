"""A link: the samples and commands of one microcontroller, over any transport of rtloop.link."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from rtloop import core
from rtloop.config.problem import Keys, Problem, milliseconds, number, unknown
from rtloop.config.values import Name
from rtloop.errors import LinkError
from rtloop.link import Link, Reason, check_wire_rate, transports
from rtloop.link.handshake import LinkInfo
from rtloop.link.wire_cost import BITS_PER_BYTE, command_frame_bytes
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, Port, ServedLoop
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig


@INPUTS.register
class LinkInput(InputSection):
    """The newest sensor packet of a link; its elements have the names that the device's schema gives them."""

    kind = "link"
    named = True

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

    def opened_at(self, here: Keys) -> Keys:
        return ("links", self.link, "device")

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from _existence(here, self.link, links)
        yield from super().rules(here, loop, links)

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> LinkPort:
        return LinkPort.open(self.link, loop, links[self.link])


@OUTPUTS.register
class LinkOutput(OutputSection):
    """The commands of a link, in the order of the device's schema; at most what a packet carries."""

    kind = "link"
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

    def opened_at(self, here: Keys) -> Keys:
        return ("links", self.link, "device")

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from _existence(here, self.link, links)
        if self.link in links and loop.is_paced:
            yield from self._wire_rules(here, loop, links[self.link])
        if (self.element_count or 0) > core.LINK_VALUES_MAX:
            key = next(k for k, v in self.vectors.items() if isinstance(v, tuple))
            expected = f"at most {core.LINK_VALUES_MAX} values, which is what a packet carries"
            yield Problem((*here, key), expected)
        else:
            yield from self.vector_rules(here)

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> LinkPort:
        return LinkPort.open(self.link, loop, links[self.link])

    def _wire_rules(self, here: Keys, loop: ServedLoop, link: LinkConfig) -> Iterator[Problem]:
        """What the loop asks of the link that it commands. The device's schema may refuse more."""
        judged = (*loop.pace_keys(here[:2]), here)
        if link.command_timeout_ns <= loop.period_ns:
            found = f"{number(link.command_timeout_ms)} ms"
            expected = (
                f"more than {milliseconds(loop.period_ns)} ms, the period of loop '{here[1]}' that "
                "commands it: the device goes SAFE between two commands"
            )
            keys = ("links", self.link, "command_timeout_ms")
            yield Problem(keys, expected, found, judged=judged)
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


class LinkPort(Port):
    """An open link, whose device has shaken hands."""

    def __init__(self, link: Link, loop: ServedLoop, settings: LinkConfig) -> None:
        schema = link.info.schema
        self.name = link.name
        self.inputs = tuple(Signal(field.name, field.unit) for field in schema.sensors)
        self.outputs = tuple(Signal(field.name, field.unit) for field in schema.commands)
        self.hardware_id = settings.device
        self._link = link
        self._loop = loop
        self._baud = settings.baud
        self._timeout_ns = settings.command_timeout_ns

    @classmethod
    def open(cls, name: str, loop: ServedLoop, settings: LinkConfig) -> LinkPort:
        """Shakes hands. Raises LinkError, and ConfigError when the line is too slow for the loop."""
        link = Link.open(name, settings.device, settings.baud)
        try:
            if link.bit_rate is not None:
                check_wire_rate(link.bit_rate, link.info.schema, loop.nominal_rate_hz)
            return cls(link, loop, settings)
        except BaseException:
            link.close()
            raise

    def ask(self) -> dict[str, Any]:
        """As the handshake found it."""
        info = self._link.info
        return {
            "name": info.name,
            "device": self.hardware_id,
            "state": info.device_state.name,
            "schema_id": info.schema_id,
            "sensor_period_us": info.sensor_period_us,
            "command_timeout_us": info.command_timeout_us,
            "round_trip_us": info.round_trip_ns / 1000,
            "sensors": [{"name": s.name, "unit": s.unit} for s in self.inputs],
            "commands": [{"name": s.name, "unit": s.unit} for s in self.outputs],
        }

    def refuse_unready(self, clear: bool) -> None:
        info = self._link.info
        self._link.refuse_unready(info.device_state, info.reasons, clear)

    def prepare(self) -> None:
        """Measures the device's clock anew; a device that was reset or replugged is opened anew.

        Raises LinkError.
        """
        try:
            info = self._link.resync()
        except LinkError:
            info = self._reopen()
        loop = self._loop
        # The next cycle's command supersedes this one within a period; a late soft result keeps
        # some value.
        validity_ns = self._timeout_ns if loop.loop_class == "soft" else loop.period_ns
        slower_ns = max(loop.period_ns, info.sensor_period_us * 1000)
        options = {
            "fd": self._link.fileno(),
            "schema_id": info.schema_id,
            "n_sensor": len(self.inputs),
            "n_command": len(self.outputs),
            "clock_offset_ns": info.clock_offset_ns,
            "clock_error_ns": info.clock_error_ns,
            "clock_time_ns": info.clock_time_ns,
            "command_validity_ns": validity_ns,
            "command_timeout_ns": self._timeout_ns,
            # By then a device that obeys its timeout, but no command, is SAFE and has said so.
            "obey_timeout_ns": 2 * self._timeout_ns + 3 * slower_ns,
            "silence_timeout_ns": max(self._timeout_ns, 3 * slower_ns),
        }
        try:
            self.core = core.Port("link", options)
        except (OSError, ValueError) as error:
            raise LinkError(f"link '{self.name}': {error}") from error

    def _reopen(self) -> LinkInfo:
        """Closes the line and shakes hands over a new one. The graph stands: the schema must too."""
        if hasattr(self, "core"):
            del self.core  # it holds the line open, which nobody else may use
        self._link.close()
        agreed = self._link.info.schema_id
        link = Link.open(self.name, self.hardware_id, self._baud)
        if link.info.schema_id != agreed:
            link.close()
            raise LinkError(
                f"link '{self.name}': the device has another schema than when it was configured; "
                "configure the loop anew"
            )
        self._link = link
        return link.info

    def arm(self, clear: bool) -> None:
        loop_class = self._loop.loop_class
        self._link.arm(
            loop_class=core.CLASSES[loop_class],
            max_late_commands=1 if loop_class == "hard" else 0,
            command_timeout_us=self._timeout_ns // 1000,
            clear=clear,
        )

    def stop(self) -> str:
        if self._link.stop():
            return ""
        return (
            f"the device of link '{self.name}' ({self.hardware_id}) did not confirm STOP: whether it is "
            "SAFE is not known. It goes SAFE by its command timeout, if it obeys that; go and look"
        )

    def close(self) -> None:
        self._link.close()

    def loss(self, errno: int) -> str:
        return (
            f"the link '{self.name}' ({self.hardware_id}) was lost: {os.strerror(errno)}. Whether "
            "the safe command still reached the device is not known; it goes SAFE by its command "
            "timeout. Check cable and device"
        )

    def device_safe(self) -> str:
        reasons = Reason(self.core.counters()["device_reasons"]).names()
        return (
            f"the device of link '{self.name}' ({reasons}) latched SAFE by itself. Find out why, "
            "then activate the loop anew with --clear"
        )
