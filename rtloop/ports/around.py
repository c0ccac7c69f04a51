"""What a port is opened in: the links of the file, and the ROS graph of the node that runs the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rtloop.realtime.timing import REAL_TIME, Timing

if TYPE_CHECKING:
    from rtloop import core
    from rtloop.link.section import LinkConfig
    from rtloop.ports.qos import Qos

#: From the end of a loop, for its safe command to be confirmed: Fast DDS asks its subscriptions every 3 s.
CONFIRMED_WITHIN_S = 3.5


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


class Endpoint(Protocol):
    """A subscription or a publisher of a node, from its making until it is closed."""

    topic: str
    """Its name in the graph: remapped, and with its namespace."""
    handle: Any
    """What rclpy has of it; its ``pointer`` is what rcl has, which nobody destroys before ``close``."""

    def found(self) -> str:
        """Who is at its other end now, and what keeps them apart, in a sentence."""

    def apart(self) -> str:
        """Who is there now, and does not fit together with it, and why; empty where nobody."""

    def counters(self) -> Mapping[str, int]:
        """What the middleware told of its quality of service so far: how often, by the event."""

    def told(self) -> Mapping[str, str]:
        """The newest sentence of each such event, as the log has it."""

    def close(self) -> None:
        """Destroys it. Whoever called into it has ended."""


class Subscription(Endpoint, Protocol):
    reader: core.CdrReader

    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        """The middleware's own threads, which bring its messages into this process."""

    def take(self) -> bytes | None:
        """The next message; None when there is none. Not beside a thread of the core that takes them."""


class Publisher(Endpoint, Protocol):
    writer: core.CdrWriter

    def send(self, message: bytes) -> None:
        """Publishes it. Not beside a thread of the core that does."""

    def acknowledged(self, timeout_s: float) -> bool:
        """Whether every reliable subscription confirms, in time, all that was published."""

    @property
    def subscriptions(self) -> int:
        """How many there are now."""


class Graph(Protocol):
    """The ROS graph, as a node is in it (``rtloop.nodes.graph``). Both raise ConfigError where there is no such
    type, field, or name of a topic."""

    def subscribe(self, topic: Topic, *, stamp: bool) -> Subscription:
        """``stamp``: of each message its header's stamp is wanted, too."""

    def publish(self, topic: Topic, *, period_ns: int) -> Publisher:
        """``period_ns`` is the nominal time from one message to the next."""

    def warn(self, text: str) -> None:
        """For whoever reads the log of the node."""


@dataclass(frozen=True)
class Around:
    """What surrounds the ports of a configuration when they are opened."""

    links: Mapping[str, LinkConfig]
    graph: Graph | None = None
    """None where no node runs the loops."""
    timing: Timing = REAL_TIME
    """The time of the loops."""
