"""A bridged device in the words of /diagnostics, and its events one status each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from rtloop.link.bridge import LOST, SILENT, Bridge, Note
from rtloop.link.handshake import LinkInfo
from rtloop.link.messages import DeviceEvent, DeviceState, Reason

from .status import ERROR, OK, WARN, status

_OF_THE_DEVICE = ("late_commands", "rejected_commands", "command_timeouts", "seq_gaps")
_ORDINARY = ("IDLE", "ARMED", "ACTIVE", f"SAFE: {Reason.HOST_STOP.name}")


def bridge_status(
    node: str, device: str, bridge: Bridge, is_active: bool, refused: str
) -> DiagnosticStatus:
    """``refused`` is why a command was, since the previous call. ``node`` is the fully qualified name."""
    state, age_ns = bridge.state, bridge.age_ns
    if bridge.error is not None:
        level, message = ERROR, f"the bridge has ended: {bridge.error}"
    elif state in (LOST, SILENT):
        level, message = ERROR, f"the device is {state}, and is being looked for"
    elif state and state not in _ORDINARY:
        level, message = ERROR, f"the device is {state}"
    elif refused:
        level, message = WARN, f"a command was refused: {refused}"
    else:
        level = OK
        message = state or "no sample yet" if is_active else "inactive"
    of_device = bridge.device_status
    values = {
        "device": device,
        "state": state,
        "armed": bridge.is_armed,
        "rate_hz": bridge.rate_hz,
        "age_ms": None if age_ns is None else age_ns / 1e6,
        **asdict(bridge.counts),
        **{f"device.{name}": getattr(of_device, name, None) for name in _OF_THE_DEVICE},
    }
    name = bridge.info.name
    return status(f"{node}: {name}", level, message, values, name)


def event_status(node: str, info: LinkInfo, event: DeviceEvent | Note) -> DiagnosticStatus:
    """ERROR for a device that is SAFE for another reason than a stop, WARN for what else went wrong."""
    if isinstance(event, Note):
        level = OK if event.what == "back" else WARN
        values: dict[str, Any] = {"event": event.what}
    else:
        is_change = event.event == "state_change"
        level = OK if is_change else WARN
        if event.state == DeviceState.SAFE and event.reasons & ~Reason.HOST_STOP:
            level = ERROR
        values = {**vars(event), "state": event.state.name, "reasons": event.reasons.names()}
    return status(f"{node}: {info.name}", level, str(event), values, info.name)
