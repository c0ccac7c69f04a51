"""Between a device's line and the sockets: packets are handed on as they are, and told about."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rtloop import core
from rtloop.errors import LinkError, StoppedError
from rtloop.link import messages
from rtloop.link.gateway import news
from rtloop.link.gateway.commander import Commander, Peer, Verdict, is_stop
from rtloop.link.gateway.sockets import PACKET_MAX, Sent, Sockets
from rtloop.link.handshake import LinkInfo, shake_hands
from rtloop.link.link import stop_device
from rtloop.link.messages import DeviceState, PacketType
from rtloop.link.packet_stream import REFUSED, PacketStream
from rtloop.link.transports import Line, open_line
from rtloop.stopping import stopped_when

#: A device that says nothing for so long, while nobody commands it, was perhaps reset: HELLO makes it speak.
SILENT_S = 1.0
STATUS_S = 1.0
#: From the loss of the line to the next attempt, doubled up to the second.
FIRST_S, LATER_S = 0.1, 2.0
#: At a time: peers must be heard also where a device never pauses.
READS = 16
#: A line that takes no bytes for so long is lost: what waits for it is old.
WRITE_S = 0.05


#: What becomes of a device whose commander has left, by what it said last; of others nothing.
_LEFT = {
    DeviceState.ACTIVE: "; the device's command timeout acts",
    DeviceState.ARMED: (
        "; the device is ARMED still, which no timeout ends: the next host may command it, a STOP "
        "(`rtloop link safe`) makes it SAFE"
    ),
}


class Gateway:
    """An open device on bound sockets; :meth:`serve` until it is to end, then :meth:`close`.

    Sequence numbers, acknowledgements and times are the peer's and the device's: the gateway answers for
    neither. It says HELLO itself while nobody commands, so that samples come, and STOP when it ends.
    """

    def __init__(
        self, device: str, baud: int, pub: str, command: str, keys: Path | None = None
    ) -> None:
        """Raises ConfigError, RtloopError and LinkError; nothing is open then."""
        self._device, self._baud = device, baud
        self._sockets = Sockets(pub, command, keys)
        self._line: Line | None = None
        self._tell: Callable[[str], object] = str
        self._boot_id = self._device_us = 0
        self._is_back = True
        self.info: LinkInfo
        try:
            self._open()
            self._agree()
        except BaseException:
            self._close_line()
            self._sockets.close()
            raise
        self._commander = Commander(device)
        self._state = self.info.device_state
        self._counts = dict.fromkeys(("samples", "passed_on", "refused", "damaged", "dropped"), 0)
        self._told_s = time.monotonic()
        self._retry_s, self._wait_s = 0.0, FIRST_S
        self._told_of = b""

    @property
    def pub(self) -> str:
        """Where samples and events are, with its port."""
        return self._sockets.pub

    @property
    def command(self) -> str:
        """Where the one commanding peer connects, with its port."""
        return self._sockets.command

    def serve(self, stopped: Callable[[], str], tell: Callable[[str], object]) -> None:
        """Until ``stopped`` says by whom. ``tell`` gets the sentences of what is published as ``gateway``."""
        self._tell = tell
        with suppress(StoppedError), stopped_when(stopped):
            while not stopped():
                self._serve_once()

    def _serve_once(self) -> None:
        self._sockets.wait(None if self._line is None else self._line.fileno())
        ended = self._sockets.ended()
        if (commander := self._commander.peer) is not None and commander.fd in ended:
            self._has_left(commander.identity)
        for peer, packet in self._sockets.received():
            # The last words of who has left: nobody would take back from them what a HELLO takes.
            if peer.fd not in ended or is_stop(packet):
                self._take(peer, packet)
        self._keep_line()
        self._tell_status()

    def stop(self) -> bool:
        """STOP to the device. Whether it says that it is SAFE; raises nothing."""
        return self._line is not None and stop_device(self._stream) is not None

    def close(self) -> None:
        """Sends nothing: stop first. May be called again."""
        self._close_line()
        self._sockets.close()

    def _close_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    # --- from peers ---

    def _take(self, peer: Peer, packet: bytes) -> None:
        if self._line is None or not (self._is_back or is_stop(packet)):
            verdict = Verdict(refusal=f"{self._device} is lost, and is being looked for")
        else:
            verdict = self._commander.take(peer, packet)
        if verdict.has_taken_over:
            self._note("commanded", f"commanded by a host at {peer.host}")
        if verdict.refusal:
            self._refuse(peer, verdict)
        elif self._line is not None:
            try:
                self._line.write(
                    packet if self._line.keeps_packets else core.frame_encode(packet), WRITE_S
                )
                self._counts["passed_on"] += 1
            except LinkError as error:
                self._lose(error)

    def _refuse(self, peer: Peer, verdict: Verdict) -> None:
        """In words, and told once a connection."""
        self._counts["refused"] += 1
        said = REFUSED + verdict.refusal.encode("ascii", "replace")
        self._sockets.send(peer.identity, said[:PACKET_MAX])
        if peer.identity != self._told_of:
            self._told_of = peer.identity
            self._note("refused", f"a host at {peer.host} was refused: {verdict.refusal}")

    def _has_left(self, identity: bytes) -> None:
        if self._commander.has_left(identity):
            self._note("left", f"who commanded has left{_LEFT.get(self._state, '')}")

    # --- from the device ---

    def _keep_line(self) -> None:
        if self._line is None:
            self._reopen()
            return
        try:
            for _ in range(READS):
                if not (data := self._line.read(0)):
                    break
                self._take_bytes(data)
            silent_s = time.monotonic() - self._heard_s
            if silent_s > SILENT_S and (self._commander.peer is None or not self._is_back):
                self._heard_s += SILENT_S  # and again after as long
                self._stream.send(PacketType.HELLO, messages.encode_hello())
        except LinkError as error:
            self._lose(error)

    def _take_bytes(self, data: bytes) -> None:
        line = self._line
        packets = [data] if line is None or line.keeps_packets else self._decoder.feed(data)
        for packet in packets:
            try:
                type, _, _, ack, schema_id, _, payload = core.packet_decode(packet)
            except ValueError:
                self._counts["damaged"] += 1
                continue
            self._heard_s = time.monotonic()
            if schema_id != self.info.schema_id:
                self._agree()
                self._note("restarted", f"another firmware runs now: '{self.info.name}'")
                return
            self._pass_on(packet, type, ack)
            if not self._is_back:
                self._is_back = True
                self._note("back", f"{self.info.name} on {self._device} is back")
            try:
                self._publish(type, payload)
            except LinkError:  # it is no packet of this version, and the commander's to judge
                self._counts["damaged"] += 1

    def _pass_on(self, packet: bytes, type: int, ack: int) -> None:
        for identity in self._commander.receivers(type, ack):
            sent = self._sockets.send(identity, packet)
            self._counts["dropped"] += sent is Sent.FULL
            if sent is Sent.GONE:
                self._has_left(identity)

    def _publish(self, type: int, payload: bytes) -> None:
        if type == PacketType.SENSOR:
            self._counts["samples"] += 1
            taken = messages.decode_sample(payload)
            self._state = taken.state
            self._sockets.publish(
                news.sample(self.info, taken, self._unwrapped(taken.sample_time_us))
            )
        elif type == PacketType.EVENT:
            event = messages.decode_event(payload)
            self._state = event.state  # told before the next sample
            self._sockets.publish(news.event(self.info, event))
        elif type == PacketType.HELLO_REPLY:
            boot_id = messages.decode_hello_reply(payload).boot_id
            if boot_id != self._boot_id:
                self._boot_id, self._device_us = boot_id, 0
                self._note("restarted", "the device has restarted")

    def _unwrapped(self, sample_time_us: int) -> int:
        """64 bits of device time: the nearest to the newest sample's."""
        ahead_us = sample_time_us - self._device_us & 0xFFFFFFFF
        self._device_us += ahead_us - (ahead_us >> 31 << 32)
        return self._device_us

    # --- the line ---

    def _open(self) -> None:
        self._line = open_line(self._device, self._baud)
        self._stream = PacketStream(self._line)
        self._decoder = core.FrameDecoder()
        self._heard_s = time.monotonic()

    def _agree(self) -> None:
        """With whatever firmware answers. Raises LinkError where none does."""
        self.info = info = shake_hands(self._stream)
        self._boot_id = info.boot_id
        self._device_us = (info.clock_time_ns + info.clock_offset_ns) // 1000

    def _lose(self, error: LinkError) -> None:
        self._close_line()
        self._counts["damaged"] += self._decoder.errors
        self._decoder = core.FrameDecoder()
        self._retry_s, self._wait_s = time.monotonic() + FIRST_S, FIRST_S
        if self._is_back:
            self._is_back = False
            self._note("lost", str(error))

    def _reopen(self) -> None:
        """The line alone: the device is back with its first packet. Peers must not wait for a silent one."""
        if time.monotonic() < self._retry_s:
            return
        try:
            self._open()
            self._stream.schema_id = self.info.schema_id
            self._stream.send(PacketType.HELLO, messages.encode_hello())
        except LinkError:
            self._close_line()
            self._wait_s = min(2 * self._wait_s, LATER_S)
            self._retry_s = time.monotonic() + self._wait_s
        self._counts["dropped"] += self._sockets.drain()  # what waited meanwhile is old

    # --- news ---

    def _note(self, what: str, text: str) -> None:
        self._sockets.publish(news.gateway(self.info, what, text))
        self._tell(text)

    def _tell_status(self) -> None:
        now_s = time.monotonic()
        if now_s < self._told_s + STATUS_S:
            return
        self._told_s = now_s
        peer = self._commander.peer
        counts = {**self._counts, "damaged": self._counts["damaged"] + self._decoder.errors}
        host = None if peer is None else peer.host
        self._sockets.publish(news.status(self.info, host, not self._is_back, counts))
