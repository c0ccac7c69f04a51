"""A bridged device in the words of /diagnostics, and its events one status each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from rtloop.link.bridge import LOST, SILENT, Bridge, Note
from rtloop.link.handshake import LinkInfo
from rtloop.link.messages import DeviceEvent, DeviceState, Reason

_OF_THE_DEVICE = ("late_commands", "rejected_commands", "command_timeouts", "seq_gaps")
_ORDINARY = ("IDLE", "ARMED", "ACTIVE", f"SAFE: {Reason.HOST_STOP.name}")


def bridge_status(
    node: str, device: str, bridge: Bridge, is_active: bool, refused: str
) -> DiagnosticStatus:
    """``refused`` is why a command was, since the previous call. ``node`` is the fully qualified name."""
    state, age_ns = bridge.state, bridge.age_ns
    if bridge.error is not None:
        level, message = DiagnosticStatus.ERROR, f"the bridge has ended: {bridge.error}"
    elif state in (LOST, SILENT):
        level, message = DiagnosticStatus.ERROR, f"the device is {state}, and is being looked for"
    elif state and state not in _ORDINARY:
        level, message = DiagnosticStatus.ERROR, f"the device is {state}"
    elif refused:
        level, message = DiagnosticStatus.WARN, f"a command was refused: {refused}"
    else:
        level = DiagnosticStatus.OK
        message = state or "no sample yet" if is_active else "inactive"
    status = bridge.device_status
    values = {
        "device": device,
        "state": state,
        "armed": bridge.is_armed,
        "rate_hz": bridge.rate_hz,
        "age_ms": None if age_ns is None else age_ns / 1e6,
        **asdict(bridge.counts),
        **{f"device.{name}": getattr(status, name, None) for name in _OF_THE_DEVICE},
    }
    return _status(f"{node}: {bridge.info.name}", bridge.info, level, message, values)


def event_status(node: str, info: LinkInfo, event: DeviceEvent | Note) -> DiagnosticStatus:
    """ERROR for a device that is SAFE for another reason than a stop, WARN for what else went wrong."""
    if isinstance(event, Note):
        level = DiagnosticStatus.OK if event.what == "back" else DiagnosticStatus.WARN
        values: dict[str, Any] = {"event": event.what}
    else:
        is_change = event.event == "state_change"
        level = DiagnosticStatus.OK if is_change else DiagnosticStatus.WARN
        if event.state == DeviceState.SAFE and event.reasons & ~Reason.HOST_STOP:
            level = DiagnosticStatus.ERROR
        values = {**vars(event), "state": event.state.name, "reasons": event.reasons.names()}
    return _status(f"{node}: {info.name}", info, level, str(event), values)


def _status(
    name: str, info: LinkInfo, level: bytes, message: str, values: Mapping[str, Any]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=info.name,
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
