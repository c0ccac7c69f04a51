"""What a device sends, counted and timed: for who looks at it. It is asked for nothing but its time and its
counters, and told nothing but HELLO, where it went silent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from rtloop.errors import LinkError
from rtloop.link import messages
from rtloop.link.handshake import ClockOffset, LinkInfo, four_timestamps
from rtloop.link.messages import DeviceEvent, DeviceStatus, PacketType, Sample
from rtloop.link.packet_stream import Packet, PacketStream

#: How often it is asked, and how long the samples are that a rate is counted from.
ASK_S = 1.0
WINDOW_NS = 1_000_000_000
#: Packets overtake each other on a network, by so many at most.
LATE_MAX = 64
#: Two crystals of ±50 ppm: what a clock may have drifted since it was measured.
DRIFT_PPM = 100


class Watch:
    """``sample`` is the newest, ``status`` the newest counters; both None before there was one.

    ``lost``: packets that the device's numbers say it has sent, and that did not come.
    """

    def __init__(
        self,
        stream: PacketStream,
        info: LinkInfo,
        on_sample: Callable[[Sample], object] | None = None,
    ) -> None:
        """``on_sample`` gets each sample that is newer than those before it, inside :meth:`until`."""
        self.info = info
        self._on_sample = on_sample
        self.sample: Sample | None = None
        self.status: DeviceStatus | None = None
        self.samples = 0
        self.lost = 0
        self._stream = stream
        self._clock = ClockOffset(
            info.clock_offset_ns, info.clock_error_ns, info.round_trip_ns, info.clock_time_ns
        )
        self._boot_id = info.boot_id
        self._seq: int | None = None
        self._came = 0
        """A bit for each of the last numbers, from the newest on: whether its packet came."""
        self._arrivals: deque[int] = deque()
        self._heard_ns = time.monotonic_ns()
        self._next_ask_s = 0.0

    def until(self, end: float) -> Iterator[DeviceEvent | str]:
        """Takes what comes until ``time.monotonic()`` is ``end``: events of the device, and sentences about it.

        Raises LinkError when the line is gone, or another firmware answers.
        """
        while True:
            self._ask_now_and_then()
            packet = self._stream.receive(min(end, self._next_ask_s))
            if packet is not None:
                yield from self._take(packet)
            elif time.monotonic() >= end:
                return

    @property
    def damaged(self) -> int:
        """Packets that came and did not hold."""
        return self._stream.errors

    @property
    def rate_hz(self) -> float:
        """Samples a second, over the last one."""
        self._forget_arrivals(time.monotonic_ns())
        if not self._arrivals or self._arrivals[0] == self._arrivals[-1]:  # one read, one time
            return 0.0
        return (len(self._arrivals) - 1) * 1e9 / (self._arrivals[-1] - self._arrivals[0])

    @property
    def silent_s(self) -> float:
        """Since when nothing came that holds."""
        return (time.monotonic_ns() - self._heard_ns) / 1e9

    @property
    def age_ns(self) -> int | None:
        """Of the newest sample, now; right within ``clock_error_ns``. None before there was one."""
        return None if self.sample is None else self.since_ns(self.sample.sample_time_us)

    def since_ns(self, time_us: int) -> int:
        """How long ago 32 bits of device time were; right within ``clock_error_ns``."""
        elapsed_us = self.device_time_us(time.monotonic_ns()) - time_us & 0xFFFFFFFF
        return 1000 * (elapsed_us - (elapsed_us >> 31 << 32))

    def device_time_us(self, host_ns: int) -> int:
        """Device time at an instant of CLOCK_MONOTONIC; right within ``clock_error_ns``."""
        return (host_ns + self._clock.offset_ns) // 1000

    @property
    def boot_id(self) -> int:
        """Of the newest HELLO_REPLY: another one than that of ``info`` is a device that has restarted."""
        return self._boot_id

    @property
    def clock_error_ns(self) -> int:
        since_ns = time.monotonic_ns() - self._clock.measured_ns
        return self._clock.error_ns + since_ns * DRIFT_PPM // 1_000_000

    def _ask_now_and_then(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_ask_s:
            return
        self._next_ask_s = now_s + ASK_S
        if self.silent_s > ASK_S:  # a device that was reset says nothing before HELLO
            self._stream.send(PacketType.HELLO, messages.encode_hello())
        self._stream.send(
            PacketType.TIME_REQUEST, messages.encode_time_request(time.monotonic_ns())
        )
        self._stream.send(PacketType.STATUS_REQUEST)

    def _take(self, packet: Packet) -> Iterator[DeviceEvent | str]:
        if packet.type == PacketType.HELLO_REPLY:
            yield from self._greeted(packet)
        elif packet.schema_id != self.info.schema_id:
            raise self._another_firmware()
        self._heard_ns = packet.received_ns
        if not self._is_newest(packet.seq):
            return
        if packet.type == PacketType.SENSOR:
            self.sample = messages.decode_sample(packet.payload)
            self.samples += 1
            self._arrivals.append(packet.received_ns)
            self._forget_arrivals(packet.received_ns)
            if self._on_sample is not None:
                self._on_sample(self.sample)
        elif packet.type == PacketType.EVENT:
            yield messages.decode_event(packet.payload)
        elif packet.type == PacketType.STATUS:
            self.status = messages.decode_status(packet.payload)
        elif packet.type == PacketType.TIME_REPLY:
            self._set_clock(packet)

    def _is_newest(self, seq: int) -> bool:
        """Counts what is missing before it. One from before was only late; one from long before began anew."""
        ahead = 1 if self._seq is None else seq - self._seq & 0xFFFF
        behind = -ahead & 0xFFFF
        if behind < LATE_MAX:
            if not self._came >> behind & 1:  # or it came a second time
                self._came |= 1 << behind
                self.lost = max(0, self.lost - 1)
            return False
        began_anew = self._seq is None or ahead >= 0x8000
        self.lost += 0 if began_anew else ahead - 1
        # What came before the first is none of ours.
        came = -1 if began_anew else self._came << min(ahead, LATE_MAX) | 1
        self._came = came & (1 << LATE_MAX) - 1
        self._seq = seq
        return True

    def _greeted(self, packet: Packet) -> Iterator[str]:
        reply = messages.decode_hello_reply(packet.payload)
        if packet.schema_id != self.info.schema_id:
            raise self._another_firmware()
        if reply.boot_id != self._boot_id:
            self._boot_id, self._seq = reply.boot_id, None
            yield f"'{reply.name}' was silent, and has restarted since: its counters and its clock began anew"

    def _another_firmware(self) -> LinkError:
        return LinkError(
            f"the device on {self._stream.line.device} has another schema than '{self.info.name}' had: another "
            "firmware runs now; begin anew"
        )

    def _set_clock(self, packet: Packet) -> None:
        """The better one counts: an old one by its drift."""
        reply = messages.decode_time_reply(packet.payload)
        found = four_timestamps(
            reply.host_ns, 1000 * reply.t2_us, 1000 * reply.t3_us, packet.received_ns
        )
        is_of_another_boot = abs(found.offset_ns - self._clock.offset_ns) > 1_000_000_000
        if found.round_trip_ns >= 0 and (
            found.error_ns <= self.clock_error_ns or is_of_another_boot
        ):
            self._clock = found

    def _forget_arrivals(self, now_ns: int) -> None:
        while self._arrivals and self._arrivals[0] < now_ns - WINDOW_NS:
            self._arrivals.popleft()
