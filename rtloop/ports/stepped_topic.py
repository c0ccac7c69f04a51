"""A ROS topic of a loop that is stepped through simulated time: it is taken and published between cycles, by
who steps them, and not by a thread."""

from __future__ import annotations

import math
import threading
from bisect import insort
from operator import itemgetter
from typing import TYPE_CHECKING

from rtloop.ports.around import CONFIRMED_WITHIN_S
from rtloop.ports.command import numbers
from rtloop.ports.condition import Condition, of_commands, of_topic
from rtloop.ports.mailbox import MailboxPort
from rtloop.ports.port import Port
from rtloop.ports.qos import qos_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from rtloop.ports.around import Publisher, Subscription
    from rtloop.ports.topic import TopicInput, TopicOutput
    from rtloop.realtime.timing import Timing

#: Of samples whose time has not come, so many are kept: the nearest.
AHEAD_MAX = 1000


class SteppedInputPort(MailboxPort):
    """A sample counts from its header's stamp, which is simulated time; with ``stamp: received`` from the time
    that was told before it was looked for."""

    def __init__(
        self, name: str, section: TopicInput, subscription: Subscription, timing: Timing
    ) -> None:
        names = section.element_names
        self.topic = subscription.topic
        self._subscription, self._timing = subscription, timing
        self._is_stamped = section.stamp == "header"
        self._keeps = qos_of(section.qos).durability == "transient_local"
        #: By their times.
        self._ahead: list[tuple[int, NDArray[np.float32]]] = []
        self._delivered_ns = self._until_ns = -1
        self._refused = ""
        self._stepping = threading.Lock()  # time may go on while the loop is activated
        super().__init__(name, n_inputs=len(names), names=names, now_ns=timing.now_ns)
        timing.attach(self)

    @property
    def awaits(self) -> str:  # type: ignore[override]  # what there is now
        return f"No message on {self.topic} counts. {self._refused or self._subscription.found()}"

    def condition(self, before: Mapping[str, Any]) -> Condition:
        return of_topic(self._subscription, {}, before)

    def why_stale(self, before: Mapping[str, Any]) -> str:
        return f"{self.topic}: {self._subscription.found()}"

    def prepare(self) -> None:
        """What came before counts where it was kept for those who come late, and time did not go back since."""
        with self._stepping:
            if not self._keeps:
                while self._subscription.take() is not None:
                    pass
                with self._writing:
                    self._written = None
            if not self._keeps or self._timing.now_ns() < self._until_ns:
                self._ahead.clear()
            self._delivered_ns = self._until_ns = -1
            super().prepare()

    def put(self, values: NDArray[np.float32]) -> None:
        Port.put(self, values)  # which refuses it

    def take(self, now_ns: int) -> None:
        with self._stepping:
            self._take(now_ns)

    def _take(self, now_ns: int) -> None:
        while (message := self._subscription.take()) is not None:
            try:
                values, stamp_ns = self._subscription.reader.read(message)
            except ValueError as error:
                self._refused = str(error)
                continue
            time_ns = stamp_ns if self._is_stamped else now_ns
            if time_ns < self._delivered_ns:
                self._refused = "its header's stamp is older than that of a message before it"
                continue
            insort(self._ahead, (time_ns, values), key=itemgetter(0))
            del self._ahead[AHEAD_MAX:]

    def deliver(self, until_ns: int) -> None:
        with self._stepping:
            self._until_ns = until_ns
            while self._ahead and self._ahead[0][0] <= until_ns:
                self._delivered_ns, values = self._ahead.pop(0)
                self.leave(values, self._delivered_ns)

    def send(self) -> None:
        pass

    def stop(self) -> str:
        return "" if self._keeps else super().stop()

    def close(self) -> None:
        self._timing.detach(self)
        self._subscription.close()


class SteppedOutputPort(MailboxPort):
    """Each command is published between its cycle and the next, stamped with the time of the cycle."""

    def __init__(
        self, name: str, section: TopicOutput, publisher: Publisher, timing: Timing
    ) -> None:
        names = section.element_names
        safe = numbers(section.safe, names, 0.0)
        self.topic = publisher.topic
        self._publisher, self._timing = publisher, timing
        self._receiver_times_out = section.receiver_times_out
        super().__init__(name, safe=safe, names=names, now_ns=timing.now_ns)
        timing.attach(self)

    def condition(self, before: Mapping[str, Any]) -> Condition:
        values = {"receiver_times_out": self._receiver_times_out}
        return of_commands(self._publisher, values, before)

    def prepare(self) -> None:
        super().prepare()
        self._sent_ns = -1

    def take(self, now_ns: int) -> None:
        pass

    def deliver(self, until_ns: int) -> None:
        pass

    def send(self) -> None:
        command, time_ns = self.core.newest()
        if time_ns >= 0 and time_ns != self._sent_ns:
            self._sent_ns = time_ns
            self._publish(command)

    def stop(self) -> str:
        self._publish(self.core.newest()[0])
        if self._publisher.subscriptions == 0:
            return ""
        if not self._publisher.acknowledged(self.left_s(CONFIRMED_WITHIN_S)):
            return (
                f"the safe command on {self.topic} was not confirmed within {CONFIRMED_WITHIN_S:g} s: "
                f"{self._publisher.found()}"
            )
        return ""

    def close(self) -> None:
        self._timing.detach(self)
        self._publisher.close()

    def _publish(self, command: NDArray[np.float32]) -> None:
        if all(map(math.isfinite, command)):  # what is to be held was perhaps never measured
            self._publisher.send(self._publisher.writer.data(command, self._timing.now_ns()))
