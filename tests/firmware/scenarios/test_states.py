"""The states of a device, on every kind: who may move the machine, and what takes that right away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.firmware.program import (
    ACTIVE,
    ARMED,
    COMMAND_TIMEOUT,
    HOST_STOP,
    IDLE,
    SAFE,
    Host,
)
from tests.firmware.scenarios.conftest import StartDevice
from tests.firmware.scenarios.host import host_at

#: Beyond what a shared machine stalls a test; the devices allow 1 s.
LONG_US = 1_000_000
SHORT_US = 50_000
TERMS = {"loop_class": 1, "max_late_commands": 0, "command_timeout_us": LONG_US}


@pytest.fixture
def host(start_device: StartDevice) -> Iterator[Host]:
    """Of a device that has answered its HELLO."""
    device = start_device()
    with host_at(device.address) as host:
        say_hello(host)
        yield host
    device.stop()


def say_hello(host: Host) -> dict[str, object]:
    """Until it is answered, as a host does: a device may not be up yet."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        host.send("hello", min_version=1, max_version=1)
        again = time.monotonic() + 0.1  # a part of an answer is no reason to ask again
        while (left_s := again - time.monotonic()) > 0:
            for packet in host.receive(left_s):
                if packet.name == "hello_reply":
                    host.schema_id = packet.schema_id
                    return packet.fields
    raise AssertionError("HELLO is not answered")


def told(host: Host, request: str, **fields: int) -> dict[str, Any]:
    """The STATUS that answers this request and no other: it acknowledges it."""
    seq = host.send(request, **fields)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for packet in host.receive():
            if packet.name == "device_status" and packet.ack == seq:
                return packet.fields
    raise AssertionError(f"{request} is not answered")


def state(host: Host) -> tuple[int, int]:
    """Of the device, now, and its reasons."""
    status = told(host, "status_request")
    return status["state"], status["reasons"]


def test_a_handshake_tells_name_schema_and_time_and_arms_nothing(host: Host) -> None:
    reply = host.newest("hello_reply").fields
    assert (reply["version"], reply["name"], reply["n_command"]) == (1, "cartpole", 1)
    text = b""
    while len(text) < reply["schema_bytes"]:
        host.send("schema_request", offset=len(text))
        text += host.wait_for("schema_chunk")["bytes"]
    assert text.startswith(b"rtloop-schema 1\nname cartpole\n")
    host.send("time_request", host_ns=7)
    times = host.wait_for("time_reply")
    assert times["host_ns"] == 7
    assert times["t2_us"] <= times["t3_us"]
    assert state(host) == (IDLE, 0)


def test_commands_in_time_are_applied_and_late_ones_refused_and_told(host: Host) -> None:
    host.activate(command_timeout_us=LONG_US)
    state(host)  # all commands of the activation are behind it
    before = host.wait_for("sensor")["command_seq"]
    host.send_command(0.0, valid_for_us=-1)
    event = host.wait_for("event", lambda fields: fields["event"] == 1)
    assert event["lateness_us"] > 0
    host.send_command(0.0, valid_for_us=LONG_US // 2)
    after = host.wait_for("sensor", lambda fields: fields["command_seq"] != before)
    assert (after["state"], after["late_commands"]) == (ACTIVE, 1)
    # Between the two are the request of `state`, and the one that was not applied.
    assert (after["command_seq"] - before) & 0xFFFF == 3


def test_without_commands_it_goes_safe_latched_and_comes_back_by_clear_and_arm_only(
    host: Host,
) -> None:
    host.activate(command_timeout_us=SHORT_US)
    assert host.wait_until_safe() == COMMAND_TIMEOUT
    assert told(host, "arm", **TERMS)["state"] == SAFE
    host.send_command(0.0)
    assert state(host) == (SAFE, COMMAND_TIMEOUT)
    assert told(host, "clear")["state"] == IDLE
    host.send_command(0.0)
    assert state(host) == (IDLE, 0)
    assert told(host, "arm", **TERMS)["state"] == ARMED


def test_stop_is_obeyed_answered_and_latched(host: Host) -> None:
    host.activate(command_timeout_us=LONG_US)
    assert told(host, "stop", reason_bits=0)["state"] == SAFE
    assert state(host) == (SAFE, HOST_STOP)


def test_a_reset_device_is_idle_has_another_boot_id_and_forgot_that_it_was_armed(
    start_device: StartDevice,
) -> None:
    device = start_device()
    with host_at(device.address) as host:
        first = say_hello(host)
        host.activate(command_timeout_us=LONG_US)
    device.reset()
    with host_at(device.address) as host:
        second = say_hello(host)
        assert (second["state"], second["reasons"]) == (IDLE, 0)
        assert second["boot_id"] != first["boot_id"]
        host.wait_for("sensor")
        host.send_command(0.0)
        assert state(host) == (IDLE, 0)
    device.stop()
