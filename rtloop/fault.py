"""Why a loop is in FAULT, in words: what ended it, what its ports know of that, and what else was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtloop import core
from rtloop.build import Parts
from rtloop.config import LoopConfig
from rtloop.policy.runner import terminated_by
from rtloop.ports.port import Port
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.words import explain


def in_words(name: str, config: LoopConfig, parts: Parts, status: Mapping[str, Any]) -> str:
    """Why the loop ``name`` of this live ``status`` is in FAULT, and what to do; empty when it is not."""
    reason = rec.name_of(rec.FAULT_REASON_NAMES, status["fault_reason"])
    if reason == "none":
        return ""
    word = core.WORDS["fault_reasons"].get(reason)
    cause = f"{reason}, which this version has no word for" if word is None else explain(word)
    try:
        # The port knows what was lost, and its device why it went SAFE.
        if reason == "port_error":
            cause = parts.ports[status["fault_port"]].loss(status["fault_errno"])
        elif reason == "device_safe":
            cause = parts.ports[status["fault_port"]].device_safe() + _starved(config, parts)
        elif reason == "not_obeyed":
            cause = parts.ports[status["fault_port"]].not_obeyed()
        elif reason == "infer_error":
            said = " ".join(parts.runner.error.split())
            called = parts.acting.graph.call is not None
            cause = said if called and said else f"{cause}. It said: {said}"
        elif reason == "terminated":
            acting = parts.acting
            cause += f". It was {' and '.join(terminated_by(acting.graph, acting.runner))}"
    except Exception as error:  # a port is anybody's code, and this is told while loops end
        cause += f" (its port could not say more: {error!r})"
    faulty = faulty_port(parts, status, "port_error", "device_safe", "not_obeyed")
    others = [port for port in _lost_ports(parts) if port is not faulty]
    lost = " and ".join(f"'{port.name}' ({port.hardware_id})" for port in others)
    return f"loop '{name}' is in FAULT{f', while {lost} was lost' if lost else ''}: {cause}"


def faulty_port(parts: Parts, status: Mapping[str, Any], *reasons: str) -> Port | None:
    """The port that has latched the fault, if it was one, for one of these reasons."""
    if status["fault_reason"] not in {core.FAULT_REASONS[reason] for reason in reasons}:
        return None
    port: Port = parts.ports[status["fault_port"]]
    return port


def _lost_ports(parts: Parts) -> list[Port]:
    """Those that were lost when the loop ended, though that is no fault: no line is taken after it."""
    counted = [(port, port.core.counters()) for port in parts.ports if port.back_off]
    return [port for port, n in counted if n.get("losses", 0) > n.get("reconnections", 0)]


def _starved(config: LoopConfig, parts: Parts) -> str:
    """What a loss kept from the devices that were left; empty where it kept nothing."""
    lost = _lost_ports(parts)
    inputs = [
        f"'{name}'"
        for name, section in config.inputs.items()
        if parts.input_ports[name] in lost and section.stale_word == "hold"
    ]
    if not inputs:
        return ""
    return (
        f". Input {' and '.join(inputs)} was stale for that loss and held every command, also to the "
        "devices that were left; with on_stale: use these go on getting commands"
    )
