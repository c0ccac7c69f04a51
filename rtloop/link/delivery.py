"""What became of the packets that a host sent, by the counters of the device that was to receive them."""

from __future__ import annotations

from dataclasses import dataclass

from rtloop.link.messages import DeviceStatus, Reason

#: Beyond this share of what was sent, lost or rejected, the plant was commanded by what was left over. A few
#: packets are no share of a short run.
SHARE_MAX = 0.01
PACKETS_MIN = 5


@dataclass(frozen=True)
class Delivery:
    """Of ``sent`` packets: those that did not arrive whole, and the commands that were rejected, late ones
    apart. ``damaged``: frames that arrived, broken or with a wrong CRC; a lost packet leaves one, or none."""

    sent: int
    lost: int
    rejected: int
    damaged: int

    @classmethod
    def between(cls, armed: DeviceStatus, stopped: DeviceStatus, sent: int) -> Delivery | None:
        """From the answer to an ARM to the answer to the STOP, between which ``sent`` packets were,
        beside the HELLO that confirms the ARM.

        None where the counters do not tell: of a device that restarted, or that does not count.
        """

        def step(name: str) -> int:
            return int(getattr(stopped, name) - getattr(armed, name)) & 0xFFFFFFFF

        if stopped.boot_id != armed.boot_id or step("rx_packets") == 0:
            return None
        # The answered HELLO and the answered STOP are two of those received. There may have been more:
        # what is lost is no less than is said.
        lost = max(0, sent - (step("rx_packets") - 2))
        # What comes after a device went SAFE by itself is rejected for that.
        obeyed = stopped.reasons == Reason.HOST_STOP
        rejected = step("rejected_commands") if obeyed else 0
        return cls(sent, lost, rejected, step("crc_errors") + step("frame_errors"))

    def problem(self, device: str, where_lost: str) -> str:
        """The sentence for what is too much, with what to do; empty where nothing is. ``where_lost``: what to
        check where packets do not arrive."""
        said = []
        if self._is_too_much(self.lost):
            said.append(
                f"{self.lost} of {self.sent} packets ({self.lost / self.sent:.1%}) that were sent to {device} "
                f"did not arrive whole ({self.damaged} damaged frames did): check {where_lost}"
            )
        if self._is_too_much(self.rejected):
            said.append(
                f"{device} rejected {self.rejected} commands of {self.sent} packets "
                f"({self.rejected / self.sent:.1%}), not for their lateness: repeated or malformed ones, or "
                "ones valid for longer than its command timeout. Look at who else sends on its line, and at "
                "its clock"
            )
        return "; ".join(said)

    def _is_too_much(self, n: int) -> bool:
        return n >= PACKETS_MIN and n > SHARE_MAX * self.sent
