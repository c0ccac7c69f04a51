"""The recording of a loop between topics: it has what was sent, and gives the same commands once more."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.config import load
from rtloop.policy.verify import verify
from rtloop.run import Run
from rtloop.sim import LockStep
from rtloop.telemetry.mcap.reader import LoopRecording, open_recording
from tests.nodes.ros import Client, loop_node
from tests.nodes.test_topic_ports import Listener
from tests.policy.models import linear
from tests.running import rtloop

# After ros.py has skipped all of it without rclpy.
from std_msgs.msg import Bool, Float32, Int32  # isort: skip

TOPICS = {
    "joints": "topic: joint_states, type: sensor_msgs/msg/JointState, joints: [hip, knee], "
    "fields: [position, effort], qos: default",
    "enabled": "topic: enabled, type: std_msgs/msg/Bool, fields: [data], qos: default",
    "mode": "topic: mode, type: std_msgs/msg/Int32, fields: [data], qos: default",
    "gain": "topic: gain, type: std_msgs/msg/Float32, fields: [data], qos: default",
}
MAILBOXES = {
    "joints": "mailbox: true, names: [hip.position, knee.position, hip.effort, knee.effort]",
    "enabled": "mailbox: 1",
    "mode": "mailbox: 1",
    "gain": "mailbox: 1",
}
TOPIC = "topic: commands, type: std_msgs/msg/Float64MultiArray, joints: [hip, knee], fields: [data]"
MAILBOX = "mailbox: true, names: [hip, knee]"
LOOP = """\
recording: {{directory: {folder}/runs}}
loops:
  balance:
    class: soft
    rate_hz: 100
    inputs:
      joints: {{{joints}}}
      enabled: {{{enabled}}}
      mode: {{{mode}}}
      gain: {{{gain}}}
    policy:
      model: policy.onnx
      observation:
        - {{input: joints, select: [hip.position, knee.position], history: 3}}
        - {{input: enabled}}
        - {{input: mode, scale: 1.0e-6}}
        - {{input: gain, history: {{steps: [4, 1]}}}}
    outputs:
      arm: {{{arm}, safe: 0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1}}
"""
N_OBSERVED = 6 + 1 + 1 + 2
WRITTEN = [core.OUTCOMES[name] for name in ("written", "written_late")]


def config_in(folder: Path, inputs: Mapping[str, str], arm: str) -> Path:
    folder.mkdir(exist_ok=True)
    weight = np.random.default_rng(3).normal(size=(N_OBSERVED, 2)).astype(np.float32)
    (folder / "policy.onnx").write_bytes(linear(weight))
    path = folder / "loop.yaml"
    path.write_text(LOOP.format(folder=folder, arm=arm, **inputs))
    return path


class Robot:
    """Publishes all inputs, each message with other numbers, and remembers what may be recorded of them."""

    def __init__(self, client: Client) -> None:
        from sensor_msgs.msg import JointState

        self._joint_state = JointState
        self._publishers = {
            name: client.node.create_publisher(kind, topic, 10)
            for name, kind, topic in (
                ("joints", JointState, "joint_states"),
                ("enabled", Bool, "enabled"),
                ("mode", Int32, "mode"),
                ("gain", Float32, "gain"),
            )
        }
        self._draw = random.Random(7)
        self.sent: dict[str, list[list[float]]] = {name: [] for name in TOPICS}
        self.n_unusable = 0

    def publish(self) -> None:
        n = len(self.sent["mode"])
        self._publish_joints(n)
        for name, message, value in (
            ("enabled", Bool(data=n % 3 == 0), n % 3 == 0),
            ("mode", Int32(data=2**24 + n), 2**24 + n),  # of which float32 has every other one
            ("gain", Float32(data=n / 7), n / 7),
        ):
            self._publishers[name].publish(message)
            self.sent[name].append([float(value)])

    def _publish_joints(self, n: int) -> None:
        # Nobody measures the effort of the knee: NaN, as of joint_state_broadcaster.
        joints = [("hip", n + 0.1, n / 3), ("knee", -n - 0.7, math.nan), ("toe", 9.0, 9.0)]
        self._draw.shuffle(joints)
        if n % 5 == 4:
            joints = [joint for joint in joints if joint[0] != "knee"]
        names, positions, efforts = (list(column) for column in zip(*joints, strict=True))
        message = self._joint_state(name=names, position=positions, effort=efforts)
        self._publishers["joints"].publish(message)
        if n % 5 == 4:
            self.n_unusable += 1
        else:
            self.sent["joints"].append([n + 0.1, -n - 0.7, n / 3, math.nan])


def run_between_topics(folder: Path) -> tuple[Path, Robot]:
    """The recording of a loop_node in a process of its own, and what it was sent."""
    config = config_in(folder, TOPICS, TOPIC)
    with Client() as client, loop_node(folder, config=config) as node:
        Listener(client)
        robot = Robot(client)
        timer = client.node.create_timer(0.02, robot.publish)
        assert client.request("configure"), node.log
        assert client.request("activate"), node.log
        before = len(robot.sent["mode"])
        client.spin_until(lambda: len(robot.sent["mode"]) > before + 100, "they are sent")
        client.node.destroy_timer(timer)
        robot.publish()  # once more, and then it is still
        ran = client.status_when(lambda s: True, "it is told of")["executed"]
        client.status_when(lambda s: s["executed"] > ran + 50, "the last ones are read")
        assert client.request("deactivate"), node.log
    (recording,) = (folder / "runs").glob("*/run.mcap")
    return recording, robot


def replayed(folder: Path, recorded: LoopRecording) -> LoopRecording:
    """The same policy in lock step, on what the recording has of the inputs."""
    clock = LockStep()
    clock.advance(0)
    inputs = {name: recorded.input(name) for name in TOPICS}
    with Run(load(config_in(folder, MAILBOXES, MAILBOX)), timing=clock) as run:
        loop = run.loops["balance"]
        for cycle in range(len(recorded.records)):
            for name, values in inputs.items():
                loop.write_input(name, values[cycle])
            clock.advance((cycle + 1) * recorded.metadata.period_ns)
    (told,) = open_recording(run.recording).loops.values()
    return told


def test_a_recording_has_what_came_over_topics_and_is_replayed_bit_for_bit(tmp_path: Path) -> None:
    pytest.importorskip("sensor_msgs.msg")
    recording, robot = run_between_topics(tmp_path / "robot")
    recorded = open_recording(recording).loops["balance"]
    names = [signal.name for signal in recorded.metadata.inputs]
    of_joints = ("hip.position", "knee.position", "hip.effort", "knee.effort")
    assert names[:4] == [f"joints.{name}" for name in of_joints]

    for name, rows in robot.sent.items():
        sent, got = np.array(rows, np.float32), recorded.input(name)
        np.testing.assert_array_equal(got[-1], sent[-1], f"the last {name}")
        if name == "enabled":
            assert set(got[:, 0].tolist()) == {0.0, 1.0}
            continue
        which = np.searchsorted(sent[:, 0], got[:, 0])
        np.testing.assert_array_equal(got, sent[which], name)
        assert (np.diff(which) >= 0).all()
        assert len(set(which.tolist())) > 10, f"many of {name}"
    assert robot.n_unusable > 10
    assert core.PORT_EVENTS["bad_message"] in recorded.events["kind"]

    again = replayed(tmp_path / "again", recorded)
    np.testing.assert_array_equal(again.inputs, recorded.inputs)
    left = np.isin(recorded.records["outcome"], WRITTEN)
    assert left.sum() > 50
    assert np.isfinite(recorded.outputs[left]).all()
    np.testing.assert_array_equal(
        again.outputs[left].view(np.uint32), recorded.outputs[left].view(np.uint32)
    )
    assert len(np.unique(recorded.outputs[left], axis=0)) > 10

    # The file itself, with its topics, is what a policy is verified by.
    cases = tmp_path / "cases.npz"
    inputs: dict[str, Any] = {f"in_{name}": np.nan_to_num(again.input(name)) for name in TOPICS}
    np.savez(cases, targets=again.outputs, **inputs)
    assert verify(load(tmp_path / "robot" / "loop.yaml"), "balance", cases).agrees

    done = rtloop("report", recording)
    assert done.returncode == 0, done.stderr
    assert "joints: bad message" in Path(done.stdout.strip()).read_text()
