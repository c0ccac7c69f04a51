"""What happens in running loops, on topics: every missed deadline, and statistics in between.

    ~/deadline_miss        diagnostic_msgs/DiagnosticArray, one status for each miss
    ~/statistics/<loop>    std_msgs/Float64MultiArray, its elements named in layout.dim[0].label

A thread of its own reads the rings: neither a busy executor nor a transition that waits delays a message.
"""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from rtloop.errors import RtloopError
from rtloop.run import Run
from rtloop.telemetry.live.followed import Followed, Miss
from rtloop.telemetry.observe.ring import Ring
from rtloop.telemetry.observe.words import find

LOOK_S = 0.02
#: Who subscribes late is told of so many misses, too; who is slower than that loses some, which their
#: numbers say.
_MISSES = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STATISTICS = QoSProfile(depth=10)
_END_TIMEOUT_S = 1.0


@dataclass
class _Subject:
    followed: Followed
    statistics: Any
    """Its publisher."""
    due_s: float
    lost: int = 0
    """Records, as the log has them."""


class News:
    """Publishes what happens in loops from ``attach`` to ``detach``, or from ``follow`` to ``leave``.

    The publishers of a lifecycle node speak between attach and detach. Nothing here raises because of a ring
    that cannot be read: it is logged, and the loop goes on without news.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._misses_per_s = _rate(
            node, "deadline_miss_limit_hz", 20.0, "how many misses of a loop are told in a second"
        )
        self._statistics_s = 1 / _rate(
            node, "statistics_rate_hz", 1.0, "how often ~/statistics/<loop> is published"
        )
        self._misses = self._publisher(DiagnosticArray, "~/deadline_miss", _MISSES)
        self._statistics: dict[str, Any] = {}
        self._subjects: dict[str, _Subject] = {}
        self.lock = threading.RLock()
        """Held while a loop is looked at: what ``followed`` gives stands still for whoever has it."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- of a run in this process ---

    def attach(self, run: Run) -> None:
        """Once it is active."""
        for name in set(self._statistics) - set(run.loops):  # of another configuration
            self._destroy(self._statistics.pop(name))
        for name, observed in run.observed.items():
            try:
                self.follow(name, Ring(observed.ring.path))
            except RtloopError as error:
                self._node.get_logger().error(f"{name}: its misses are not published: {error}")

    def detach(self) -> None:
        """Once it is no longer active: tells the rest. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_TIMEOUT_S)
            self._thread = None
        for name in list(self._subjects):
            self.leave(name)
        if isinstance(self._node, LifecycleNode):
            for publisher in (self._misses, *self._statistics.values()):
                publisher.on_deactivate(_ACTIVE)

    def tick(self) -> None:
        """Looks at every loop, and publishes what there is. A thread does so all the time."""
        with self.lock:
            for name, subject in list(self._subjects.items()):
                try:
                    self._tell(name, subject, subject.followed.look())
                except Exception:
                    self._give_up(name)

    # --- of any loop ---

    @property
    def followed(self) -> dict[str, Followed]:
        """By the names that messages give them."""
        with self.lock:
            return {name: subject.followed for name, subject in self._subjects.items()}

    def follow(self, name: str, ring: Ring) -> None:
        """From the oldest cycle that is in the ring."""
        with self.lock:
            if name not in self._statistics:
                topic = f"~/statistics/{name}"
                self._statistics[name] = self._publisher(Float64MultiArray, topic, _STATISTICS)
            if isinstance(self._node, LifecycleNode):
                for publisher in (self._misses, self._statistics[name]):
                    publisher.on_activate(_ACTIVE)
            self._subjects[name] = _Subject(
                Followed(ring, self._misses_per_s),
                self._statistics[name],
                time.monotonic() + self._statistics_s,
            )
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._look_on, name="rtloop news", daemon=True)
            self._thread.start()

    def leave(self, name: str) -> Followed | None:
        """One that has ended: tells the rest of it. None for one that is not followed."""
        with self.lock:
            subject = self._subjects.get(name)
            if subject is None:
                return None
            try:
                subject.due_s = 0.0
                self._tell(name, subject, subject.followed.finish())
            except Exception:
                self._give_up(name)
            self._subjects.pop(name, None)
            return subject.followed

    # --- inside ---

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.tick()

    def _tell(self, name: str, subject: _Subject, misses: Iterable[Miss]) -> None:
        for miss in misses:
            message = DiagnosticArray(status=[self._status(name, subject.followed, miss)])
            message.header.stamp = self._ros_time(miss.deadline_ns).to_msg()
            self._misses.publish(message)
        now_s = time.monotonic()
        if now_s < subject.due_s:
            return
        subject.due_s = now_s + self._statistics_s
        followed = subject.followed
        subject.statistics.publish(_array(followed.statistics_names, followed.take_statistics()))
        if followed.records_lost > subject.lost:
            self._node.get_logger().warning(
                f"{name}: {followed.records_lost - subject.lost} cycles were overwritten before this node came "
                "to them, and what they missed is not told: its process had no CPU; raise ring_seconds"
            )
            subject.lost = followed.records_lost

    def _status(self, name: str, followed: Followed, miss: Miss) -> DiagnosticStatus:
        values = {
            "number": miss.number,
            "suppressed": miss.suppressed,
            "records_lost": followed.records_lost,
            "run_id": followed.metadata.run_id,
            **miss.values(),
        }
        is_hard = followed.metadata.loop_class == "hard"
        return DiagnosticStatus(
            level=DiagnosticStatus.ERROR if is_hard else DiagnosticStatus.WARN,
            name=f"{self._node.get_fully_qualified_name()}: {name}",
            message=_in_words(miss.values()),
            hardware_id=socket.gethostname(),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )

    def _ros_time(self, monotonic_ns: int) -> Time:
        """A time of CLOCK_MONOTONIC by the node's clock; simulated time is not so fine: now."""
        clock = self._node.get_clock()
        now = clock.now()
        if clock.ros_time_is_active:
            return now
        age_ns = max(0, time.monotonic_ns() - monotonic_ns)
        return Time(nanoseconds=max(0, now.nanoseconds - age_ns), clock_type=now.clock_type)

    def _give_up(self, name: str) -> None:
        self._subjects.pop(name, None)
        if self._node.context.ok():  # else all of ROS is at its end
            self._node.get_logger().error(f"{name}: no more news of it: {traceback.format_exc()}")

    def _publisher(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        if isinstance(self._node, LifecycleNode):
            return self._node.create_lifecycle_publisher(kind, topic, qos)
        return self._node.create_publisher(kind, topic, qos)

    def _destroy(self, publisher: Any) -> None:
        if isinstance(self._node, LifecycleNode):
            self._node.destroy_lifecycle_publisher(publisher)
        else:
            self._node.destroy_publisher(publisher)


_ACTIVE = LifecycleState(label="active", state_id=3)


def _in_words(values: dict[str, int | str]) -> str:
    outcome = find("outcomes", str(values["outcome"]))
    done = values["outcome"] if outcome is None else outcome.sentence
    if "unfinished" in str(values["event_names"]).split():
        what = f"missed its {values['loop_class']} deadline, and has not come back"
    else:
        late = f"by {int(values['tardiness_ns']) / 1e6:.3g} ms"
        what = f"missed its {values['loop_class']} deadline {late}, longest in '{values['longest_stage']}'"
    return f"cycle {values['cycle']} {what}: {done}"


def _array(names: Iterable[str], values: list[float]) -> Float64MultiArray:
    dimension = MultiArrayDimension(label=",".join(names), size=len(values), stride=len(values))
    return Float64MultiArray(layout=MultiArrayLayout(dim=[dimension]), data=values)


def _rate(node: Node, name: str, default_hz: float, description: str) -> float:
    descriptor = ParameterDescriptor(
        description=description,
        read_only=True,
        floating_point_range=[FloatingPointRange(from_value=0.1, to_value=100.0)],
    )
    if not node.has_parameter(name):
        node.declare_parameter(name, default_hz, descriptor)
    return float(node.get_parameter(name).value)
