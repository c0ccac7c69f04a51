"""Numbers of messages by their paths: as rclpy decodes and encodes them, for any message class."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from rtloop.core import CdrOp, CdrReader, CdrType
from rtloop.errors import ConfigError
from rtloop.nodes.fields import reader, writer
from rtloop.nodes.message_types import message_class
from tests.core.cdr import Encoder

N = 2000
JOINTS = ["hip", "knee", "ankle"]


def of(name: str) -> Any:
    pytest.importorskip(name.partition("/")[0])
    return message_class(name)


def drawn_message(type_class: Any, draw: random.Random) -> Any:
    message = type_class()
    for name, text in type_class.get_fields_and_field_types().items():
        base, n = text.partition("<")[0].partition("[")[0], None
        if base == "sequence":
            inner = text[len("sequence<") : -1].split(", ")
            base = inner[0].partition("<")[0]
            n = draw.randrange(min(4, int(inner[1]) + 1) if len(inner) > 1 else 4)
        elif text.endswith("]"):
            n = int(text[:-1].rpartition("[")[2])
        elements = [drawn_one(base, draw) for _ in range(1 if n is None else n)]
        setattr(message, name, elements[0] if n is None else elements)
    return message


def drawn_one(base: str, draw: random.Random) -> Any:
    if base == "builtin_interfaces/Time" and draw.random() < 0.8:  # a right one
        return message_class(base)(sec=draw.randrange(2**31), nanosec=draw.randrange(10**9))
    if "/" in base:
        return drawn_message(message_class(base), draw)
    if base in ("string", "wstring"):
        return "".join(
            draw.choice("aßj_7" if base == "string" else "aé€_") for _ in range(draw.randrange(6))
        )
    if base == "boolean":
        return draw.random() < 0.5
    if base == "octet":
        return bytes([draw.randrange(256)])
    if base in ("float", "double"):
        return float(np.float32(draw.uniform(-1e3, 1e3))) if base == "float" else draw.gauss(0, 1e3)
    bits = int(base.rpartition("t")[2])
    signed = not base.startswith("u")
    return (
        draw.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else draw.randrange(2**bits)
    )


def number(message: Any, path: str) -> float:
    """As Python reads the path."""
    value = eval(f"message.{path}", {"message": message})
    return float(value[0] if isinstance(value, bytes) else value)


PLAIN = {
    "sensor_msgs/msg/Imu": [
        ["orientation.w", "angular_velocity.y", "linear_acceleration_covariance[8]"],
        ["linear_acceleration.z", "orientation_covariance[3]", "orientation_covariance[0]"],
    ],
    "geometry_msgs/msg/TwistStamped": [["twist.linear.x", "twist.angular.z"], ["header.stamp.sec"]],
    "std_msgs/msg/Float64MultiArray": [["data[0]", "data[2]"], ["layout.data_offset", "data[1]"]],
    "sensor_msgs/msg/Joy": [["axes[0]", "axes[1]", "buttons[2]"]],
    "std_msgs/msg/Float32": [["data"]],
    "std_msgs/msg/Bool": [["data"]],
    "std_msgs/msg/UInt64": [["data"]],
    "diagnostic_msgs/msg/DiagnosticArray": [["status[1].level", "status[0].level"]],
    "trajectory_msgs/msg/JointTrajectory": [
        ["points[1].time_from_start.nanosec", "points[0].velocities[1]", "points[1].effort[0]"]
    ],
    "type_description_interfaces/msg/TypeDescription": [
        [
            "referenced_type_descriptions[0].fields[1].type.capacity",
            "type_description.fields[0].type.type_id",
        ]
    ],
}
#: Everything that a message can be made of, where the distribution has it.
DEEP = {
    "test_msgs/msg/Arrays": [
        ["alignment_check", "bool_values[1]", "byte_values[0]", "int16_values[2]"]
    ],
    "test_msgs/msg/UnboundedSequences": [
        ["alignment_check"],
        ["basic_types_values[1].uint32_value"],
    ],
    "test_msgs/msg/BoundedSequences": [["alignment_check", "defaults_values[0].int64_value"]],
    "test_msgs/msg/MultiNested": [
        ["unbounded_sequence_of_unbounded_sequences[1].alignment_check"],
        [
            "array_of_arrays[1].basic_types_values[2].float64_value",
            "bounded_sequence_of_arrays[0].int8_values[0]",
        ],
    ],
}


@pytest.mark.parametrize("name", [*PLAIN, *DEEP])
def test_random_messages_are_decoded_as_rclpy_decodes_them(name: str) -> None:
    draw = random.Random(name)
    type_class = of(name)
    n = N if name in PLAIN else N // 20
    messages = [bytes(serialize_message(drawn_message(type_class, draw))) for _ in range(n)]
    stamped = "header" in type_class.get_fields_and_field_types()
    for fields in (PLAIN | DEEP)[name]:
        compiled = reader(type_class, fields, None, None, stamped)
        right = 0
        for raw in messages:
            right += check(compiled, raw, type_class, fields, stamped)
        assert right > n / 20


def check(
    compiled: CdrReader, raw: bytes, type_class: Any, fields: Sequence[str], stamped: bool
) -> bool:
    """Whether the message held the fields; fails when the two see it differently."""
    message = deserialize_message(raw, type_class)
    try:
        expected = [number(message, path) for path in fields]
    except IndexError:
        expected = []
    stamp = message.header.stamp if stamped else None
    if not expected or (stamp is not None and (stamp.sec < 0 or stamp.nanosec >= 10**9)):
        with pytest.raises(ValueError, match=r"the element|stamp"):
            compiled.read(raw)
        return False
    values, stamp_ns = compiled.read(raw)
    assert values.tolist() == np.array(expected, np.float64).astype(np.float32).tolist()
    assert stamp_ns == (-1 if stamp is None else stamp.sec * 10**9 + stamp.nanosec)
    return True


def test_joints_whatever_their_order() -> None:
    draw = random.Random(1)
    joint_state = of("sensor_msgs/msg/JointState")
    compiled = reader(joint_state, ["position", "velocity"], JOINTS, None, True)
    names = [*JOINTS, "wrist", "finger_1"]
    empty = 0
    for _ in range(N):
        if draw.random() < 0.3:
            names = draw.sample([*JOINTS, "wrist", "finger_1", "finger_22"], 6)
            names = [n for n in names if n in JOINTS or draw.random() < 0.5]
        message = joint_state(name=names)
        message.header.stamp.sec = draw.randrange(2**31)
        message.header.frame_id = "f" * draw.randrange(9)
        message.position = [draw.gauss(0, 3) for _ in names]
        message.velocity = [draw.gauss(0, 3) for _ in names]
        message.effort = [1.0] * draw.randrange(3)
        if draw.random() < 0.1:
            empty += 1
            message.velocity = []
            with pytest.raises(ValueError, match="empty"):
                compiled.read(bytes(serialize_message(message)))
            continue
        values, stamp_ns = compiled.read(bytes(serialize_message(message)))
        at = [names.index(joint) for joint in JOINTS]
        expected = [float(field[i]) for field in (message.position, message.velocity) for i in at]
        assert values.tolist() == np.array(expected).astype(np.float32).tolist()
        assert stamp_ns == message.header.stamp.sec * 10**9
    assert 0 < empty < N


def test_joints_of_a_point_of_a_trajectory() -> None:
    draw = random.Random(2)
    trajectory = of("trajectory_msgs/msg/JointTrajectory")
    point = of("trajectory_msgs/msg/JointTrajectoryPoint")
    compiled = reader(trajectory, ["points[1].velocities"], JOINTS, None, False)
    for _ in range(N):
        names = draw.sample(JOINTS, 3)
        message = trajectory(joint_names=names)
        for i in range(draw.randrange(4)):
            numbers = [draw.gauss(0, 1) for _ in names]
            message.points.append(point(positions=[0.0] * i, velocities=numbers))
        raw = bytes(serialize_message(message))
        if len(message.points) < 2:
            with pytest.raises(ValueError, match="before the element"):
                compiled.read(raw)
            continue
        expected = [message.points[1].velocities[names.index(joint)] for joint in JOINTS]
        assert compiled.read(raw)[0].tolist() == np.array(expected).astype(np.float32).tolist()


def test_joints_by_position_where_there_are_no_names() -> None:
    array = of("std_msgs/msg/Float64MultiArray")
    compiled = reader(array, ["data"], JOINTS, None, False)
    assert compiled.read(bytes(serialize_message(array(data=[1.0, 2.0, 3.0]))))[0].tolist() == [
        1,
        2,
        3,
    ]
    for other in ([1.0, 2.0], [1.0, 2.0, 3.0, 4.0], []):
        with pytest.raises(ValueError, match="another length than there are joints"):
            compiled.read(bytes(serialize_message(array(data=other))))


def test_strings_of_wide_characters_are_passed() -> None:
    draw = random.Random(5)
    strings = of("test_msgs/msg/WStrings")  # seven, a sequence of them, and another
    passed = [(CdrOp.strings, 4, 7), (CdrOp.count, 0, 0), (CdrOp.rest, 1, 0), (CdrOp.strings, 4, 1)]
    for _ in range(N // 10):
        message = drawn_message(strings, draw)
        n = len(message.unbounded_sequence_of_wstrings)
        for claimed in (n, n + 1):
            made = CdrReader([*passed, (CdrOp.count, claimed, 1)], [], 0)
            if claimed == n:
                made.read(bytes(serialize_message(message)))
                continue
            with pytest.raises(ValueError, match="another length"):
                made.read(bytes(serialize_message(message)))
    with pytest.raises(ConfigError, match="it is a wstring; expected a number"):
        reader(strings, ["wstring_value"], None, None, False)


BY_JOINT: dict[str, Any] = {"joints": JOINTS}
WRONG: dict[str, list[tuple[list[str], dict[str, Any], str]]] = {
    "sensor_msgs/msg/JointState": [
        (["positions"], {}, "has no positions; expected .*; nearest position"),
        (["position"], {}, r"a sequence of float64; expected .* position\[0\]"),
        (["header"], {}, "its fields are stamp, frame_id"),
        (["name[0]"], {}, "it is a string"),
        (["position[0].x"], {}, "a float64 has no fields"),
        (["position.x"], {}, r"expected an index, as in \[0\].x"),
        (["position[x]"], {}, "expected a path"),
        (["effort[1]", "effort[1]"], {}, "twice"),
        (["position"], BY_JOINT | {"names": "effort"}, "expected a sequence of string"),
        (["position[0]"], BY_JOINT, "for each joint"),
    ],
    "std_msgs/msg/Float32": [
        (["data"], {"stamp": True}, "has no header"),
        (["data[0]"], {}, "a float32 has no elements"),
    ],
    "sensor_msgs/msg/Imu": [
        (["orientation_covariance[9]"], {}, "an index below 9"),
        (["orientation_covariance"], BY_JOINT, "a sequence of 3 numbers"),
    ],
    "diagnostic_msgs/msg/DiagnosticArray": [(["status.level"], {}, r"\[0\].level")],
    "test_msgs/msg/UnboundedSequences": [(["int8_values"], BY_JOINT, "expected names: one of")],
    "test_msgs/msg/BoundedPlainSequences": [
        (["int8_values"], {"joints": list("abcd")}, "at most 3"),
    ],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_message_class_has_not_is_refused(name: str) -> None:
    type_class = of(name)
    for fields, asked, why in WRONG[name]:
        options: dict[str, Any] = {"joints": None, "names": None} | asked
        with pytest.raises(ConfigError, match=why):
            reader(type_class, fields, **({"stamp": False} | options))
        if "stamp" not in asked:
            with pytest.raises(ConfigError, match=why):
                writer(type_class, fields, **options)


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nearest Float32"):
        message_class("std_msgs/msg/Flaot32")
    with pytest.raises(ConfigError, match=r"apt install ros-\$ROS_DISTRO-no-such-msgs"):
        message_class("no_such_msgs/msg/Float32")
    with pytest.raises(ConfigError, match=r"such as sensor_msgs/msg/JointState"):
        message_class("Float32")


def joint_state_bytes(values: Sequence[float], stamp_ns: int, padding: bytes) -> bytes:
    encoder = Encoder(padding=padding).stamp(*divmod(stamp_ns, 10**9)).string("").strings(JOINTS)
    encoder.sequence(CdrType.float64, values[:3]).sequence(CdrType.float64, []).sequence(
        CdrType.float64, values[3:]
    )
    return encoder.message


def trajectory_bytes(values: Sequence[float], stamp_ns: int, padding: bytes) -> bytes:
    encoder = Encoder(padding=padding).stamp(0, 0).string("").strings(JOINTS).count(1)
    encoder.sequence(CdrType.float64, values)
    for _ in range(3):
        encoder.sequence(CdrType.float64, [])
    return encoder.stamp(1, 5_000_000).message


def multi_array_bytes(values: Sequence[float], stamp_ns: int, padding: bytes) -> bytes:
    return Encoder(padding=padding).count(0).count(0).sequence(CdrType.float64, values).message


def twist_bytes(values: Sequence[float], stamp_ns: int, padding: bytes) -> bytes:
    encoder = Encoder(padding=padding).stamp(*divmod(stamp_ns, 10**9)).string("")
    return encoder.number(CdrType.float64, values[0], 0, 0, 0, 0, values[1]).message


@pytest.mark.parametrize(
    ("name", "fields", "joints", "encoded"),
    [
        ("sensor_msgs/msg/JointState", ["position", "effort"], JOINTS, joint_state_bytes),
        ("trajectory_msgs/msg/JointTrajectory", ["points[0].positions"], JOINTS, trajectory_bytes),
        ("std_msgs/msg/Float64MultiArray", ["data"], JOINTS, multi_array_bytes),
        (
            "geometry_msgs/msg/TwistStamped",
            ["twist.linear.x", "twist.angular.z"],
            None,
            twist_bytes,
        ),
    ],
)
def test_what_is_written_is_what_rclpy_makes_of_the_message(
    name: str, fields: list[str], joints: list[str] | None, encoded: Callable[..., bytes]
) -> None:
    draw = random.Random(3)
    type_class = of(name)
    made = writer(type_class, fields, joints, None, period_ns=1_005_000_000)
    for _ in range(N):
        values = np.array([draw.gauss(0, 10) for _ in range(made.n_values)], np.float32)
        stamp_ns = draw.randrange(2**31 * 10**9)
        mine = made.data(values, stamp_ns)
        by_hand, other = (
            encoded(values.tolist(), stamp_ns, padding) for padding in (b"\0", b"\xff")
        )
        again = bytes(serialize_message(deserialize_message(mine, type_class)))
        for message in (mine, again):  # what pads it, also behind its end, is any byte
            assert len(message) == len(again) >= len(by_hand)
            kept = [i for i in range(len(by_hand)) if by_hand[i] == other[i]]
            assert bytes(message[i] for i in kept) == bytes(by_hand[i] for i in kept)


def test_elements_and_types_of_what_is_written() -> None:
    joy = of("sensor_msgs/msg/Joy")
    made = writer(joy, ["buttons[2]", "axes[1]", "buttons[0]"], None, None)
    values = np.array([2.6, 0.25, -1e12], np.float32)
    message = deserialize_message(made.data(values, 1_000_000_002), joy)
    assert list(message.buttons) == [-(2**31), 0, 3]
    assert list(message.axes) == [0, 0.25]
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 2)
    flag = of("std_msgs/msg/Bool")
    assert deserialize_message(
        writer(flag, ["data"], None, None).data(np.ones(1, np.float32), 0), flag
    ).data
    with pytest.raises(ConfigError, match="command's time"):
        writer(joy, ["header.stamp.sec"], None, None)


@pytest.mark.parametrize(
    "fields",
    [
        ["array_of_arrays[1].basic_types_values[2].float64_value"],
        [
            "array_of_unbounded_sequences[2].float32_values[2]",
            "unbounded_sequence_of_bounded_sequences[1].alignment_check",
        ],
    ],
)
def test_numbers_deep_inside_what_is_written(fields: list[str]) -> None:
    nested = of("test_msgs/msg/MultiNested")
    made = writer(nested, fields, None, None)
    values = np.arange(5, 5 + len(fields), dtype=np.float32)
    message = deserialize_message(made.data(values, 0), nested)
    assert [number(message, path) for path in fields] == values.tolist()


def test_which_names_where_there_are_several() -> None:
    sequences = of("test_msgs/msg/UnboundedSequences")
    message = sequences(string_values=["x"], string_values_default=["ankle", "hip", "knee"])
    message.int64_values = [1, 2, 3]
    compiled = reader(sequences, ["int64_values"], JOINTS, "string_values_default", False)
    assert compiled.read(bytes(serialize_message(message)))[0].tolist() == [2, 3, 1]
    made = writer(sequences, ["int64_values"], JOINTS, "string_values")
    written = deserialize_message(made.data(np.arange(3, dtype=np.float32), 0), sequences)
    assert (list(written.string_values), list(written.int64_values)) == (JOINTS, [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "fields", "names"),
    [
        ("MultiDOFCommand", ["values", "values_dot"], None),
        ("JointJog", ["displacements"], None),
        ("JointTrajectoryControllerState", ["feedback.positions"], "joint_names"),
    ],
)
def test_messages_of_ros2_control(name: str, fields: list[str], names: str | None) -> None:
    type_class = of(f"control_msgs/msg/{name}")
    made = writer(type_class, fields, JOINTS, names)
    values = np.arange(made.n_values, dtype=np.float32)
    compiled = reader(type_class, fields, JOINTS, names, False)
    assert compiled.read(made.data(values, 0))[0].tolist() == values.tolist()


_COMPILED: list[tuple[CdrReader, bytes]] = []


def _compiled() -> list[tuple[CdrReader, bytes]]:
    if not _COMPILED:
        joint_state = of("sensor_msgs/msg/JointState")
        message = joint_state(name=JOINTS, position=[1.0, 2.0, 3.0], velocity=[0.0] * 3)
        made = reader(joint_state, ["position", "velocity"], JOINTS, None, True)
        _COMPILED.append((made, bytes(serialize_message(message))))
        diagnostics = of("diagnostic_msgs/msg/DiagnosticArray")
        draw = random.Random(4)
        raws = (bytes(serialize_message(drawn_message(diagnostics, draw))) for _ in range(100))
        made = reader(diagnostics, ["status[2].level"], None, None, False)
        _COMPILED.append((made, max(raws, key=len)))
    return _COMPILED


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_messages_are_read_or_refused(data: st.DataObject) -> None:
    made, good = data.draw(st.sampled_from(_compiled()))
    expected = made.read(good)[0].tolist()
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
            st.sampled_from([0, 1, 127, 128, 255])
        )
    try:
        values = made.read(bytes(raw[: data.draw(st.integers(0, len(raw)))]))[0]
        assert values.shape == (len(expected),)
    except ValueError:
        pass
    assert made.read(good)[0].tolist() == expected
