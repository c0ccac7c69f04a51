"""``rtloop run`` on a device behind a wire, and what the wire says of it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from tests.firmware import reference as ref
from tests.firmware.program import ACTIVE, SAFE
from tests.firmware.scenarios.wire import Wire
from tests.running import edited, wait_for, write_config

LOOP = "balance"


def configured(
    folder: Path, address: str, *, rate_hz: int, timeout_ms: int, on_lost: str = ""
) -> Path:
    """A soft loop on that device; its commands are valid for the command timeout."""
    timeout = "command_timeout_ms: 500"
    changes = {"rate_hz: 200": f"rate_hz: {rate_hz}", timeout: f"command_timeout_ms: {timeout_ms}"}
    if on_lost:
        changes[timeout] += f", {on_lost}"
    folder.mkdir(exist_ok=True)
    return edited(
        write_config(folder, Path("DEVICE")), {"device: DEVICE": f"device: {address!r}", **changes}
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Stops a run with ``--json``, or waits for it to end; its summary."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out, err
    summary: dict[str, Any] = json.loads(out)
    return summary


def recording(folder: Path) -> LoopRecording:
    """Of the only run in ``folder``."""
    (path,) = folder.glob("runs/*/run.mcap")
    return read_recording(path, signals=True).loops[LOOP]


def samples(packets: list[ref.Packet]) -> list[dict[str, Any]]:
    return [packet.fields for packet in packets if packet.name == "sensor"]


def wait_for_state(wire: Wire, state: int, after: int = 0) -> None:
    """Until the device, after so many packets, sends a sample in this state."""
    wait_for(
        lambda: any(s["state"] == state for s in samples(wire.sent_to_host()[after:])),
        f"a sample of state {state}",
    )


def was_safe(wire: Wire) -> bool:
    return any(s["state"] == SAFE for s in samples(wire.sent_to_host()))


def was_active(wire: Wire) -> bool:
    return any(s["state"] == ACTIVE for s in samples(wire.sent_to_host()))


def up_to_the_last_answer(packets: list[ref.Packet]) -> list[ref.Packet]:
    """Up to the newest STATUS, the device's answer to STOP: what follows nobody reads any more."""
    last = max(i for i, packet in enumerate(packets) if packet.name == "device_status")
    return packets[: last + 1]
