"""How a port is, in words and counts: what it says of itself beside what the cycles found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtloop.ports.around import Endpoint, Publisher


@dataclass(frozen=True)
class Condition:
    """For /diagnostics. Each look tells of the time since the look before."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """What it is, and what it has counted since it was opened, by name; nothing where it says nothing."""
    warnings: tuple[str, ...] = ()
    """What is wrong, a sentence each."""


def counted(before: Mapping[str, Any], now: Mapping[str, Any], *names: str) -> int:
    """How many of these came since the look ``before``; none at the first look, before which is nothing."""
    return sum(now.get(name, 0) - before.get(name, 0) for name in names) if before else 0


def of_topic(
    endpoint: Endpoint, values: Mapping[str, Any], before: Mapping[str, Any], nobody: str = ""
) -> Condition:
    """``values`` are the port's own; ``nobody`` says that there is nobody at the other end who should be.

    The graph is asked only where somebody may be kept apart.
    """
    now = {"topic": endpoint.topic, **values, **endpoint.counters()}
    apart = endpoint.apart() if nobody or now.get("incompatible_qos") else ""
    warnings = [f"{endpoint.topic}: {apart}" if apart else nobody]
    told = endpoint.told()
    if apart:
        told = {event: text for event, text in told.items() if event != "incompatible_qos"}
    warnings += [text for event, text in told.items() if counted(before, now, event)]
    return Condition(now, tuple(filter(None, warnings)))


def of_commands(
    publisher: Publisher, values: Mapping[str, Any], before: Mapping[str, Any]
) -> Condition:
    """Of a topic with commands."""
    values = {"subscriptions": publisher.subscriptions, **values}
    return of_topic(publisher, values, before, nobody_subscribes(publisher))


def nobody_subscribes(publisher: Publisher) -> str:
    """A sentence; empty where somebody does."""
    return "" if publisher.subscriptions else f"nobody subscribes to {publisher.topic}"
