"""Loops of each class between topics, in a process that every other part of ROS is outside of.

What is told of them on three topics is what is recorded, through every transition of the lifecycle.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.telemetry.mcap.reader import Recording, open_recording
from rtloop.telemetry.mcap.writer import topic
from tests.nodes.ears import Ears, QoSProfile
from tests.nodes.programs import path_of, started
from tests.nodes.ros import ERROR, Client, Float64MultiArray, loop_node
from tests.policy.models import passthrough

CLASSES = ("hard", "firm", "soft")
#: Of each, which cycle is late first, each how many-th after that, by how much it takes longer.
LATE = {"hard": (30, 0, 30_000_000), "firm": (5, 10, 30_000_000), "soft": (5, 10, 30_000_000)}
SAFE = [-1.0, -2.0]
LOOP = """\
  {name}:
    class: {name}
    rate_hz: 50
    inputs:
      joints:
        topic: joint_states
        type: sensor_msgs/msg/JointState
        joints: [hip, knee]
        fields: [position]
        max_age_ms: 5000
    policy: {{model: policy.onnx, observation: [{{input: joints}}]}}
    outputs:
      arm:
        topic: {name}/commands
        type: std_msgs/msg/Float64MultiArray
        joints: [hip, knee]
        fields: [data]
        safe: [-1, -2]
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{{shares}held: 1, dropped: 1}}
"""


def write(folder: Path) -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    path = folder / "loops.yaml"
    shares = {"hard": "", "firm": "missed: 1, skipped: 1, ", "soft": "missed: 1, skipped: 1, "}
    loops = "".join(LOOP.format(name=name, shares=shares[name]) for name in CLASSES)
    path.write_text(f"recording: {{directory: runs}}\nloops:\n{loops}")
    return path


def listen(client: Client, name: str) -> list[list[float]]:
    """What comes on the topic of a loop."""
    heard: list[list[float]] = []
    client.node.create_subscription(
        Float64MultiArray,
        f"{name}/commands",
        lambda message: heard.append(list(message.data)),
        QoSProfile(depth=1000),
    )
    return heard


def numbers(heard: list[list[float]]) -> list[float]:
    """Of the messages that the commands came from; each has both joints of one and the same."""
    acted = [command for command in heard if command != SAFE]
    assert all(hip == -knee >= 1 for hip, knee in acted)
    return [hip for hip, _ in acted]


def nobody_publishes(client: Client) -> bool:
    return not any(client.node.count_publishers(f"{name}/commands") for name in CLASSES)


def counted(recording: Recording, loop: str) -> dict[str, int]:
    found = recording.loops[loop]
    misses = recording.messages.get(topic(loop, "miss"), 0)
    assert found.summary.misses == misses
    assert found.summary.executed == len(found.records)
    return {
        "misses": misses,
        "elapsed_periods": found.summary.elapsed_periods,
        "executed": found.summary.executed,
        "skipped": found.summary.skipped,
        "records_lost": 0,
    }


def in_statistics(ears: Ears, loop: str, counts: Mapping[str, int]) -> bool:
    return bool(ears.statistics[loop]) and counts.items() <= ears.statistics[loop][-1].items()


def in_diagnostics(ears: Ears, loop: str, counts: Mapping[str, int]) -> bool:
    newest = ears.statuses[loop][-1]
    told = {name: newest.values.get(name) for name in counts}
    return newest.message == "inactive" and told == {name: str(n) for name, n in counts.items()}


def assert_all_say_the_same(ears: Ears, recording: Recording, *, in_the_end: bool) -> None:
    counts = {loop: counted(recording, loop) for loop in CLASSES}
    ears.until_told({loop: of_loop["misses"] for loop, of_loop in counts.items()})
    for loop, of_loop in counts.items():
        assert of_loop["misses"] > 0
        ears.until(partial(in_statistics, ears, loop, of_loop), f"{loop}: statistics of {of_loop}")
        if not in_the_end:
            ears.until(partial(in_diagnostics, ears, loop, of_loop), f"{loop}: {of_loop}")
        inputs = recording.loops[loop].inputs
        # Of a cycle that the guard judged before it had read anything there is NaN.
        read = ~np.isnan(inputs).all(axis=1)
        apart = read & (inputs[:, 0] != -inputs[:, 1])
        assert not apart.any(), (inputs[apart], recording.loops[loop].records[apart])
        assert len(set(inputs[:, 0].tolist())) > 1


def test_what_is_told_of_loops_between_topics_is_what_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("sensor_msgs", reason="no sensor_msgs: install rtloop[ros]")
    late: dict[str, Any] = {"program": (path_of("late_node"), json.dumps(LATE))}
    with (
        started("joint_publisher"),
        Ears("loop_node", *CLASSES) as ears,
        Client() as client,
        loop_node(tmp_path, config=write(tmp_path), statistics_rate_hz=5.0, **late) as node,
    ):
        heard = {name: listen(client, name) for name in CLASSES}
        for transition, state in (("deactivate", "inactive"), ("shutdown", "finalized")):
            assert client.state == "unconfigured"
            assert client.request("configure"), node.log
            assert client.state == "inactive"
            for loop in CLASSES:
                ears.misses[loop].clear()
                ears.statistics[loop].clear()
                heard[loop].clear()
            assert client.request("activate"), node.log
            assert client.state == "active"
            ears.until(lambda: all(ears.misses.values()), "each class misses")
            ears.until(lambda: len(ears.misses["soft"]) >= 3, "again and again")
            ears.until(lambda: ears.says("hard", "deadline was missed"), "the fault is told")
            assert ears.statuses["hard"][-1].level == ERROR
            client.spin_until(
                lambda: len(set(numbers(heard["soft"]))) > 20, "each sample moves the command"
            )
            assert client.request(transition), node.log
            assert client.state == state
            client.spin_until(lambda: all(h[-1:] == [SAFE] for h in heard.values()), "safe, last")
            for commands in heard.values():
                assert numbers(commands) == sorted(numbers(commands)), "none overtakes another"
            newest = sorted((tmp_path / "runs").glob("*/run.mcap"))[-1]
            is_over = state == "finalized"
            assert_all_say_the_same(ears, open_recording(newest), in_the_end=is_over)
            if not is_over:
                assert client.request("cleanup"), node.log
                client.spin_until(partial(nobody_publishes, client), "what it made is gone")
        assert {loop: misses[0].values["loop_class"] for loop, misses in ears.misses.items()} == {
            loop: loop for loop in CLASSES
        }
        assert len(list((tmp_path / "runs").iterdir())) == 2
        assert node.end(signal.SIGTERM) == 1, "a hard loop was in FAULT"
