"""loop_node with use_sim_time, stepped by /clock over real DDS: on the grid, held, begun anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtloop.telemetry.mcap.reader import open_recording
from tests.nodes.ros import OK, WARN, Client, Float64MultiArray, NodeProcess, Status, loop_node
from tests.running import POLICY, edited
from tests.sim.test_lock_step import MS, config_in

from geometry_msgs.msg import TwistStamped  # isort: skip
from rosgraph_msgs.msg import Clock  # isort: skip

TOPICS = """\
recording: {{directory: {folder}/runs}}
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      cart:
        topic: cart
        type: geometry_msgs/msg/TwistStamped
        fields: [twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.z]
        stamp: header
        max_age_ms: 100
    policy: {{model: {policy}, observation: [{{input: cart}}], action: {{scale: 10.0, clip: [-10, 10]}}}}
    outputs:
      force: {{topic: force, type: std_msgs/msg/Float64MultiArray, fields: ["data[0]"], safe: 0.25}}
"""


class Simulator:
    """Says what time it is."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publisher = client.node.create_publisher(Clock, "/clock", 10)

    def say(self, time_ms: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(time_ms * MS, 1_000_000_000)
        self._publisher.publish(message)

    def until(self, time_ms: int, condition: Callable[[Status], bool]) -> Status:
        """Says it once, and looks at what comes of it."""
        self._client.spin_until(
            lambda: self._publisher.get_subscription_count() >= 2, "rclpy and SimTime hear it"
        )
        self.say(time_ms)
        return self._client.status_when(condition, f"what comes of {time_ms} ms")


@pytest.fixture(scope="module")
def simulated(
    tmp_path_factory: pytest.TempPathFactory, _ros_environment: None
) -> Iterator[tuple[Client, Simulator, NodeProcess]]:
    """Unconfigured at the end of each test."""
    folder = tmp_path_factory.mktemp("node")
    with Client() as client:
        simulator = Simulator(client)
        with loop_node(folder, use_sim_time=True, diagnostics_rate_hz=50.0) as node:
            yield client, simulator, node


def executed(n: int) -> Callable[[Status], bool]:
    return lambda status: status.values.get("executed") == str(n)


def is_longer(heard: list[float], before: int) -> bool:
    return len(heard) > before


def recordings(folder: Path) -> list[Any]:
    """The only loop of each, oldest first."""
    found = sorted((folder / "runs").glob("*/run.mcap"))
    return [next(iter(open_recording(path).loops.values())) for path in found]


def test_the_same_clock_makes_the_same_records_each_time_that_it_goes_back(
    tmp_path: Path, simulated: tuple[Client, Simulator, NodeProcess]
) -> None:
    client, simulator, node = simulated
    client.set_parameter("config", str(config_in(tmp_path, cart="[0, 0, 0.1, 0]")))
    assert client.request("configure"), node.log
    assert client.request("activate"), node.log
    assert "not granted" not in node.log, "no right is asked for"
    simulator.until(200_003, executed(0))
    for _ in range(2):
        simulator.until(100_003, executed(0))
        for time_ms, n in ((100_004, 0), (100_017, 3), (100_018, 3), (100_050, 10)):
            simulator.until(time_ms, executed(n))
    assert client.status_when(lambda s: True, "it is held")["executed"] == 10
    assert client.state == "active"
    assert node.log.count("/clock went back to 100.003 s: the loops begin anew") == 2
    simulator.until(110_051, executed(0))
    assert "/clock jumped ahead to 110.051 s: the loops begin anew" in node.log
    assert client.state == "active"
    assert client.request("deactivate"), node.log
    assert client.request("cleanup"), node.log
    before, first, second, after = recordings(tmp_path)
    assert (len(before.records), len(after.records)) == (0, 0)
    released_ms = (first.records["release_ns"] // MS).tolist()
    assert released_ms == list(range(100_005, 100_051, 5))
    assert first.records.tobytes() == second.records.tobytes()
    assert first.sources.tobytes() == second.sources.tobytes()
    assert first.outputs.tobytes() == second.outputs.tobytes()
    assert len(set(first.outputs[:, 0].tolist())) > 1


def test_a_device_is_refused_in_simulated_time(
    tmp_path: Path, simulated: tuple[Client, Simulator, NodeProcess]
) -> None:
    client, _, node = simulated
    config = edited(
        config_in(tmp_path),
        {"{mailbox: 4,": "{link: cart,", "loops:\n": "links: {cart: {device: /dev/x}}\nloops:\n"},
    )
    client.set_parameter("config", str(config))
    assert not client.request("configure")
    assert "loops.balance.inputs.cart: found a link; expected a mailbox" in node.log


def test_topics_are_taken_and_published_between_the_cycles(
    tmp_path: Path, simulated: tuple[Client, Simulator, NodeProcess]
) -> None:
    client, simulator, node = simulated
    config = tmp_path / "loop.yaml"
    config.write_text(TOPICS.format(folder=tmp_path, policy=POLICY))
    heard: list[float] = []
    client.node.create_subscription(
        Float64MultiArray, "/force", lambda message: heard.append(message.data[0]), 100
    )
    cart = client.node.create_publisher(TwistStamped, "/cart", 10)
    client.set_parameter("config", str(config))
    assert client.request("configure"), node.log
    client.spin_until(lambda: cart.get_subscription_count() == 1, "the node hears it")
    assert client.request("activate"), node.log
    simulator.until(115_000, executed(0))
    force = client.named_when("/loop_node: balance.force", lambda s: s.level == OK)
    assert (force.values["topic"], force["subscriptions"]) == ("/force", 1)
    source = client.named_when("/loop_node: balance.cart", lambda s: s.level == WARN)
    assert source.message == (
        "no sample yet. No message on /cart counts. /test_client publishes it"
    )
    for time_ms in range(115_005, 115_105, 5):
        message = TwistStamped()
        message.twist.linear.y = time_ms / 1e6
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ms * MS, 10**9)
        before = len(heard)
        cart.publish(message)
        simulator.say(time_ms)
        if time_ms > 115_020:  # by then it has begun, whichever of both came first
            client.spin_until(partial(is_longer, heard, before), "each tick is answered")
    assert client.request("deactivate"), node.log
    client.spin_until(lambda: heard[-1] == 0.25, "the safe command is the last")
    assert client.request("cleanup"), node.log
    told = recordings(tmp_path)[-1]
    assert heard[:-1] == pytest.approx(told.outputs[:, 0].tolist())
    ages_ms = told.sources["age_ns"][:, 0] / MS
    assert (ages_ms >= 0).all()
    stamps_ms = told.records["release_ns"] / MS - ages_ms
    assert told.inputs[:, 1] == pytest.approx(stamps_ms / 1e6)
