"""What a gateway publishes: JSON, a topic and an object in each message."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from typing import Any

from rtloop.link.handshake import LinkInfo
from rtloop.link.messages import DeviceEvent, Reason, Sample

Message = list[bytes]


def sample(info: LinkInfo, taken: Sample, sample_time_us: int) -> Message:
    """``sample_time_us`` is the 64 bits of device time. JSON has no NaN: what is not finite is null."""
    names = [field.name for field in info.schema.sensors]
    return _message(
        "sample",
        info,
        sample_time_us=sample_time_us,
        state=taken.state.name,
        reasons=_names(taken.reasons),
        command_seq=taken.command_seq,
        late_commands=taken.late_commands,
        values={
            name: value if math.isfinite(value) else None
            for name, value in zip(names, taken.values, strict=False)
        },
    )


def event(info: LinkInfo, happened: DeviceEvent) -> Message:
    told = {**vars(happened), "state": happened.state.name, "reasons": _names(happened.reasons)}
    return _message("event", info, **told)


def gateway(info: LinkInfo, what: str, text: str) -> Message:
    """Of the gateway itself: ``commanded``, ``left``, ``refused``, ``lost``, ``back``, ``restarted``."""
    return _message("gateway", info, what=what, text=text)


def status(info: LinkInfo, commander: str | None, is_lost: bool, counts: dict[str, int]) -> Message:
    """Once a second: also for who subscribes late."""
    return _message(
        "status",
        info,
        commander=commander,
        lost=is_lost,
        sensors=[asdict(field) for field in info.schema.sensors],
        commands=[asdict(field) for field in info.schema.commands],
        counts=counts,
    )


def _message(topic: str, info: LinkInfo, **fields: Any) -> Message:
    told = {"device": info.name, "time_s": time.time(), **fields}
    return [topic.encode(), json.dumps(told).encode()]


def _names(reasons: Reason) -> list[str]:
    return [reason.name or "" for reason in Reason if reason in reasons]
