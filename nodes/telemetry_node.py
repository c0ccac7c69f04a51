"""The loops that run on this host, on topics: of loop_node, of `rtloop run`, of a Python program alike.

    ros2 run rtloop telemetry_node

It finds their rings and reads them, as `rtloop run` itself does: no loop notices what becomes of this node.
Only loops of the user that it runs as are seen.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from rtloop.stopping import stop_signals
from rtloop.telemetry.live.rings import LiveRings
from rtloop.telemetry.observe.ring import Ring

from .diagnostics import FollowedDiagnostics
from .news import News

#: How long a signal may wait for an executor that has nothing to do.
SPIN_S = 0.1
#: A ring is there from before the first cycle of its loop; nothing is lost until it is found.
SCAN_S = 0.2
#: Loops that have ended are told of for ever, but no more of them.
_MOST_ENDED = 100


class TelemetryNode(Node):
    """Publishes the news of running loops, and /diagnostics, from when they are found until they end."""

    def __init__(self, **options: Any) -> None:
        super().__init__("telemetry_node", **options)
        self._loops = self._declare(
            "loops", ["*"], "names of loops to follow: * is any part of one"
        )
        self._runs = self._declare("runs", ["*"], "ids of runs to follow the loops of, likewise")
        rate_hz = self._declare(
            "diagnostics_rate_hz",
            1.0,
            "how often /diagnostics is published",
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=100.0)],
        )
        self._live = LiveRings()
        self._diagnostics: dict[str, FollowedDiagnostics] = {}
        self._ended: dict[str, DiagnosticStatus] = {}
        self._told: set[str] = set()
        self._publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._news = News(self)
        # Not the node's own clock: that one follows NTP and simulated time.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SCAN_S, self._kept_going(self._scan), clock=steady)
        period_s = 1 / rate_hz
        self.create_timer(period_s, self._kept_going(self._publish_diagnostics), clock=steady)

    def destroy_node(self) -> None:
        if hasattr(self, "_news"):  # a wrong parameter comes before them
            self._news.detach()
        super().destroy_node()

    # --- inside ---

    def _declare(self, name: str, default: Any, description: str, **limits: Any) -> Any:
        descriptor = ParameterDescriptor(description=description, read_only=True, **limits)
        return self.declare_parameter(name, default, descriptor).value

    def _scan(self) -> None:
        for name, followed in self._news.followed.items():
            if followed.ring.finished():  # asked first: what was written until then is read below
                self._leave(name)
        for name in set(self._diagnostics) - set(self._news.followed):  # it could not be read
            del self._diagnostics[name]
        for ring in self._live.new():
            if self._is_wanted(ring):
                self._kept_going(partial(self._follow, ring))()

    def _is_wanted(self, ring: Ring) -> bool:
        said = ring.metadata
        return any(fnmatchcase(said.loop, one) for one in self._loops) and any(
            fnmatchcase(said.run_id, one) for one in self._runs
        )

    def _follow(self, ring: Ring) -> None:
        name = self._free_name(ring.metadata.loop)
        self._ended.pop(name, None)
        self._news.follow(name, ring)
        followed = self._news.followed[name]
        full_name = f"{self.get_fully_qualified_name()}: {name}"
        self._diagnostics[name] = FollowedDiagnostics(full_name, followed)
        self.get_logger().info(
            f"{name}: loop '{ring.metadata.loop}' of run {ring.metadata.run_id}, process {ring.writer.pid}"
        )

    def _free_name(self, loop: str) -> str:
        """That of the loop; of several that run at once, the later ones get a number."""
        name, number = loop, 2
        while name in self._news.followed:
            name, number = f"{loop}_{number}", number + 1
        return name

    def _leave(self, name: str) -> None:
        self._news.leave(name)
        self._ended[name] = status = self._diagnostics.pop(name).ended()
        while len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        if status.level == DiagnosticStatus.ERROR:
            self.get_logger().error(f"{name}: {status.message}")
        else:
            self.get_logger().info(f"{name}: {status.message}")

    def _publish_diagnostics(self) -> None:
        with self._news.lock:
            of_loops = [told.statuses() for told in self._diagnostics.values()]
        message = DiagnosticArray(status=[*chain(*of_loops), *self._ended.values()])
        message.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _kept_going(self, step: Callable[[], None]) -> Callable[[], None]:
        """What goes wrong with one loop, or once, is logged once, and ends nothing."""

        def kept_going() -> None:
            try:
                step()
            except Exception:
                text = traceback.format_exc()
                if text not in self._told:
                    self._told.add(text)
                    self.get_logger().error(text)

        return kept_going


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT, SIGTERM or SIGHUP.

    Returns the exit code: 0, or 2 for wrong parameters.
    """
    signals: list[int] = []
    for number in stop_signals():
        signal.signal(number, lambda number, _frame: signals.append(number))
    # rclpy's own handlers would shut its context down before the last was told.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = TelemetryNode()
    except ParameterException as error:
        print(f"rtloop: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    try:
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=SPIN_S)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
