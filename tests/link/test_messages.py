"""The enums of the host are those of the firmware."""

from __future__ import annotations

from rtloop import core
from rtloop.link.messages import DeviceState, PacketType, Reason


def test_types_states_and_reasons_are_those_of_the_firmware_library() -> None:
    assert {t.name: t.value for t in PacketType} == core.MESSAGE_TYPES
    assert {s.name: s.value for s in DeviceState} == core.DEVICE_STATES
    assert {r.name: r.value for r in Reason} == core.DEVICE_REASONS
