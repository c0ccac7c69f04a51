"""What a packet costs on a serial line. The sizes are those of firmware/lib (docs/protocol.md)."""

from __future__ import annotations

#: Start bit, eight data bits, stop bit.
BITS_PER_BYTE = 10
#: Header 12, CRC 4.
_PACKET_OVERHEAD = 16
#: A byte for so many of a packet, begun, and the delimiter (COBS).
_BLOCK = 254
_SENSOR_HEAD = 12
_COMMAND_HEAD = 8
_STATS = 96


def sensor_frame_bytes(n_sensor: int) -> int:
    """Bytes on the line for one sample."""
    return _frame_bytes(_SENSOR_HEAD + 4 * n_sensor)


def command_frame_bytes(n_command: int) -> int:
    """Bytes on the line for one command."""
    return _frame_bytes(_COMMAND_HEAD + 4 * n_command)


def account_frame_bytes() -> tuple[int, int]:
    """Bytes on the line for a request of the device's own account, and for its answer."""
    return _frame_bytes(0), _frame_bytes(_STATS)


def _frame_bytes(payload: int) -> int:
    """At most: a packet with a zero in every block takes less."""
    packet = _PACKET_OVERHEAD + payload
    return packet + -(-packet // _BLOCK) + 1
