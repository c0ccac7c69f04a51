"""Processes that end, in order or not: the node, who publishes to it, and who hears its commands."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from rtloop.telemetry.mcap.reader import read_recording
from tests.nodes.programs import hears, started
from tests.nodes.ros import WARN, Client, Float64MultiArray, NodeProcess, loop_node
from tests.policy.models import passthrough
from tests.running import rings_of, wait_for

from rclpy.qos import QoSProfile  # isort: skip

IN_ORDER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILLED = -signal.SIGKILL
SAFE = [-1.0, -2.0]
STILL = [0.0, 0.0]
LOOP = """\
recording: {directory: runs}
loops:
  balance:
    class: soft
    rate_hz: 100
    inputs:
      joints:
        topic: joint_states
        type: sensor_msgs/msg/JointState
        joints: [hip, knee]
        fields: [position]
        max_age_ms: 200
        on_stale: {use: [0, 0]}
    policy: {model: policy.onnx, observation: [{input: joints}]}
    outputs:
      arm:
        topic: commands
        type: std_msgs/msg/Float64MultiArray
        joints: [hip, knee]
        fields: [data]
        safe: [-1, -2]
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1}
"""


@pytest.fixture(autouse=True)
def _no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sensor_msgs", reason="no sensor_msgs: install rtloop[ros]")
    # Whoever is killed in Fast DDS's may leave it locked, for the next one, too.
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "policy.onnx").write_bytes(passthrough(2))
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP)
    return path


class Commands:
    """What comes on the topic; it is confirmed."""

    def __init__(self, client: Client) -> None:
        self.heard: list[list[float]] = []
        client.node.create_subscription(
            Float64MultiArray,
            "commands",
            lambda message: self.heard.append(list(message.data)),
            QoSProfile(depth=1000),
        )

    def move(self) -> bool:
        """Whether the newest ones follow the joints."""
        return len(self.heard) > 20 and all(hip >= 1 for hip, _ in self.heard[-20:])


def recorder_of(node: NodeProcess) -> psutil.Process:
    (recorder,) = psutil.Process(node.process.pid).children()
    return recorder


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def states_recorded(folder: Path) -> list[str | None]:
    """Of the loop at the end of each recording, all of which are whole."""
    states = []
    for path in sorted((folder / "runs").glob("*/run.mcap")):
        loop = read_recording(path).loops["balance"]
        assert len(loop.records) == loop.summary.executed > 0
        states.append(loop.summary.state)
    return states


@pytest.mark.parametrize("number", IN_ORDER)
def test_a_node_that_is_signalled_ends_its_loop_and_leaves_nothing(
    tmp_path: Path, config: Path, number: int
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with Client() as client, started("joint_publisher"):
        commands = Commands(client)
        with loop_node(tmp_path, config=config, autostart=True) as node:
            client.spin_until(commands.move, "it runs")
            recorder, (ring,) = recorder_of(node), rings_of(node.process.pid)
            assert node.end(number) == 0, node.log
            assert is_gone(recorder)
            assert not ring.parent.exists()
            client.spin_until(lambda: commands.heard[-5:] == [SAFE] * 5, "the safe command, last")
    assert {path.name for path in tmp_path.iterdir()} - before == {"runs", "loop_node.log"}
    assert states_recorded(tmp_path) == ["finalized"]


def test_a_node_that_is_killed_leaves_a_whole_recording_and_is_active_again_by_itself(
    tmp_path: Path, config: Path
) -> None:
    with Client() as client, started("joint_publisher"):
        commands = Commands(client)
        with loop_node(tmp_path, config=config, autostart=True) as node:
            client.spin_until(commands.move, "it runs")
            recorder, (ring,) = recorder_of(node), rings_of(node.process.pid)
            assert node.end(signal.SIGKILL) == KILLED
        wait_for(lambda: is_gone(recorder), "the recorder ends by itself")
        assert not ring.parent.exists()
        client.executor.spin_once(timeout_sec=0.2)
        assert SAFE not in commands.heard, "a receiver must see to itself"
        assert len(states_recorded(tmp_path)) == 1
        commands.heard.clear()
        # As a supervisor starts it again.
        with loop_node(tmp_path, config=config, autostart=True):
            client.spin_until(commands.move, "it runs again")
        client.spin_until(lambda: commands.heard[-5:] == [SAFE] * 5, "the safe command, last")
    assert states_recorded(tmp_path)[1:] == ["finalized"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_publishes_may_end_and_come_back(tmp_path: Path, config: Path, number: int) -> None:
    with Client() as client, loop_node(tmp_path, config=config, autostart=True) as node:
        commands = Commands(client)
        with started("joint_publisher") as publisher:
            client.spin_until(commands.move, "it runs")
            publisher.send_signal(number)
            client.spin_until(lambda: commands.heard[-1] == STILL, "what the file says")
            assert publisher.wait(20) == (KILLED if number == signal.SIGKILL else 0)
        stale = client.named_when("/loop_node: balance.joints", lambda s: s.level == WARN)
        assert stale.message.startswith("stale in ")
        assert client.state == "active"
        with started("joint_publisher"):
            client.spin_until(commands.move, "it follows the other")
            assert node.end(signal.SIGTERM) == 0, node.log
    assert states_recorded(tmp_path) == ["finalized"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_hears_the_commands_may_end_and_come_back(
    tmp_path: Path, config: Path, number: int
) -> None:
    is_killed = number == signal.SIGKILL
    with (
        Client() as client,
        started("joint_publisher"),
        loop_node(tmp_path, config=config, autostart=True) as node,
    ):
        with started("command_listener") as first:
            hears(first)
            first.send_signal(number)
            assert first.wait(20) == (KILLED if is_killed else 0)
        with started("command_listener") as second:
            hears(second)
            assert client.state == "active"
            # Of who was killed nobody knows, for a while, that he hears nothing any more.
            assert node.end(signal.SIGTERM) == int(is_killed), node.log
            hears(second, SAFE)
        assert ("not confirmed" in node.log) == is_killed
    assert states_recorded(tmp_path) == ["finalized"]
