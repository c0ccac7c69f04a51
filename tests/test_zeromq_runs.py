"""Whole runs over ZeroMQ: the real firmware program, which is lost, frozen, started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import Config, load
from rtloop.demos.demo import DEMOS, Disturbances, demo_run
from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.errors import ConfigError
from rtloop.link import DeviceState, Link, Reason
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from tests.running import (
    UNDISTURBED,
    counter,
    edited,
    firmware,
    rtloop,
    wait_for,
    wait_for_commands,
    write_config,
    write_config_again,
)

ZMQ = TRANSPORTS["zmq"]


@contextmanager
def device_at(
    folder: Path, address: str = "tcp://127.0.0.1:0", timeout_ms: int = 500
) -> Iterator[FirmwareProcess]:
    timeout = ("--command-timeout-ms", str(timeout_ms))
    with firmware(folder, *UNDISTURBED, *timeout, "--rate-hz", "200", "--zmq", address) as device:
        yield device


def configured(folder: Path, device: str, *, again: bool = False) -> Config:
    return load((write_config_again if again else write_config)(folder, device))


def test_a_run_commands_a_device_and_records_it(tmp_path: Path) -> None:
    with device_at(tmp_path) as device:
        run = Run(configured(tmp_path, device.device), "test")
        run.start()
        wait_for_commands(run)
        wait_for(lambda: counter(run, "tx_packets") > 300, "commands")
        names = ("tx_dropped", "rx_errors", "tx_packets")
        counters = {name: counter(run, name) for name in names}
        summary = run.stop()
        told = device.stop()
    assert exit_code(summary) == 0, summary.problems
    assert (counters["tx_dropped"], counters["rx_errors"]) == (0, 0)
    assert told["counters"]["rx_packets"] >= counters["tx_packets"]
    assert told["counters"]["seq_gaps"] == 0
    assert (told["state"], told["reasons"], told["fell"]) == ("SAFE", ["HOST_STOP"], False)
    (loop,) = read_recording(run.recording).loops.values()
    assert len(loop.records) > 100


def test_what_carries_its_packets_is_among_the_rights(tmp_path: Path) -> None:
    with device_at(tmp_path) as device:
        path = write_config(tmp_path, device.device)
        cpu = core.allowed_cpus()[-1]
        config = load(
            edited(path, {"scheduler: other": f"scheduler: other, cpu_affinity: [{cpu}]"})
        )
        with Run(config, "test", record=False) as run:
            wait_for_commands(run)
            names = [right.name for right in run.loops["balance"].rights]
        run.stop()
        checked = rtloop("check", path, "--json")
    assert names.count("balance link cart scheduler") == 1
    assert names.count("balance link cart cpu_affinity") == 1
    assert '"balance link cart scheduler"' in checked.stdout


def test_a_device_that_dies_is_a_fault_that_says_how(tmp_path: Path) -> None:
    with device_at(tmp_path) as device:
        run = Run(configured(tmp_path, device.device), "test", record=False)
        run.start()
        wait_for_commands(run)
        os.kill(device.pid, signal.SIGKILL)
        run.wait(20)
        summary = run.stop()
    assert exit_code(summary) != 0
    (cause,) = [text for text in summary.problems if "was lost" in text]
    assert f"the link 'cart' ({device.device}) was lost: Connection reset by peer" in cause


def test_a_device_that_died_and_was_started_again_is_armed_again(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with device_at(tmp_path) as first:
        address = first.device.removeprefix("zmq+")
        run = Run(configured(tmp_path, first.device, again=True), "test")
        run.start()
        wait_for_commands(run)
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: counter(run, "losses") >= 1, "a loss")
        with device_at(tmp_path / "second", address) as second:
            wait_for(lambda: counter(run, "reconnections") >= 1, "a reconnection")
            wait_for_commands(run)
            summary = run.stop()
            told = second.stop()
    assert exit_code(summary) == 0, summary.problems
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    (losses,) = summary.losses
    assert (losses.losses, losses.reconnections) == (1, 1)
    (loop,) = read_recording(run.recording).loops.values()
    (lost,) = [e for e in loop.events if e["kind"] == core.PORT_EVENTS["lost"]]
    assert os.strerror(int(lost["error"])) == "Connection reset by peer"


def test_a_device_that_stands_still_and_goes_on_is_armed_again(tmp_path: Path) -> None:
    """Of the commands that it finds when it goes on, none is obeyed."""
    with device_at(tmp_path) as device:
        run = Run(configured(tmp_path, device.device, again=True), "test", record=False)
        run.start()
        wait_for_commands(run)
        os.kill(device.pid, signal.SIGSTOP)
        wait_for(lambda: counter(run, "losses") >= 1, "a loss")
        os.kill(device.pid, signal.SIGCONT)
        wait_for(lambda: counter(run, "reconnections") >= 1, "a reconnection")
        wait_for_commands(run)
        summary = run.stop()
        told = device.stop()
    assert exit_code(summary) == 0, summary.problems
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert told["counters"]["command_timeouts"] >= 1


def test_an_address_that_is_none_is_told_by_its_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, "zmq+tcp://board")
    with pytest.raises(ConfigError, match=r"loop.yaml:2:18: .*zmq\+tcp://HOST:PORT"):
        load(path)


@pytest.mark.parametrize("overload", [False, True])
@pytest.mark.parametrize("transport", ["zmq", "udp"])
def test_the_demo_runs_over_a_network(transport: str, overload: bool) -> None:
    cartpole = DEMOS["cartpole"]
    disturbances = Disturbances(overload=overload)
    with demo_run(cartpole, disturbances, record=False, transport=transport) as (run, devices):
        schemes = {device.device.partition("127.0.0.1:")[0] for device in devices}
        assert schemes == {{"zmq": "zmq+tcp://", "udp": "udp://"}[transport]}
        assert len(devices) == (3 if overload else 1)
        run.start()
        wait_for(lambda: run.loops[next(iter(run.loops))].status()["executed"] > 20, "cycles")
        run.stop()
        for device in devices:
            told = device.stop()
            assert "HOST_STOP" in told["reasons"]
            assert told["counters"]["rx_packets"] > 10


def test_a_demo_that_has_no_such_transport_says_which_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cartpole = DEMOS["cartpole"]
    monkeypatch.setattr(cartpole, "transports", ("serial",))
    with (
        pytest.raises(ConfigError, match="--transport zmq: .* it has: serial"),
        demo_run(cartpole, Disturbances(), record=False, transport="zmq"),
    ):
        pass


def test_stop_leaves_while_the_cycle_of_a_hard_loop_hangs(tmp_path: Path) -> None:
    """The guard writes it, and the threads of the link are not those of the loop."""
    with device_at(tmp_path, timeout_ms=20_000) as device:
        path = write_config(tmp_path, device.device)
        changes = {
            "command_timeout_ms: 500": "command_timeout_ms: 20000",
            "class: soft": "class: hard",
            "rate_hz: 200": "rate_hz: 10",
            "    max_share": "#",
        }
        config = load(edited(path, changes))
        hangs = core.Stall(core.Stage.infer, 5, 0, 4_000_000_000)
        run = Run(config, "test", stalls={"balance": [hangs]}, record=False)
        run.start()
        wait_for(lambda: run.loops["balance"].status()["fault_reason"] != 0, "a miss")
        # From elsewhere a device answers HELLO when it does not move any more.
        with Link.open("beside", str(device.link), 1_000_000) as beside:
            seen = beside.info.device_state, beside.info.reasons
            executed = run.loops["balance"].status()["executed"]
        run.stop()
    assert seen == (DeviceState.SAFE, Reason.HOST_STOP)
    assert executed <= 5, "its cycle hangs still"
