"""The enums of the host are those of the firmware."""

from __future__ import annotations

import pytest

from rtloop import core
from rtloop.link.messages import DeviceState, PacketType, Reason, encode_command


def test_types_states_and_reasons_are_those_of_the_firmware_library() -> None:
    assert {t.name: t.value for t in PacketType} == core.MESSAGE_TYPES
    assert {s.name: s.value for s in DeviceState} == core.DEVICE_STATES
    assert {r.name: r.value for r in Reason} == core.DEVICE_REASONS


def test_a_command_is_encoded_with_32_bits_of_device_time_and_no_more_values_than_fit() -> None:
    payload = encode_command((1 << 32) + 5, [0.5, -2.0])
    found = core.message_decode(PacketType.COMMAND, payload)
    assert (found["valid_until_us"], list(found["values"])) == (5, [0.5, -2.0])
    with pytest.raises(ValueError, match="129 values are more than 128"):
        encode_command(0, [0.0] * 129)
