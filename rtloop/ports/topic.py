"""A ROS topic: its messages go through threads of the core, and no Python sees one of them."""

from __future__ import annotations

import atexit
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from rtloop import core
from rtloop.config.problem import Keys, Problem
from rtloop.config.values import VECTOR_SIZE_MAX, ElementNames
from rtloop.errors import ConfigError, LinkError
from rtloop.ports.around import CONFIRMED_WITHIN_S, Around, Endpoint, Publisher, Subscription, Topic
from rtloop.ports.command import numbers
from rtloop.ports.condition import Condition, counted, nobody_subscribes, of_commands, of_topic
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, Port, ServedLoop
from rtloop.ports.qos import QosOrProfile, qos_of
from rtloop.ports.signal import Signal
from rtloop.ports.stepped_topic import SteppedInputPort, SteppedOutputPort

if TYPE_CHECKING:
    from rtloop.core import Right, ThreadSetup
    from rtloop.link.section import LinkConfig

#: After the loop has ended, for the safe command to be published.
SAFE_WITHIN_S = 1.0

_TYPE = re.compile(r"([a-z][a-z0-9_]*)/(msg/)?([A-Z][A-Za-z0-9]*)")
_TOPIC = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
_PATH = re.compile(r"[A-Za-z_]\w*(\[\d+\])*(\.[A-Za-z_]\w*(\[\d+\])*)*")
_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]

_TOPIC_KEY = (
    "name of the topic; relative ones get the namespace of the node, and all of them its remappings"
)
_TYPE_KEY = "type of its messages, `package/msg/Name`"
_FIELDS_KEY = (
    "paths of numbers in the message: `twist.linear.x`, `data[2]`; with `joints`, of sequences with one number "
    "a joint"
)
_JOINTS_KEY = (
    "names of the joints, which become the elements, in this order: found by name in each message, whatever "
    "its order; in a message without names by position. With several fields, `<joint>.<field>`; null is none"
)
_NAMES_KEY = (
    "path of the names that `joints` are found by; null is the message's only `string[]` field, if it has "
    "one"
)


def element_names(fields: Sequence[str], joints: Sequence[str] | None) -> tuple[str, ...]:
    """Of a sample or command: all joints of the first field, then of the second; else the paths."""
    if joints is None:
        return tuple(fields)
    if len(fields) == 1:
        return tuple(joints)
    return tuple(f"{joint}.{field}" for field in fields for joint in joints)


def topic_rules(here: Keys, section: TopicInput | TopicOutput) -> Iterator[Problem]:
    """What can be told of a topic without ROS."""
    name, found = section.topic, _TYPE.fullmatch(section.type)
    if not _TOPIC.fullmatch(name) or "__" in name:
        expected = (
            "a name of ROS: letters, digits and single underscores between slashes, no part with a digit "
            "first: joint_states, ~/command, /robot/imu"
        )
        yield Problem((*here, "topic"), expected)
    if found is None or found[2] is None:
        nearest = f"{found[1]}/msg/{found[3]}" if found else None
        yield Problem((*here, "type"), "a message type, package/msg/Name", nearest=nearest)
    for key, texts in (("fields", section.fields), ("joints", section.joints or ())):
        for position, text in enumerate(texts):
            if text in texts[:position]:
                yield Problem((*here, key, position), "each once")
            elif key == "fields" and not _PATH.fullmatch(text):
                expected = "a path in the message, as twist.linear.x or data[2]"
                yield Problem((*here, key, position), expected)
    if section.names is not None and section.joints is None:
        expected = "`joints` beside it, which are looked for among the names"
        yield Problem((*here, "names"), expected, judged=((*here, "joints"),))
    size = len(element_names(section.fields, section.joints))
    if size > VECTOR_SIZE_MAX:
        found_size = f"{size} values"
        judged = ((*here, "joints"),)
        yield Problem(
            (*here, "fields"), f"at most {VECTOR_SIZE_MAX} values in all", found_size, judged=judged
        )


def _wanted(section: TopicInput | TopicOutput) -> Topic:
    return Topic(
        name=section.topic,
        type=section.type,
        fields=section.fields,
        joints=section.joints,
        names=section.names,
        qos=qos_of(section.qos),
    )


def _refuse_fields(section: TopicInput | TopicOutput, stamp: bool) -> None:
    """Raises ConfigError where the type, as it is installed here, has no such fields; nothing without ROS."""
    try:
        from rtloop.nodes import fields, message_types
    except ImportError:
        return
    of_type = message_types.message_class(section.type)
    if isinstance(section, TopicInput):
        fields.reader(of_type, section.fields, section.joints, section.names, stamp)
    else:
        fields.writer(of_type, section.fields, section.joints, section.names)


def _no_node(direction: str, name: str, topic: str) -> ConfigError:
    return ConfigError(
        f"{direction} '{name}': topic '{topic}' is in the graph of a ROS 2 node, and none runs this loop. Run "
        "the file with `ros2 run rtloop loop_node --ros-args -p config:=FILE`"
    )


@INPUTS.register
class TopicInput(InputSection):
    """Numbers of the newest message of a ROS topic, of a loop that a node runs
    ([Topics](ros2.md#topics)).
    """

    kind = "topic"
    threads_of = "topic"
    is_stepped = True
    can_pace = True

    topic: _Text = Field(description=_TOPIC_KEY)
    type: _Text = Field(description=_TYPE_KEY)
    fields: ElementNames = Field(description=_FIELDS_KEY)
    joints: ElementNames | None = Field(default=None, description=_JOINTS_KEY)
    names: _Text | None = Field(default=None, description=_NAMES_KEY)
    stamp: Literal["received", "header"] = Field(
        default="received",
        description="a sample's time: when its message came, or `header.stamp`, by the clock of the day of the "
        "host that made it",
    )
    qos: QosOrProfile = Field(
        default="sensor_data",
        description="what it asks of publishers: `sensor_data`, `default`, or keys",
    )

    @property
    def port_name(self) -> str:
        return self.topic

    @property
    def identity(self) -> None:
        return None

    @property
    def element_names(self) -> tuple[str, ...]:
        return element_names(self.fields, self.joints)

    @property
    def element_count(self) -> int:
        return len(self.element_names)

    @property
    def element_limit(self) -> int:
        return VECTOR_SIZE_MAX

    def has_threads(self, links: Mapping[str, LinkConfig]) -> bool:
        return True

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from topic_rules(here, self)
        yield from super().rules(here, loop, links)
        if self.stamp == "header" and self.max_age_ms is None:
            expected = "received, or a max_age_ms beside it: without one no stamp is ever too old"
            yield Problem((*here, "stamp"), expected, judged=((*here, "max_age_ms"),))

    def notes(self, name: str, reader: str) -> list[str]:
        told = []
        if self.max_age_ms is None:
            told.append(
                f"input '{name}': no max_age_ms, so the last message of a publisher that dies counts for ever"
            )
        if qos_of(self.qos).deadline_ms is not None:
            told.append(
                f"input '{name}': with a deadline in `qos` it hears no publisher that promises none, which "
                "most do not; max_age_ms judges the age of every sample without that"
            )
        return told

    def refuse_here(self) -> None:
        _refuse_fields(self, self.stamp == "header")

    def open(self, name: str, loop: ServedLoop, around: Around) -> Port:
        if around.graph is None:
            raise _no_node("input", name, self.topic)
        subscription = around.graph.subscribe(_wanted(self), stamp=self.stamp == "header")
        with _closed_on_error(subscription):
            if not around.timing.is_real:
                return SteppedInputPort(name, self, subscription, around.timing)
            return TopicInputPort(name, self, subscription)


@OUTPUTS.register
class TopicOutput(OutputSection):
    """Numbers of the messages on a ROS topic, of a loop that a node runs ([Topics](ros2.md#topics)). A thread
    publishes each command; `safe` is published last, five times over two periods, and a stop waits until every
    reliable subscription has confirmed it.
    """

    kind = "topic"
    threads_of = "topic"
    is_stepped = True
    can_hold = True
    size_key = "fields"
    refused = {"size": "no size with a topic: its fields and joints have it"}  # noqa: RUF012

    topic: _Text = Field(description=_TOPIC_KEY)
    type: _Text = Field(description=_TYPE_KEY)
    fields: ElementNames = Field(description=_FIELDS_KEY)
    joints: ElementNames | None = Field(default=None, description=_JOINTS_KEY)
    names: _Text | None = Field(default=None, description=_NAMES_KEY)
    receiver_times_out: bool = Field(
        default=False,
        description="whether its receiver becomes safe by itself once commands stay away",
    )
    qos: QosOrProfile = Field(
        default="default", description="what it offers: `default`, `sensor_data`, or keys"
    )

    @property
    def port_name(self) -> str:
        return self.topic

    @property
    def identity(self) -> None:
        return None

    @property
    def element_names(self) -> tuple[str, ...]:
        return element_names(self.fields, self.joints)

    @property
    def element_count(self) -> int:
        return len(self.element_names)

    def has_threads(self, links: Mapping[str, LinkConfig]) -> bool:
        return True

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from topic_rules(here, self)
        yield from self.vector_rules(here)

    def notes(self, name: str) -> list[str]:
        told = []
        if qos_of(self.qos).reliability == "best_effort":
            told.append(
                f"output '{name}': its `qos` is best_effort, so nobody confirms the safe command: a stop "
                "cannot say whether it was heard"
            )
        if not self.receiver_times_out:
            said = (
                "has no time-out"
                if "receiver_times_out" in self.model_fields_set
                else "is not said to have a time-out"
            )
            told.append(
                f"output '{name}': the receiver of {self.topic} {said} (receiver_times_out). The safe command "
                "goes out last however the loop ends; but when this process is killed, or its host or the "
                "network dies, nothing does, and the last command stands for ever"
            )
        return told

    def refuse_here(self) -> None:
        _refuse_fields(self, False)

    def open(self, name: str, loop: ServedLoop, around: Around) -> Port:
        if around.graph is None:
            raise _no_node("output", name, self.topic)
        for note in self.notes(name):
            around.graph.warn(note)
        publisher = around.graph.publish(_wanted(self), period_ns=loop.period_ns)
        with _closed_on_error(publisher):
            if not around.timing.is_real:
                return SteppedOutputPort(name, self, publisher, around.timing)
            return TopicOutputPort(name, self, publisher, loop.period_ns)


@contextmanager
def _closed_on_error(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except BaseException:
        endpoint.close()
        raise


#: Closed before the interpreter takes rclpy apart.
_open_ports: weakref.WeakSet[_TopicPort] = weakref.WeakSet()


class _TopicPort(Port):
    """One endpoint and its thread, from configure to cleanup: the core port is the same in each activation."""

    threads_of = "topic"

    def __init__(self, name: str, section: TopicInput | TopicOutput, endpoint: Endpoint) -> None:
        self.name = name
        self.topic = endpoint.topic
        """In the graph: remapped, and with its namespace."""
        self._signals = tuple(Signal(element) for element in section.element_names)
        self._is_open = True
        self._endpoint = endpoint

    def prepare(self) -> None:
        if not self._is_open:
            raise LinkError(f"topic {self.topic} was closed")

    def arm(self, clear: bool) -> None:
        pass

    def schedule(self, setup: ThreadSetup) -> list[Right]:
        return self._core.schedule(setup)

    def counters(self) -> dict[str, int]:
        """What an observer may know of it, by name, since it was opened."""
        return {**self._core.counters(), **self._endpoint.counters()}

    @property
    def _core(self) -> core.TopicInput | core.TopicOutput:
        assert isinstance(self.core, core.TopicInput | core.TopicOutput)
        return self.core

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._core.close():
            self._endpoint.close()
        else:
            _left_behind.append(self._endpoint)  # its thread may still be in it


#: What a thread did not come back from, or what is a forked child's parent's.
_left_behind: list[Endpoint] = []


#: Counters of the messages that made no sample.
_UNUSED = ("unreadable", "stamps_behind", "unstamped")


class TopicInputPort(_TopicPort):
    """A subscription. ``awaits`` says who publishes, and why nothing has come."""

    def __init__(self, name: str, section: TopicInput, subscription: Subscription) -> None:
        super().__init__(name, section, subscription)
        self.inputs = self._signals
        self._subscription = subscription
        keeps = qos_of(section.qos).durability == "transient_local"
        is_stamped = section.stamp == "header"
        self.core = core.TopicInput(
            subscription.handle, subscription.reader, stamp=is_stamped, keeps=keeps
        )
        _open_ports.add(self)

    def schedule(self, setup: ThreadSetup) -> list[Right]:
        return super().schedule(setup) + self._subscription.schedule(setup)

    @property
    def awaits(self) -> str:  # type: ignore[override]  # what there is now
        now = self.core.counters()
        if now["messages"] == 0:
            return f"No message came on {self.topic}: {self._endpoint.found()}"
        assert isinstance(self.core, core.TopicInput)
        if not self.core.refused:
            return f"Messages came on {self.topic}, and none since: {self._endpoint.found()}"
        unused = sum(now[key] for key in _UNUSED)
        return f"Of {now['messages']} messages on {self.topic} {unused} could not be used: {self.core.refused}"

    def condition(self, before: Mapping[str, Any]) -> Condition:
        return of_topic(self._endpoint, self._core.counters(), before)

    def why_stale(self, before: Mapping[str, Any]) -> str:
        assert isinstance(self.core, core.TopicInput)
        now = self.core.counters()
        if unused := counted(before, now, *_UNUSED):
            came = counted(before, now, "messages")
            return f"Of {came} messages on {self.topic} {unused} could not be used: {self.core.refused}"
        return f"{self.topic}: {self._endpoint.found()}"


class TopicOutputPort(_TopicPort):
    """A publisher."""

    def __init__(
        self, name: str, section: TopicOutput, publisher: Publisher, period_ns: int
    ) -> None:
        super().__init__(name, section, publisher)
        self.outputs = self._signals
        self._publisher = publisher
        self._receiver_times_out = section.receiver_times_out
        safe = numbers(section.safe, section.element_names, 0.0)
        self.core = core.TopicOutput(publisher.handle, publisher.writer, safe, period_ns)
        _open_ports.add(self)

    def condition(self, before: Mapping[str, Any]) -> Condition:
        values = {**self._core.counters(), "receiver_times_out": self._receiver_times_out}
        return of_commands(self._publisher, values, before)

    def stop(self) -> str:
        assert isinstance(self.core, core.TopicOutput)
        if not self.core.safe_was_sent(int(self.left_s(SAFE_WITHIN_S) * 1e9)):
            return (
                f"the safe command on {self.topic} was not published within {SAFE_WITHIN_S:g} s: perhaps ROS "
                "was shut down before the loop. Stop what it moves by other means"
            )
        if nobody := nobody_subscribes(self._publisher):
            return (
                f"{nobody}: whoever took its commands did not hear the safe one. Look at whether it is safe by "
                "itself"
            )
        if not self._publisher.acknowledged(self.left_s(CONFIRMED_WITHIN_S)):
            return (
                f"the safe command on {self.topic} was published, and not confirmed within "
                f"{CONFIRMED_WITHIN_S:g} s: {self._endpoint.found()}. Look at whether what it moves has stopped"
            )
        return ""


def _close_all() -> None:
    for port in list(_open_ports):
        port.close()


atexit.register(_close_all)
