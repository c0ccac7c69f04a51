"""The ROS graph for the ports of loops: the only maker of their subscriptions and publishers.

rclpy makes them and keeps them alive; threads of the core take from them and publish to them. The executor must
not, and is told so by their callback group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.exceptions import InvalidTopicNameException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

from rtloop import core
from rtloop.errors import ConfigError
from rtloop.ports.around import Topic
from rtloop.ports.qos import Qos

from .fields import reader, writer
from .message_types import message_class
from .middleware import schedule_receivers

_FOR_EVER_NS = (1 << 63) - 1
#: What rclpy raises once ROS was shut down, or its node destroyed.
_GONE = (rclpy_implementation.RCLError, rclpy_implementation.InvalidHandle)


class _NeverExecuted(CallbackGroup):
    """Of entities that others take from: an executor that waited for one would take its messages."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


class RclpyGraph:
    """Makes the topics of loops in the graph of ``node``, which has its namespace and its remappings.

    What their quality of service tells goes to the log of the node, whose executor hears of it.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = _NeverExecuted()

    def subscribe(self, topic: Topic, *, stamp: bool) -> _Subscription:
        """Raises ConfigError."""
        of_type = message_class(topic.type)
        read = reader(of_type, topic.fields, topic.joints, topic.names, stamp)
        try:
            made = self._node.create_subscription(
                of_type,
                topic.name,
                _nobody,
                _profile(topic.qos),
                callback_group=self._group,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
                raw=True,
            )
        except InvalidTopicNameException as error:
            raise _no_name(topic, error) from None
        return _Subscription(self._node, made, read)

    def publish(self, topic: Topic, *, period_ns: int) -> _Publisher:
        """Raises ConfigError."""
        of_type = message_class(topic.type)
        write = writer(of_type, topic.fields, topic.joints, topic.names, period_ns=period_ns)
        try:
            made = self._node.create_publisher(
                of_type,
                topic.name,
                _profile(topic.qos),
                callback_group=self._group,
                event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
            )
        except InvalidTopicNameException as error:
            raise _no_name(topic, error) from None
        return _Publisher(self._node, made, write)

    def warn(self, text: str) -> None:
        self._node.get_logger().warning(text)


class _Endpoint(ABC):
    """An entity of rclpy, pinned: whoever destroys its node does not destroy it under the core's thread."""

    _does: ClassVar[str]
    """What one at its other end does."""
    _nobody: ClassVar[str]
    """Where there is none."""

    def __init__(self, node: Node, made: Any) -> None:
        self._node = node
        self._made = made
        self.handle = made.handle
        self.handle.__enter__()
        self.topic: str = made.topic_name
        self._counted: Counter[str] = Counter()
        self._told: dict[str, str] = {}
        self._handlers: Sequence[Any] = ()

    def counters(self) -> Mapping[str, int]:
        return dict(self._counted)

    def told(self) -> Mapping[str, str]:
        return dict(self._told)

    def found(self) -> str:
        try:
            there = self._there()
        except _GONE:
            return "ROS was shut down"
        others = [self._apart(info) or f"{_whose(info)} {self._does}" for info in there]
        return "; ".join(dict.fromkeys(others)) or self._nobody

    def apart(self) -> str:
        try:
            others = [self._apart(info) for info in self._there()]
        except _GONE:
            return ""
        return "; ".join(dict.fromkeys(filter(None, others)))

    @abstractmethod
    def _there(self) -> Sequence[TopicEndpointInfo]:
        """Who is at its other end."""

    @abstractmethod
    def _apart(self, info: TopicEndpointInfo) -> str:
        """Why it does not speak with one of them; empty where it does."""

    def _listen(self, callbacks: Any) -> None:
        # Not in the group of the entity, where no executor would call them.
        group = self._node.default_callback_group
        self._handlers = callbacks.create_event_handlers(group, self.handle, self.topic)
        for handler in self._handlers:
            self._node.add_waitable(handler)

    def _tell(self, event: str, text: str) -> None:
        self._told[event] = text
        self._counted[event] += 1
        self._node.get_logger().warning(f"{self.topic}: {text}")

    def _close_handlers(self) -> None:
        for handler in self._handlers:
            self._node.remove_waitable(handler)
            handler.destroy()
        self._handlers = ()
        self.handle.__exit__(None, None, None)


class _Subscription(_Endpoint):
    _does = "publishes it"
    _nobody = (
        "nobody publishes it. Look at its name with `ros2 topic list`, and at namespace and remappings of this "
        "node"
    )

    def __init__(self, node: Node, made: Any, read: Any) -> None:
        super().__init__(node, made)
        self.reader = read
        self._listen(
            SubscriptionEventCallbacks(
                incompatible_qos=self._is_incompatible,
                deadline=self._missed_deadline,
                liveliness=self._liveliness_changed,
                message_lost=self._lost,
                use_default_callbacks=False,
            )
        )

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        return schedule_receivers(setup)

    def take(self) -> bytes | None:
        taken = self.handle.take_message(self._made.msg_type, True)
        return None if taken is None else bytes(taken[0])

    def close(self) -> None:
        self._close_handlers()
        self._node.destroy_subscription(self._made)

    def _there(self) -> Sequence[TopicEndpointInfo]:
        return list(self._node.get_publishers_info_by_topic(self.topic))

    def _apart(self, info: TopicEndpointInfo) -> str:
        return _apart(info, self._made.msg_type, info.qos_profile, self._made.qos_profile)

    def _is_incompatible(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._tell(
            "incompatible_qos",
            f"a publisher offers less than this loop asks for ({policy}), and is not heard: {self.found()}",
        )

    def _missed_deadline(self, event: Any) -> None:
        self._tell("deadline_missed", "no message within the deadline that its `qos` asks for")

    def _liveliness_changed(self, event: Any) -> None:
        if event.not_alive_count_change > 0:
            self._tell("liveliness_lost", "a publisher gives no sign of life any more")

    def _lost(self, event: Any) -> None:
        self._counted["messages_lost"] += event.total_count_change
        self._node.get_logger().warning(
            f"{self.topic}: {event.total_count_change} messages were lost on the way, {event.total_count} by "
            "now",
            throttle_duration_sec=1.0,
        )


class _Publisher(_Endpoint):
    _does = "subscribes to it"
    _nobody = "nobody subscribes to it"

    def __init__(self, node: Node, made: Any, write: Any) -> None:
        super().__init__(node, made)
        self.writer = write
        self._listen(
            PublisherEventCallbacks(
                incompatible_qos=self._is_incompatible,
                deadline=self._missed_deadline,
                liveliness=self._liveliness_lost,
                use_default_callbacks=False,
            )
        )

    def send(self, message: bytes) -> None:
        self._made.publish(message)

    @property
    def subscriptions(self) -> int:
        try:
            return int(self._made.get_subscription_count())
        except _GONE:
            return 0

    def acknowledged(self, timeout_s: float) -> bool:
        try:
            return bool(self._made.wait_for_all_acked(Duration(seconds=timeout_s)))
        except _GONE:
            return False

    def close(self) -> None:
        self._close_handlers()
        self._node.destroy_publisher(self._made)

    def _there(self) -> Sequence[TopicEndpointInfo]:
        return list(self._node.get_subscriptions_info_by_topic(self.topic))

    def _apart(self, info: TopicEndpointInfo) -> str:
        return _apart(info, self._made.msg_type, self._made.qos_profile, info.qos_profile)

    def _is_incompatible(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._tell(
            "incompatible_qos",
            f"a subscription asks for more than this loop offers ({policy}), and hears nothing: {self.found()}",
        )

    def _missed_deadline(self, event: Any) -> None:
        self._tell("deadline_missed", "no command within the deadline that its `qos` promises")

    def _liveliness_lost(self, event: Any) -> None:
        self._tell(
            "liveliness_lost",
            "this loop gave no sign of life within the time that its `qos` promises",
        )


def _nobody(_message: Any) -> None:
    """Never called."""


def _no_name(topic: Topic, error: Exception) -> ConfigError:
    return ConfigError(f"found the topic {topic.name}; expected a name of ROS: {error}")


def _profile(qos: Qos) -> QoSProfile:
    times = {
        "deadline": qos.deadline_ms,
        "lifespan": qos.lifespan_ms,
        "liveliness_lease_duration": qos.liveliness_lease_ms,
    }
    return QoSProfile(
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
        depth=qos.depth,
        **{
            key: Duration(nanoseconds=round(ms * 1e6))
            for key, ms in times.items()
            if ms is not None
        },
    )


def _whose(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"


def _as_asked(qos: QoSProfile) -> QoSProfile:
    """What the middleware says of an endpoint, with "for ever" as those say it who ask for it."""
    times = ("deadline", "lifespan", "liveliness_lease_duration")
    return QoSProfile(
        reliability=qos.reliability,
        durability=qos.durability,
        depth=max(1, qos.depth),
        **{
            key: Duration() if getattr(qos, key).nanoseconds >= _FOR_EVER_NS else getattr(qos, key)
            for key in times
        },
    )


def _apart(info: TopicEndpointInfo, of_type: Any, offered: QoSProfile, asked: QoSProfile) -> str:
    """Why this other end and ours do not speak to each other; empty where they do."""
    ours = f"{of_type.__module__.split('.')[0]}/msg/{of_type.__name__}"
    if info.topic_type != ours:
        return f"{_whose(info)} has it as {info.topic_type}, and this loop as {ours}"
    compatible, why = qos_check_compatible(_as_asked(offered), _as_asked(asked))
    if compatible == QoSCompatibility.ERROR:
        return f"{_whose(info)} and this loop do not fit together: {why.strip()}"
    return ""
