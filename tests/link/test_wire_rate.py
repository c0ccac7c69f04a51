from __future__ import annotations

import pytest

from rtloop.errors import ConfigError
from rtloop.link import check_wire_rate, parse_schema
from rtloop.link.wire_cost import account_frame_bytes, command_frame_bytes, sensor_frame_bytes
from rtloop.link.wire_rate import carries_account
from tests.firmware import reference as ref


def schema(n_sensor: int, n_command: int, rate_hz: int = 1000) -> str:
    lines = [f"sensor s{i} m f32 {rate_hz}\n" for i in range(n_sensor)]
    lines += [f"command c{i} N f32 {rate_hz}\n" for i in range(n_command)]
    return "rtloop-schema 1\nname x\n" + "".join(lines)


@pytest.mark.parametrize("count", [0, 1, 4, 48, 128])
def test_frame_sizes_are_those_of_the_wire(count: int) -> None:
    fields = {"sample_time_us": 0, "state": 0, "reasons": 0, "command_seq": 0, "late_commands": 0}
    values = {"values": [1.1] * count}  # no byte of it is 0: the worst case for COBS
    sensor = ref.encode_message("sensor", {**fields, **values})
    command = ref.encode_message("command", {"valid_until_us": 0, **values})
    frames = [ref.encode_frame(ref.encode_packet(7, 0, 0, 0, 0, p)) for p in (sensor, command)]
    assert [len(f) for f in frames] == [sensor_frame_bytes(count), command_frame_bytes(count)]


def test_a_line_that_is_just_fast_enough_is_taken() -> None:
    agreed = parse_schema(schema(4, 1))
    check_wire_rate(460_000, agreed, 1000)  # 46 bytes
    with pytest.raises(ConfigError) as refused:
        check_wire_rate(459_999, agreed, 1000)
    message = str(refused.value)
    assert "46 bytes x 10 bits x 1000 Hz = 460000" in message
    assert "at most 999 Hz" in message
    assert "sensor rate" in message


def test_the_other_direction_is_judged_by_the_rate_of_the_loop() -> None:
    agreed = parse_schema(schema(1, 12, rate_hz=10))
    check_wire_rate(115_200, agreed, 155)  # 74 bytes
    with pytest.raises(ConfigError, match=r"(?s)commands.*74 bytes.*at most 155 Hz.*rate_hz"):
        check_wire_rate(115_200, agreed, 156)


def test_a_device_without_sensors_is_judged_by_its_commands_alone() -> None:
    check_wire_rate(30_000, parse_schema(schema(0, 1)), 100)


def test_an_account_is_asked_for_where_it_delays_no_packet() -> None:
    request, answer = account_frame_bytes()
    assert request == len(ref.encode_frame(ref.encode_packet(15, 1, 1, 1, 1 << 30, b"")))
    assert answer == len(ref.encode_frame(ref.encode_packet(16, 1, 1, 1, 1 << 30, b"x" * 96)))
    samples, commands = parse_schema(schema(4, 1, 100)), parse_schema(schema(1, 12, rate_hz=1))
    assert carries_account((46 + 114) * 10 * 100, samples, 1)
    assert not carries_account((46 + 114) * 10 * 100 - 1, samples, 1)
    assert carries_account((74 + 18) * 10 * 155, commands, 155)
    assert not carries_account((74 + 18) * 10 * 155 - 1, commands, 155)
