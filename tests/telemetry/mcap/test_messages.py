import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap_ros2._dynamic import generate_dynamic

from rtloop import core
from rtloop.ports.signal import Signal
from rtloop.telemetry.mcap import messages as msg
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.ring import Batch
from tests.telemetry.loops import REALTIME_NS_OFFSET, cycles, metadata, sources

ROS_FIELD = re.compile(r"[a-z]([a-z0-9]|_(?=[a-z0-9]))*")


def cycle_messages(message: msg.CycleMessage, records: rec.Records) -> list[bytes]:
    filled = np.zeros(len(records), message.dtype)
    message.fill(filled, records)
    return [one.tobytes() for one in filled]


def signals_messages(message: msg.SignalsMessage, batch: Batch) -> list[bytes]:
    filled = np.zeros(len(batch), message.dtype)
    message.fill(filled, batch)
    return [one.tobytes() for one in filled]


def miss_messages(message: msg.MissMessage, records: rec.Records, offset_ns: int) -> list[bytes]:
    filled = np.zeros(len(records), message.dtype)
    message.fill(filled, records, offset_ns)
    keys = message.keys(records).tolist()
    return [one.tobytes() + message.words(key) for one, key in zip(filled, keys, strict=True)]


def decode(message: msg.CycleMessage | msg.SignalsMessage | msg.MissMessage, data: bytes):  # type: ignore[no-untyped-def]
    return generate_dynamic(message.type_name, message.schema)[message.type_name](data)


@st.composite
def any_records(draw: st.DrawFn) -> rec.Records:
    """Records of arbitrary bytes whose differences do not leave 64 bits."""
    n = draw(st.integers(1, 4))
    raw = draw(st.binary(min_size=n * core.RECORD_SIZE, max_size=n * core.RECORD_SIZE))
    records: rec.Records = np.frombuffer(raw, rec.RECORD_DTYPE).copy()
    for name in rec.RECORD_DTYPE.names or ():
        if name.endswith("_ns"):
            records[name] >>= 2
    return records


@given(any_records())
def test_a_ros_decoder_reads_back_every_field_of_any_record(records: rec.Records) -> None:
    message = msg.CycleMessage()
    for record, data in zip(records, cycle_messages(message, records), strict=True):
        decoded = decode(message, data)
        for name, value in rec.record_as_dict(record).items():
            assert getattr(decoded, name) == value
        assert decoded.lateness_ns == int(record["finish_ns"]) - int(record["deadline_ns"])
        assert decoded.response_ns == int(record["finish_ns"]) - int(record["release_ns"])
        assert decoded.release_latency_ns == int(record["start_ns"]) - int(record["release_ns"])


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
    st.lists(st.integers(0, 2**32 - 1), max_size=5),
)
@settings(max_examples=50)
def test_signals_keep_every_bit(inputs: list[int], outputs: list[int]) -> None:
    loop = metadata(n_inputs=len(inputs), n_outputs=len(outputs))
    message = msg.SignalsMessage(loop, "rtloop_msgs/msg/BalanceSignals")
    batch = Batch(
        cycles(1, first=41),
        sources(1, len(loop.sources)),
        np.array([inputs], np.uint32).view(np.float32).reshape(1, len(inputs)),
        np.array([outputs], np.uint32).view(np.float32).reshape(1, len(outputs)),
    )
    (data,) = signals_messages(message, batch)
    decoded = decode(message, data)
    assert decoded.cycle == 41
    names = (*message.input_fields, *message.output_fields)
    # A NaN is not preserved by every decoder's float, but its bytes are in the message.
    n_bytes = 4 * (len(inputs) + len(outputs))
    assert data[len(data) - n_bytes :] == np.array([*inputs, *outputs], np.uint32).tobytes()
    for i, source in enumerate(loop.sources):
        found = batch.sources[0][i]
        assert getattr(decoded, f"age_{source}_ns") == found["age_ns"]
        assert getattr(decoded, f"gap_{source}") == found["gap"]
        assert getattr(decoded, f"events_{source}") == found["events"]
    for name, bits in zip(names, (*inputs, *outputs), strict=True):
        value = np.array([bits], np.uint32).view(np.float32)[0]
        np.testing.assert_equal(np.float32(getattr(decoded, name)), value)


def test_a_miss_says_in_words_what_happened() -> None:
    records = cycles(40, first=100, miss_every=20, loop_class="soft")
    missed = records[rec.missed(records)]
    missed["events"][0] |= rec.EVENT_BITS["guard"]
    message = msg.MissMessage()
    for record, data in zip(
        missed, miss_messages(message, missed, REALTIME_NS_OFFSET), strict=True
    ):
        decoded = decode(message, data)
        assert decoded.cycle == record["cycle"]
        assert (decoded.loop_class, decoded.outcome, decoded.longest_stage) == (
            "soft", "written_late", "infer",
        )  # fmt: skip
        assert decoded.event_names == " ".join(rec.event_names(int(record["events"])))
        assert decoded.tardiness_ns == decoded.lateness_ns > 0
        assert decoded.response_ns == (
            decoded.release_latency_ns
            + decoded.read_duration_ns
            + decoded.infer_duration_ns
            + decoded.write_duration_ns
        )
        stamp = decoded.stamp.sec * 10**9 + decoded.stamp.nanosec
        assert stamp == record["release_ns"] + REALTIME_NS_OFFSET


@given(st.text(), st.text(), st.sampled_from(["input", "output"]))
def test_any_name_and_unit_becomes_a_valid_ros_field(name: str, unit: str, prefix: str) -> None:
    names = msg.field_names(prefix, [Signal(name, unit), Signal(name, unit)])
    assert len(set(names)) == 2
    for field in names:
        assert ROS_FIELD.fullmatch(field), field


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal("cart.pole_angle", "rad"), "input_cart_pole_angle_rad"),
        (Signal("cart.pole_rate", "rad/s"), "input_cart_pole_rate_rad_per_s"),
        (Signal("accel", "m/s²"), "input_accel_m_per_s2"),
        (Signal("duty", "%"), "input_duty_percent"),
        (Signal("force_n", "N"), "input_force_n"),
        (Signal("0", ""), "input_0"),
    ],
)
def test_a_field_is_named_after_signal_and_unit(signal: Signal, expected: str) -> None:
    assert msg.field_names("input", [signal]) == (expected,)


def test_two_loops_never_share_a_signals_type() -> None:
    first = msg.signals_type_name("left_arm")
    assert first == "rtloop_msgs/msg/LeftArmSignals"
    assert msg.signals_type_name("leftArm", {first}) != first
    assert msg.signals_type_name("7").startswith("rtloop_msgs/msg/Loop7")


def test_a_schema_tells_its_own_layout() -> None:
    message = msg.CycleMessage()
    assert msg.cdr_dtype(msg.fields_of_schema(message.schema)) == message.dtype
    with pytest.raises(ValueError, match="string"):
        msg.fields_of_schema(msg.MissMessage().schema.replace("builtin_interfaces/Time", "string"))
