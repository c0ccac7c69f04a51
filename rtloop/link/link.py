"""A link to one device: open → (resync → arm → the core runs the cycle → stop)* → close."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

from rtloop import core
from rtloop.errors import LinkError, StoppedError
from rtloop.link import messages
from rtloop.link.handshake import (
    ANSWER_TIMEOUT_S,
    ATTEMPTS,
    ClockOffset,
    LinkInfo,
    clock_offset,
    exchange_time,
    hello,
    shake_hands,
)
from rtloop.link.messages import (
    DeviceState,
    DeviceStats,
    DeviceStatus,
    HelloReply,
    PacketType,
    Reason,
    Sample,
    told_state,
)
from rtloop.link.packet_stream import Packet, PacketStream
from rtloop.link.transports import Line, RefusedError, open_line
from rtloop.link.watch import Watch

_Answer = TypeVar("_Answer")

#: A line that is gone fails at once; a device that does not answer may hold up the end of a run for so long.
STOP_ATTEMPTS = 5
#: What a device accounted for is told at the end of a run, which one that does not tell must not hold up.
ACCOUNT_ATTEMPTS = 2


class LatchedError(LinkError):
    """A device is latched SAFE for ``reasons`` that the caller does not clear."""

    def __init__(self, text: str, reasons: Reason) -> None:
        super().__init__(text)
        self.reasons = reasons


class TermsError(LinkError):
    """A device is ARMED on other terms than it was asked for."""


class Link:
    """An open line whose device has shaken hands. ``name`` is that of the configuration.

    While the core uses :meth:`fileno`, call nothing but :meth:`stop` and :meth:`account`, after the cycle has
    ended.
    """

    def __init__(self, name: str, line: Line, first_seq: int = 0) -> None:
        """Shakes hands over an open line, numbering packets from ``first_seq``. Raises LinkError."""
        self.name = name
        self._line = line
        self._stream = PacketStream(line)
        self._stream.go_on_from(first_seq)
        self.info: LinkInfo = shake_hands(self._stream)

    @classmethod
    def open(cls, name: str, device: str, baud: int, first_seq: int = 0) -> Link:
        """Opens ``device``, by the transport that it is written for, and shakes hands. ``first_seq``: of a link
        that comes back, what the core will number its next packet, or the device counts a gap up to there.

        Raises LinkError.
        """
        try:
            line = open_line(device, baud)
            try:
                return cls(name, line, first_seq)
            except BaseException:
                line.close()
                raise
        except LinkError as error:
            raise LinkError(f"link '{name}': {error}") from error

    def fileno(self) -> int:
        """The open line, for the core, which duplicates it."""
        return self._line.fileno()

    @property
    def keeps_packets(self) -> bool:
        """Whether each read and each write of it is one packet, and not bytes of a stream."""
        return self._line.keeps_packets

    @property
    def low_latency(self) -> bool:
        """Whether the driver passes received bytes on at once."""
        return self._line.low_latency

    @property
    def bit_rate(self) -> int | None:
        """Bits per second that the wire carries; None where it sets no limit of its own."""
        return self._line.bit_rate

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        """For the threads that carry its packets, where there are any: what became of each right."""
        return self._line.schedule(setup)

    def resync(self) -> LinkInfo:
        """Asks for the device's state and measures its clock anew; ``info`` is renewed.

        Raises LinkError when the device restarted since the handshake or is silent.
        """
        reply = self._greet()
        clock = clock_offset(self._stream)
        self.info = replace(
            self.info,
            device_state=reply.state,
            reasons=reply.reasons,
            clock_offset_ns=clock.offset_ns,
            clock_error_ns=clock.error_ns,
            clock_time_ns=clock.measured_ns,
            round_trip_ns=clock.round_trip_ns,
        )
        return self.info

    def status(self) -> DeviceStatus:
        """Asks the device. Raises LinkError when it does not answer."""
        return self._ask(PacketType.STATUS_REQUEST)

    def exchange_time(self) -> ClockOffset | None:
        """One round trip; None when no answer came that can be true. Raises LinkError."""
        return exchange_time(self._stream)

    @property
    def damaged(self) -> int:
        """Packets that were received and did not hold."""
        return self._stream.errors

    def watch(self, on_sample: Callable[[Sample], object] | None = None) -> Watch:
        """What the device sends from now on. Call nothing else but :meth:`command` before it is done with."""
        return Watch(self._stream, self.info, on_sample)

    def command(self, values: Sequence[float], valid_until_us: int) -> None:
        """Sends one, for an ARMED or ACTIVE device; nothing answers it. ``valid_until_us`` is device time.

        Raises LinkError.
        """
        self._stream.send(PacketType.COMMAND, messages.encode_command(valid_until_us, values))

    def clear(self) -> DeviceStatus:
        """Lets a device that is latched SAFE go back to IDLE; it stays disarmed."""
        return self._ask(PacketType.CLEAR)

    def arm(
        self,
        *,
        loop_class: int,
        max_late_commands: int = 0,
        command_timeout_us: int = 0,
        clear: Reason = Reason.HOST_STOP,
    ) -> DeviceStatus:
        """From IDLE, or from SAFE after an ordinary stop, to ARMED.

        ``loop_class`` is 0 hard, 1 firm, 2 soft; ``max_late_commands`` in a row trip the device
        (0: never); ``command_timeout_us`` 0 is the device's own. A device that is latched SAFE is
        cleared and armed only where all of its reasons are among ``clear``. Once armed it is
        greeted again, and says that it still is, and with which command timeout.

        Raises LatchedError when there are other reasons, TermsError when another command timeout is
        in force, LinkError when the device refuses, restarted since the handshake or is silent. It
        may be ARMED then: :meth:`stop` it.
        """
        reply = self._greet()
        self._make_idle(reply.state, reply.reasons, clear)
        payload = messages.encode_arm(loop_class, max_late_commands, command_timeout_us)
        status = self._ask(PacketType.ARM, payload)
        if status.state != DeviceState.ARMED or status.reasons:
            raise self._error(f"did not arm: {_why_not_armed(status, command_timeout_us)}")
        self._confirm_armed(command_timeout_us)
        return status

    def go_on_from(self, seq: int) -> None:
        """The core has used the line, and would have numbered its next packet like this."""
        self._stream.go_on_from(seq)

    def stop(self, reasons: Reason = Reason.HOST_STOP) -> DeviceStatus | None:
        """Makes the device go SAFE. Its answer, if it says that it is; raises nothing, the line may be gone."""
        return stop_device(self._stream, reasons)

    def account(self) -> tuple[DeviceStats, dict[str, tuple[int, ...]]] | None:
        """What the device accounted for since it was armed last, and histograms by ``core.HISTOGRAM_KINDS``.

        None of one that does not account for itself, does not answer, or restarted meanwhile; without the
        histograms that it does not tell. Raises nothing.
        """
        if not self.info.accounts:
            return None
        try:
            stats = self._accounted(
                PacketType.STATS_REQUEST, b"", PacketType.STATS, messages.decode_stats
            )
            if stats is None or stats.boot_id != self.info.boot_id:
                return None
        except (LinkError, StoppedError):
            return None
        histograms: dict[str, tuple[int, ...]] = {}
        with suppress(
            LinkError, StoppedError
        ):  # the counts stand without them: they are the judgement
            for name, kind in core.HISTOGRAM_KINDS.items():
                payload = messages.encode_histogram_request(kind)
                histogram = self._accounted(
                    PacketType.HISTOGRAM_REQUEST,
                    payload,
                    PacketType.HISTOGRAM,
                    messages.decode_histogram,
                )
                if histogram is None or histogram[0] != kind:
                    break  # the others would keep a stop waiting
                histograms[name] = histogram[1]
        return stats, histograms

    def _accounted(
        self,
        type: PacketType,
        payload: bytes,
        answer_type: PacketType,
        decode: Callable[[bytes], _Answer],
    ) -> _Answer | None:
        def accept(packet: Packet) -> _Answer | None:
            return decode(packet.payload) if packet.ack == self._stream.last_seq else None

        return self._stream.request(
            type, payload, answer_type, accept, ACCOUNT_ATTEMPTS, ANSWER_TIMEOUT_S
        )

    def close(self) -> None:
        """Closes the line and sends nothing: stop first. May be called again."""
        self._line.close()

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.close()

    def _greet(self) -> HelloReply:
        """Hello to the device of the handshake. Raises LinkError when it restarted since."""
        self._stream.restart()  # what the line holds is from before, or the core's
        reply = hello(self._stream)
        if reply.boot_id != self.info.boot_id or self._stream.schema_id != self.info.schema_id:
            raise self._error(
                "has restarted since the handshake, so that schema and clock are no longer agreed "
                "on; start again"
            )
        return reply

    def _confirm_armed(self, command_timeout_us: int) -> None:
        reply = self._greet()
        if reply.state != DeviceState.ARMED:
            raise self._error(
                f"was armed, and says right after it that it is {told_state(reply.state, reply.reasons)}, "
                "before any command was sent. Find out what its machine, its firmware or another program "
                "on its line did, and start again"
            )
        said_us = reply.command_timeout_us
        if command_timeout_us not in (0, said_us):
            raise TermsError(
                self._told_of(
                    _other_timeout(command_timeout_us, said_us, self.info.command_timeout_us)
                )
            )

    def refuse_unready(self, state: DeviceState, reasons: Reason, clear: Reason) -> None:
        """Raises LinkError for a state that the device is not armed from, LatchedError where it is SAFE for
        more than the reasons that may be cleared."""
        if state in (DeviceState.IDLE, DeviceState.ARMED):
            return
        if state == DeviceState.INIT:
            raise self._error("is not ready (INIT): its hardware has not passed its own start")
        if state == DeviceState.ACTIVE:
            raise self._error("is ACTIVE: another program commands it; end that one first")
        if reasons & ~clear:
            what = f"is latched {told_state(state, reasons)}. Find out why; when it may move again, pass "
            raise LatchedError(self._told_of(f"{what}--clear to clear and arm it"), reasons)

    def _make_idle(self, state: DeviceState, reasons: Reason, clear: Reason) -> None:
        self.refuse_unready(state, reasons, clear)
        if state in (DeviceState.IDLE, DeviceState.ARMED):
            return
        status = self.clear()
        if status.state != DeviceState.IDLE:
            told = told_state(status.state, status.reasons)
            raise self._error(
                f"was not cleared: it is {told}. Its machine objects, or the cause is still there: remove it"
            )

    def _ask(self, type: PacketType, payload: bytes = b"") -> DeviceStatus:
        answer = _status_after(self._stream, type, payload)
        if answer is None:
            waited_s = ATTEMPTS * ANSWER_TIMEOUT_S
            raise self._error(
                f"did not answer {type.name} within {waited_s:g} s; check cable and power"
            )
        return answer

    def _error(self, what: str) -> LinkError:
        return LinkError(self._told_of(what))

    def _told_of(self, what: str) -> str:
        return f"link '{self.name}': device '{self.info.name}' {what}"


def stop_device(stream: PacketStream, reasons: Reason = Reason.HOST_STOP) -> DeviceStatus | None:
    """Makes the device go SAFE; no handshake has to come before.

    Its answer, if it says that it is; raises nothing, the line may be gone.
    """
    payload = messages.encode_stop(reasons)
    status = None
    with suppress(LinkError):
        stream.restart()
        for _ in range(STOP_ATTEMPTS):
            try:
                status = _status_after(stream, PacketType.STOP, payload, 1)
            except RefusedError:
                time.sleep(ANSWER_TIMEOUT_S)
            if status is not None:
                break
    return status if status is not None and status.state == DeviceState.SAFE else None


def _status_after(
    stream: PacketStream, type: PacketType, payload: bytes, attempts: int = ATTEMPTS
) -> DeviceStatus | None:
    """The answer to a request; None when none came."""

    def accept(packet: Packet) -> DeviceStatus | None:
        # The answer to an earlier request may still be on its way.
        acknowledged = packet.ack == stream.last_seq
        return messages.decode_status(packet.payload) if acknowledged else None

    return stream.request(type, payload, PacketType.STATUS, accept, attempts, ANSWER_TIMEOUT_S)


def _why_not_armed(status: DeviceStatus, command_timeout_us: int) -> str:
    told = told_state(status.state, status.reasons)
    objections = status.reasons & ~Reason.COMMAND_TIMEOUT
    if status.state not in (DeviceState.IDLE, DeviceState.ARMED):
        return f"it is {told}"
    if objections:
        return f"its machine objects ({objections.names()}). Remove the cause, and start again"
    if status.reasons:
        return (
            f"a command timeout of {command_timeout_us / 1000:g} ms is more than it allows; lower "
            "command_timeout_ms"
        )
    if command_timeout_us > 0:  # firmware of before it told why
        return (
            f"it is {told}. A command timeout of {command_timeout_us / 1000:g} ms may be more than it "
            "allows; lower command_timeout_ms"
        )
    return f"it is {told}"


def _other_timeout(asked_us: int, said_us: int, announced_us: int) -> str:
    said_ms = f"{said_us / 1000:g} ms"
    what = f"was armed with a command timeout of {asked_us / 1000:g} ms, but says that {said_ms} is in force"
    if said_us == announced_us:
        return (
            f"{what}, its own: its firmware does not take that of ARM, or was built with an rtloop of before "
            "2026-11-21, which does not tell it. Build it with the firmware/lib of this rtloop version and "
            f"flash it, or set command_timeout_ms to {said_us / 1000:g}"
        )
    return f"{what}. Correct what its firmware does with ARM, or what it answers to HELLO, and flash it"
