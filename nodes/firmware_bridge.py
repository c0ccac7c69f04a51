"""A microcontroller on topics, without a loop: for bring-up, before there is a policy.

    ros2 run rtloop firmware_bridge --ros-args -p device:=/dev/ttyACM0

Sensors, state and events are published, commands are taken from a topic while they last. No control path: what
must be on time is a loop of loop_node.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout, String
from std_srvs.srv import Trigger

from rtloop.errors import ConfigError, LinkError, RtloopError
from rtloop.link.bridge import Bridge, Note, Terms
from rtloop.link.messages import DeviceEvent, Sample
from rtloop.stopping import stop_signals, stopped_when

from .bridge_diagnostics import bridge_status, event_status

SPIN_S = 0.1
#: A stop must be heard while an arming waits for its answer, and a lifecycle service beside both.
THREADS = 4
#: A refused command is logged as often as this at most; /diagnostics counts each.
LOG_S = 5.0

_PRIMARY = ("unconfigured", "inactive", "active")
_Transition = Callable[["FirmwareBridge", LifecycleState], TransitionCallbackReturn]

_PARAMETERS = {
    "device": ("", "path of a serial device, or zmq+tcp://HOST:PORT, or udp://HOST:PORT"),
    "baud": (1_000_000, "bits per second of a serial line"),
    "command_timeout_ms": (0.0, "silence after which the device goes SAFE by itself; 0: its own"),
    "command_hold_ms": (200.0, "a command is repeated until it is so old, then STOP; 0: sent once"),
    "publish_rate_max_hz": (0.0, "samples beyond this rate are not published; 0: all are"),
    "diagnostics_rate_hz": (1.0, "how often /diagnostics is published"),
}


def _explained(transition: _Transition) -> _Transition:
    """Logs what a transition raises: an RtloopError fails it, anything else is an error."""

    def explained(self: FirmwareBridge, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except RtloopError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR

    return explained


class FirmwareBridge(LifecycleNode):
    """Configure opens the device, activate publishes its samples and lets ``~/arm`` and ``~/command`` through.

    Deactivate, cleanup and shutdown send STOP. A lost device is looked for; armed is it by ``~/arm`` only.
    """

    def __init__(self, node_name: str = "firmware_bridge", **options: Any) -> None:
        super().__init__(node_name, **options)
        self._bridge: Bridge | None = None
        self._is_active = False
        self._stop_by = ""
        self._least_ns = self._next_ns = 0
        self._refusal = ""  # the newest, since /diagnostics told of one
        for name, (default, description) in _PARAMETERS.items():
            # 2 is meant where 2 is said, also of what has a fraction.
            described = ParameterDescriptor(description=description, dynamic_typing=True)
            self.declare_parameter(name, default, described)
        rate_hz = self._number("diagnostics_rate_hz", 0.1, 100)
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._sensors = self.create_lifecycle_publisher(Float64MultiArray, "~/sensors", 10)
        self._state = self.create_publisher(String, "~/state", kept)
        self._events = self.create_publisher(DiagnosticArray, "~/events", 100)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        commands, services = MutuallyExclusiveCallbackGroup(), ReentrantCallbackGroup()
        self.create_subscription(
            Float64MultiArray, "~/command", self._command, 1, callback_group=commands
        )
        for name, asked in (("arm", Bridge.arm), ("stop", Bridge.stop), ("clear", Bridge.clear)):
            answer = self._answering(name, asked)
            self.create_service(Trigger, f"~/{name}", answer, callback_group=services)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / rate_hz, self._publish_diagnostics, clock=steady)

    # --- lifecycle ---

    @_explained
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        device = self.get_parameter("device").value
        if not isinstance(device, str) or not device:
            raise ConfigError(
                f"device: found {device!r}; expected a device, as -p device:=/dev/ttyACM0"
            )
        terms = Terms(
            command_timeout_ms=self._number("command_timeout_ms", 0, 60_000),
            command_hold_ms=self._number("command_hold_ms", 0, 60_000),
        )
        rate_hz = self._number("publish_rate_max_hz", 0, 1e6)
        self._least_ns = int(1e9 / rate_hz) if rate_hz else 0
        baud = int(self._number("baud", 300, 12_000_000))
        with stopped_when(lambda: self._stop_by):
            bridge = Bridge(device, baud, terms, self)
        sensors = [field.name for field in bridge.info.schema.sensors]
        labels = MultiArrayDimension(
            label=",".join(sensors), size=len(sensors), stride=len(sensors)
        )
        self._labels = MultiArrayLayout(dim=[labels])
        self._refusal, self._bridge = "", bridge
        names = ", ".join(field.name for field in bridge.info.schema.commands)
        self.get_logger().info(f"'{bridge.info.name}' on {device}; ~/command takes [{names}]")
        bridge.start()
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._is_active = True
        return super().on_activate(state)

    @_explained
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._is_active = False
        try:
            if self._bridge is not None:
                self.get_logger().info(self._bridge.stop())
        except LinkError as error:
            self.get_logger().error(str(error))
        return super().on_deactivate(state)

    @_explained
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    @_explained
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._forget()
        return TransitionCallbackReturn.SUCCESS

    @property
    def lifecycle(self) -> str:
        """The state as rclpy calls it; that of a transition while one is under way."""
        return str(self._state_machine.current_state[1])

    def request_stop(self, by: str) -> None:
        """Ends a configure that waits for its device. Safe from a signal handler."""
        self._stop_by = by

    def destroy_node(self) -> None:
        self._forget()
        super().destroy_node()

    # --- of the device, in the bridge's thread ---

    def sample(self, sample: Sample) -> None:
        now_ns = time.monotonic_ns()
        if not self._is_active or now_ns < self._next_ns:
            return
        # A grid of its own, or a rate just below the device's would halve it.
        self._next_ns = max(self._next_ns + self._least_ns, now_ns - self._least_ns)
        self._sensors.publish(
            Float64MultiArray(layout=self._labels, data=array("d", sample.values))
        )

    def state(self, told: str) -> None:
        self.get_logger().info(f"the device is {told}")
        self._state.publish(String(data=told))

    def event(self, event: DeviceEvent | Note, age_ns: int) -> None:
        bridge = self._bridge  # cleanup takes it away meanwhile
        if bridge is None:
            return
        self.get_logger().info(str(event))
        message = DiagnosticArray(status=[event_status(self._name, bridge.info, event)])
        when = self.get_clock().now() - Duration(nanoseconds=age_ns)
        message.header.stamp = when.to_msg()
        self._events.publish(message)

    # --- from topics and services ---

    def _command(self, message: Any) -> None:
        bridge = self._bridge  # cleanup takes it away meanwhile
        if bridge is None or not self._is_active:
            return
        refusal = bridge.command(message.data)
        if refusal:
            self._refusal = refusal
            self.get_logger().warning(f"~/command refused: {refusal}", throttle_duration_sec=LOG_S)

    def _answering(self, name: str, ask: Callable[[Bridge], str]) -> Callable[[Any, Any], Any]:
        def answer(_request: Any, response: Any) -> Any:
            bridge = self._bridge
            try:
                if bridge is None or (name == "arm" and not self._is_active):
                    raise LinkError("the node is not active: configure and activate it first")
                response.message, response.success = ask(bridge), True
            except LinkError as error:
                response.message, response.success = str(error), False
            # rclpy wants one severity a line of code.
            if response.success:
                self.get_logger().info(f"~/{name}: {response.message}")
            else:
                self.get_logger().error(f"~/{name}: {response.message}")
            return response

        return answer

    # --- inside ---

    @property
    def _name(self) -> str:
        return str(self.get_fully_qualified_name())

    def _number(self, name: str, low: float, high: float) -> float:
        value = self.get_parameter(name).value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise ConfigError(
                f"{name}: found {value!r}; expected a number from {low:g} to {high:g}"
            )
        return float(value)

    def _forget(self) -> None:
        bridge, self._bridge, self._is_active = self._bridge, None, False
        if bridge is not None and not bridge.close():
            self.get_logger().error(
                f"the device '{bridge.info.name}' did not confirm STOP: it goes SAFE by its command timeout, "
                "if it obeys that; go and look"
            )

    def _publish_diagnostics(self) -> None:
        bridge = self._bridge
        if bridge is None:
            return
        refused, self._refusal = self._refusal, ""
        device = str(self.get_parameter("device").value)
        status = bridge_status(self._name, device, bridge, self._is_active, refused)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT, SIGTERM or SIGHUP; the device gets its STOP first.

    Returns the exit code: 0, or 2 for wrong parameters.
    """
    signals: list[str] = []
    nodes: list[FirmwareBridge] = []

    def handle(number: int, _frame: object) -> None:
        signals.append(signal.Signals(number).name)
        for node in nodes:
            node.request_stop(signals[0])

    for number in stop_signals():
        signal.signal(number, handle)
    # rclpy's own handlers would shut its context down before the node has left its states.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    executor = MultiThreadedExecutor(THREADS)
    try:
        node = FirmwareBridge()
    except (ParameterException, ConfigError) as error:
        print(f"rtloop: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    nodes.append(node)
    try:
        executor.add_node(node)
        while not signals:
            _spin_once(executor, node)
        while node.lifecycle != "finalized":
            if node.lifecycle in _PRIMARY:
                with suppress(rclpy_implementation.RCLError):  # another thread was first
                    node.trigger_shutdown()
            else:
                _spin_once(executor, node)
        # rclpy's shutdown takes away what callbacks in its threads still need: let them end.
        executor.remove_node(node)
        _spin_once(executor, node)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _spin_once(executor: MultiThreadedExecutor, node: FirmwareBridge) -> None:
    try:
        executor.spin_once(timeout_sec=SPIN_S)
    except Exception:  # of one callback, and the device is not left without its STOP
        node.get_logger().error(traceback.format_exc())


if __name__ == "__main__":
    sys.exit(main())
