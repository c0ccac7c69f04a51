"""What became of the packets of a link, as its host counted them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class LinkPackets:
    """Packets of one link since its loop was activated, over all lines that it had meanwhile."""

    loop: str
    link: str
    hardware_id: str
    """The path or address of its device."""
    rx_packets: int
    """Received whole from the device, copies apart."""
    rx_lost: int
    """Missing in the device's numbers, and not come late."""
    rx_reordered: int
    """Overtaken by newer ones, and not lost."""
    rx_repeated: int
    """Copies of what had been received."""
    rx_errors: int
    """Received damaged, or of another schema."""
    tx_packets: int
    """Sent."""
    tx_dropped: int
    """Not sent: the line was full."""
    tx_expired: int
    """Commands that were no longer valid, and not sent."""

    @classmethod
    def of(
        cls, counters: Mapping[str, int], *, loop: str, link: str, hardware_id: str
    ) -> LinkPackets:
        """By the counters of the link's port in the core."""
        numbers = {f.name: counters[f.name] for f in fields(cls) if f.name in counters}
        return cls(loop=loop, link=link, hardware_id=hardware_id, **numbers)

    def __str__(self) -> str:
        """Of a link with trouble, what it was; empty where all came whole, once and in order."""
        sent = self.rx_packets + self.rx_lost
        received = {
            f"{self.rx_lost} of {sent} lost ({self.rx_lost / sent if sent else 0:.1%})": self.rx_lost,
            f"{self.rx_errors} damaged": self.rx_errors,
            f"{self.rx_reordered} overtaken": self.rx_reordered,
            f"{self.rx_repeated} doubled": self.rx_repeated,
        }
        told = ", ".join(text for text, n in received.items() if n)
        if not told:
            return ""
        return f"loop '{self.loop}': packets of the device of '{self.link}' ({self.hardware_id}): {told}"
