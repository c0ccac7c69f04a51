"""/clock, for a node whose loops are stepped by it: with ``use_sim_time``, they run in lock step."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from rtloop.errors import RtloopError
from rtloop.realtime.timing import REAL_TIME, Timing
from rtloop.sim import LockStep

from .states import Active

if TYPE_CHECKING:
    from .loop_node import LoopNode


class SimTime:
    """The time of the loops of ``node``: its ``use_sim_time``, as it is when they are configured.

    Each message of /clock runs the cycles that are due until then, in the executor. Where time jumped, the
    node is deactivated and activated, in between of which it is the new time.
    """

    def __init__(self, node: LoopNode) -> None:
        self._node = node
        self._clock: LockStep | None = None
        self._steps = False
        """Whether the loops are stepped: /clock goes on to be heard when they are not any more."""

    def timing(self) -> Timing:
        """For a run that is configured now."""
        self._steps = bool(self._node.get_parameter("use_sim_time").value)
        if not self._steps:
            return REAL_TIME
        if self._clock is None:
            self._clock = LockStep()
            # Whoever publishes it: the simulators and players at hand do either.
            qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
            group = MutuallyExclusiveCallbackGroup()
            self._node.create_subscription(Clock, "/clock", self._tick, qos, callback_group=group)
        return self._clock

    def _tick(self, message: Clock) -> None:
        clock = self._clock
        if clock is None or not self._steps:
            return
        to_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec
        try:
            if not clock.try_advance(to_ns):
                with self._node.supervision.moving:
                    self._begin_anew(clock, to_ns)
        except RtloopError as error:
            self._node.get_logger().error(f"/clock jumped: {error}")
        except Exception:
            self._node.get_logger().error(f"/clock was not followed: {traceback.format_exc()}")

    def _begin_anew(self, clock: LockStep, to_ns: int) -> None:
        node = self._node
        node.settle()
        was_active = isinstance(node.state, Active)
        how = "went back" if clock.went_back(to_ns) else "jumped ahead"
        node.get_logger().warning(f"/clock {how} to {to_ns / 1e9:.3f} s: the loops begin anew")
        if was_active:
            node.change("deactivate")
        clock.begin_anew(to_ns)
        if was_active:
            node.change("activate")
