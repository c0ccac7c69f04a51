"""The host is killed while the device is ACTIVE: what the device does, in its own time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.firmware.program import ACTIVE, COMMAND_TIMEOUT, SAFE
from tests.firmware.scenarios.conftest import LayWire, StartDevice
from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.runs import configured, samples, wait_for_state
from tests.firmware.scenarios.wire import TcpWire, Wire
from tests.running import background, rtloop, wait_until_running

#: Beyond what a shared machine stalls a run before it is killed.
TIMEOUT_MS = 400
STATE_CHANGE = 2


def test_a_device_whose_host_was_killed_is_safe_after_the_command_timeout_and_latched(
    start_device: StartDevice, lay_wire: LayWire, device_kind: DeviceKind, tmp_path: Path
) -> None:
    device = start_device()
    wire = lay_wire(device)
    if isinstance(wire, TcpWire):
        wire.loses_the_host = True  # no closed connection tells the device
    config = configured(
        tmp_path / "run", wire.address, rate_hz=device_kind.rate_hz, timeout_ms=TIMEOUT_MS
    )
    with background(["run", config, "--json"]) as process:
        wait_until_running(process)
        process.kill()
        wait_for_state(wire, SAFE)
    became_safe_in_time(wire)

    said = rtloop("run", config, "--duration", 1)
    assert said.returncode != 0
    assert "COMMAND_TIMEOUT" in said.stderr
    assert "--clear" in said.stderr
    before = len(wire.sent_to_host())
    assert not any(s["state"] == ACTIVE for s in samples(wire.sent_to_host())[-1:])
    cleared = rtloop("run", config, "--duration", 1, "--clear", "--no-report")
    asked = [p.name for p in wire.arrived_at_device() if p.name in ("clear", "arm")]
    assert asked == ["arm", "clear", "arm"], cleared.stderr
    assert any(s["state"] == ACTIVE for s in samples(wire.sent_to_host()[before:]))
    device.stop()


def became_safe_in_time(wire: Wire) -> None:
    """Within the command timeout and one period after the last command was applied, and not before."""
    sent = wire.sent_to_host()
    taken = samples(sent)
    period_us = next(p for p in sent if p.name == "hello_reply").fields["sensor_period_us"]
    first_safe = next(i for i, s in enumerate(taken) if s["state"] == SAFE)
    last_command = taken[first_safe - 1]["command_seq"]
    shown = next(i for i, s in enumerate(taken) if s["command_seq"] == last_command)
    # It was applied after the sample before the first that shows it, and before that one.
    earliest_us = taken[shown - 1]["sample_time_us"] + TIMEOUT_MS * 1000
    latest_us = taken[shown]["sample_time_us"] + TIMEOUT_MS * 1000 + period_us

    (change,) = _changes_to_safe(wire)
    assert change["reasons"] == COMMAND_TIMEOUT
    assert earliest_us < change["time_us"]
    # A simulated device is a process: what it was late for its own samples it is late for this, too.
    late_us = taken[first_safe]["sample_time_us"] - taken[first_safe - 1]["sample_time_us"]
    assert change["time_us"] <= latest_us + max(0, late_us - period_us)
    for sample in taken[first_safe:]:
        assert (sample["state"], sample["reasons"]) == (SAFE, COMMAND_TIMEOUT)


def _changes_to_safe(wire: Wire) -> list[dict[str, Any]]:
    events = [p.fields for p in wire.sent_to_host() if p.name == "event"]
    return [e for e in events if e["event"] == STATE_CHANGE and e["state"] == SAFE]
