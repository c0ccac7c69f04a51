"""Loops stepped by /clock, over real DDS: exactly on their grid, held, begun anew, and twice the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop.config import load
from rtloop.realtime.timing import REAL_TIME
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import open_recording
from tests.nodes.ros import Client, rclpy
from tests.sim.test_lock_step import MS, config_in

from rclpy.parameter import Parameter  # isort: skip
from rosgraph_msgs.msg import Clock  # isort: skip

INITIAL = "[0, 0, 0.1, 0]"


class Simulator:
    """Says what time it is, and waits until a node has heard it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publisher = client.node.create_publisher(Clock, "/clock", 10)
        self.heard_by(1)

    def heard_by(self, n: int) -> None:
        self._client.spin_until(
            lambda: self._publisher.get_subscription_count() >= n, "it is heard"
        )

    def say(self, time_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(time_ns, 1_000_000_000)
        self._publisher.publish(message)


@contextmanager
def simulated(client: Client, config: Path) -> Iterator[tuple[Run, Callable[[int], None]]]:
    """A run that a node of this process steps, and what lets time pass until then."""
    from rtloop.nodes.sim_time import SimTime

    node = rclpy.create_node(
        "stepped",
        context=client.context,
        parameter_overrides=[Parameter("use_sim_time", value=True)],
    )
    sim_time = SimTime(node, lambda: run.deactivate(), lambda: run.activate())
    run = Run(load(config), timing=sim_time.timing(lambda: run.state == "active"))
    client.executor.add_node(node)
    run.configure()
    run.activate()
    simulator = Simulator(client)
    timing: Any = sim_time.timing(lambda: run.state == "active")

    def pass_until(time_ns: int) -> None:
        simulator.say(time_ns)
        client.spin_until(lambda: timing.now_ns() == time_ns, f"it is {time_ns} ns")

    try:
        yield run, pass_until
    finally:
        run.stop()
        client.executor.remove_node(node)
        node.destroy_node()


def test_the_same_clock_makes_the_same_records_on_its_grid(tmp_path: Path) -> None:
    told = []
    for name in ("first", "second"):
        with Client() as client:
            config = config_in(tmp_path / name, cart=INITIAL)
            with simulated(client, config) as (run, pass_until):
                for time_ms in (100_003, 100_004, 100_017, 100_018, 100_050, 100_051):
                    pass_until(time_ms * MS)
                assert run.loops["balance"].status()["executed"] == 10
        (loop,) = open_recording(run.recording).loops.values()
        told.append(loop)
    first, second = told
    released_ms = (first.records["release_ns"] // MS).tolist()
    assert released_ms == list(range(100_005, 100_051, 5))
    assert first.records.tobytes() == second.records.tobytes()
    assert first.outputs.tobytes() == second.outputs.tobytes()


def test_a_clock_that_goes_back_begins_anew_with_a_recording_of_its_own(tmp_path: Path) -> None:
    with Client() as client:
        config = config_in(tmp_path, cart=INITIAL)
        with simulated(client, config) as (run, pass_until):
            pass_until(5_000 * MS)
            pass_until(5_020 * MS)
            before = run.run_id
            pass_until(1_000 * MS)
            assert (run.state, run.run_id != before) == ("active", True)
            assert run.loops["balance"].status()["executed"] == 0
            pass_until(1_020 * MS)
            assert run.loops["balance"].status()["executed"] == 4


def test_without_use_sim_time_the_time_is_real(tmp_path: Path) -> None:
    from rtloop.nodes.sim_time import SimTime

    with Client() as client:
        assert SimTime(client.node, pytest.fail, pytest.fail).timing() is REAL_TIME
