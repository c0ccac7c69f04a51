"""Whether a serial line can carry what a loop asks of it."""

from __future__ import annotations

from rtloop.errors import ConfigError
from rtloop.link.schema import Schema
from rtloop.link.wire_cost import (
    BITS_PER_BYTE,
    account_frame_bytes,
    command_frame_bytes,
    sensor_frame_bytes,
)


def check_wire_rate(baud: int, schema: Schema, command_rate_hz: float) -> None:
    """Raises ConfigError when either direction needs more than ``baud`` bits per second.

    Samples come at the schema's rate, commands at ``command_rate_hz``, the rate of the loop.
    """
    sensor_rate_hz = schema.sensors[0].rate_hz if schema.sensors else 0
    _check(
        "device to host, samples",
        baud,
        sensor_frame_bytes(len(schema.sensors)),
        sensor_rate_hz,
        "lower the firmware's sensor rate",
    )
    _check(
        "host to device, commands",
        baud,
        command_frame_bytes(len(schema.commands)),
        command_rate_hz,
        "lower the loop's rate_hz",
    )


def carries_account(baud: int, schema: Schema, command_rate_hz: float) -> bool:
    """Whether there is room for the device's own account beside one sample, and for its request beside one
    command, so that neither makes the next one late."""
    request, answer = account_frame_bytes()
    sensor_rate_hz = schema.sensors[0].rate_hz if schema.sensors else 0
    to_host = (sensor_frame_bytes(len(schema.sensors)) + answer) * sensor_rate_hz
    to_device = (command_frame_bytes(len(schema.commands)) + request) * command_rate_hz
    return max(to_host, to_device) * BITS_PER_BYTE <= baud


def _check(direction: str, baud: int, frame_bytes: int, rate_hz: float, otherwise: str) -> None:
    bits = frame_bytes * BITS_PER_BYTE
    needed = bits * rate_hz
    if needed > baud:
        raise ConfigError(
            f"the line cannot carry {rate_hz:g} Hz ({direction}): {frame_bytes} bytes x "
            f"{BITS_PER_BYTE} bits x {rate_hz:g} Hz = {needed:.0f} bit/s, but baud is {baud}. "
            f"At {baud} baud at most {baud // bits} Hz fit: {otherwise}, or set baud to at least "
            f"{needed:.0f} here and in the firmware"
        )
