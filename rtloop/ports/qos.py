"""The quality of service of a topic: what a publisher offers, or a subscription asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from rtloop.config.section import Section
from rtloop.config.values import Milliseconds

Profile = Literal["default", "sensor_data"]


class Qos(Section):
    """In the words of ROS 2. A subscription that asks for more than a publisher offers hears nothing of it."""

    reliability: Literal["reliable", "best_effort"] = Field(
        default="reliable",
        description="reliable: what was lost is sent again. A subscription that asks for it does not hear a "
        "publisher that is best_effort",
    )
    durability: Literal["volatile", "transient_local"] = Field(
        default="volatile",
        description="transient_local: who comes late gets the last messages. They count for an input however "
        "long ago they came",
    )
    depth: int = Field(
        default=10, ge=1, le=1000, description="messages kept for whoever has not taken them yet"
    )
    deadline_ms: Milliseconds | None = Field(
        default=None,
        description="longest time between two messages. A subscription with one does not hear a publisher that "
        "promises none, as most do: `max_age_ms` needs no promise",
    )
    lifespan_ms: Milliseconds | None = Field(
        default=None, description="an older message is not delivered any more; null is never"
    )
    liveliness_lease_ms: Milliseconds | None = Field(
        default=None,
        description="a publisher without a sign of life for so long counts as gone; null is never",
    )


PROFILES: dict[str, Qos] = {
    "default": Qos(),
    "sensor_data": Qos(reliability="best_effort", depth=5),
}

QosOrProfile = Annotated[
    Annotated[Profile, Tag("@word")] | Annotated[Qos, Tag("@section")],
    Discriminator(lambda value: "@word" if isinstance(value, str) else "@section"),
]


def qos_of(given: Profile | Qos) -> Qos:
    return PROFILES[given] if isinstance(given, str) else given
