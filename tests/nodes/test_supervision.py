"""loop_node without an operator, and for one: autostart, on_fault, its services and ~/state."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rtloop.telemetry.mcap.reader import read_recording
from tests.firmware import reference as ref
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
from tests.nodes.ros import OK, WARN, Client, loop_node, loop_node_here, runs
from tests.running import UNDISTURBED, edited, firmware, write_config


def slow_config(folder: Path, device: Path | str) -> Path:
    """On a machine that is busy with other tests a faster loop hangs now and then, which is a fault."""
    return edited(write_config(folder, device), {"rate_hz: 200": "rate_hz: 20"})


def test_autostart_tries_again_until_the_device_is_there(tmp_path: Path) -> None:
    config = slow_config(tmp_path, tmp_path / "tty")
    with (
        Client() as client,
        loop_node(tmp_path, config=config, autostart=True, autostart_retry_s=0.2) as node,
    ):
        told = f"there is no {tmp_path / 'tty'}"
        client.spin_until(lambda: told in node.log, "why it does not start")
        failed = client.named_when("/loop_node: lifecycle", lambda s: s.level == WARN)
        assert told in failed.message

        def attempts() -> int:
            return sum(said["state"] == "configuring" for said in client.states)

        client.spin_until(lambda: attempts() >= 3, "it tries again and again")
        assert node.log.count(told) == 1, "several attempts, one reason"
        with firmware(tmp_path):
            client.spin_until(lambda: client.state == "active", "it starts by itself")
            assert client.request("deactivate"), node.log
            time.sleep(0.5)
            assert client.state == "inactive", "it has worked once"
            assert client.named_when("/loop_node: lifecycle", lambda s: s.level == OK)
            seen = [said["state"] for said in client.states]
            assert seen[-4:] == ["activating", "active", "deactivating", "inactive"]
            assert node.end(signal.SIGTERM) == 0


def test_on_fault_exit_ends_the_process_with_a_code_of_its_own(tmp_path: Path) -> None:
    with Client() as client:
        config = slow_config(tmp_path, tmp_path / "tty")
        with (
            firmware(tmp_path) as device,
            loop_node(tmp_path, config=config, autostart=True, on_fault="exit") as node,
        ):
            client.status_when(runs, "it runs")
            os.kill(device.pid, signal.SIGUSR1)
            assert node.process.wait(20) == 5, node.log
            assert "on_fault: exit: " in node.log
            assert "cycles executed" in node.log, "it ended in order"


def test_on_fault_deactivate_leaves_an_inactive_node_that_can_be_rearmed(tmp_path: Path) -> None:
    with Client() as client:
        config = slow_config(tmp_path, tmp_path / "tty")
        given: dict[str, Any] = {"autostart": True, "on_fault": "deactivate"}
        with firmware(tmp_path) as device, loop_node_here(client, config=str(config), **given):
            client.status_when(runs, "it runs")
            os.kill(device.pid, signal.SIGUSR1)
            client.spin_until(lambda: client.state_told == "inactive", "its end")
            faults = [said["loops"].get("balance", {}).get("fault", "") for said in client.states]
            assert any("was lost" in fault for fault in faults)
            told = client.named_when("/loop_node: lifecycle", lambda s: s.level == WARN)
            assert told.message.startswith("inactive: on_fault: deactivate: ")
            device.stop()
            device.start()
            assert client.trigger("rearm") == (True, "active")


def test_the_services_work_in_every_state(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = slow_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config, record=False) as node:
            assert client.trigger("stop") == (True, "unconfigured")
            done, said = client.trigger("rearm")
            assert (done, said[:13]) == (False, "unconfigured:")
            assert client.request("configure"), node.log
            assert client.trigger("dump")[0] is False
            assert client.trigger("rearm") == (True, "active")
            client.status_when(lambda s: runs(s) and s["executed"] > 20, "it runs")
            done, said = client.trigger("dump")
            assert done, said
            before = client.status_when(runs, "it goes on")["executed"]
            assert client.trigger("rearm") == (True, "active"), "also one that is active"
            assert client.status_when(runs, "anew")["executed"] < before
            assert client.trigger("stop") == (True, "inactive")
            assert client.state == "inactive"
            ended = client.status_when(lambda s: s.message == "inactive", "it ended")
            assert ended.level == OK
        told = device.stop()
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert read_recording(Path(said)).loops["balance"].records.size > 20


def asides(node: psutil.Process) -> list[psutil.Process]:
    return [child for child in node.children() if "--aside" in child.cmdline()]


def cycles_of(path: str) -> int:
    return len(read_recording(Path(path)).loops["balance"].records)


def test_a_recording_is_started_and_stopped_while_the_loops_run(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = slow_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config, record=False) as node:
            process = psutil.Process(node.process.pid)
            refused = "unconfigured: only an active node has anything in its rings"
            for service in ("start_recording", "stop_recording"):
                assert client.trigger(service) == (False, refused)
            assert client.request("configure"), node.log
            assert client.trigger("rearm") == (True, "active"), node.log
            done, said = client.trigger("stop_recording")
            assert (done, "no recording was started" in said) == (False, True)
            client.status_when(lambda s: runs(s) and s["executed"] > 5, "it runs")
            done, first = client.trigger("start_recording")
            assert done, first
            done, said = client.trigger("start_recording")
            assert (done, first in said) == (False, True)
            assert len(asides(process)) == 1
            since = client.status_when(runs, "it goes on")["executed"]
            later = client.status_when(lambda s: s["executed"] > since + 10, "and on")["executed"]
            assert client.trigger("stop_recording") == (True, first)
            assert asides(process) == []
            assert cycles_of(first) >= later
            assert client.status_when(runs, "it goes on")["executed"] > later

            done, second = client.trigger("start_recording")
            assert done, second
            (recorder,) = asides(process)
            recorder.kill()
            warned = client.status_when(lambda s: "signal 9" in s.message, "it is told")
            assert warned.level == WARN
            assert second in warned.message
            done, said = client.trigger("stop_recording")
            assert (done, "signal 9" in said) == (False, True)
            client.status_when(lambda s: "signal 9" not in s.message, "it is known")

            done, third = client.trigger("start_recording")
            assert done, third
            done, said = client.trigger("stop")
            assert not done
            assert said.count("signal 9") == 1, "a recording lacks its end, the only problem"
            assert asides(process) == []
            assert cycles_of(third) > later
            assert client.trigger("rearm") == (True, "active"), node.log
            assert client.trigger("stop") == (True, "inactive"), "another activation"
    assert sorted(path.name for path in Path(first).parent.iterdir()) == sorted(
        Path(path).name for path in (first, second, third)
    )


def test_a_stop_that_the_device_did_not_confirm_is_no_success(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device, Client() as client:
        config = slow_config(tmp_path, device.link)
        set_going = functools.partial(os.kill, device.pid, signal.SIGCONT)
        with loop_node(tmp_path, config=config, record=False) as node:
            assert client.request("configure"), node.log
            try:
                assert client.trigger("rearm") == (True, "active"), node.log
                client.status_when(runs, "it runs")
                assert client.trigger("stop") == (True, "inactive"), node.log
                assert client.trigger("rearm") == (True, "active"), node.log
                os.kill(device.pid, signal.SIGSTOP)
                done, said = client.trigger("stop")
                set_going()
                assert not done
                assert said.startswith("inactive: the device of link 'cart'")
                assert "did not confirm STOP" in said
                told = client.named_when("/loop_node: lifecycle", lambda s: s.level == WARN)
                assert told.message == said
                assert client.states[-1]["failure"] == said.removeprefix("inactive: ")
                assert client.trigger("rearm") == (True, "active"), node.log
                os.kill(device.pid, signal.SIGSTOP)
                assert node.end(signal.SIGTERM) == 1, node.log
            finally:
                set_going()


def test_while_a_transition_hangs_the_node_answers_and_stop_ends_it(tmp_path: Path) -> None:
    silent = threading.Event()

    def listen(request: ref.Packet) -> None:
        if request.name == "hello" and device.names().count("hello") == 3:
            silent.wait(20)  # the device does not answer, and the host goes on to ask

    with ScriptedDevice(listen, CARTPOLE_SCHEMA) as device, Client() as client:
        config = slow_config(tmp_path, Path(device.path))
        with loop_node(tmp_path, config=config) as node:
            assert client.request("configure"), node.log
            client.ask("activate")
            try:
                client.spin_until(lambda: client.state_told == "activating", "the start")
                assert client.state == "activating"
                assert client.parameter("record") is True
                assert client.refusal("config", "other.yaml").count("activating")
                assert client.named_when(
                    "/loop_node: lifecycle", lambda s: s.message == "activating"
                )
                done, said = client.trigger("stop")
            finally:
                silent.set()
            assert done
            assert said.startswith("inactive: stopped by ~/stop")
            assert client.state == "inactive"


def test_an_error_in_a_line_about_a_loop_ends_neither_the_loop_nor_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from rtloop.telemetry.observe.statistics import LoopStatistics

    def broken(_: object) -> None:
        raise ZeroDivisionError("a line")

    with firmware(tmp_path) as device, Client() as client:
        config = slow_config(tmp_path, device.link)
        with loop_node_here(client, config=str(config)) as (node, _):
            assert client.request("configure")
            assert client.request("activate")
            client.status_when(runs, "it runs")
            with monkeypatch.context() as patch:
                patch.setattr(LoopStatistics, "window", broken)
                assert node.state.run is not None
                executed = node.state.run.loops["balance"].status()["executed"]
                client.spin_until(lambda: "a line" in capfd.readouterr().err, "it is told")
            after = client.status_when(runs, "it is told of again")
            assert after["executed"] > executed
            assert client.request("deactivate")


def test_a_service_that_fails_answers_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from rtloop.nodes.supervision import Supervision

    def broken(_: object) -> tuple[bool, str]:
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(Supervision, "_dump", broken)
    with Client() as client, loop_node_here(client):
        done, said = client.trigger("dump")
    assert not done
    assert "dictionary changed size" in said
    assert "Traceback" in capfd.readouterr().err


def test_two_nodes_in_one_executor_go_their_own_ways(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    right.mkdir()
    with Client() as client, firmware(left) as device, firmware(right) as other:
        files = {
            "loop_node": slow_config(left, device.link),
            "other_node": edited(slow_config(right, other.link), {"balance:": "sway:"}),
        }
        with loop_node_here(client, config=str(files["loop_node"])) as (node, executor):
            with loop_node_here(
                client, "other_node", executor, config=str(files["other_node"])
            ) as (second, _):
                assert second.get_name() == "other_node"
                assert client.request("configure")
                assert client.request("activate")
                assert second.state.label == "unconfigured"
                second.trigger_configure()
                second.trigger_activate()
                assert client.named_when("/other_node: sway", runs)
                assert client.named_when("/other_node: sway.cart", lambda s: s.message == "fresh")
                assert client.named_when("/loop_node: balance", runs)
            assert client.status_when(runs, "the end of one is not that of the other")
            told = other.stop()
            assert node.state.label == "active"
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])


def test_a_signal_while_a_slow_recorder_is_waited_for_ends_the_node_all_the_same(
    tmp_path: Path,
) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = slow_config(tmp_path, device.link)
        with loop_node(tmp_path, config=config, autostart=True) as node:
            client.status_when(runs, "it runs")
            (recorder,) = psutil.Process(node.process.pid).children()
            recorder.suspend()
            try:
                client.ask("deactivate")
                client.spin_until(lambda: client.state_told == "deactivating", "it is")
                assert node.end(signal.SIGTERM) == 0
            finally:
                recorder.resume()
            assert f"process {recorder.pid} is still writing" in node.log
        told = device.stop()
        recorder.wait(20)
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    assert read_recording(recording).loops["balance"].records.size > 0
