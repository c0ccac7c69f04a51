"""What a LoopNode publishes of itself: /diagnostics, and ~/state whenever it changes."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from rtloop.errors import RtloopError
from rtloop.run import Run

from .declaration import Declaration
from .diagnostics import LoopDiagnostics, in_ros_words, inactive_status, lifecycle_status
from .states import Active, Changing, State
from .status import Threshold, Thresholds

#: A ring holds seconds of its loop, a screen shows no more.
LOOK_PERIOD_S = 0.1


class Reports:
    """Reads the rings of an active run, beside its loops: whatever goes wrong here is logged, and no more."""

    def __init__(self, node: Node, parameters: Declaration, state: Callable[[], State]) -> None:
        self._node = node
        self._parameters = parameters
        self._state = state
        self.looking = threading.Lock()
        """Held while a run is looked at; whoever ends one takes it to say so."""
        self._loops: dict[str, LoopDiagnostics] = {}
        self._run_id = ""
        self._told: set[object] = set()
        self._newest_state = ""
        self._publishing = threading.Lock()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._states = node.create_publisher(String, "~/state", latched)
        # Not the node's own clock: that one follows NTP and simulated time.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        group = MutuallyExclusiveCallbackGroup()
        period_s = 1 / parameters["diagnostics_rate_hz"]
        for seconds, report in ((LOOK_PERIOD_S, self._look), (period_s, self.publish_diagnostics)):
            node.create_timer(seconds, self._kept_going(report), group, clock=steady)

    def publish_state(self) -> None:
        """What ~/state says now, unless it was said already. From any thread."""
        try:
            with self._publishing:  # the newest one last
                text = json.dumps(_told(self._state()))
                if text != self._newest_state:
                    self._newest_state = text
                    self._states.publish(String(data=text))
        except Exception:
            self._log_once(traceback.format_exc())

    def publish_diagnostics(self) -> None:
        """What there is to say of the time since the previous message."""
        with self.looking:
            message = DiagnosticArray(status=self._statuses())
        message.header.stamp = self._node.get_clock().now().to_msg()
        for status in message.status:
            stands_still = any(v.value for v in status.values if v.key == "fault")
            told = (status.name, stands_still)
            is_loop = status.name.partition(": ")[2] in self._loops
            if status.level == DiagnosticStatus.ERROR and is_loop and told not in self._told:
                self._told.add(told)
                self._node.get_logger().error(status.message)
        self._diagnostics.publish(message)

    def _statuses(self) -> list[DiagnosticStatus]:
        name, state = self._node.get_fully_qualified_name(), self._state()
        statuses = [lifecycle_status(name, state)]
        if isinstance(state, Active):
            for loop in self._loops_of(name, state.run).values():
                statuses += loop.statuses(self._thresholds())
        elif state.run is not None:
            transition = state.label if isinstance(state, Changing) else ""
            for key in state.run.loops:
                statuses.append(inactive_status(name, state.run, key, transition))
                if key in self._loops:
                    statuses += self._loops[key].at_rest(state.run, transition)
        return statuses

    def _loops_of(self, node: str, run: Run) -> dict[str, LoopDiagnostics]:
        run.observe()
        if run.run_id != self._run_id:
            self._run_id = run.run_id
            self._told.clear()
            self._loops = {name: LoopDiagnostics(node, run, name) for name in run.observed}
        return self._loops

    def _thresholds(self) -> Thresholds:
        here = "diagnostics.threshold"
        return {
            name: Threshold(
                *(self._parameters[f"{here}.{name}.{level}"] for level in ("warn", "error"))
            )
            for name in ("misses", "skipped", "stale")
        }

    def _look(self) -> None:
        with self.looking:
            state = self._state()
            if isinstance(state, Active):
                state.run.observe()
        self.publish_state()

    def _kept_going(self, report: Callable[[], None]) -> Callable[[], None]:
        """An error in a line about a loop is told once, and ends neither the loop nor the lines after it."""

        def kept_going() -> None:
            try:
                report()
            except Exception:
                self._log_once(traceback.format_exc())

        return kept_going

    def _log_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._node.get_logger().error(f"the loops go on; this cannot be told of them: {text}")


def _told(state: State) -> dict[str, Any]:
    """~/state: the node's state, why its newest transition failed, and each loop's state and fault."""
    loops = {}
    for name, loop in {} if state.run is None else state.run.loops.items():
        loops[name] = {"state": state.label, "fault": ""}
        if isinstance(state, Active):
            try:
                loops[name] = {
                    "state": str(loop.status()["state"]),
                    "fault": in_ros_words(loop.fault()),
                }
            except RtloopError:
                continue  # it is just being ended
    return {"state": state.label, "failure": in_ros_words(state.failure), "loops": loops}
