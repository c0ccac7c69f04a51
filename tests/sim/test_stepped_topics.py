"""Topics of loops that are stepped: what counts when, and what goes out, on a graph that the test plays."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.ports.around import Topic
from rtloop.ports.stepped_topic import AHEAD_MAX
from rtloop.run import Run
from rtloop.sim import LockStep
from rtloop.telemetry.mcap.reader import open_recording
from tests.running import POLICY, edited
from tests.sim.test_lock_step import MS

LOOP = """\
recording: {{directory: {folder}/runs}}
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      cart:
        topic: cart
        type: std_msgs/msg/Float64MultiArray
        fields: ["data[0]", "data[1]", "data[2]", "data[3]"]
        stamp: header
        max_age_ms: 100
    policy: {{model: {policy}, observation: [{{input: cart}}], action: {{scale: 10.0, clip: [-10, 10]}}}}
    outputs:
      force: {{topic: force, type: std_msgs/msg/Float64MultiArray, fields: ["data[0]"], safe: 0.0}}
"""


class Played:
    """The graph, one topic each way: messages are (values, stamp) of one, and the same of the other."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[list[float], int]] = deque()
        self.published: list[tuple[float, int]] = []
        self.closed: list[str] = []

    def subscribe(self, topic: Topic, *, stamp: bool) -> Any:
        return _Subscription(self, topic.name)

    def publish(self, topic: Topic, *, period_ns: int) -> Any:
        return _Publisher(self, topic.name)

    def warn(self, text: str) -> None:
        pass


class _End:
    handle = None

    def __init__(self, played: Played, topic: str) -> None:
        self.topic, self._played = topic, played
        self.reader = self.writer = self

    def counters(self) -> Mapping[str, int]:
        return {}

    def found(self) -> str:
        return "nobody publishes it"

    def close(self) -> None:
        self._played.closed.append(self.topic)


class _Subscription(_End):
    def schedule(self, setup: core.ThreadSetup) -> list[core.Right]:
        return []

    def take(self) -> Any:
        return self._played.waiting.popleft() if self._played.waiting else None

    def read(self, message: Any) -> Any:
        if not message[0]:
            raise ValueError("it has no values")
        return np.array(message[0], np.float32), message[1]


class _Publisher(_End):
    subscriptions = 1

    def send(self, message: Any) -> None:
        self._played.published.append(message)

    def data(self, values: Any, stamp_ns: int) -> Any:
        return float(values[0]), stamp_ns

    def acknowledged(self, timeout_s: float) -> bool:
        return True


def config_in(folder: Path) -> Path:
    path = folder / "loop.yaml"
    path.write_text(LOOP.format(folder=folder, policy=POLICY))
    return path


def test_a_sample_counts_from_its_stamp_on_and_each_cycle_is_published(tmp_path: Path) -> None:
    played, clock = Played(), LockStep()
    clock.advance(0)
    with Run(load(config_in(tmp_path)), timing=clock, graph=played) as run:
        played.waiting += [([0.0, 0.0, 0.1, 0.0], 0), ([], 0), ([0.0, 0.0, 0.2, 0.0], 12 * MS)]
        clock.advance(20 * MS)
        stamps = [stamp for _, stamp in played.published]
        clock.advance(22 * MS)
    (told,) = open_recording(run.recording).loops.values()
    angle = told.inputs[:, 2].tolist()
    assert angle == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert (told.sources["age_ns"][:, 0] // MS).tolist() == [5, 10, 3, 8]
    assert stamps == [5 * MS, 10 * MS, 15 * MS, 20 * MS]
    commands = [value for value, _ in played.published]
    assert commands == pytest.approx([*told.outputs[:, 0], 0.0]), "the safe command is the last"
    assert played.published[-1][1] == 22 * MS
    assert sorted(played.closed) == ["cart", "force"]


def test_a_stamp_far_ahead_keeps_none_of_the_others_away(tmp_path: Path) -> None:
    played, clock = Played(), LockStep()
    clock.advance(0)
    with Run(load(config_in(tmp_path)), timing=clock, graph=played) as run:
        played.waiting.append(([0.0, 0.0, 0.9, 0.0], 3_600_000 * MS))
        played.waiting += [([0.0, 0.0, 0.1, 0.0], 0), ([0.0, 0.0, 0.3, 0.0], 14 * MS)]
        played.waiting.append(([0.0, 0.0, 0.2, 0.0], 9 * MS))
        clock.advance(20 * MS)
        played.waiting.append(([0.0, 0.0, 0.8, 0.0], 13 * MS))  # older than one that counted
        clock.advance(25 * MS)
    (told,) = open_recording(run.recording).loops.values()
    assert told.inputs[:, 2].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3])
    assert (told.sources["age_ns"][:, 0] // MS).tolist() == [5, 1, 1, 6, 11]


def test_of_what_is_ahead_the_furthest_is_let_go_of(tmp_path: Path) -> None:
    played, clock = Played(), LockStep()
    clock.advance(0)
    with Run(load(config_in(tmp_path)), timing=clock, graph=played, record=False) as run:
        far = range(3_600_000 * MS, 3_600_000 * MS + AHEAD_MAX)
        played.waiting += [([0.0, 0.0, 0.9, 0.0], stamp) for stamp in far]
        played.waiting.append(([0.0, 0.0, 0.1, 0.0], 0))
        clock.advance(20 * MS)
        assert run.loops["balance"].status()["executed"] == 4


def test_what_was_ahead_when_time_went_back_does_not_count(tmp_path: Path) -> None:
    durable = "max_age_ms: 100\n        qos: {durability: transient_local}"
    path = edited(config_in(tmp_path), {"max_age_ms: 100": durable})
    played, clock = Played(), LockStep()
    clock.advance(500 * MS)
    with Run(load(path), timing=clock, graph=played) as run:
        played.waiting.append(([0.0, 0.0, 0.1, 0.0], 500 * MS))
        played.waiting.append(([0.0, 0.0, 0.9, 0.0], 600 * MS))
        clock.advance(510 * MS)
        assert clock.follow(run, 580 * MS) is False
        assert clock.follow(run, 0)
        played.waiting.append(([0.0, 0.0, 0.2, 0.0], 0))
        clock.advance(700 * MS)
    (told,) = open_recording(run.recording).loops.values()
    assert told.inputs[-1, 2] == pytest.approx(0.2)


def test_the_safe_command_has_as_long_to_be_confirmed_as_without_a_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_s: list[float] = []

    def acknowledged(_: _Publisher, timeout_s: float) -> bool:
        waited_s.append(timeout_s)
        return timeout_s > 3  # so often Fast DDS asks

    monkeypatch.setattr(_Publisher, "acknowledged", acknowledged)
    clock = LockStep()
    clock.advance(0)
    run = Run(load(config_in(tmp_path)), timing=clock, graph=Played(), record=False)
    with run:
        pass
    assert run.summary is not None
    assert run.summary.problems == ()
    assert len(waited_s) == 1


def test_without_stamps_a_sample_counts_from_the_time_told_before_it(tmp_path: Path) -> None:
    path = edited(config_in(tmp_path), {"stamp: header": "stamp: received"})
    played, clock = Played(), LockStep()
    clock.advance(0)
    with Run(load(path), timing=clock, graph=played) as run:
        played.waiting.append(([0.0, 0.0, 0.1, 0.0], 77))
        clock.advance(4 * MS)
        clock.advance(6 * MS)
    (told,) = open_recording(run.recording).loops.values()
    assert told.sources["age_ns"][:, 0].tolist() == [5 * MS]


def test_what_came_before_an_activation_does_not_count_in_it(tmp_path: Path) -> None:
    played, clock = Played(), LockStep()
    clock.advance(0)
    run = Run(load(config_in(tmp_path)), timing=clock, graph=played, record=False)
    run.configure()
    played.waiting.append(([0.0, 0.0, 0.1, 0.0], 0))
    clock.advance(5 * MS)
    played.waiting.append(([0.0, 0.0, 0.1, 0.0], 5 * MS))
    run.activate()
    clock.advance(20 * MS)
    assert run.loops["balance"].status()["executed"] == 0
    played.waiting.append(([0.0, 0.0, 0.1, 0.0], 20 * MS))
    clock.advance(30 * MS)
    assert run.loops["balance"].status()["executed"] == 2
    with pytest.raises(ValueError, match="is no mailbox"):
        run.loops["balance"].write_input("cart", [0.0] * 4)
    run.stop()


def test_a_topic_needs_a_node_also_in_simulated_time(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none runs this loop"):
        Run(load(config_in(tmp_path)), timing=LockStep()).configure()
