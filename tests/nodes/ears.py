"""Who listens to the news of loops: each miss and all statistics, as any ROS 2 program hears them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

rclpy = pytest.importorskip(
    "rclpy", reason="no rclpy: source ROS 2's setup.bash, or pip install 'rtloop[ros]'"
)

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from tests.nodes.ros import TIMEOUT_S, Status  # noqa: E402

__all__ = ["Ears", "LifecycleNode", "LifecyclePublisher", "Parameter", "QoSProfile", "rclpy"]

LATE_TOO = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Heard(Status):
    """One miss."""

    def __init__(self, message: Any) -> None:
        (status,) = message.status
        super().__init__(status)
        self.name: str = status.name
        self.stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        self.heard_ns = time.time_ns()


class Ears:
    """Hears a node's misses, by loop, and its statistics, by loop and name. A context manager."""

    def __init__(self, node: str, *loops: str, qos: QoSProfile = LATE_TOO) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("ears", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._prefix = f"/{node}: "
        self.misses: dict[str, list[Heard]] = {loop: [] for loop in loops}
        self.statistics: dict[str, list[dict[str, float]]] = {loop: [] for loop in loops}
        self.statuses: dict[str, list[Status]] = {}
        self.node.create_subscription(DiagnosticArray, f"/{node}/deadline_miss", self._miss, qos)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._status, 10)
        for loop in loops:
            self._listen(f"/{node}/statistics/{loop}", self.statistics[loop])

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *_error: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def until_met(self) -> None:
        """The node is there; from now on it keeps more misses for who subscribes late than come meanwhile."""
        topic = f"{self._prefix[:-2]}/deadline_miss"
        self.until(lambda: self.node.count_publishers(topic) > 0, "the node is there")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < end_s, f"did not happen within {TIMEOUT_S} s: {what}; {self}"
            self.executor.spin_once(timeout_sec=0.05)

    def for_a_while(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.executor.spin_once(timeout_sec=0.05)

    def says(self, loop: str, what: str) -> bool:
        """Whether that is in its newest status."""
        heard = self.statuses.get(loop)
        return heard is not None and what in heard[-1].message

    def all_told(self, loop: str) -> int:
        """Misses heard, and those of which it was heard that they are not told; checks that none is between."""
        number = 0
        for miss in self.misses[loop]:
            assert miss["number"] == number + 1 + miss["suppressed"], f"after {number}: {miss}"
            number = miss["number"]
        return number

    def until_told(self, recorded: Mapping[str, int]) -> None:
        """So many misses by loop, none less and none more."""

        def told() -> bool:
            return all(self.all_told(loop) >= n for loop, n in recorded.items())

        self.until(told, f"all of {recorded}")
        assert {loop: self.all_told(loop) for loop in recorded} == recorded

    def statistics_of(self, loop: str, misses: int) -> dict[str, float]:
        """The newest ones, once they count so many."""
        heard = self.statistics[loop]
        self.until(lambda: bool(heard) and heard[-1]["misses"] == misses, "the last statistics")
        return heard[-1]

    def __repr__(self) -> str:
        misses = {loop: len(heard) for loop, heard in self.misses.items()}
        statistics = {loop: len(heard) for loop, heard in self.statistics.items()}
        newest = {name: heard[-1] for name, heard in self.statuses.items()}
        return f"heard misses {misses}, statistics {statistics}, statuses {newest}"

    def _miss(self, message: Any) -> None:
        miss = Heard(message)
        assert miss.name.startswith(self._prefix), miss.name
        self.misses.setdefault(miss.name.removeprefix(self._prefix), []).append(miss)

    def _status(self, message: Any) -> None:
        for status in message.status:
            self.statuses.setdefault(status.name.removeprefix(self._prefix), []).append(
                Status(status)
            )

    def _listen(self, topic: str, to: list[dict[str, float]]) -> None:
        def statistics(message: Any) -> None:
            (dimension,) = message.layout.dim
            names = dimension.label.split(",")
            assert dimension.size == dimension.stride == len(message.data)
            to.append(dict(zip(names, message.data, strict=True)))

        self.node.create_subscription(Float64MultiArray, topic, statistics, 10)
