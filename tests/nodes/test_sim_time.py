"""loop_node with use_sim_time, stepped by /clock over real DDS: on the grid, held, begun anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rtloop.telemetry.mcap.reader import open_recording
from tests.nodes.ros import Client, NodeProcess, Status, loop_node
from tests.running import edited
from tests.sim.test_lock_step import MS, config_in

from rosgraph_msgs.msg import Clock  # isort: skip


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
    assert client.request("deactivate"), node.log
    assert client.request("cleanup"), node.log
    before, first, second = recordings(tmp_path)
    assert len(before.records) == 0
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
