"""Topics as the file says them: what can be judged on a machine without ROS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.ports.qos import Qos, qos_of
from rtloop.ports.topic import TopicInput, TopicOutput
from rtloop.run import Run
from tests.policy.models import passthrough
from tests.running import rtloop

TEXT = """\
loops:
  leg:
    class: soft
    rate_hz: 100
    inputs:
      told:
        topic: joint_states
        type: sensor_msgs/msg/JointState
        joints: [hip, knee]
        fields: [position]
        max_age_ms: 50
    policy: {model: policy.onnx, observation: [{input: told}]}
    outputs:
      arm:
        topic: commands
        type: std_msgs/msg/Float64MultiArray
        joints: [hip, knee]
        fields: [data]
        safe: {hip: 0.5, knee: -0.5}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
recording: {enabled: false}
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    assert old in TEXT
    path = folder / "leg.yaml"
    path.write_text(TEXT.replace(old, new, 1) if old else TEXT)
    return path


def an_input(**keys: Any) -> TopicInput:
    return TopicInput(
        **{"topic": "t", "type": "a_msgs/msg/B", "fields": ("position",), "max_age_ms": 5.0, **keys}
    )


def test_elements_are_joints_by_field_or_paths() -> None:
    assert an_input(fields=("twist.linear.x", "data[2]")).element_names == (
        "twist.linear.x",
        "data[2]",
    )
    assert an_input(joints=("hip", "knee")).element_names == ("hip", "knee")
    both = an_input(joints=("hip", "knee"), fields=("position", "velocity"))
    assert both.element_names == ("hip.position", "knee.position", "hip.velocity", "knee.velocity")
    assert (both.element_count, both.identity, both.has_threads({})) == (4, None, True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("topic: joint_states", "topic: joint states", "7:16: loops.leg.inputs.told.topic"),
        ("topic: joint_states", "topic: a__b", "expected a name of ROS"),
        ("sensor_msgs/msg/JointState", "sensor_msgs/JointState", "sensor_msgs/msg/JointState"),
        ("sensor_msgs/msg/JointState", "JointState", "expected a message type, package/msg/Name"),
        ("[position]", "[position, position]", "loops.leg.inputs.told.fields[1]"),
        ("[position]", "['position.']", "expected a path in the message"),
        ("joints: [hip, knee]", "joints: [hip, hip]", "loops.leg.inputs.told.joints[1]"),
        ("        joints: [hip, knee]\n        fields: [position]", "        fields: [p]\n        names: n",
         "expected `joints` beside it"),
        ("        max_age_ms: 50", "        stamp: header", "without one no stamp is ever too old"),
        ("max_age_ms: 50", "qos: {reliability: sometimes}", "qos.reliability: found 'sometimes'"),
        ("max_age_ms: 50", "qos: best", "default"),
        ("{hip: 0.5, knee: -0.5}", "[1, 2, 3]", "expected 2 as in 'fields', or one number for all"),
        ("{hip: 0.5, knee: -0.5}", "{hip: 0.5, toe: 1}", "toe"),
        ("        safe: {", "        size: 2\n        safe: {", "no size with a topic"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_file_and_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, old, new))
    assert told in str(error.value)
    assert "leg.yaml:" in str(error.value)


def test_profiles_have_the_meaning_of_ros() -> None:
    assert qos_of("sensor_data") == Qos(reliability="best_effort", depth=5)
    assert qos_of("default") == Qos(reliability="reliable", durability="volatile", depth=10)
    assert qos_of(Qos(depth=3)).depth == 3


def test_a_receiver_without_a_time_out_is_told_of(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"topic": "t", "type": "a/msg/B", "fields": ("x",), "safe": 0.0}
    (told,) = TopicOutput(**keys).notes("arm")
    assert "is not said to have a time-out" in told
    (told,) = TopicOutput(**keys, receiver_times_out=False).notes("arm")
    assert "has no time-out" in told
    assert "the last command stands for ever" in told
    assert TopicOutput(**keys, receiver_times_out=True).notes("arm") == []


@pytest.mark.parametrize("qos", ["sensor_data", Qos(reliability="best_effort")])
def test_that_nobody_confirms_the_safe_command_is_told_of(qos: Any) -> None:
    keys: dict[str, Any] = {"topic": "t", "type": "a/msg/B", "fields": ("x",), "safe": 0.0}
    (told,) = TopicOutput(**keys, receiver_times_out=True, qos=qos).notes("arm")
    assert "nobody confirms the safe command" in told


def test_an_input_that_is_never_too_old_is_told_of() -> None:
    (told,) = an_input(max_age_ms=None).notes("told", "leg")
    assert "the last message of a publisher that dies counts for ever" in told
    (told,) = an_input(qos=Qos(deadline_ms=5.0)).notes("told", "leg")
    assert "it hears no publisher that promises none" in told


def test_without_a_node_a_topic_says_how_to_run_it(tmp_path: Path) -> None:
    run = Run(load(written(tmp_path)))
    with pytest.raises(
        ConfigError, match="ros2 run rtloop loop_node --ros-args -p config:=FILE"
    ) as error:
        run.configure()
    assert "leg.yaml:7:16" in str(error.value)


def test_check_judges_a_file_with_topics(tmp_path: Path) -> None:
    path = written(tmp_path)
    done = rtloop("check", path)
    assert "the last command stands for ever" in done.stdout, done.stderr
    if done.returncode:  # without the types of messages, or with a ROS that lacks these
        assert "sensor_msgs" in done.stderr + done.stdout


def test_what_is_not_there_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtloop.nodes", None)
    an_input().refuse_here()


def test_with_ros_check_knows_the_fields(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    path = written(tmp_path, "fields: [data]", "fields: [dota]")
    done = rtloop("check", path)
    assert done.returncode != 0
    assert "dota" in done.stderr + done.stdout
