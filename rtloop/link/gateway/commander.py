"""Who commands the device behind a gateway: one peer at a time. No sockets, no time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from rtloop import core
from rtloop.link.messages import PacketType

#: Of STOPs of others, so many answers are waited for.
_STOPS = 16


@dataclass(frozen=True)
class Peer:
    """A connection: ``identity`` is what answers go to, ``fd`` and ``host`` are those of its socket."""

    identity: bytes
    fd: int
    host: str


@dataclass(frozen=True)
class Verdict:
    """What becomes of a packet of a peer: it is passed on, or refused with these words, or neither."""

    is_passed_on: bool = False
    refusal: str = ""
    has_taken_over: bool = False


class Commander:
    """Who says HELLO while nobody commands, commands: until its connection ends. From others only STOP is
    heard, as a device hears it from anyone."""

    def __init__(self, device: str) -> None:
        self.peer: Peer | None = None
        self._device = device
        # An answer tells the number that it answers, and not whose.
        self._stops: OrderedDict[int, list[bytes]] = OrderedDict()

    def take(self, peer: Peer, packet: bytes) -> Verdict:
        try:
            type, _, seq, *_ = core.packet_decode(packet)
        except ValueError as error:
            return Verdict(refusal=f"{error}: a message is one packet of docs/protocol.md, bare")
        if self.peer is not None and peer.identity == self.peer.identity:
            return Verdict(is_passed_on=True)
        if type == PacketType.STOP:
            self._stops.setdefault(seq, []).append(peer.identity)
            self._stops.move_to_end(seq)
            while len(self._stops) > _STOPS:
                self._stops.popitem(last=False)
            return Verdict(is_passed_on=True)
        if self.peer is not None:
            return Verdict(
                refusal=f"{self._device} is commanded by another host, at {self.peer.host}; end that one first"
            )
        if type != PacketType.HELLO:
            return Verdict(refusal="say HELLO first: the gateway does not know this connection")
        self.peer = peer
        return Verdict(is_passed_on=True, has_taken_over=True)

    def receivers(self, type: int, ack: int) -> list[bytes]:
        """Whom a packet of the device is for: who commands it, and who asked with a STOP."""
        receivers = [] if self.peer is None else [self.peer.identity]
        if type == PacketType.STATUS:
            receivers += self._stops.pop(ack, [])
        return list(dict.fromkeys(receivers))

    def has_left(self, identity: bytes) -> bool:
        """A peer is gone. Whether it was who commands: then nobody does."""
        if self.peer is None or self.peer.identity != identity:
            return False
        self.peer = None
        return True


def is_stop(packet: bytes) -> bool:
    try:
        return bool(core.packet_decode(packet)[0] == PacketType.STOP)
    except ValueError:
        return False
