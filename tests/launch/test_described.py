"""What the launch files describe, without launch: their processes for real, with the signals they order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.launch import mailbox_loop
from tests.launch.places import ROOT
from tests.launch.stand_in import (
    Recorded,
    context,
    described,
    node_command,
    process_command,
    text,
    with_defaults,
)
from tests.running import wait_for

ACTIVE = "balance: active"


def only(actions: list[Recorded], *kinds: str) -> Recorded:
    (found,) = (action for action in actions if action.kind in kinds)
    return found


def handlers(actions: list[Recorded], kind: str) -> list[dict[str, Any]]:
    registered = [a.arguments[0] for a in actions if a.kind == "RegisterEventHandler"]
    return [handler.named for handler in registered if handler.kind == kind]


@contextmanager
def process(command: list[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """What it says is in NAME.log; it does not outlive the test."""
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()


def test_the_twin_in_yaml_has_the_same_arguments_and_gives_the_same_to_its_node() -> None:
    actions = described("loop.launch.py")
    twin = yaml.safe_load((ROOT / "launch/loop.launch.yaml").read_text())["launch"]
    declared = {
        action.arguments[0]: (action.named.get("default_value"), action.named["description"])
        for action in actions
        if action.kind == "DeclareLaunchArgument"
    }
    in_yaml = {
        entry["arg"]["name"]: (entry["arg"].get("default"), entry["arg"]["description"])
        for entry in twin
        if "arg" in entry
    }
    in_yaml["params_file"] = (declared["params_file"][0], in_yaml["params_file"][1])
    assert in_yaml == declared
    (node,) = (entry["node"] for entry in twin if "node" in entry)
    here = only(actions, "Node").named
    assert {"pkg": node["pkg"], "exec": node["exec"], "exec_name": node["exec_name"]} == {
        "pkg": here["package"],
        "exec": here["executable"],
        "exec_name": here["exec_name"],
    }
    assert node["respawn_delay"] == here["respawn_delay"]
    for key in ("sigterm_timeout", "sigkill_timeout"):
        assert str(node[key]) == f"{here[key]}.0"
    names = [set(node["param"][0]), {each["name"] for each in node["param"][1:]}]
    assert names == [{"from"}, set(here["parameters"][1])]
    assert node["output"] == here["output"]


@pytest.mark.parametrize("given", [{}, {"cpus": "0,2-3", "nice": "5", "respawn": "true"}])
def test_the_twin_in_yaml_starts_the_same_process(given: dict[str, str]) -> None:
    actions = described("loop.launch.py")
    twin = yaml.safe_load((ROOT / "launch/loop.launch.yaml").read_text())["launch"]
    (node,) = (entry["node"] for entry in twin if "node" in entry)
    here = only(actions, "Node").named
    names = {"name": "arm", "namespace": "left", "log_level": "debug"}
    arguments = with_defaults(actions, config="robot.yaml", **names, **given)
    for key, named in {
        "name": "name",
        "namespace": "namespace",
        "launch-prefix": "prefix",
        "ros_args": "ros_arguments",
        "respawn": "respawn",
    }.items():
        value = here[named]
        parts = value if named == "ros_arguments" else [value]
        assert in_yaml_text(node[key], arguments) == " ".join(text(p, arguments) for p in parts)


def in_yaml_text(value: str, arguments: dict[str, str]) -> str:
    """A value of a launch file in YAML, with the arguments of the launch."""
    with_arguments = re.sub(r"\$\(var (\w+)\)", lambda found: arguments[found[1]], value)
    return re.sub(r'\$\(eval "(.*?)"\)', lambda found: str(eval(found[1])), with_arguments)


def test_the_node_of_a_robot_is_active_by_itself_and_ends_in_order(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no rclpy: source setup.bash, or install rtloop[ros]")
    actions = described("loop.launch.py")
    config = str(mailbox_loop.write(tmp_path))
    given = with_defaults(actions, config=config, autostart="true", cpus="0", nice="3", name="arm")
    command = node_command(only(actions, "Node"), given, tmp_path)
    log = tmp_path / "node.log"
    with process(command, tmp_path, "node") as node:
        wait_for(lambda: ACTIVE in log.read_text(), "the loop is active", 60)
        assert "[arm]" in log.read_text()
        assert os.sched_getaffinity(node.pid) == {0}
        assert os.getpriority(os.PRIO_PROCESS, node.pid) == 3
        node.send_signal(signal.SIGINT)
        assert node.wait(30) == 0, log.read_text()


def test_without_cpus_the_node_may_use_all() -> None:
    actions = described("loop.launch.py")
    prefix = only(actions, "Node").named["prefix"]
    assert "taskset" not in text(prefix, with_defaults(actions, config="robot.yaml"))


def test_the_demo_ends_its_loop_first_where_launch_interrupts_both_at_once(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no rclpy: source setup.bash, or install rtloop[ros]")
    actions = described("demo.launch.py")
    given = with_defaults(actions)
    firmware_action, node_action = only(actions, "ExecuteProcess"), only(actions, "LifecycleNode")
    node_action.named["parameters"].append({"autostart": "true"})  # in launch's place
    firmware_log, node_log = tmp_path / "firmware.log", tmp_path / "node.log"
    firmware_command = process_command(firmware_action, given)
    with process(firmware_command, tmp_path, "firmware") as firmware:
        wait_for(lambda: "READY" in firmware_log.read_text(), "the device is ready", 20)
        with process(node_command(node_action, given, tmp_path), tmp_path, "node") as node:
            wait_for(lambda: ACTIVE in node_log.read_text(), "the loop is active", 60)
            for each in (firmware, node):
                each.send_signal(signal.SIGINT)
            assert node.wait(30) == 0, node_log.read_text()
            assert firmware.poll() is None
        (exit_handler,) = handlers(actions, "OnProcessExit")
        assert exit_handler["target_action"] is node_action
        (end,) = exit_handler["on_exit"](SimpleNamespace(returncode=0), context(True))
        firmware.send_signal(end.named["event"].named["signal_number"])
        assert firmware.wait(20) == 0
    summary = json.loads(firmware_log.read_text().splitlines()[-1])
    assert summary["reasons"] == ["HOST_STOP"]
    assert not list(Path(tempfile.gettempdir()).glob(f"rtloop-demo-{os.getpid()}*"))


def test_what_fails_in_the_demo_is_an_error_of_the_launch() -> None:
    actions = described("demo.launch.py")
    node_action = only(actions, "LifecycleNode")
    transitions = handlers(actions, "OnStateTransition")
    assert all(each["target_lifecycle_node"] is node_action for each in transitions)
    by_states = {
        (each["start_state"], each["goal_state"]): each["entities"] for each in transitions
    }
    for states, problem in {
        ("configuring", "unconfigured"): "could not be configured",
        ("activating", "inactive"): "could not be activated",
        ("errorprocessing", "unconfigured"): "failed",
    }.items():
        (action,) = by_states[states]
        with pytest.raises(RuntimeError, match=problem):
            action.named["function"](context(False))
        assert action.named["function"](context(True)) is None
    (activate,) = by_states["configuring", "inactive"]
    assert activate.named["event"].named["transition_id"] == Recorded.TRANSITION_ACTIVATE
    (exit_handler,) = handlers(actions, "OnProcessExit")
    _, fail = exit_handler["on_exit"](SimpleNamespace(returncode=-9), context(False))
    with pytest.raises(RuntimeError, match="exit code -9"):
        fail.named["function"](context(False))


def test_a_device_of_the_demo_that_crashes_is_an_error_of_the_launch() -> None:
    on_exit = only(described("demo.launch.py"), "ExecuteProcess").named["on_exit"]
    crashed, ended = SimpleNamespace(returncode=-11), SimpleNamespace(returncode=0)
    with pytest.raises(RuntimeError, match="the device ended with exit code -11"):
        on_exit(crashed, context(False)).named["function"](context(False))
    assert on_exit(ended, context(False)).kind == "Shutdown"
    assert on_exit(crashed, context(True)) is None
