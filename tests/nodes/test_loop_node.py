"""loop_node as a process, over real DDS: its lifecycle, its parameters, its ends."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from rtloop.realtime.host import is_preempt_rt
from tests.firmware import reference as ref
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
from tests.nodes.ros import ERROR, OK, Client, loop_node, runs
from tests.running import UNDISTURBED, edited, firmware, rings_of, write_config

SAFE_BY_HOST = ("SAFE", ["HOST_STOP"])


def test_the_lifecycle_runs_the_loop_and_ends_it_safely(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config) as node:
            assert client.state == "unconfigured"
            assert client.request("configure"), node.log
            idle = client.status_when(lambda s: s.message == "inactive", "it is told of")
            assert (idle.level, idle.message) == (OK, "inactive")
            assert idle.hardware_id == str(device.link)

            assert client.request("activate"), node.log
            first = client.status_when(lambda s: s.message == "every deadline met", "it is")
            again = client.status_when(
                lambda s: s["executed"] > first["executed"] > 0, "it goes on"
            )
            assert again.values["state"] == "active"
            assert again.values["class"] == "soft"
            assert again.values["period_ms"] == again.values["deadline_ms"] == "5"
            assert ("kernel" in again.values["denied_rights"]) is not is_preempt_rt()
            assert again["records_lost"] == 0

            assert client.request("deactivate"), node.log
            ended = client.status_when(lambda s: s.message == "inactive", "it ended")
            assert ended["executed"] >= again["executed"]
            assert ended["elapsed_periods"] == ended["executed"] + ended["skipped"]
            assert client.request("cleanup"), node.log
            assert client.state == "unconfigured"
            assert client.request("shutdown"), node.log
            assert client.state == "finalized"
        told = device.stop()
    assert (told["state"], told["reasons"]) == SAFE_BY_HOST


def test_each_activation_is_a_recording_of_its_own(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config) as node:
            assert client.request("configure"), node.log
            for _ in range(2):
                assert client.request("activate"), node.log
                client.status_when(runs, "it runs")
                assert client.request("deactivate"), node.log
            client.set_parameter("record", False)
            assert client.request("activate"), node.log
    recordings = list((tmp_path / "runs").glob("*/run.mcap"))
    assert len(recordings) == 2
    assert all(str(recording) in node.log for recording in recordings)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_loop_first_and_then_the_node(tmp_path: Path, number: int) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config) as node:
            assert client.request("configure"), node.log
            assert client.request("activate"), node.log
            client.status_when(runs, "it runs")
            assert node.end(number) == 0
            assert "cycles executed" in node.log
        told = device.stop()
    assert (told["state"], told["reasons"]) == SAFE_BY_HOST


def test_a_wrong_configuration_fails_to_configure_and_the_node_lives_on(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = edited(write_config(tmp_path, device.link), {"rate_hz": "rate_herz"})
        with loop_node(tmp_path) as node:
            assert not client.request("configure")
            assert "the parameter config is empty" in node.log
            client.set_parameter("config", str(config))
            assert not client.request("configure")
            assert "loop.yaml:7:5: loops.balance.rate_herz" in node.log
            assert client.state == "unconfigured"
            edited(config, {"rate_herz": "rate_hz"})
            assert client.request("configure"), node.log
            assert client.state == "inactive"


def test_a_parameter_moves_a_link_to_another_device(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, tmp_path / "elsewhere")
        with loop_node(tmp_path, config=config) as node:
            assert not client.request("configure")
            assert f"there is no {tmp_path / 'elsewhere'}" in node.log
            client.set_parameter("links.cart.device", str(device.link))
            assert client.request("configure"), node.log
        with loop_node(tmp_path, config=config, **{"links.cart.device": device.link}) as node:
            assert client.request("configure"), node.log
            idle = client.status_when(lambda s: s.message == "inactive", "it is told of")
            assert idle.hardware_id == str(device.link)


def test_a_lost_device_is_an_error_until_the_loop_is_activated_anew(tmp_path: Path) -> None:
    with Client() as client:
        config = write_config(tmp_path, tmp_path / "tty")
        with firmware(tmp_path) as device, loop_node(tmp_path, config=config) as node:
            assert client.request("configure"), node.log
            assert client.request("activate"), node.log
            client.status_when(runs, "it runs")
            os.kill(device.pid, signal.SIGUSR1)
            lost = client.status_when(lambda s: s.level == ERROR, "the loss is told")
            assert "the link 'cart'" in lost.message
            assert "was lost" in lost.message
            assert lost.values["state"] == "fault"
            assert client.state == "active"
            assert node.log.count(lost.message) == 1

            assert client.request("deactivate"), node.log
            assert "balance: FAULT: a port failed" in node.log, "why it was not in control"
            assert not client.request("activate"), "there is no device"
            assert client.state == "inactive"
            device.stop()
            device.start()
            assert client.request("activate"), node.log
            back = client.status_when(runs, "it is back")
            assert back.values["fault"] == ""


def test_a_device_that_is_latched_safe_is_armed_only_by_rearm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever is killed in Fast DDS's shared memory may leave it locked, for the next one, too.
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    with firmware(tmp_path, *UNDISTURBED) as device:
        config = write_config(tmp_path, device.link)
        with Client() as client, loop_node(tmp_path, config=config, record=False) as node:
            assert client.request("configure"), node.log
            assert client.request("activate"), node.log
            client.status_when(runs, "it runs")
            (ring,) = rings_of(node.process.pid)
            node.end(signal.SIGKILL)
            shutil.rmtree(ring.parent)
        time.sleep(0.8)  # the host fell silent without a stop: the device sees to itself
        # A client of its own: the first one goes on to see what was killed.
        with Client() as client, loop_node(tmp_path, config=config, record=False) as node:
            assert client.request("configure"), node.log
            assert not client.request("activate")
            assert "latched SAFE: COMMAND_TIMEOUT" in node.log
            assert "the service ~/rearm" in node.log
            assert client.trigger("rearm") == (True, "active"), node.log
            client.status_when(runs, "it runs")


def test_a_parameter_of_the_wrong_type_is_one_clear_error(tmp_path: Path) -> None:
    with loop_node(tmp_path, record="perhaps") as node:
        assert node.process.wait(30) == 2
    assert "'record'" in node.log


@pytest.mark.parametrize("hello", [1, 3, 4], ids=["configuring", "to be armed", "armed"])
def test_a_signal_ends_a_start_before_anything_moves(tmp_path: Path, hello: int) -> None:
    said_before: list[int] = []

    def interrupting(request: ref.Packet) -> None:
        if request.name == "hello" and device.names().count("hello") == hello:
            said_before.append(len(device.names()))
            node.process.send_signal(signal.SIGINT)

    with ScriptedDevice(interrupting, CARTPOLE_SCHEMA) as device, Client() as client:
        config = write_config(tmp_path, Path(device.path))
        with loop_node(tmp_path, config=config) as node:
            client.ask("configure")
            if hello > 1:
                client.spin_until(lambda: client.states[-1]["state"] == "inactive", "it is")
                client.ask("activate")
            assert node.process.wait(20) == 0, node.log
        assert said_before, node.log
        assert set(device.names()[said_before[0] :]) <= {"stop"}
    assert "stopped by SIGINT before it started" in node.log
