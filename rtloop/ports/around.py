"""What a port is opened in: the links of the file, and the ROS graph of the node that runs the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig
    from rtloop.ports.qos import Qos


@dataclass(frozen=True)
class Topic:
    """A topic as the file says it: what its messages are, and which numbers of them are meant."""

    name: str
    type: str
    """As ROS writes it: ``sensor_msgs/msg/JointState``."""
    fields: tuple[str, ...]
    joints: tuple[str, ...] | None
    names: str | None
    """The field with the names that ``joints`` are looked for in; None where the type tells."""
    qos: Qos


class Subscription(Protocol):
    """One subscription of a node. It exists until it is closed."""

    topic: str
    """Its name in the graph, remapped and with its namespace."""
    pointer: int
    """The ``rcl_subscription_t``."""
    reader: Any

    def found(self) -> str:
        """Who publishes there now, and how, in a sentence."""

    def counters(self) -> Mapping[str, int]:
        """What its quality of service has told so far, by the event."""

    def close(self) -> None: ...


class Publisher(Protocol):
    """One publisher of a node. It exists until it is closed."""

    topic: str
    pointer: int
    """The ``rcl_publisher_t``."""
    writer: Any

    def found(self) -> str:
        """Who subscribes there now, in a sentence."""

    def acknowledged(self, timeout_s: float) -> bool:
        """Whether every reliable subscription confirms, in time, all that was published."""

    def counters(self) -> Mapping[str, int]: ...
    def close(self) -> None: ...


class Graph(Protocol):
    """The ROS graph, as a node is in it (``rtloop.nodes.graph``). Both raise ConfigError where there is no such
    type, field or topic name."""

    def subscribe(self, topic: Topic, *, stamp: bool) -> Subscription:
        """``stamp``: of each message its header's stamp is wanted, too."""

    def publish(self, topic: Topic, *, period_ns: int) -> Publisher:
        """``period_ns`` is the nominal time from one message to the next."""


@dataclass(frozen=True)
class Around:
    """What surrounds the ports of a configuration when they are opened."""

    links: Mapping[str, LinkConfig]
    graph: Graph | None = None
    """None where no node runs the loops."""
