"""A program for test_topic_ports: topic ports on a librcl that the test plays (fake_rcl.c), in a process
without another one. Prints as JSON what became of each scenario: empty, or the error.
"""

from __future__ import annotations

import ctypes
import functools
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rtloop import core
from rtloop.core import CdrOp, CdrType
from rtloop.telemetry.observe.records import (
    INPUT_RECORD_DTYPE,
    PORT_EVENT_DTYPE,
    PORT_EVENT_NAMES,
)
from tests.core.cdr import Encoder
from tests.core.conftest import MS, identity_graph, read_records

SAFE = -7.0
#: rclpy's handle of the one subscription, and of the one publisher, there is.
HANDLE = SimpleNamespace(pointer=1)
S = 1_000_000_000


class Middleware:
    """The far end: what others publish, and what they heard."""

    def __init__(self, folder: str) -> None:
        self.rcl = ctypes.CDLL(f"{folder}/librcl.so")
        ctypes.CDLL(f"{folder}/librcutils.so")
        self.rcl.fake_published.restype = ctypes.c_size_t

    def push(
        self,
        number: int,
        value: float,
        *,
        publisher: int = 1,
        stamp_ns: int = 1,
        received_ns: int = 0,
        raw: bytes | None = None,
    ) -> None:
        encoder = Encoder().stamp(*divmod(stamp_ns, S)).number(CdrType.float64, value)
        message = encoder.message if raw is None else raw
        self.rcl.fake_push(
            message,
            ctypes.c_size_t(len(message)),
            ctypes.c_uint64(number),
            publisher,
            ctypes.c_int64(received_ns),
        )

    @property
    def heard(self) -> list[float]:
        room = ctypes.create_string_buffer(1 << 16)
        size = self.rcl.fake_published(room, ctypes.c_size_t(len(room)))
        messages = np.frombuffer(room.raw[:size], np.uint8).reshape(-1, 12)
        values: list[float] = messages[:, 4:].copy().view("<f8")[:, 0].tolist()
        return values


def make_input(stamp: bool = False, keeps: bool = False) -> core.TopicInput:
    """Of messages {stamp; float64}."""
    steps = [(CdrOp.stamp, 0, 0), (CdrOp.skip, 4, 2), (CdrOp.take, CdrType.float64, 0)]
    reader = core.CdrReader([(int(op), int(a), b) for op, a, b in steps], [], 1)
    return core.TopicInput(HANDLE, reader, stamp=stamp, keeps=keeps)


def make_output(period_ns: int = 10 * MS, safe: float = SAFE) -> core.TopicOutput:
    """Of messages {float64}."""
    message = Encoder().number(CdrType.float64, 0.0).message
    writer = core.CdrWriter(message, [(4, int(CdrType.float64), 0)], -1)
    return core.TopicOutput(HANDLE, writer, [safe], period_ns)


class Rig:
    """A loop whose command follows its input, stepped by hand; its clock is ``ahead_ns`` of the host's."""

    def __init__(self, input: Any, output: Any, ahead_ns: int = 60 * S) -> None:
        self.config = core.LoopConfig()
        self.config.name = "rig"
        self.config.period_ns = self.config.deadline_ns = 10 * MS
        self.config.inputs = [core.InputConfig(0)]
        self.config.outputs = [core.OutputConfig(1, safe=[SAFE], default_value=[-2.0])]
        self.clock = core.VirtualClock(time.monotonic_ns() + ahead_ns)
        self._held = tempfile.TemporaryDirectory()  # as long as the rig
        self.folder = self._held.name
        self.ring = core.RingWriter(f"{self.folder}/ring", 4096, 1, 1, 1, b"{}")
        self.loop = core.Loop(
            self.config, [input, output], identity_graph(1), self.ring, self.clock
        )

    def records(self) -> np.ndarray[Any, Any]:
        return read_records(f"{self.folder}/ring")

    def gaps(self) -> list[int]:
        raw, _ = core.RingReader(f"{self.folder}/ring").read(1 << 20)
        end = core.RECORD_SIZE + core.INPUT_RECORD_SIZE
        sources = np.ascontiguousarray(raw[:, core.RECORD_SIZE : end]).view(INPUT_RECORD_DTYPE)
        return [int(gap) for gap in sources["gap"][:, 0]]

    def events(self) -> list[str]:
        """The words of the port events."""
        raw, _ = core.RingReader(f"{self.folder}/ring").events.read(1 << 10)
        kinds = np.ascontiguousarray(raw).view(PORT_EVENT_DTYPE).ravel()["kind"]
        return [PORT_EVENT_NAMES[int(kind)] for kind in kinds]

    def outcomes(self) -> list[str]:
        names = {number: name for name, number in core.OUTCOMES.items()}
        return [names[int(record["outcome"])] for record in self.records()]


def mailbox(value: float = 0.0) -> core.Port:
    port = core.Port("mailbox", {"inputs": 1})
    port.put(np.array([value], np.float32))
    return port


def until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.001)


def _counts(port: core.Port, name: str, n: int) -> bool:
    return port.counters()[name] == n


def _ends_with(far: Middleware, value: float) -> bool:
    return far.heard[-1:] == [value]


def taken(port: core.Port, n: int) -> None:
    until(functools.partial(_counts, port, "messages", n), f"{n} messages are taken")
    time.sleep(0.005)  # and written


def messages_that_never_came_are_counted_by_publisher(far: Middleware) -> None:
    port = make_input()
    rig = Rig(port, core.Port("mailbox", {"safe": [SAFE]}))
    far.push(5, 0.0)
    taken(port, 1)
    rig.loop.begin()
    n = 1
    lost = []
    for numbers, gap in (([6], 0), ([9], 2 + 1), ([10, 12], 1 + 1), ([13, 20, 23], 8 + 2)):
        for number in numbers:
            far.push(number, float(number))
        far.push(1000 + n, 0.0, publisher=2)  # whose numbers are its own, and begin anywhere
        n += len(numbers) + 1
        taken(port, n)
        rig.loop.step()
        lost.append(gap)
    assert rig.gaps() == lost
    counted = port.counters()
    assert (counted["gaps"], counted["publishers_seen"]) == (15, 2), counted
    assert port.close()


def nothing_from_before_an_activation_counts(far: Middleware) -> None:
    port = make_input()
    rig = Rig(port, core.Port("mailbox", {"safe": [SAFE]}))
    far.push(1, 1.0)
    taken(port, 1)
    rig.loop.rearm()
    assert rig.loop.missing_input() == 0
    far.push(2, 2.0)
    until(lambda: rig.loop.missing_input() is None, "a message since")
    assert port.close()


def what_is_kept_for_latecomers_counts_from_before(far: Middleware) -> None:
    port = make_input(keeps=True)
    rig = Rig(port, core.Port("mailbox", {"safe": [SAFE]}))
    far.push(1, 1.0)
    taken(port, 1)
    rig.loop.rearm()
    assert rig.loop.missing_input() is None
    assert port.close()


def a_sample_is_as_old_as_its_message(far: Middleware) -> None:
    port = make_input()
    rig = Rig(port, core.Port("mailbox", {"safe": [SAFE]}), ahead_ns=0)
    rig.loop.begin()
    far.push(1, 1.0, received_ns=time.time_ns() - 300 * MS)
    taken(port, 1)
    rig.loop.step()
    (record,) = rig.records()
    assert record["input_age_ns"] >= 200 * MS, record
    assert port.close()


def stamps_are_mapped_and_wrong_ones_counted(far: Middleware) -> None:
    port = make_input(stamp=True)
    relay = core.Port("mailbox", {"safe": [SAFE]})
    rig = Rig(port, relay, ahead_ns=S)
    rig.loop.begin()
    now_ns = time.time_ns()
    far.push(1, 1.0, stamp_ns=now_ns - 500 * MS)
    far.push(2, 2.0, stamp_ns=now_ns - 600 * MS)  # older than the one before: not used
    far.push(3, 3.0, stamp_ns=0)  # none: not used
    taken(port, 3)
    rig.loop.step()
    (first,) = rig.records()
    assert first["input_age_ns"] >= 400 * MS, first
    assert relay.newest()[0].tolist() == [1.0]
    far.push(4, 4.0, stamp_ns=time.time_ns() + 3600 * S)  # in the future: as if it had none
    taken(port, 4)
    rig.loop.step()
    assert relay.newest()[0].tolist() == [4.0]
    assert rig.records()[1]["input_age_ns"] < 3600 * S
    counted = port.counters()
    wrong = [counted[key] for key in ("stamps_ahead", "stamps_behind", "unstamped")]
    assert wrong == [1, 1, 1], counted
    assert "in the future" in port.refused
    assert "bad_stamp" in rig.events()
    assert port.close()


def a_message_that_cannot_be_read_leaves_the_one_before(far: Middleware) -> None:
    port, output = make_input(), core.Port("mailbox", {"safe": [SAFE]})
    rig = Rig(port, output)
    rig.loop.begin()
    far.push(1, 1.0)
    far.push(2, 2.0, raw=b"\0\1\0\0short")
    taken(port, 2)
    rig.loop.step()
    assert output.newest()[0].tolist() == [1.0]
    assert (port.counters()["unreadable"], port.counters()["gaps"]) == (1, 0)
    assert port.refused
    assert "bad_message" in rig.events()
    assert port.close()


def a_middleware_that_fails_is_counted_and_not_asked_for_ever(far: Middleware) -> None:
    port = make_input()
    far.rcl.fake_take_result(1)
    takes = far.rcl.fake_takes()
    far.push(1, 1.0)
    until(lambda: port.counters()["take_errors"] == 1, "the error is counted")
    time.sleep(0.05)
    assert far.rcl.fake_takes() == takes + 1
    far.rcl.fake_take_result(0)
    far.push(2, 2.0)
    taken(port, 2)
    assert port.close()


def messages_that_never_cease_keep_nobody_from_ending(far: Middleware) -> None:
    port = make_input()
    far.rcl.fake_endless(True)
    far.push(1, 1.0)
    until(lambda: port.counters()["messages"] > 1000, "they come and come")
    assert port.close()
    far.rcl.fake_endless(False)
    port = make_input()
    taken(port, 1)  # what was there still
    assert port.close()


def after_close_nothing_is_called(far: Middleware) -> None:
    port = make_input()
    assert far.rcl.fake_has_callback()
    assert port.close()
    assert not far.rcl.fake_has_callback()
    takes = far.rcl.fake_takes()
    far.push(1, 1.0)
    time.sleep(0.05)
    assert far.rcl.fake_takes() == takes
    assert port.close(), "it stays closed"
    port = make_input()
    taken(port, 1)  # what had come by then
    del port
    assert not far.rcl.fake_has_callback()


def who_still_hears_of_messages_is_not_closed(far: Middleware) -> None:
    port = make_input()
    far.rcl.fake_unset_result(1)
    assert not port.close()
    del port
    far.push(1, 1.0)  # told to something that is there still
    far.rcl.fake_unset_result(0)
    port = make_input()
    taken(port, 1)
    far.rcl.fake_unset_result(1)
    assert not port.close()
    far.rcl.fake_unset_result(0)
    assert port.close(), "tried again"
    assert not far.rcl.fake_has_callback()


def a_loop_sleeps_until_a_message_comes(far: Middleware) -> None:
    port = make_input()
    rig = Rig(port, core.Port("mailbox", {"safe": [SAFE]}))
    rig.loop.rearm()
    assert port.await_sample(time.monotonic_ns() + 20 * MS) < 0
    far.push(1, 1.0)
    assert port.await_sample(time.monotonic_ns() + 20 * S) > 0
    assert port.await_sample(time.monotonic_ns() + 20 * MS) < 0, "told of already"
    assert port.close()


def commands_leave_and_the_safe_one_last(far: Middleware) -> None:
    source, port = mailbox(), make_output()
    rig = Rig(source, port)
    before = len(far.heard)
    rig.loop.begin()
    for value in (1.0, 2.0, 3.0):
        source.put(np.array([value], np.float32))
        rig.loop.step()
        until(functools.partial(_ends_with, far, value), "the command leaves")
    rig.loop.end()
    assert port.safe_was_sent(5 * S)
    assert far.heard[before:] == [1.0, 2.0, 3.0, *[SAFE] * 5]
    port.write_safe()  # again, by whoever ends the loop
    time.sleep(0.05)
    assert len(far.heard) == before + 8
    assert rig.outcomes() == ["written"] * 3
    assert port.close()


def the_first_safe_command_waits_for_none_of_before(far: Middleware) -> None:
    source, port = mailbox(), make_output(period_ns=S)  # the safe command leaves every 50 ms
    rig = Rig(source, port)

    def ended_within_s() -> float:
        rig.loop.begin()
        sent = port.counters()["safe_published"]
        began_s = time.monotonic()
        rig.loop.end()
        until(lambda: port.counters()["safe_published"] > sent, "it is sent")
        took_s = time.monotonic() - began_s
        assert port.safe_was_sent(5 * S)
        return took_s

    took_s = [ended_within_s() for _ in range(5)]
    assert min(took_s[1:]) < 0.03, took_s
    assert port.close()


def a_command_of_the_activation_before_leaves_no_more(far: Middleware) -> None:
    source, port = mailbox(), make_output()
    rig = Rig(source, port)
    before = len(far.heard)
    publishes = far.rcl.fake_publishes()
    rig.loop.begin()
    far.rcl.fake_publish_takes(ctypes.c_int64(500 * MS))
    for value in (1.0, 2.0):
        source.put(np.array([value], np.float32))
        rig.loop.step()
        until(lambda: far.rcl.fake_publishes() > publishes, "the second waits for the first")
    rig.loop.end()
    rig.loop.rearm()
    far.rcl.fake_publish_takes(ctypes.c_int64(0))
    until(lambda: len(far.heard) > before, "the first leaves")
    time.sleep(0.05)
    assert far.heard[before:] == [1.0]
    assert port.close()


def what_has_not_left_by_the_next_cycle_is_dropped(far: Middleware) -> None:
    source, port = mailbox(), make_output()
    rig = Rig(source, port)
    before = len(far.heard)
    rig.loop.begin()
    far.rcl.fake_publish_takes(ctypes.c_int64(100 * MS))
    for value in (1.0, 2.0, 3.0):
        source.put(np.array([value], np.float32))
        rig.loop.step()
        time.sleep(0.01)
    far.rcl.fake_publish_takes(ctypes.c_int64(0))
    until(lambda: far.heard[before:] == [1.0, 3.0], "the newest leaves, late")
    rig.loop.step()
    rig.loop.end()
    assert rig.outcomes() == ["written", "dropped", "dropped", "written"]
    counted = port.counters()
    assert counted["not_published"] == 2
    assert port.safe_was_sent(5 * S)
    assert "not_published" in rig.events()
    assert port.close()


def a_publisher_that_fails_drops_and_the_loop_goes_on(far: Middleware) -> None:
    source, port = mailbox(), make_output()
    rig = Rig(source, port)
    before = len(far.heard)
    rig.loop.begin()
    far.rcl.fake_publish_result(300)
    for n in range(1, 4):
        rig.loop.step()
        until(functools.partial(_counts, port, "publish_errors", n), "the error is counted")
    far.rcl.fake_publish_result(0)
    rig.loop.step()
    until(lambda: len(far.heard) == before + 1, "it works again")
    rig.loop.step()
    assert rig.outcomes() == ["written", "dropped", "dropped", "dropped", "written"]
    far.rcl.fake_publish_result(300)
    rig.loop.end()
    assert not port.safe_was_sent(5 * S), "nobody heard it"
    far.rcl.fake_publish_result(0)
    assert port.close()


def a_command_that_is_no_longer_valid_is_not_sent(far: Middleware) -> None:
    source, port = mailbox(), make_output()
    rig = Rig(source, port, ahead_ns=-60 * S)
    source.put(np.array([3.0], np.float32), rig.clock.now())
    before = len(far.heard)
    rig.loop.begin()
    rig.loop.step()
    until(lambda: port.counters()["expired"] == 1, "it is too late for it")
    assert len(far.heard) == before
    assert port.close()


def a_safe_command_that_is_not_known_is_not_sent(far: Middleware) -> None:
    port = make_output(safe=float("nan"))
    rig = Rig(mailbox(), port)
    before = len(far.heard)
    rig.loop.rearm()
    port.write_safe()
    assert port.safe_was_sent(5 * S), "nothing was commanded"
    assert len(far.heard) == before
    rig.loop.rearm()
    rig.loop.begin()
    rig.loop.step()
    until(lambda: len(far.heard) == before + 1, "the command leaves")
    rig.loop.end()
    assert not port.safe_was_sent(5 * S), "nobody heard it"
    assert len(far.heard) == before + 1
    assert port.close()


def of_an_inactive_loop_nothing_leaves(far: Middleware) -> None:
    port = make_output()
    before = len(far.heard)
    port.write_safe()
    time.sleep(0.05)
    assert len(far.heard) == before
    assert port.close()


SCENARIOS = [
    messages_that_never_came_are_counted_by_publisher,
    nothing_from_before_an_activation_counts,
    what_is_kept_for_latecomers_counts_from_before,
    a_sample_is_as_old_as_its_message,
    stamps_are_mapped_and_wrong_ones_counted,
    a_message_that_cannot_be_read_leaves_the_one_before,
    a_middleware_that_fails_is_counted_and_not_asked_for_ever,
    messages_that_never_cease_keep_nobody_from_ending,
    after_close_nothing_is_called,
    who_still_hears_of_messages_is_not_closed,
    a_loop_sleeps_until_a_message_comes,
    commands_leave_and_the_safe_one_last,
    the_first_safe_command_waits_for_none_of_before,
    a_command_of_the_activation_before_leaves_no_more,
    what_has_not_left_by_the_next_cycle_is_dropped,
    a_publisher_that_fails_drops_and_the_loop_goes_on,
    a_command_that_is_no_longer_valid_is_not_sent,
    a_safe_command_that_is_not_known_is_not_sent,
    of_an_inactive_loop_nothing_leaves,
]


def main(folder: str) -> None:
    far = Middleware(folder)
    told = {}
    for scenario in SCENARIOS:
        try:
            scenario(far)
            told[scenario.__name__] = ""
        except Exception:
            told[scenario.__name__] = traceback.format_exc()
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(Path.cwd()))
