"""Why a loop is in FAULT, in words, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rtloop import core
from rtloop.config import Config
from rtloop.link import Reason

_EXPLANATIONS = {
    "deadline_miss": "a hard deadline was missed; the safe command was sent at the deadline",
    "limit_broken": "more misses than its limit allows (limit: max_misses, max_consecutive)",
    "non_finite": "the policy returned NaN or infinity; look at its inputs in the recording",
    "stale_input": "an input was older than max_age_ms (on_stale: fault)",
    "hang": "a cycle hung; the guard sent the safe command",
    "infer_error": "ONNX Runtime reported an error while running the graph",
}
_REASONS = {value: key for key, value in core.FAULT_REASONS.items()}


def explain_fault(
    config: Config,
    name: str,
    status: Mapping[str, Any],
    link_ports: Mapping[str, core.LinkPort],
) -> str:
    """One sentence or two for a person; empty when the loop is not in FAULT."""
    reason = _REASONS.get(status["fault_reason"], "none")
    if reason == "none":
        return ""
    if reason == "port_error":
        cause = _lost_link(config, name, status)
    elif reason == "device_safe":
        cause = _safe_device(link_ports)
    else:
        cause = f"{_EXPLANATIONS[reason]}. It is latched: activate the loop anew to go on"
    return f"loop '{name}' is in FAULT: {cause}"


def _lost_link(config: Config, name: str, status: Mapping[str, Any]) -> str:
    loop = config.loops[name]
    ports = [*loop.inputs.items(), *loop.outputs.items()]
    port_name, port = ports[status["fault_port"]]
    link = config.links.get(port.link or "")
    device = f" ({link.device})" if link else ""
    return (
        f"the link '{port.link or port_name}'{device} was lost: "
        f"{os.strerror(status['fault_errno'])}. The safe command was sent, and the device goes "
        "SAFE by its command timeout. Check cable and device"
    )


def _safe_device(link_ports: Mapping[str, core.LinkPort]) -> str:
    devices = [
        f"'{name}' ({Reason(port.counters()['device_reasons']).names()})"
        for name, port in link_ports.items()
    ]
    return (
        f"the device of link {', '.join(devices)} latched SAFE by itself. Find out why, "
        "then activate the loop anew with --clear"
    )
