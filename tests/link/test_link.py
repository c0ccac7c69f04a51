"""A link to the real firmware program."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rtloop.errors import LinkError
from rtloop.link import DeviceState, Link, Reason, check_wire_rate
from tests.firmware import reference as ref
from tests.firmware.program import FirmwareProgram
from tests.link.scripted_device import Answers, ScriptedDevice
from tests.running import wait_for

Start = Callable[..., FirmwareProgram]


@pytest.fixture
def program(start_program: Start) -> FirmwareProgram:
    return start_program("--boot-id", "99", "--angle-rad", "0.05")


@pytest.fixture
def link(program: FirmwareProgram) -> Iterator[Link]:
    with Link.open("cart", str(program.path), 1_000_000) as link:
        yield link


def command_until_active(link: Link, attempts: int = 1000) -> None:
    """What the core does with the line: its own count of packets that the link continues; a STOP made ahead."""

    def send(name: str, seq: int, **fields: Any) -> None:
        payload = ref.encode_message(name, fields)
        kind, id = ref.MESSAGES[name][0], link.info.schema_id
        os.write(link.fileno(), ref.encode_frame(ref.encode_packet(kind, seq, 0, id, 0, payload)))

    for seq in range(attempts):
        device_us = (time.monotonic_ns() + link.info.clock_offset_ns) // 1000
        valid_until_us = (device_us + link.info.command_timeout_us) & 0xFFFFFFFF
        send("command", seq, valid_until_us=valid_until_us, values=[0.0])
        time.sleep(0.001)
        received = os.read(link.fileno(), 65536)
        whole, _, _ = received.rpartition(b"\0")
        for frame in ref.decode_frames(whole.partition(b"\0")[2] + b"\0")[0]:
            packet = ref.decode_packet(frame)
            if packet.name == "sensor" and packet.fields["state"] == DeviceState.ACTIVE:
                os.write(link.fileno(), b"\0")
                send("stop", 0, reason_bits=int(Reason.HOST_STOP))
                link.go_on_from(seq + 1)
                return
    raise AssertionError("it never got ACTIVE")


def test_the_handshake_tells_who_it_is(link: Link) -> None:
    info = link.info
    assert (link.name, info.name, info.boot_id) == ("cart", "cartpole", 99)
    assert [f.name for f in info.schema.sensors] == [
        "cart_position",
        "cart_velocity",
        "pole_angle",
        "pole_rate",
    ]
    assert [(f.name, f.unit) for f in info.schema.commands] == [("force", "N")]
    assert info.schema_id == info.schema.id
    assert (info.device_state, info.reasons) == (DeviceState.IDLE, Reason(0))
    assert info.command_timeout_us == 20_000
    assert info.round_trip_ns > 0
    assert info.round_trip_ns // 2 <= info.clock_error_ns
    check_wire_rate(1_000_000, info.schema, 1000)


def test_two_handshakes_agree_on_the_time_within_their_error_bounds(
    program: FirmwareProgram,
) -> None:
    infos = []
    for _ in range(3):
        with Link.open("cart", str(program.path), 1_000_000) as link:
            infos.append(link.info)
    for a in infos:
        for b in infos:
            assert abs(a.clock_offset_ns - b.clock_offset_ns) <= a.clock_error_ns + b.clock_error_ns


def test_the_clock_is_measured_in_64_bits(start_program: Start) -> None:
    start_us = 3 * 2**32
    before_ns = time.monotonic_ns()
    program = start_program("--clock-start-us", str(start_us))
    with Link.open("cart", str(program.path), 1_000_000) as link:
        began_ns = 1000 * start_us - link.info.clock_offset_ns  # host time of the program's start
        error_ns = link.info.clock_error_ns
        assert before_ns - error_ns <= began_ns <= time.monotonic_ns() + error_ns


def test_arm_stop_and_arm_again(link: Link) -> None:
    assert link.arm(loop_class=2, max_late_commands=7).loop_class == 2
    assert link.status().state == DeviceState.ARMED
    assert link.arm(loop_class=1).loop_class == 1  # nothing was commanded yet
    assert link.stop() is not None
    status = link.status()
    assert (status.state, status.reasons) == (DeviceState.SAFE, Reason.HOST_STOP)
    # The host's own stop is no reason to refuse.
    assert link.arm(loop_class=0).state == DeviceState.ARMED


def test_a_device_latched_safe_for_another_reason_is_armed_only_with_clear(link: Link) -> None:
    link.stop(Reason.LIMIT | Reason.DEADLINE_MISSES)
    with pytest.raises(LinkError) as refused:
        link.arm(loop_class=1)
    assert "'cart'" in str(refused.value)
    assert "latched SAFE: DEADLINE_MISSES, LIMIT" in str(refused.value)
    assert "--clear" in str(refused.value)
    assert link.status().state == DeviceState.SAFE
    assert link.arm(loop_class=1, clear=~Reason(0)).reasons == Reason(0)


def test_a_machine_that_objects_is_named_with_its_reasons(
    link: Link, program: FirmwareProgram
) -> None:
    program.process.send_signal(signal.SIGUSR2)  # the emergency stop
    wait_for(lambda: link.status().state == DeviceState.SAFE, "the emergency stop")
    with pytest.raises(
        LinkError, match="was not cleared: it is SAFE: HARDWARE. Its machine objects"
    ):
        link.arm(loop_class=1, clear=~Reason(0))


def test_a_device_says_why_it_does_not_arm() -> None:
    objections = {
        Reason.HARDWARE | Reason.LIMIT: r"its machine objects \(LIMIT, HARDWARE\)",
        Reason.COMMAND_TIMEOUT: "a command timeout of 50 ms is more than it allows",
        Reason(0): "may be more than it allows",
    }
    for reasons, words in objections.items():

        def script(request: ref.Packet, reasons: Reason = reasons) -> Answers:
            refusal = {**device.status(), "reasons": int(reasons)}
            return [("device_status", refusal)] if request.name == "arm" else None

        with (
            ScriptedDevice(script) as device,
            Link.open("arm", device.path, 1_000_000) as link,
            pytest.raises(LinkError, match=words),
        ):
            link.arm(loop_class=1, command_timeout_us=50_000)


def test_a_device_that_stays_armed_on_earlier_terms_is_refused(link: Link) -> None:
    link.arm(loop_class=1)
    with pytest.raises(LinkError, match="a command timeout of 2000 ms is more than it allows"):
        link.arm(loop_class=1, command_timeout_us=2_000_000)


def test_clear_disarms_nothing_and_arms_nothing(link: Link) -> None:
    link.stop()
    assert link.clear().state == DeviceState.IDLE
    assert link.clear().state == DeviceState.IDLE


def test_the_core_takes_the_line_over_and_the_link_gets_it_back(link: Link) -> None:
    for _ in range(3):
        link.arm(loop_class=1, command_timeout_us=1_000_000)
        command_until_active(link)
        assert link.stop() is not None
    status = link.status()
    assert (status.state, status.reasons) == (DeviceState.SAFE, Reason.HOST_STOP)
    assert (status.late_commands, status.rejected_commands) == (0, 0)
    assert (status.crc_errors, status.frame_errors, status.seq_gaps) == (0, 0, 0)


def test_a_line_in_use_is_refused_by_name(link: Link, program: FirmwareProgram) -> None:
    with pytest.raises(LinkError, match=r"link 'other': .* in use by another program"):
        Link.open("other", str(program.path), 1_000_000)


def test_a_refused_link_leaves_the_line_free(start_program: Start) -> None:
    program = start_program()
    program.unplug()
    end = time.monotonic() + 10
    while program.path.is_symlink():
        assert time.monotonic() < end
    with pytest.raises(LinkError, match="link 'cart': there is no "):
        Link.open("cart", str(program.path), 1_000_000)


def test_an_unplugged_device_is_an_error_for_arm_but_not_for_stop(
    link: Link, program: FirmwareProgram
) -> None:
    program.unplug()
    while program.path.is_symlink():
        time.sleep(0.01)
    with pytest.raises(LinkError, match="was lost"):
        link.arm(loop_class=1)
    assert link.stop() is None
    link.close()


def test_the_device_is_found_as_its_last_host_left_it(program: FirmwareProgram) -> None:
    with Link.open("cart", str(program.path), 1_000_000) as link:
        link.arm(loop_class=1)
        link.stop(Reason.DEADLINE_MISSES)
    with Link.open("cart", str(program.path), 1_000_000) as link:
        assert link.info.device_state == DeviceState.SAFE
        assert link.info.reasons == Reason.DEADLINE_MISSES | Reason.HOST_STOP
