"""The device is reset in the middle of a run: it forgets all, moves no more, and the host notices."""

from __future__ import annotations

from pathlib import Path

from tests.firmware import reference as ref
from tests.firmware.program import ACTIVE
from tests.firmware.scenarios.conftest import LayWire, StartDevice
from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.host import host_at
from tests.firmware.scenarios.runs import LOOP, configured, ended, wait_for_state
from tests.firmware.scenarios.test_states import say_hello
from tests.firmware.scenarios.wire import Wire
from tests.running import background, wait_until_running

TIMEOUT_MS = 500


def test_a_device_that_was_reset_moves_no_more_and_the_run_ends_and_says_so(
    start_device: StartDevice, lay_wire: LayWire, device_kind: DeviceKind, tmp_path: Path
) -> None:
    device = start_device()
    wire = lay_wire(device)
    config = configured(
        tmp_path / "run", wire.address, rate_hz=device_kind.rate_hz, timeout_ms=TIMEOUT_MS
    )
    with background(["run", config, "--json", "--no-report"]) as process:
        wait_until_running(process)
        before = boot_ids(wire)
        device.reset()
        process.wait(30)
        summary = ended(process)
    assert process.returncode == 1
    assert summary["loops"][LOOP]["state"] == "fault"
    assert summary["loops"][LOOP]["fault_reason"] in ("port_error", "not_obeyed")
    assert any("link 'cart'" in text for text in summary["problems"])
    with host_at(wire.address) as host:
        reply = say_hello(host)
        assert reply["boot_id"] not in before
    assert not driven_after_reset(wire, before)
    device.stop()


def test_where_the_configuration_says_so_a_device_that_was_reset_is_armed_again(
    start_device: StartDevice, lay_wire: LayWire, device_kind: DeviceKind, tmp_path: Path
) -> None:
    device = start_device()
    wire = lay_wire(device)
    config = configured(
        tmp_path / "run",
        wire.address,
        rate_hz=device_kind.rate_hz,
        timeout_ms=TIMEOUT_MS,
        on_lost="on_lost: reconnect, reconnect: {rearm: automatic, first_ms: 20, max_ms: 200}",
    )
    with background(["run", config, "--json", "--no-report"]) as process:
        wait_until_running(process)
        before = boot_ids(wire)
        device.reset()
        wait_for_state(wire, ACTIVE, after=len(wire.sent_to_host()))
        summary = ended(process)
    assert len(boot_ids(wire)) == len(before) + 1
    (losses,) = summary["losses"]
    assert (losses["losses"], losses["reconnections"]) == (1, 1)
    # Driven again only after the HELLO, the ARM and a first COMMAND of the host that came back.
    assert driven_after_reset(wire, before)
    device.stop()


def boot_ids(wire: Wire) -> list[int]:
    """In order, of the boots that somebody said HELLO to."""
    replies = [p.fields["boot_id"] for p in wire.sent_to_host() if p.name == "hello_reply"]
    return list(dict.fromkeys(replies))


def driven_after_reset(wire: Wire, before: list[int]) -> list[ref.Packet]:
    """What the device sent in ACTIVE once it had answered a HELLO with a boot_id of its own."""
    sent = wire.sent_to_host()
    first = next(
        (
            i
            for i, p in enumerate(sent)
            if p.name == "hello_reply" and p.fields["boot_id"] not in before
        ),
        len(sent),
    )
    return [p for p in sent[first:] if p.name == "sensor" and p.fields["state"] == ACTIVE]
