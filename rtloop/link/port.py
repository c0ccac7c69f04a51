"""The port of a link: its handshake, how it is armed, stopped and opened anew; what went wrong, in words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rtloop import core
from rtloop.errors import LinkError, StoppedError
from rtloop.link import (
    DeviceState,
    LatchedError,
    Link,
    Reason,
    TermsError,
    check_wire_rate,
    transports,
)
from rtloop.link.account import account_of
from rtloop.link.delivery import Delivery
from rtloop.link.messages import DeviceStatus, decode_stats
from rtloop.link.wire_rate import carries_account
from rtloop.ports.port import BackOff, GoneForGoodError, Port, ServedLoop
from rtloop.ports.signal import Signal
from rtloop.realtime.rights import RightReport
from rtloop.stopping import go_on
from rtloop.telemetry.observe.device_account import DeviceAccount

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig

#: Why a device that obeys the protocol is SAFE after nothing but the loss of its host.
LATCHED_BY_LOSS = Reason.COMMAND_TIMEOUT | Reason.LINK_ERRORS


#: A device that keeps its announced rate so badly, for so long, is a problem of the run. Not less: a
#: simulated device shares its processor, and misses ticks.
PACE_FACTOR = 2
PACE_INTERVALS = 10
PACE_NS = 1_000_000_000


def _clearable(clear: bool) -> Reason:
    """What a device may be SAFE for and is armed all the same: an ordinary stop, or anything."""
    return ~Reason(0) if clear else Reason.HOST_STOP


class LinkPort(Port):
    """An open link, whose device has shaken hands."""

    counts_packets = True

    def __init__(self, link: Link, loop: ServedLoop, settings: LinkConfig) -> None:
        schema = link.info.schema
        self.name = link.name
        self.inputs = tuple(Signal(field.name, field.unit) for field in schema.sensors)
        self.outputs = tuple(Signal(field.name, field.unit) for field in schema.commands)
        self.hardware_id = settings.device
        self.back_off = None
        if settings.on_lost == "reconnect" and (how := settings.reconnect) is not None:
            self.back_off = BackOff(how.first_ms / 1e3, how.max_ms / 1e3, how.give_up_s)
        self._link: Link | None = link  # None while it is lost
        self._schema_id = link.info.schema_id
        self._boot_id = link.info.boot_id
        self.sensor_period_ns = link.info.sensor_period_us * 1000  # as the device has announced it
        self._loop = loop
        self._settings = settings
        self._timeout_ns = settings.command_timeout_ns
        self.is_armed = True
        self._why_given_up = ""
        self._threads: core.ThreadSetup | None = None  # what those of its line ask for
        self._latched_for: Reason | None = None  # SAFE, when it came back
        self._armed: tuple[DeviceStatus, int] | None = (
            None  # as it was then, and what the core had sent
        )
        self._account: DeviceAccount | None = None

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
        """As the handshake found it. Raises LinkError while it is lost."""
        info = self._open_link().info
        return {
            "name": info.name,
            "device": self.hardware_id,
            "state": info.device_state.name,
            "schema_id": info.schema_id,
            "sensor_period_us": info.sensor_period_us,
            "command_timeout_us": info.command_timeout_us,
            "round_trip_us": info.round_trip_ns / 1000,
            "latency_problem": transports.latency_problem(self.hardware_id) or None,
            "sensors": [{"name": s.name, "unit": s.unit} for s in self.inputs],
            "commands": [{"name": s.name, "unit": s.unit} for s in self.outputs],
        }

    def refuse_unready(self, clear: bool) -> None:
        link = self._open_link()
        link.refuse_unready(link.info.device_state, link.info.reasons, _clearable(clear))

    def prepare(self) -> None:
        """Measures the device's clock anew; a device that was reset or replugged is opened anew.

        Raises LinkError.
        """
        self.is_armed, self._why_given_up, self._latched_for = True, "", None
        self._armed = self._account = None
        link = self._agreed()
        # The next cycle's command supersedes this one within a period; a late soft result keeps
        # some value.
        soft = self._loop.loop_class == "soft"
        options = {
            "schema_id": self._schema_id,
            "n_sensor": len(self.inputs),
            "n_command": len(self.outputs),
            "command_validity_ns": self._timeout_ns if soft else self._loop.period_ns,
            "command_timeout_ns": self._timeout_ns,
            "reconnects": int(self.back_off is not None),
            "keeps_packets": int(link.keeps_packets),
        }
        try:
            self.core = core.Port("link", {**options, **self._terms(link)})
        except (OSError, ValueError) as error:
            raise LinkError(f"link '{self.name}': {error}") from error

    def _agreed(self) -> Link:
        """The open link with its clock measured anew, or a new one."""
        if self._link is not None:
            try:
                self._link.resync()
                return self._link
            except LinkError:
                pass
        if hasattr(self, "core"):
            del self.core  # it holds the line open, which nobody else may use
        return self._reopened()

    def _reopened(self) -> Link:
        """Closes the line and shakes hands over a new one. The graph stands: the schema must too."""
        self.close()
        first_seq = self.core.counters()["tx_seq"] if hasattr(self, "core") else 0
        link = Link.open(self.name, self.hardware_id, self._settings.baud, first_seq)
        if link.info.schema_id != self._schema_id:
            link.close()
            raise GoneForGoodError(
                f"link '{self.name}': the device has another schema than when it was configured; "
                "configure the loop anew"
            )
        self._link, self._boot_id = link, link.info.boot_id
        if self._threads is not None:
            link.schedule(self._threads)
        self.sensor_period_ns = link.info.sensor_period_us * 1000
        return link

    def _terms(self, link: Link) -> dict[str, int]:
        """What the core is told of an open line."""
        info = link.info
        slower_ns = max(self._loop.period_ns, self.sensor_period_ns)
        return {
            "fd": link.fileno(),
            "clock_offset_ns": info.clock_offset_ns,
            "clock_error_ns": info.clock_error_ns,
            "clock_time_ns": info.clock_time_ns,
            # By then a device that obeys its timeout, but no command, is SAFE and has said so.
            "obey_timeout_ns": 2 * self._timeout_ns + 3 * slower_ns,
            "silence_timeout_ns": max(self._timeout_ns, 3 * slower_ns),
            "is_armed": int(self.is_armed),
            "accounts": int(info.accounts and self._has_room_for_account(link)),
        }

    def _has_room_for_account(self, link: Link) -> bool:
        rate_hz = self._loop.nominal_rate_hz
        return link.bit_rate is None or carries_account(link.bit_rate, link.info.schema, rate_hz)

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        self._threads = setup
        return self._open_link().schedule(setup)

    def driver_rights(self) -> list[RightReport]:
        """Nothing where the driver does not tell, as of a pty."""
        problem = transports.latency_problem(self.hardware_id)
        if problem:
            return [RightReport("low_latency", "on", "off", granted=False, fix=problem)]
        link = self._open_link()
        is_serial = link.bit_rate is not None
        return (
            [RightReport("low_latency", "on", "on", True)] if is_serial and link.low_latency else []
        )

    def arm(self, clear: bool) -> None:
        self._arm(self._open_link(), _clearable(clear))

    def _open_link(self) -> Link:
        if self._link is None:
            raise LinkError(f"link '{self.name}' is not open; activate the loop anew")
        return self._link

    def _arm(self, link: Link, clear: Reason) -> None:
        loop_class = self._loop.loop_class
        sent = self.core.counters()["tx_packets"]
        status = link.arm(
            loop_class=core.CLASSES[loop_class],
            max_late_commands=1 if loop_class == "hard" else 0,
            command_timeout_us=self._timeout_ns // 1000,
            clear=clear,
        )
        self._armed = status, sent

    def let_go(self) -> None:
        self.close()
        super().let_go()

    def reconnect(self) -> None:
        link = self._reopened()
        try:
            self._arm_again(link)
            go_on()  # a stop may have been asked for before its last answer
            self.core.reconnect(self._terms(link))
        except (StoppedError, GoneForGoodError):
            raise  # it stays open for the STOP
        except BaseException:
            # No STOP: the device moves by no command of ours, and would be SAFE for more than its loss.
            self.close()
            raise

    def _arm_again(self, link: Link) -> None:
        """Without a person: nothing is cleared but what the loss itself has latched."""
        self._armed = None
        how = self._settings.reconnect
        self.is_armed = how is not None and how.rearm == "automatic"
        if not self.is_armed:
            return
        info = link.info
        try:
            if info.device_state == DeviceState.SAFE and not info.reasons:
                raise LatchedError(
                    f"link '{self.name}': the device does not say why it is SAFE", info.reasons
                )
            self._arm(link, LATCHED_BY_LOSS)
        except LatchedError as error:
            self._latched_for = error.reasons
            raise GoneForGoodError(str(error), "device_safe") from error
        except TermsError as error:
            raise GoneForGoodError(str(error)) from error

    def give_up(self, why: str, fault: str = "port_error") -> None:
        self._why_given_up = why
        super().give_up(why, fault)

    def stop(self) -> str:
        if self._link is None:
            return (
                f"the link '{self.name}' ({self.hardware_id}) was lost and had not come back at the end: "
                "whether its device is SAFE is not known. It goes SAFE by its command timeout, if it obeys "
                "that; go and look"
            )
        if self._armed is not None:
            self._link.go_on_from(self.core.counters()["tx_seq"])
        status = self._link.stop()
        if status is not None and self._armed is not None:
            self._account = account_of(self._link.account())
        problems = [self._undelivered(status) if status else self._unconfirmed_stop()]
        if not self.is_armed:
            problems.append(
                f"the device of link '{self.name}' ({self.hardware_id}) was lost, came back and was not "
                "armed again (rearm: never): it got no command from then on"
            )
        problems.append(self._wrong_pace())
        return "; ".join(filter(None, problems))

    def account(self) -> DeviceAccount | None:
        return self._account or self._account_heard()

    def _account_heard(self) -> DeviceAccount | None:
        """What it said last while it ran."""
        said = self.core.account() if self._armed is not None else b""
        try:
            stats = decode_stats(said) if said else None
        except LinkError:
            return None
        if stats is None or stats.boot_id != self._boot_id:
            return None
        return account_of((stats, {}), is_final=False)

    def _unconfirmed_stop(self) -> str:
        counters = self.core.counters()
        if counters["device_state"] == DeviceState.SAFE:
            reasons = Reason(counters["device_reasons"]).names()
            return (
                f"the device of link '{self.name}' ({self.hardware_id}) did not confirm STOP. By its newest "
                f"sample it is latched SAFE ({reasons}), but what is sent to it does not arrive, or its "
                "answers do not: see what became of the line"
            )
        return (
            f"the device of link '{self.name}' ({self.hardware_id}) did not confirm STOP: whether it is "
            "SAFE is not known. It goes SAFE by its command timeout, if it obeys that; go and look"
        )

    def _undelivered(self, stopped: DeviceStatus) -> str:
        """Since it was armed, the last time where it came back."""
        if self._armed is None:
            return ""
        armed, sent_before = self._armed
        sent = self.core.counters()["tx_packets"] - sent_before
        delivery = Delivery.between(armed, stopped, sent)
        if delivery is None:
            return ""
        transport = transports.of(self.hardware_id)
        where_lost = "the line" if transport is None else transport.where_lost
        device = f"the device of link '{self.name}' ({self.hardware_id})"
        return delivery.problem(device, where_lost)

    def _wrong_pace(self) -> str:
        counters = self.core.counters()
        n, interval_ns = counters["sensor_intervals"], counters["sensor_interval_ns"]
        period_ns = self.sensor_period_ns
        is_right = period_ns / PACE_FACTOR < interval_ns < period_ns * PACE_FACTOR
        if n < PACE_INTERVALS or n * interval_ns < PACE_NS or is_right:
            return ""
        return (
            f"the device of link '{self.name}' ({self.hardware_id}) sent a sample every "
            f"{interval_ns / 1e6:.3g} ms by its own clock, but had announced one every {period_ns / 1e6:g} ms: "
            "correct its firmware, or see what keeps it from its rate"
        )

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def loss(self, errno: int) -> str:
        lost = f"the link '{self.name}' ({self.hardware_id}) was lost: {os.strerror(errno)}"
        if self._why_given_up:
            return f"{lost}, and did not come back: {self._why_given_up}"
        return (
            f"{lost}. Whether the safe command still reached the device is not known; it goes SAFE by "
            "its command timeout. Check cable and device"
        )

    def not_obeyed(self) -> str:
        counters = self.core.counters()
        said = counters["device_state"]  # its firmware may be wrong in this, too
        state = next((state.name for state in DeviceState if state == said), f"in state {said}")
        what = (
            f"the device of link '{self.name}' ({self.hardware_id}), which is {state}, did not confirm that it "
            "applied its commands"
        )
        before = 0 if self._armed is None else self._armed[0].late_commands
        late = counters["device_late_commands"] - before & 0xFFFF  # a sample has 16 bits of it
        if not late:
            return f"{what}. Look at its firmware, then activate the loop anew"
        return (
            f"{what}: since it was armed it refused {late} as too late. What they are valid for is less than "
            "they take to it: look at what is between (a network, a proxy, a converter), at what keeps its "
            "firmware from its line, and at its clock; or take a longer period"
        )

    def device_safe(self) -> str:
        if self._latched_for is not None:
            return (
                f"the device of link '{self.name}' was lost, and came back latched SAFE for more than "
                f"that: {self._latched_for.names()}. Find out why, then activate the loop anew with "
                "--clear"
            )
        reasons = Reason(self.core.counters()["device_reasons"]).names()
        return (
            f"the device of link '{self.name}' ({reasons}) latched SAFE by itself. Find out why, "
            "then activate the loop anew with --clear"
        )
