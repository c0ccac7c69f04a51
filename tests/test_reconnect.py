"""Devices that are lost while their loop runs: the real firmware program, pulled out and plugged in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import Config, load
from rtloop.demos.firmware import FirmwareProcess
from rtloop.errors import LinkError
from rtloop.link import DeviceState
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.summary import RunSummary
from tests.cable import Cable
from tests.firmware.reference import Packet
from tests.link.scripted_device import CARTPOLE_SCHEMA, Answers, ScriptedDevice
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    wait_for,
    wait_until_running,
    write_config,
)

AGAIN = "reconnect: {rearm: automatic, first_ms: 20, max_ms: 200}"


def configured(
    folder: Path, device: Path, how: str = AGAIN, max_dropped: float | None = 1.0
) -> Config:
    """Here the losses are most of the runs, and meant."""
    path = write_config(folder, device)
    timeout = "command_timeout_ms: 500"
    changes = {timeout: f"{timeout}, on_lost: reconnect, {how}"}
    if max_dropped is not None:
        changes["refused: 1}"] = f"refused: 1, dropped: {max_dropped}}}"
    return load(edited(path, changes))


@contextmanager
def plugged_in(folder: Path) -> Iterator[tuple[FirmwareProcess, Cable]]:
    with (
        firmware(folder, *UNDISTURBED, "--rate-hz", "100") as device,
        Cable(folder / "ttyACM0", device.link) as cable,
    ):
        yield device, cable


def counter(run: Run, name: str) -> int:
    (port,) = run.loops["balance"].ports
    return port.core.counters()[name]


def wait_for_counter(run: Run, name: str, value: int) -> None:
    wait_for(lambda: counter(run, name) >= value, f"{name} of {value}")


def wait_for_commands(run: Run) -> None:
    """Until the device has applied one more since now."""
    before = counter(run, "tx_packets")
    wait_for(lambda: counter(run, "tx_packets") > before + 5, "commands")
    wait_for(lambda: counter(run, "device_state") == 3, "an ACTIVE device")


def ended_with(run: Run, cable: Cable, other: ScriptedDevice) -> RunSummary:
    """Of a run that is started, and whose device is pulled out and comes back as the ``other``."""
    run.start()
    wait_for_commands(run)
    cable.unplug()
    cable.path.symlink_to(other.path)
    run.wait(20)
    summary = run.stop()
    cable.path.unlink()
    cable.plug_in()
    return summary


def activated(run: Run) -> bool:
    with suppress(LinkError):
        run.activate()
    return run.state == "active"


def test_a_device_that_is_pulled_out_and_plugged_in_again_goes_on(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (device, cable):
        run = Run(configured(tmp_path, cable.path), "test")
        with run:
            for i in range(1, 3):
                wait_for_commands(run)
                cable.unplug()
                wait_for_counter(run, "losses", i)
                cable.plug_in()
                wait_for_counter(run, "reconnections", i)
            wait_for_commands(run)
            assert run.loops["balance"].status()["state"] == "active"
            told = run.loops["balance"].reconnections_told()
        summary = run.stop()
        at_the_end = device.stop()
    assert exit_code(summary) == 0, summary.problems
    (losses,) = summary.losses
    assert (losses.loop, losses.port, losses.hardware_id) == ("balance", "cart", str(cable.path))
    assert (losses.losses, losses.reconnections) == (2, 2)
    assert losses.lost_ms > 0
    assert str(losses).endswith("in all, and came back")
    assert [("is back" in text, "was lost" in text) for text in told] == 2 * [
        (False, True),
        (True, False),
    ]
    assert (at_the_end["state"], at_the_end["reasons"]) == ("SAFE", ["HOST_STOP"])
    # It did see the loss: SAFE by its command timeout, and cleared for it.
    assert summary.as_dict()["losses"][0]["reconnections"] == 2
    counted = summary.loops["balance"].devices["cart"].events
    assert [counted[kind] for kind in ("lost", "reconnecting", "reconnected")] == [2, 2, 2]
    (loop,) = read_recording(run.recording).loops.values()
    recorded = loop.events["kind"]
    assert (recorded == core.PORT_EVENTS["reconnected"]).sum() == 2
    lost = [record for record in loop.records if record["events"] & 256]
    assert lost, "the recording says when"
    assert not any(record["events"] & 512 for record in loop.records)


def test_a_loss_that_is_more_than_its_share_of_a_run_was_no_control(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (_, cable):
        run = Run(configured(tmp_path, cable.path, max_dropped=None), "test", record=False)
        with run:
            wait_for_commands(run)
            cable.unplug()
            wait_for_counter(run, "losses", 1)
            cable.plug_in()
            wait_for_counter(run, "reconnections", 1)
            wait_for_commands(run)
        summary = run.stop()
    assert summary.problems == ()
    assert any("dropped" in failure for failure in summary.loops["balance"].failures)
    assert exit_code(summary) == 1


def test_a_device_that_was_restarted_is_armed_again(tmp_path: Path) -> None:
    link = tmp_path / "tty"
    with firmware(tmp_path, *UNDISTURBED) as first:
        run = Run(configured(tmp_path, link), "test", record=False)
        run.start()
        wait_for_commands(run)
        first.stop()
        wait_for_counter(run, "losses", 1)
        with firmware(tmp_path, *UNDISTURBED) as second:
            wait_for_counter(run, "reconnections", 1)
            wait_for_commands(run)
            summary = run.stop()
            told = second.stop()
    assert exit_code(summary) == 0, summary.problems
    assert told["counters"]["rx_packets"] > 10
    assert told["reasons"] == ["HOST_STOP"]


def test_a_run_that_ends_while_its_device_is_lost_is_not_green(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (device, cable):
        run = Run(configured(tmp_path, cable.path), "test")
        run.start()
        wait_for_commands(run)
        cable.unplug()
        wait_for_counter(run, "losses", 1)
        summary = run.deactivate()
        assert exit_code(summary) == 1
        lost = "'cart' was lost, and has not come back"
        (recorded,) = read_recording(run.recording).loops.values()
        assert lost in summary.loops["balance"].failures
        assert lost in recorded.summary.failures
        (problem,) = summary.problems
        assert "was lost and had not come back at the end" in problem
        assert (summary.losses[0].reconnections, summary.losses[0].is_lost) == (0, True)
        assert str(summary.losses[0]).endswith("has not come back")
        with pytest.raises(LinkError, match="there is no"):
            run.activate()
        cable.plug_in()
        run.clear = True
        wait_for(lambda: activated(run), "the end of its command timeout")
        wait_for_commands(run)
        summary = run.stop()
        told = device.stop()
    assert exit_code(summary) == 0, summary.problems
    assert summary.losses == ()
    assert told["reasons"] == ["HOST_STOP"]


def test_a_device_that_does_not_come_back_in_time_is_a_fault(tmp_path: Path) -> None:
    how = "reconnect: {rearm: automatic, first_ms: 20, max_ms: 50, give_up_s: 0.3}"
    with plugged_in(tmp_path) as (_, cable):
        run = Run(configured(tmp_path, cable.path, how), "test", record=False)
        run.start()
        wait_for_commands(run)
        cable.unplug()
        run.wait(20)
        summary = run.stop()
    assert summary.stopped_by == "fault"
    assert summary.loops["balance"].fault_reason == "port_error"
    assert summary.loops["balance"].devices["cart"].events["gave_up"] == 1
    (problem,) = summary.problems
    assert "was lost: " in problem
    assert "did not come back: given up after 0.3 s; at last: link 'cart': there is no" in problem


def test_a_device_that_comes_back_with_another_schema_is_a_fault(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (_, cable), ScriptedDevice() as another:
        run = Run(configured(tmp_path, cable.path), "test", record=False)
        summary = ended_with(run, cable, another)
    assert summary.loops["balance"].fault_reason == "port_error"
    (problem,) = summary.problems
    assert "another schema" in problem
    assert "arm" not in another.names()


@pytest.mark.parametrize("on_stale", ["hold", "use"])
def test_a_device_that_a_loss_leaves_without_commands_is_not_blamed_alone(
    tmp_path: Path, on_stale: str
) -> None:
    (tmp_path / "arm").mkdir()
    with plugged_in(tmp_path) as (_, cable), firmware(tmp_path / "arm", *UNDISTURBED) as arm:
        path = configured(tmp_path, cable.path).path
        assert path is not None
        links = f"links:\n  arm: {{device: {arm.link}, command_timeout_ms: 500}}\n"
        output = "cart: {link: cart, min"
        hold = "max_age_ms: 400, on_stale: hold"
        changes = {"links:\n": links, output: "arm: {link: arm, min", hold: hold[:-4] + on_stale}
        run = Run(load(edited(path, changes)), "test", record=False)
        run.start()
        wait_for(lambda: run.loops["balance"].status()["executed"] > 20, "cycles")
        cable.unplug()
        run.wait(2 if on_stale == "use" else 20)
        summary = run.stop()
        cable.plug_in()
    if on_stale == "use":
        assert summary.stopped_by == "duration"
        return
    assert summary.loops["balance"].fault_reason == "device_safe"
    problem = summary.problems[0]
    assert f"is in FAULT, while 'cart' ({cable.path}) was lost: the device of link 'arm'" in problem
    assert "Input 'cart' was stale for that loss and held every command" in problem
    assert "on_stale: use" in problem


@pytest.mark.parametrize(
    ("reasons", "words"),
    [(1 | 16, "COMMAND_TIMEOUT, LIMIT"), (32, "HOST_STOP"), (0, "no reason")],
)
def test_a_device_that_is_safe_for_more_than_its_loss_is_a_fault(
    tmp_path: Path, reasons: int, words: str
) -> None:
    with plugged_in(tmp_path) as (_, cable), ScriptedDevice(schema=CARTPOLE_SCHEMA) as returned:
        returned.state, returned.reasons = 4, reasons
        run = Run(configured(tmp_path, cable.path), "test", record=False)
        summary = ended_with(run, cable, returned)

    assert summary.loops["balance"].fault_reason == "device_safe"
    assert f"latched SAFE for more than that: {words}. Find out why" in summary.problems[0]
    assert not {"arm", "clear"} & set(returned.names())


def test_a_device_that_must_not_be_armed_again_is_only_read(tmp_path: Path) -> None:
    how = "reconnect: {rearm: never, first_ms: 20}"
    with plugged_in(tmp_path) as (device, cable):
        run = Run(configured(tmp_path, cable.path, how), "test", record=False)
        run.start()
        wait_for_commands(run)
        cable.unplug()
        wait_for_counter(run, "losses", 1)
        cable.plug_in()
        wait_for_counter(run, "reconnections", 1)
        before = run.loops["balance"].status()["executed"]
        wait_for(lambda: counter(run, "device_state") == 4, "a device that is SAFE")
        wait_for(lambda: run.loops["balance"].status()["executed"] > before + 20, "cycles")
        assert run.loops["balance"].status()["state"] == "active"
        (_, back) = run.loops["balance"].reconnections_told()
        summary = run.stop()
        told = device.stop()
    assert re.search(r"is back after .* s, and not armed \(rearm: never\)$", back)
    (losses,) = summary.losses
    assert str(losses).endswith("came back, not armed (rearm: never): it gets no command")
    assert summary.as_dict()["losses"][0]["is_armed"] is False
    assert exit_code(summary) == 1
    (problem,) = summary.problems
    assert "not armed again (rearm: never)" in problem
    assert "'cart' was lost, came back and was not armed again (rearm: never)" in (
        summary.loops["balance"].failures
    )
    assert told["reasons"] == ["COMMAND_TIMEOUT", "HOST_STOP"]


@pytest.mark.parametrize("when", ["hello", "schema_request", "time_request"])
def test_nothing_is_armed_once_a_stop_was_requested(tmp_path: Path, when: str) -> None:
    with plugged_in(tmp_path) as (_, cable), ScriptedDevice(schema=CARTPOLE_SCHEMA) as returned:
        run = Run(configured(tmp_path, cable.path), "test", record=False)

        def stop(request: object) -> None:
            if getattr(request, "name", "") == when:
                run.request_stop("test")

        returned.script = stop
        summary = ended_with(run, cable, returned)
    assert summary.stopped_by == "test"
    assert exit_code(summary) == 1
    assert not {"arm", "clear", "command"} & set(returned.names())


def test_a_device_that_comes_back_and_is_armed_with_another_timeout_is_stopped(
    tmp_path: Path,
) -> None:
    with plugged_in(tmp_path) as (_, cable), ScriptedDevice(schema=CARTPOLE_SCHEMA) as returned:
        run = Run(configured(tmp_path, cable.path), "test", record=False)

        def its_own(request: Packet) -> Answers:
            answers = returned.ordinary(request)
            returned.timeout_us = 20_000
            return answers

        returned.script = its_own
        summary = ended_with(run, cable, returned)
    assert summary.loops["balance"].fault_reason == "port_error"
    assert "a command timeout of 500 ms, but says that 20 ms is in force" in summary.problems[0]
    assert exit_code(summary) == 1
    assert returned.names()[-3:] == ["arm", "hello", "stop"]
    assert returned.state == DeviceState.SAFE


@pytest.mark.parametrize("when", ["arm", "hello"])
def test_a_stop_that_is_requested_while_a_device_is_armed_again_leaves_it_stopped(
    tmp_path: Path, when: str
) -> None:
    with plugged_in(tmp_path) as (_, cable), ScriptedDevice(schema=CARTPOLE_SCHEMA) as returned:
        run = Run(configured(tmp_path, cable.path), "test", record=False)
        said_before: list[int] = []

        def stop(request: Packet) -> None:
            if request.name == when and "arm" in returned.names() and not said_before:
                said_before.append(len(returned.names()))
                run.request_stop("test")

        returned.script = stop
        summary = ended_with(run, cable, returned)
    assert summary.stopped_by == "test"
    assert set(returned.names()[said_before[0] :]) == {"stop"}
    assert returned.state == DeviceState.SAFE


def test_a_loss_is_told_on_the_terminal_and_in_the_summary(tmp_path: Path) -> None:
    with plugged_in(tmp_path) as (_, cable):
        config = configured(tmp_path, cable.path)
        with background(["run", config.path, "--no-record"]) as process:
            wait_until_running(process)
            cable.unplug()
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert "was lost: " in next(line for line in lines if "cart" in line and "lost" in line)
            cable.plug_in()
            assert "is back after" in next(line for line in lines if "is back" in line)
            process.terminate()
            rest = "".join(lines)
        assert process.returncode == 0, rest
    assert "was lost once, for" in " ".join(rest.split())
