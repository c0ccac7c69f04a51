"""The quality of service of a topic: what its publisher offers, or its subscription asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from rtloop.config.section import Section
from rtloop.config.values import Milliseconds


class Qos(Section):
    """As ROS 2 means these words. A subscription that asks for more than a publisher offers hears nothing of
    it: so the least that does is the default."""

    reliability: Literal["best_effort", "reliable"] = Field(
        default="reliable",
        description="reliable sends again what was lost; a subscription that asks for it hears no publisher "
        "that is best_effort",
    )
    durability: Literal["volatile", "transient_local"] = Field(
        default="volatile", description="transient_local: who comes late gets the last messages"
    )
    depth: int = Field(
        default=10, ge=1, le=1000, description="messages kept where nobody has taken them yet"
    )
    deadline_ms: Milliseconds | None = Field(
        default=None,
        description="at most so long between two messages. A subscription with one hears no publisher that "
        "promises none; `max_age_ms` needs no promise",
    )
    lifespan_ms: Milliseconds | None = Field(
        default=None, description="older messages are not delivered any more; null is any age"
    )
    liveliness_lease_ms: Milliseconds | None = Field(
        default=None,
        description="a publisher that has given no sign of life for so long counts as dead; null is never",
    )


#: The profiles that ROS 2 has names for.
PROFILES = {
    "default": Qos(),
    "sensor_data": Qos(reliability="best_effort", depth=5),
}


def _kind(value: object) -> str:
    return "@name" if isinstance(value, str) else "@keys"


QosOrProfile = Annotated[
    Annotated[Literal["default", "sensor_data"], Tag("@name")] | Annotated[Qos, Tag("@keys")],
    Discriminator(_kind),
]


def qos_of(given: QosOrProfile) -> Qos:
    return PROFILES[given] if isinstance(given, str) else given
