"""What a packet costs on a serial line. The sizes are those of firmware/lib (docs/protocol.md)."""

from __future__ import annotations

#: Start bit, eight data bits, stop bit.
BITS_PER_BYTE = 10
#: Header 12, CRC 4, COBS 1, delimiter 1.
_PACKET_OVERHEAD = 18
_SENSOR_HEAD = 12
_COMMAND_HEAD = 8


def sensor_frame_bytes(n_sensor: int) -> int:
    """Bytes on the line for one sample."""
    return _PACKET_OVERHEAD + _SENSOR_HEAD + 4 * n_sensor


def command_frame_bytes(n_command: int) -> int:
    """Bytes on the line for one command."""
    return _PACKET_OVERHEAD + _COMMAND_HEAD + 4 * n_command
