"""The loops of one configuration as a ROS 2 lifecycle node.

    ros2 run rtloop loop_node --ros-args -p config:=robot.yaml

The cycles run on the core's own threads. This node starts and ends them and reads their rings, like every
other observer; however busy its executor is, they do not notice.
"""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from rtloop.config import Config, load, with_devices
from rtloop.errors import ConfigError, RtloopError
from rtloop.realtime.rights import denied
from rtloop.run import Run
from rtloop.stopping import stop_signals
from rtloop.telemetry.observe.summary import RunSummary

from .diagnostics import active_status, in_ros_words, inactive_status

#: How long a signal may wait for an executor that has nothing to do.
SPIN_S = 0.1

_Transition = Callable[["LoopNode", LifecycleState], TransitionCallbackReturn]


def _explained(transition: _Transition) -> _Transition:
    """Logs what a transition raises, which rclpy would swallow.

    An RtloopError fails the transition: the state stays. Anything else is an error: see ``on_error``.
    """

    @functools.wraps(transition)
    def explained(self: LoopNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except RtloopError as error:
            self.get_logger().error(in_ros_words(str(error)))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR

    return explained


class LoopNode(LifecycleNode):
    """Runs the loops of the file that the parameter ``config`` names.

    Configure opens the devices, activate arms them and starts the cycles, deactivate ends them, safe command
    last. A loop in FAULT leaves the node active, with ERROR in /diagnostics: deactivate and activate reset it.
    Each activation is one recording; the devices stay open until cleanup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("loop_node", **options)
        self._run: Run | None = None  # configured, or active
        self._configuring: Run | None = None
        self._told_errors: set[tuple[str, bool]] = set()
        self.is_shut_down = False
        self._declare("config", "", "path of the YAML configuration")
        self._declare("record", True, "false records nothing, whatever the configuration says")
        self._declare("clear", False, "clear a device that is latched SAFE when activating")
        rate_hz = self._declare(
            "diagnostics_rate_hz",
            1.0,
            "how often /diagnostics is published",
            read_only=True,
            floating_point_range=[FloatingPointRange(from_value=0.1, to_value=100.0)],
        )
        self._publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Not the node's own clock: that one follows NTP and simulated time.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / rate_hz, self._publish_diagnostics, clock=steady)

    # --- lifecycle ---

    @_explained
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        config = self._load()
        run = self._configuring = Run(config, config.path.stem)
        try:
            run.configure()
        finally:
            self._configuring = None
        self._run = run
        for name, link in config.links.items():
            self.get_logger().info(f"link '{name}': {link.device}")
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        run = self._configured()
        run.clear = self.get_parameter("clear").value
        run.record = None if self.get_parameter("record").value else False
        run.activate()
        for name, loop in run.config.loops.items():
            self.get_logger().info(
                f"{name}: active, {loop.loop_class}, {loop.nominal_rate_hz:g} Hz, "
                f"deadline {loop.deadline_ns / 1e6:g} ms"
            )
        for right in denied(run.rights):
            self.get_logger().warning(f"not granted: {right}")
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        summary = self._deactivate(self._configured())
        # A cycle that never returned still holds what a new one would use.
        if any(loop.unfinished for loop in summary.loops.values()):
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        self.is_shut_down = True
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    def request_stop(self, by: str) -> None:
        """Ends a transition that configures or activates before anything moves. Safe from a signal handler."""
        run = self._run or self._configuring
        if run is not None:
            run.request_stop(by)

    def destroy_node(self) -> None:
        self._forget()
        super().destroy_node()

    # --- inside ---

    def _declare(self, name: str, default: Any, description: str, **limits: Any) -> Any:
        descriptor = ParameterDescriptor(description=description, **limits)
        return self.declare_parameter(name, default, descriptor).value

    def _load(self) -> Config:
        path = self.get_parameter("config").value
        if not path:
            raise ConfigError(
                "the parameter config is empty; name a YAML file: --ros-args -p config:=robot.yaml"
            )
        config = load(Path(path))
        devices = {}
        for link in config.links:
            name = f"links.{link}.device"
            if not self.has_parameter(name):
                self._declare(name, "", f"device of link {link}; empty is the configuration's")
            if device := self.get_parameter(name).value:
                devices[link] = device
        return with_devices(config, devices)

    def _configured(self) -> Run:
        if self._run is None:
            raise RtloopError("the node is not configured")
        return self._run

    def _deactivate(self, run: Run) -> RunSummary:
        summary = run.deactivate()  # first of all the safe command
        self._told_errors.clear()
        for problem in summary.problems:
            self.get_logger().error(in_ros_words(problem))
        for name, loop in summary.loops.items():
            self.get_logger().info(
                f"{name}: {loop.executed} cycles executed, {loop.skipped} skipped, "
                f"{loop.misses} {loop.loop_class} deadline misses"
            )
            for failure in loop.failures:
                self.get_logger().error(f"{name}: {in_ros_words(failure)}")
        if run.is_recorded:
            self.get_logger().info(f"recording: {run.recording}")
        return summary

    def _forget(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            if run.state == "active":
                self._deactivate(run)
        finally:
            run.cleanup()

    def _publish_diagnostics(self) -> None:
        if self._run is None:
            return
        message = DiagnosticArray(status=self._statuses(self._run))
        message.header.stamp = self.get_clock().now().to_msg()
        for status in message.status:
            stands_still = any(v.value for v in status.values if v.key == "fault")
            told = (status.name, stands_still)
            if status.level == DiagnosticStatus.ERROR and told not in self._told_errors:
                self._told_errors.add(told)
                self.get_logger().error(status.message)
        self._publisher.publish(message)

    def _statuses(self, run: Run) -> list[DiagnosticStatus]:
        node = self.get_name()
        if run.state != "active":
            return [inactive_status(node, run, name) for name in run.loops]
        run.observe()
        return [active_status(node, run, name) for name in run.observed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT, SIGTERM or SIGHUP, which ends the loops first, or their start.

    Returns the exit code: 0, or 2 for wrong parameters.
    """
    signals: list[str] = []
    nodes: list[LoopNode] = []

    def handle(number: int, _frame: object) -> None:
        signals.append(signal.Signals(number).name)
        for node in nodes:
            node.request_stop(signals[0])

    for number in stop_signals():
        signal.signal(number, handle)
    # rclpy's own handlers would shut its context down before the node has left its states.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    try:
        node = LoopNode()
    except ParameterException as error:
        print(f"rtloop: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    nodes.append(node)
    try:
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=SPIN_S)
        if not node.is_shut_down:
            node.trigger_shutdown()
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
