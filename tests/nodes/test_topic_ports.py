"""Topics as inputs and outputs over real DDS: loop_node is one process, whoever it talks to another."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rtloop.loop as loop_module
from rtloop.errors import ConfigError
from rtloop.ports.around import Around
from rtloop.ports.qos import Qos
from rtloop.ports.topic import TopicInput, TopicInputPort, TopicOutput, TopicOutputPort
from tests.core.topic_scenarios import Rig, mailbox
from tests.nodes.programs import hears, path_of, started
from tests.nodes.ros import Client, Float64MultiArray, loop_node, loop_node_here, rclpy, runs
from tests.policy.models import passthrough
from tests.realtime.test_rights import may_use_fifo
from tests.running import edited, run_and_left

# After ros.py has skipped all of it without rclpy.
from geometry_msgs.msg import TwistStamped  # isort: skip
from rclpy.duration import Duration  # isort: skip
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy  # isort: skip
from rtloop.nodes.graph import RclpyGraph, _Subscription  # isort: skip

TWIST = "topic: cmd_vel, type: geometry_msgs/msg/TwistStamped, fields: [twist.linear.x, twist.angular.z]"
JOINTS = (
    "topic: joint_states, type: sensor_msgs/msg/JointState, joints: [hip, knee], fields: [position]"
)
LOOP = """\
recording: {{directory: runs}}
loops:
  balance:
    class: soft
    rate_hz: 100
    inputs:
      told: {{{source}}}
    policy: {{model: policy.onnx, observation: [{{input: told}}]}}
    outputs:
      arm:
        topic: commands
        type: std_msgs/msg/Float64MultiArray
        joints: [hip, knee]
        fields: [data]
        safe: [-1, -2]
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1}}
"""
SAFE = [-1.0, -2.0]
SERVED: Any = SimpleNamespace(
    loop_class="soft", period_ns=10_000_000, nominal_rate_hz=100.0, is_paced=True
)


def written(folder: Path, source: str) -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    path = folder / "loop.yaml"
    path.write_text(LOOP.format(source=source))
    return path


class Listener:
    """What comes on /commands."""

    def __init__(self, client: Client, *, confirms: bool = False) -> None:
        """One that ``confirms`` what it hears makes a stop wait for that, for seconds."""
        self.heard: list[list[float]] = []
        kind = ReliabilityPolicy.RELIABLE if confirms else ReliabilityPolicy.BEST_EFFORT
        client.node.create_subscription(
            Float64MultiArray,
            "commands",
            lambda m: self.heard.append(list(m.data)),
            QoSProfile(depth=100, reliability=kind),
        )


def threads(pid: int) -> dict[str, tuple[int, int]]:
    """Policy and priority, by the name of the thread."""
    return {
        (task / "comm").read_text().strip(): (
            os.sched_getscheduler(int(task.name)),
            os.sched_getparam(int(task.name)).sched_priority,
        )
        for task in Path(f"/proc/{pid}/task").iterdir()
    }


def twist(x: float, z: float) -> TwistStamped:
    message = TwistStamped()
    message.twist.linear.x, message.twist.angular.z = x, z
    return message


def test_joints_are_found_by_name_and_the_safe_command_goes_out_last(tmp_path: Path) -> None:
    JointState = pytest.importorskip("sensor_msgs.msg").JointState
    config = written(tmp_path, f"{JOINTS}, max_age_ms: 1000")
    with Client() as client:
        listener = Listener(client, confirms=True)
        publisher = client.node.create_publisher(JointState, "/robot/js", 10)
        draw = random.Random(7)

        def publish() -> None:
            joints = [("hip", 0.5), ("knee", -0.25), ("ankle", 9.0), ("toe", 8.0)]
            draw.shuffle(joints)
            names, positions = zip(*joints, strict=True)
            publisher.publish(JointState(name=list(names), position=list(positions)))

        client.node.create_timer(0.005, publish)
        with loop_node(tmp_path, "-r", "joint_states:=/robot/js", config=config) as node:
            assert client.request("configure"), node.log
            assert client.request("activate"), node.log
            client.spin_until(lambda: len(listener.heard) > 100, "commands come")
            assert {tuple(command) for command in listener.heard} == {(0.5, -0.25)}
            assert "the last command stands for ever" in node.log
            assert node.end(signal.SIGTERM) == 0, node.log
            assert "not confirmed" not in node.log
            client.spin_until(lambda: listener.heard[-5:] == [SAFE] * 5, "the safe command, last")
            n = len(listener.heard)
            assert listener.heard.count(SAFE) == 5
            client.executor.spin_once(timeout_sec=0.1)
            assert len(listener.heard) == n


def test_a_command_that_dies_becomes_what_the_file_says(tmp_path: Path) -> None:
    source = f"{TWIST}, max_age_ms: 200, on_stale: {{use: [0, 0]}}"
    with Client() as client:
        listener = Listener(client)
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        with loop_node(tmp_path, config=written(tmp_path, source)) as node:
            assert client.request("configure"), node.log
            assert client.request("activate"), node.log
            client.spin_until(lambda: listener.heard[-1:] == [[0.0, 0.0]], "nobody commands")

            def is_commanded() -> bool:
                publisher.publish(twist(0.5, -0.25))
                return listener.heard[-1:] == [[0.5, -0.25]]

            client.spin_until(is_commanded, "it is commanded")
            client.spin_until(lambda: listener.heard[-1:] == [[0.0, 0.0]], "nobody does any more")
            assert client.request("deactivate")
            client.spin_until(lambda: listener.heard[-5:] == [SAFE] * 5, "the safe command, last")
            # What is destroyed is gone, and made anew.
            assert client.request("cleanup")
            client.spin_until(lambda: client.node.count_publishers("commands") == 0, "it is gone")
            assert client.request("configure"), node.log
            client.spin_until(lambda: client.node.count_publishers("commands") == 1, "it is back")


def test_a_loop_is_paced_by_a_topic(tmp_path: Path) -> None:
    path = written(tmp_path, f"{TWIST}, max_age_ms: 500")
    edited(path, {"rate_hz: 100": "rate_hz: 100\n    clock: {input: told, timeout_ms: 2000}"})
    with Client() as client:
        listener = Listener(client)
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        with loop_node(tmp_path, config=path) as node:
            assert client.request("configure"), node.log
            client.spin_until(lambda: publisher.get_subscription_count() == 1, "they have met")
            sent = 0

            def send() -> None:
                nonlocal sent
                publisher.publish(twist(float(sent), 0.0))
                sent += 1

            client.node.create_timer(0.05, send)  # five times slower than the nominal rate
            assert client.request("activate"), node.log
            client.spin_until(lambda: len(listener.heard) >= 20, "it is released by messages")
            ran = client.status_when(lambda s: s["executed"] >= 20, "it is told of")
            assert ran["executed"] <= sent + 1
            commanded = [command[0] for command in listener.heard]
            assert commanded == sorted(set(commanded)), "each once"


def test_a_quality_of_service_that_does_not_fit_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop_module, "FIRST_SAMPLE_TIMEOUT_S", 1.0)
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    config = written(tmp_path, f"{TWIST}, max_age_ms: 200, qos: default")
    with Client() as client:
        client.node.create_publisher(TwistStamped, "cmd_vel", best_effort)
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert not client.request("activate")
    told = capfd.readouterr().err
    assert "/cmd_vel: a publisher offers less than this loop asks for (RELIABILITY)" in told
    assert "No message came on /cmd_vel: /test_client and this loop do not fit together" in told
    assert "Best effort publisher and reliable subscription" in told


@pytest.mark.skipif(not may_use_fifo(), reason="SCHED_FIFO is not granted: run as root")
def test_all_threads_on_the_way_of_a_message_are_real_time_where_the_loop_is(
    tmp_path: Path,
) -> None:
    config = edited(
        written(tmp_path, f"{TWIST}, max_age_ms: 60000"),
        {"scheduler: other": "scheduler: fifo, thread_priority: 60"},
    )
    with Client() as client, loop_node(tmp_path, config=config) as node:
        assert client.request("configure"), node.log
        listener = Listener(client)
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        client.node.create_timer(0.02, lambda: publisher.publish(twist(0.5, 0.25)))
        assert client.request("activate"), node.log
        client.spin_until(lambda: bool(listener.heard), "commands come")
        found = threads(node.process.pid)
        assert found["rt:balance"][1] == 60
        assert found["rtloop topic"] == (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 59)
        receivers = {name: of for name, of in found.items() if name.startswith("dds.shm.7")}
        assert receivers
        assert {priority for _policy, priority in receivers.values()} == {59}
        # Whatever else the middleware has is nobody's way to the loop.
        assert {found[name][1] for name in found if name.startswith(("dds.ev", "dds.asyn"))} == {0}


def test_a_peer_that_is_killed_and_comes_back_finds_the_loop_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever is killed in Fast DDS's shared memory may leave it locked, for the next one, too.
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    config = written(tmp_path, f"{TWIST}, max_age_ms: 200")
    with Client() as client, loop_node(tmp_path, config=config) as node:
        assert client.request("configure"), node.log
        with started("topic_peer") as first:
            assert client.request("activate"), node.log
            hears(first, [0.5, -0.25])
        stale = client.status_when(lambda s: s["stale"] > 0, "its input grows old")
        with started("topic_peer") as second:
            hears(second, [0.5, -0.25])
        again = client.status_when(lambda s: s["executed"] > stale["executed"], "it goes on")
        assert again.values["state"] == "active"
        # Killed as well: the safe command goes out, and nobody says that it heard it.
        assert node.end(signal.SIGTERM) == 1
        assert "commands" in node.log.rpartition("cycles executed")[0]
        assert "not confirmed" in node.log or "nobody subscribes" in node.log


def test_a_header_says_how_old_a_sample_is(tmp_path: Path) -> None:
    """One message for two inputs, of which one goes by when it came."""
    before_s = 0.5
    path = written(tmp_path, f"{TWIST}, max_age_ms: 60000")
    stamped = f"      stamped: {{{TWIST}, max_age_ms: 60000, stamp: header}}\n"
    edited(path, {"    policy:": f"{stamped}    policy:"})
    with Client() as client:
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)

        def publish() -> None:
            message = twist(0.5, -0.25)
            message.header.stamp = (
                client.node.get_clock().now() - Duration(seconds=before_s)
            ).to_msg()
            publisher.publish(message)

        client.node.create_timer(0.01, publish)
        with loop_node_here(client, config=str(path)):
            assert client.request("configure")
            assert client.request("activate")

            def ages_s() -> list[float]:
                newest = [
                    client.named_when(f"/loop_node: balance.{name}", lambda s: True)
                    for name in ("told", "stamped")
                ]
                return [float(status.values["age_ms"]) / 1e3 for status in newest]

            client.status_when(runs, "it runs")
            # Each comes 10 ms after the one before; a busy machine may be late with either.
            client.spin_until(lambda: 0 <= ages_s()[0] < before_s / 2, "by its coming it is young")
            received_s, stamped_s = ages_s()
            assert stamped_s > before_s
            assert received_s < stamped_s
            assert client.request("deactivate")


def test_a_promise_that_is_broken_is_told_in_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = "{deadline_ms: 100, liveliness_lease_ms: 100}"
    config = written(tmp_path, f"{TWIST}, max_age_ms: 60000, qos: {wanted}")
    promised = QoSProfile(
        depth=10,
        deadline=Duration(seconds=0.1),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=Duration(seconds=0.1),
    )
    with Client() as client:
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", promised)
        timer = client.node.create_timer(0.01, lambda: publisher.publish(twist(0.5, -0.25)))
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert client.request("activate")
            client.node.destroy_timer(timer)
            told = ""

            def has_said(text: str) -> bool:
                nonlocal told
                told += capfd.readouterr().err
                return f"/cmd_vel: {text}" in told

            for text in (
                "no message within the deadline that its `qos` asks for",
                "a publisher gives no sign of life any more",
            ):
                client.spin_until(partial(has_said, text), lambda: told)
            assert client.request("deactivate")


def test_messages_that_the_middleware_lost_are_counted_and_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with graph() as (_, made):
        port = opened_input(made)
        assert isinstance(port._endpoint, _Subscription)
        for total in (2, 5):
            change = total - port.counters().get("messages_lost", 0)
            lost = SimpleNamespace(total_count=total, total_count_change=change)
            port._endpoint._lost(lost)
        assert port.counters()["messages_lost"] == 5
        port.close()
    assert "/cmd_vel: 2 messages were lost on the way, 2 by now" in capfd.readouterr().err


@contextmanager
def graph(*arguments: str, namespace: str = "") -> Iterator[tuple[Any, RclpyGraph]]:
    """A node of this process, which nobody spins, and its graph."""
    context = rclpy.context.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(
        "here", context=context, namespace=namespace, cli_args=["--ros-args", *arguments]
    )
    try:
        yield node, RclpyGraph(node)
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def opened_input(made: RclpyGraph, **keys: Any) -> TopicInputPort:
    section = TopicInput(
        **{
            "topic": "cmd_vel",
            "type": "geometry_msgs/msg/TwistStamped",
            "fields": ("twist.linear.x",),
            **keys,
        }
    )
    port = section.open("told", SERVED, Around({}, made))
    assert isinstance(port, TopicInputPort)
    return port


def opened_output(made: RclpyGraph, **keys: Any) -> TopicOutputPort:
    section = TopicOutput(
        **{
            "topic": "commands",
            "type": "std_msgs/msg/Float64MultiArray",
            "fields": ("data",),
            "joints": ("hip", "knee"),
            "safe": (-1.0, -2.0),
            **keys,
        }
    )
    port = section.open("arm", SERVED, Around({}, made))
    assert isinstance(port, TopicOutputPort)
    return port


def test_names_obey_namespace_and_remapping() -> None:
    with graph("-r", "commands:=/elsewhere/cmd", namespace="/robot") as (node, made):
        for name, topic in (
            ("cmd_vel", "/robot/cmd_vel"),
            ("~/cmd_vel", "/robot/here/cmd_vel"),
            ("/cmd_vel", "/cmd_vel"),
        ):
            port = opened_input(made, topic=name)
            assert port.topic == topic
            assert node.count_subscribers(topic) == 1
            port.close()
            port.close()
            assert node.count_subscribers(topic) == 0
        output = opened_output(made)
        assert output.topic == "/elsewhere/cmd"
        assert [signal.name for signal in output.outputs] == ["hip", "knee"]
        output.close()


def test_topics_that_end_together_are_confirmed_in_the_same_time() -> None:
    with graph() as (_, made):
        port = opened_output(made)
        waited: list[float] = []

        def acknowledged(timeout_s: float) -> bool:
            waited.append(timeout_s)
            return True

        port._publisher = SimpleNamespace(subscriptions=1, acknowledged=acknowledged)
        for others_took_s in (0, 60):
            port.ended_s = time.monotonic() - others_took_s
            assert port.stop() == ""
        port.close()
    assert waited[0] > waited[1] == 0


def test_what_the_type_does_not_have_is_refused() -> None:
    with graph() as (_, made):
        with pytest.raises(ConfigError, match=r"twist\.linear\.q"):
            opened_input(made, fields=("twist.linear.q",))
        with pytest.raises(ConfigError, match="no_such_msgs"):
            opened_output(made, type="no_such_msgs/msg/Thing")


def test_messages_that_never_came_are_counted_exactly() -> None:
    with graph() as (_, made), Client() as client:
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", qos)
        port = opened_input(made, qos=Qos(reliability="best_effort", depth=1))
        client.spin_until(lambda: publisher.get_subscription_count() == 1, "they have met")
        client.spin_until(lambda: "test_client publishes it" in port.awaits, "both of them")

        sent = 0

        def send() -> int:
            """How many came by now, or are known to be missed."""
            nonlocal sent
            publisher.publish(twist(0.0, 0.0))
            sent += 1
            return port.counters()["messages"] + port.counters()["gaps"]

        def settled() -> int:
            """How many had been sent before the first one came."""
            differences: list[int] = []
            while len(differences) < 3 or len(set(differences[-3:])) > 1:
                send()
                time.sleep(0.05)
                differences.append(sent - port.counters()["messages"] - port.counters()["gaps"])
                assert len(differences) < 100, differences
            return differences[-1]

        client.spin_until(lambda: send() > 0, "the first comes")
        before = settled()
        for _ in range(1000):
            send()
        assert settled() == before
        assert port.counters()["messages"] <= sent - before
        assert port.counters()["publishers_seen"] == 1
        port.close()


def test_what_a_node_that_shuts_down_leaves_behind_is_told() -> None:
    context = rclpy.context.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("here", context=context)
    port = opened_output(RclpyGraph(node), joints=("hip",), safe=-1.0)
    rclpy.try_shutdown(context=context)
    assert "perhaps ROS was shut down" in safe_told(port)
    assert "ROS was shut down" in port._endpoint.found()
    port.close()
    node.destroy_node()


def safe_told(port: TopicOutputPort) -> str:
    """What a stop says of the safe command, that of a loop of one cycle."""
    rig = Rig(mailbox(), port.core)
    rig.loop.begin()
    rig.loop.step()
    rig.loop.end()
    return port.stop()


@pytest.mark.parametrize("how", ["forked", "destroyed", "forgotten"])
def test_a_program_that_leaves_without_an_end_leaves_well(tmp_path: Path, how: str) -> None:
    config = written(tmp_path, f"{TWIST}, max_age_ms: 1000")
    done = run_and_left([sys.executable, path_of("topic_leaver"), config, how])
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr
    assert "Traceback" not in done.stderr
