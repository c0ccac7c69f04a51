"""What a device accounts for itself, over every transport: from its own numbers to its host's recording."""

from __future__ import annotations

import json
from pathlib import Path

from rtloop.telemetry.observe.device_account import DeviceAccount
from tests.firmware.scenarios.conftest import LayWire, StartDevice
from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.runs import LOOP, configured, recording
from tests.running import rtloop

#: A period of 100 ms and a deadline of 60 ms: what misses it is what was delayed, by 20 ms and more.
SLOW = {"rate_hz": "10", "loop_deadline_us": "60000", "loop_delay_us": "80000"}


def account_of(folder: Path) -> DeviceAccount:
    account = recording(folder).summary.devices["cart"].account
    assert account is not None
    return account


def test_the_account_of_a_device_is_in_the_recording_and_its_commands_name_their_samples(
    start_device: StartDevice, lay_wire: LayWire, device_kind: DeviceKind, tmp_path: Path
) -> None:
    device = start_device()
    wire = lay_wire(device)
    folder = tmp_path / "run"
    config = configured(folder, wire.address, rate_hz=device_kind.rate_hz, timeout_ms=900)
    done = rtloop("run", config, "--duration", 1.5, "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    account = account_of(folder)
    told = [packet.fields for packet in wire.sent_to_host() if packet.name == "stats"][-1]
    for name in ("jobs", "skipped", "misses", "lateness_max_us", "worst_job", "untraced"):
        assert getattr(account, name) == told[name], name
    ages = account.sample_to_actuation_us
    assert (ages.n, ages.max_us) == (told["traced"], told["sample_to_actuation_max_us"])
    assert account.jobs > 0

    sensors = {packet.seq for packet in wire.sent_to_host() if packet.name == "sensor"}
    commands = [packet for packet in wire.arrived_at_device() if packet.name == "command"]
    assert {command.ack for command in commands} <= sensors
    assert 0 < ages.n <= len(commands)
    device.stop()


def test_a_device_whose_hard_loop_misses_is_safe_and_its_host_tells_why(
    start_device: StartDevice, lay_wire: LayWire, device_kind: DeviceKind, tmp_path: Path
) -> None:
    device = start_device(**SLOW, loop_class="hard", loop_delay_every="5")
    wire = lay_wire(device)
    folder = tmp_path / "run"
    config = configured(folder, wire.address, rate_hz=device_kind.rate_hz, timeout_ms=900)
    done = rtloop("run", config, "--duration", 10, "--json", "--no-report")
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert summary["loops"][LOOP]["fault_reason"] == "device_safe"
    assert "DEADLINE_MISSES" in " ".join(summary["problems"])
    (miss,) = (
        packet.fields
        for packet in wire.sent_to_host()
        if packet.name == "event" and packet.fields["event"] == 5
    )
    account = account_of(folder)
    assert (account.loop_class, account.misses) == ("hard", 1)
    assert account.lateness_max_us == miss["lateness_us"] > 0
    assert recording(folder).summary.devices["cart"].missed_lateness_max_us == miss["lateness_us"]
    device.stop()
