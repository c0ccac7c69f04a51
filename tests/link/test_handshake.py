"""Handshakes with devices that misbehave."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from rtloop.errors import LinkError
from rtloop.link import DeviceState, Link, Reason, TermsError, handshake
from tests.firmware import reference as ref
from tests.link.scripted_device import SCHEMA, Answers, ScriptedDevice


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "HELLO_ATTEMPTS", 5)
    monkeypatch.setattr(handshake, "ANSWER_TIMEOUT_S", 0.1)


def opened(device: ScriptedDevice) -> Link:
    return Link.open("arm", device.path, 1_000_000)


def refusal(device: ScriptedDevice) -> str:
    with pytest.raises(LinkError) as refused:
        opened(device)
    assert str(refused.value).startswith("link 'arm': ")
    return str(refused.value)


def test_an_ordinary_device_is_understood() -> None:
    with ScriptedDevice() as device, opened(device) as link:
        info = link.info
        assert (info.name, info.boot_id, info.device_state) == ("scripted", 1, DeviceState.IDLE)
        assert info.schema.text == SCHEMA
        assert info.schema_id == device.schema_id
        assert info.command_timeout_us == 20000
        assert info.sensor_period_us == 10000
        assert abs(info.clock_offset_ns - 1000 * device.offset_us) <= info.clock_error_ns


def test_every_request_after_hello_carries_the_schema_id() -> None:
    with ScriptedDevice() as device:
        opened(device).close()
        hello, *others = device.requests
        assert (hello.name, hello.schema_id) == ("hello", 0)
        assert {packet.schema_id for packet in others} == {device.schema_id}


def test_a_device_that_is_still_booting_is_waited_for() -> None:
    ignored = 3

    def script(request: ref.Packet) -> Answers:
        nonlocal ignored
        ignored -= 1
        return [] if ignored >= 0 else None

    with ScriptedDevice(script) as device, opened(device) as link:
        assert link.info.name == "scripted"
        assert device.names()[:4] == ["hello"] * 4


def test_lost_answers_are_asked_for_again() -> None:
    rng = random.Random(4)
    with ScriptedDevice(lambda _: [] if rng.random() < 0.3 else None) as device:
        with opened(device) as link:
            assert link.info.schema.text == SCHEMA
        assert len(device.requests) > 20


def test_garbage_between_packets_does_no_harm() -> None:
    with ScriptedDevice() as device:
        device.garbage = b"boot: console text\r\n\x00\x05\x06\x00"
        with opened(device) as link:
            assert link.info.schema.text == SCHEMA


def test_a_schema_longer_than_a_packet_comes_in_pieces() -> None:
    lines = "".join(f"sensor a_rather_long_name_{i} m f32 100\n" for i in range(30))
    schema = f"rtloop-schema 1\nname scripted\n{lines}"
    with ScriptedDevice(schema=schema) as device:
        with opened(device) as link:
            assert len(link.info.schema.sensors) == 30
        assert device.names().count("schema_request") == -(-len(schema) // 200)


def test_a_silent_line_is_told_from_a_noisy_one() -> None:
    with ScriptedDevice(lambda _: []) as device:
        assert "nothing at all was received" in refusal(device)

    def noise(request: ref.Packet) -> Answers:
        return [("status_request", {})]

    with ScriptedDevice(noise) as device:
        device.schema_id = 0
        device.garbage = b"\x55" * 40
        message = refusal(device)
        assert "no packet that holds" in message
        assert "1000000 baud" in message


def test_another_protocol_version_is_refused() -> None:
    def script(request: ref.Packet) -> Answers:
        return [("hello_reply", {**device.hello_reply(), "version": 0})]

    with ScriptedDevice(script) as device:
        assert "does not speak version 1" in refusal(device)


def test_a_schema_that_does_not_match_its_id_is_refused() -> None:
    with ScriptedDevice() as device:
        device.schema_id ^= 1
        assert "its firmware is inconsistent" in refusal(device)


def test_a_schema_that_does_not_match_the_announced_counts_is_refused() -> None:
    with ScriptedDevice() as device:
        device.n_sensor = 3
        assert "announced 3 sensor and 1 command values" in refusal(device)


@pytest.mark.parametrize("period_us", [0, 5000, 20000])
def test_a_sensor_period_that_is_not_the_schemas_rate_is_refused(period_us: int) -> None:
    def script(request: ref.Packet) -> Answers:
        answer = {**device.hello_reply(), "sensor_period_us": period_us}
        return [("hello_reply", answer)] if request.name == "hello" else None

    with ScriptedDevice(script) as device:
        assert f"a sensor period of {period_us} us, expected 10000 us" in refusal(device)


def test_a_rate_that_is_no_whole_number_of_microseconds_is_understood() -> None:
    with ScriptedDevice(schema=SCHEMA.replace("100", "300")) as device:
        answer = {**device.hello_reply(), "sensor_period_us": 3333}
        device.script = lambda r: [("hello_reply", answer)] if r.name == "hello" else None
        with opened(device) as link:
            assert link.info.sensor_period_us == 3333


def test_a_schema_that_is_wrong_is_refused_with_its_line() -> None:
    with ScriptedDevice(schema=SCHEMA.replace("f32", "f16", 1)) as device:
        assert "line 3" in refusal(device)


def test_a_device_that_stops_answering_amid_its_schema_is_reported() -> None:
    with ScriptedDevice(lambda request: [] if request.name == "schema_request" else None) as device:
        assert "stopped answering while it sent its schema" in refusal(device)


def test_a_clock_that_cannot_be_asked_is_reported() -> None:
    with ScriptedDevice(lambda request: [] if request.name == "time_request" else None) as device:
        assert "answered 0 of 16 time requests" in refusal(device)


@pytest.mark.parametrize(
    ("t2_us", "t3_us"),
    [
        (-1_000_000, 0),  # held for longer than the host waited
        (0, -1),  # replied before it was received
        (1 << 60, 1 << 60),  # after more years than there were
    ],
)
def test_times_that_cannot_be_true_do_not_count(t2_us: int, t3_us: int) -> None:
    def script(request: ref.Packet) -> Answers:
        if request.name != "time_request":
            return None
        now_us = device.now_us()
        times = {"t2_us": now_us + t2_us, "t3_us": now_us + t3_us}
        return [("time_reply", {**request.fields, **times})]

    with ScriptedDevice(script) as device:
        assert "answered 0 of 16 time requests with times that can be true" in refusal(device)


def test_what_a_device_calls_itself_controls_no_terminal() -> None:
    def script(request: ref.Packet) -> Answers:
        answer = {**device.hello_reply(), "version": 0, "name": "a\x1b[2Jb"}
        return [("hello_reply", answer)]

    with ScriptedDevice(script) as device:
        assert "'a?[2Jb'" in refusal(device)
    with ScriptedDevice(schema=SCHEMA.replace("m/s", "\x1b[2J")) as device:
        assert "no printable ASCII at 58" in refusal(device)


def test_the_exchange_with_the_lowest_round_trip_of_16_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exchanges = [handshake.ClockOffset(offset, 500, 1000 - offset, 0) for offset in range(16)]
    random.Random(3).shuffle(exchanges)
    left = iter([*exchanges[:5], None, *exchanges[6:]])  # one is lost
    monkeypatch.setattr(handshake, "exchange_time", lambda _: next(left))
    with ScriptedDevice() as device, opened(device) as link:
        kept = [e for e in exchanges if e is not exchanges[5]]
        assert link.info.round_trip_ns == min(e.round_trip_ns for e in kept)
        assert link.info.clock_offset_ns == max(e.offset_ns for e in kept)
    assert next(left, "none left") == "none left"


def test_an_exchange_that_is_slow_one_way_stays_within_its_error_bound() -> None:
    def script(request: ref.Packet) -> Answers:
        answers = device.ordinary(request)
        if request.name == "time_request":
            time.sleep(0.02)  # on the way back only: a wrong offset by 10 ms
        return answers

    with ScriptedDevice(script) as device, opened(device) as link:
        assert link.info.round_trip_ns >= 20_000_000
        assert link.info.clock_error_ns >= 10_000_000
        assert abs(link.info.clock_offset_ns - 1000 * device.offset_us) <= link.info.clock_error_ns


def test_the_answer_to_an_earlier_time_request_is_not_taken_for_this_ones() -> None:
    held: list[tuple[str, dict[str, Any]]] = []

    def script(request: ref.Packet) -> Answers:
        if request.name != "time_request":
            return None
        answers = held[:]
        held[:] = device.ordinary(request)
        return answers + (held if len(answers) else [])

    with ScriptedDevice(script) as device, opened(device) as link:
        assert abs(link.info.clock_offset_ns - 1000 * device.offset_us) <= link.info.clock_error_ns


def test_the_error_bound_holds_however_unequal_the_ways_are() -> None:
    rng = random.Random(2)
    for _ in range(1000):
        true_ns = rng.randrange(-(10**15), 10**15)
        t1 = rng.randrange(10**15)
        there, stay, back = (rng.randrange(5_000_000) for _ in range(3))
        t2 = (t1 + there + true_ns) // 1000 * 1000
        t3 = (t1 + there + stay + true_ns) // 1000 * 1000
        clock = handshake.four_timestamps(t1, t2, t3, t1 + there + stay + back)
        assert abs(clock.offset_ns - true_ns) <= clock.error_ns
        assert abs(clock.round_trip_ns - (there + back)) <= 1000


def test_arming_a_device_that_restarted_since_the_handshake_is_refused() -> None:
    with ScriptedDevice() as device, opened(device) as link:
        device.boot_id = 2
        with pytest.raises(LinkError, match=r"link 'arm': device 'scripted' has restarted"):
            link.arm(loop_class=1)
        assert "arm" not in device.names()


@pytest.mark.parametrize(("state", "hint"), [(0, "not ready"), (3, "another program")])
def test_a_device_in_init_or_active_is_not_armed(state: int, hint: str) -> None:
    with ScriptedDevice() as device, opened(device) as link:
        device.state = state
        with pytest.raises(LinkError, match=hint):
            link.arm(loop_class=1)
        assert "arm" not in device.names()


def test_a_device_that_does_not_arm_is_an_error() -> None:
    def script(request: ref.Packet) -> Answers:
        return [("device_status", device.status())] if request.name == "arm" else None

    with (
        ScriptedDevice(script) as device,
        opened(device) as link,
        pytest.raises(LinkError, match="did not arm: it is IDLE"),
    ):
        link.arm(loop_class=1)


@pytest.mark.parametrize("said_us", [20_000, 40_001, 80_000, 0])
def test_an_armed_device_that_tells_another_command_timeout_is_refused(said_us: int) -> None:
    def script(request: ref.Packet) -> Answers:
        if request.name == "hello" and device.state == DeviceState.ARMED:
            return [("hello_reply", {**device.hello_reply(), "command_timeout_us": said_us})]
        return None

    with ScriptedDevice(script) as device, opened(device) as link:
        with pytest.raises(TermsError) as refused:
            link.arm(loop_class=1, command_timeout_us=40_000)
        assert device.names()[-2:] == ["arm", "hello"]
    told = str(refused.value)
    assert told.startswith(
        "link 'arm': device 'scripted' was armed with a command timeout of 40 ms"
    )
    assert f"says that {said_us / 1000:g} ms is in force" in told
    assert ("set command_timeout_ms to 20" in told) is (said_us == 20_000)


def test_the_command_timeout_that_nothing_was_asked_about_is_the_devices_own() -> None:
    with ScriptedDevice() as device, opened(device) as link:
        link.arm(loop_class=1, command_timeout_us=40_000)
        assert link.resync().device_state == DeviceState.ARMED
        link.arm(loop_class=1)
        assert device.hello_reply()["command_timeout_us"] == 20_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boot_id": 2}, "has restarted since the handshake"),
        ({"schema_id": 4711}, "has restarted since the handshake"),
        ({"state": 1}, "right after it that it is IDLE"),
        ({"state": 4, "reasons": 64}, "right after it that it is SAFE: HARDWARE"),
        ({"state": 3}, "right after it that it is ACTIVE"),
    ],
)
def test_a_device_that_changes_right_after_arm_is_refused(
    change: dict[str, int], words: str
) -> None:
    def script(request: ref.Packet) -> Answers:
        answers = device.ordinary(request)
        if request.name == "arm":
            vars(device).update(change)
        return answers

    with ScriptedDevice(script) as device, opened(device) as link:
        with pytest.raises(LinkError, match=words):
            link.arm(loop_class=1)
        assert device.names()[-1] == "hello"


def test_a_late_answer_to_hello_is_not_taken_for_that_of_the_next_one() -> None:
    def script(request: ref.Packet) -> Answers:
        if request.name == "hello" and device.state == DeviceState.ARMED:
            device.send([("hello_reply", before)], ack=earlier.seq)
        return None

    with ScriptedDevice(script) as device, opened(device) as link:
        before, earlier = device.hello_reply(), device.requests[0]
        assert link.arm(loop_class=1, command_timeout_us=40_000).state == DeviceState.ARMED


def test_a_late_status_is_not_taken_for_the_answer_to_the_next_request() -> None:
    with ScriptedDevice() as device, opened(device) as link:

        def script(request: ref.Packet) -> Answers:
            if request.name == "clear":
                return [*device.ordinary(request), ("device_status", device.status())]
            return None

        device.state, device.reasons = 4, int(Reason.LIMIT)
        device.script = script
        assert link.arm(loop_class=0, clear=~Reason(0)).state == DeviceState.ARMED


def test_a_device_that_falls_silent_is_named_with_what_was_asked() -> None:
    with ScriptedDevice() as device, opened(device) as link:
        device.script = lambda _: []
        with pytest.raises(LinkError, match="did not answer STATUS_REQUEST within 1 s"):
            link.status()
        assert link.stop() is None


# --- between two activations ---


def test_a_new_agreement_measures_the_clock_anew_and_moves_nothing() -> None:
    with ScriptedDevice() as device, opened(device) as link:
        first = link.info
        device.offset_us += 1_000_000
        device.state, device.reasons = DeviceState.SAFE, Reason.LIMIT
        device.requests.clear()
        again = link.resync()
        assert link.info is again
        shift_ns = again.clock_offset_ns - first.clock_offset_ns
        assert abs(shift_ns - 1_000_000_000) <= first.clock_error_ns + again.clock_error_ns
        assert again.clock_time_ns > first.clock_time_ns
        assert (again.device_state, again.reasons) == (DeviceState.SAFE, Reason.LIMIT)
        assert (again.schema, again.boot_id) == (first.schema, first.boot_id)
        assert set(device.names()) == {"hello", "time_request"}


@pytest.mark.parametrize("change", ["boot", "schema"])
def test_a_device_that_restarted_is_not_agreed_with_anew(change: str) -> None:
    with ScriptedDevice() as device, opened(device) as link:
        if change == "boot":
            device.boot_id += 1
        else:
            device.schema_id += 1
        with pytest.raises(LinkError, match="'arm'.*has restarted since the handshake"):
            link.resync()
        with pytest.raises(LinkError, match="'arm'.*has restarted since the handshake"):
            link.arm(loop_class=1)
