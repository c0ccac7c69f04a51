"""How a topic is, on a machine without ROS: what is told once, what while it lasts, and who is asked."""

from __future__ import annotations

from typing import Any

from rtloop.ports.condition import counted, of_commands, of_topic

LOST = "a publisher gives no sign of life any more"
APART = "/other and this loop do not fit together: reliability"


class End:
    """An end of /x: what the middleware told of it, and who is kept apart now."""

    topic = "/x"
    subscriptions = 1

    def __init__(self) -> None:
        self.events: dict[str, int] = {}
        self.sentences: dict[str, str] = {}
        self.others = ""
        self.n_asked = 0

    def counters(self) -> dict[str, int]:
        return dict(self.events)

    def told(self) -> dict[str, str]:
        return dict(self.sentences)

    def apart(self) -> str:
        self.n_asked += 1
        return self.others


def end() -> Any:
    return End()


def test_an_event_is_told_once_and_counted_for_good() -> None:
    x = end()
    x.events, x.sentences = {"liveliness_lost": 2}, {"liveliness_lost": LOST}
    first = of_topic(x, {"messages": 5}, {})
    assert (first.values, first.warnings) == (
        {"topic": "/x", "messages": 5, "liveliness_lost": 2},
        (),
    ), "nobody knows how long ago that was"
    x.events = {"liveliness_lost": 3}
    second = of_topic(x, {"messages": 5}, first.values)
    assert second.warnings == (LOST,)
    third = of_topic(x, {"messages": 5}, second.values)
    assert (third.warnings, third.values["liveliness_lost"]) == ((), 3)
    assert x.n_asked == 0, "of the graph"


def test_who_is_kept_apart_is_told_as_long_as_it_is_there() -> None:
    x = end()
    before = of_topic(x, {}, {}).values
    x.events = {"incompatible_qos": 1}
    x.sentences = {"incompatible_qos": "a publisher offers less"}
    x.others = APART
    for _ in range(2):
        found = of_topic(x, {}, before)
        assert found.warnings == (f"/x: {APART}",)
        before = found.values
    x.others = ""
    assert of_topic(x, {}, before).warnings == ()
    # One that was gone before anybody looked.
    x.events = {"incompatible_qos": 2}
    assert of_topic(x, {}, before).warnings == ("a publisher offers less",)


def test_that_nobody_hears_commands_is_told_with_the_reason_where_there_is_one() -> None:
    x = end()
    heard = of_commands(x, {"published": 3}, {})
    assert (heard.warnings, heard.values["subscriptions"]) == ((), 1)
    x.subscriptions = 0
    assert of_commands(x, {}, {}).warnings == ("nobody subscribes to /x",)
    x.others = APART  # as of another type, of which no event tells
    assert of_commands(x, {}, {}).warnings == (f"/x: {APART}",)


def test_what_came_since_is_nothing_at_the_first_look() -> None:
    now = {"unreadable": 3, "unstamped": 2}
    assert counted({}, now, "unreadable", "unstamped") == 0
    assert counted({"unreadable": 1}, now, "unreadable", "unstamped") == 4
