"""The firmware program with a plant in another process: here, the test is the plant."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.firmware import reference as ref
from tests.firmware.program import ACTIVE, HARDWARE, IDLE, FirmwareProgram, Host

Start = Callable[..., FirmwareProgram]
SCHEMA = (
    "rtloop-schema 1\nname joint\nsensor position rad f32 100\nsensor velocity rad/s f32 100\n"
    "command torque Nm f32 100\n"
)
PERIOD_NS = 10_000_000
ARGUMENTS = ("--rate-hz", "100", "--command-timeout-ms", "10000")


class Plant:
    """One end of the socket; it answers what the test tells it to."""

    def __init__(self, schema: bytes = SCHEMA.encode(), first: int = 2) -> None:
        self.end, self.their_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.settimeout(10)
        self.end.send(schema)
        if first:
            self.send(0, *[0.5] * first)

    def send(self, taken_ns: int, *values: float) -> None:
        self.end.send(struct.pack(f"=q{len(values)}f", taken_ns, *values))

    def request(self) -> tuple[int, int, int, float]:
        """Until when it is to live, how many periods that is, whether it is driven, the torque."""
        until_ns, steps, is_driven, torque = struct.unpack("=qIIf", self.end.recv(1024))
        return until_ns, steps, is_driven, torque


@pytest.fixture
def plant() -> Iterator[Plant]:
    plant = Plant()
    with plant.end, plant.their_end:
        yield plant


def start_with(start_program: Start, plant: Plant, *arguments: str) -> FirmwareProgram:
    program = start_program(*ARGUMENTS, *arguments, plant_fd=plant.their_end.fileno())
    plant.their_end.close()
    return program


def test_it_is_the_device_that_the_plant_describes_and_is_held_still_until_it_is_active(
    start_program: Start, plant: Plant
) -> None:
    program = start_with(start_program, plant)
    with Host(program.path) as host:
        reply = host.open()
        assert (reply["name"], reply["state"]) == ("joint", IDLE)
        assert ref.schema_id(SCHEMA) == host.schema_id
        first = host.wait_for("sensor")
        assert first["values"] == [0.5, 0.5]
        later = host.wait_for("sensor", lambda f: f["sample_time_us"] > first["sample_time_us"])
        assert later["values"] == [0.5, 0.5]
        assert not select.select([plant.end], [], [], 0.1)[0]
    summary = program.stop()
    assert summary["plant_is_lost"] is False


def test_the_plant_lives_by_the_clock_and_the_commands_of_the_device(
    start_program: Start, plant: Plant
) -> None:
    program = start_with(start_program, plant)
    with Host(program.path) as host:
        host.activate()
        lived_ns = None
        for _ in range(20):
            until_ns, steps, is_driven, torque = plant.request()
            assert steps >= 1
            assert lived_ns in (None, until_ns - steps * PERIOD_NS), "lost, or lived twice"
            assert until_ns <= time.monotonic_ns()
            assert (is_driven, torque) == (1, 0.0)
            lived_ns = until_ns
            plant.send(until_ns, 0.0, 0.0)
        host.send_command(2.5, valid_for_us=5_000_000)
        while plant.request()[3] != 2.5:
            pass


def test_a_sample_reaches_the_host_with_the_time_at_which_it_was_taken(
    start_program: Start, plant: Plant
) -> None:
    program = start_with(start_program, plant)
    with Host(program.path) as host:
        host.activate()
        until_ns, *_ = plant.request()
        plant.send(until_ns, 1.0, -2.0)
        sensor = host.wait_for("sensor", lambda fields: fields["values"] == [1.0, -2.0])
        # Nothing more comes from the plant: the sample stays, and grows old.
        again = host.wait_for("sensor")
        assert again["values"] == [1.0, -2.0]
        assert again["sample_time_us"] == sensor["sample_time_us"]
    origin_ns = program.stop()["clock_origin_ns"]
    assert sensor["sample_time_us"] == (until_ns - origin_ns) // 1000


def test_in_safe_the_plant_is_not_driven(start_program: Start, plant: Plant) -> None:
    program = start_with(start_program, plant)
    with Host(program.path) as host:
        host.activate()
        assert plant.request()[2] == 1
        program.process.send_signal(signal.SIGUSR2)
        assert host.wait_until_safe() == HARDWARE
        plant.end.settimeout(10)
        while plant.request()[2] != 0:
            pass


def test_a_plant_that_hangs_up_is_a_fault_of_the_hardware(
    start_program: Start, plant: Plant
) -> None:
    program = start_with(start_program, plant)
    with Host(program.path) as host:
        host.activate()
        plant.end.close()
        assert host.wait_until_safe() == HARDWARE
    summary = program.stop()
    assert summary["plant_is_lost"] is True


def test_a_sample_of_another_size_is_one_too(start_program: Start, plant: Plant) -> None:
    with Host(start_with(start_program, plant).path) as host:
        host.activate()
        plant.send(0, 1.0, 2.0, 3.0)
        assert host.wait_until_safe() == HARDWARE


def test_a_plant_that_does_not_read_holds_nobody_up(start_program: Start, plant: Plant) -> None:
    plant.their_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
    program = start_with(start_program, plant, "--rate-hz", "1000")
    with Host(program.path) as host:
        host.activate()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            host.receive()
        assert host.newest("sensor").fields["state"] == ACTIVE
    assert program.stop()["dropped_s"] > 0.1


@pytest.mark.parametrize(
    ("schema", "first", "hint"),
    [
        (b"", 0, "0 sensors and 0 commands"),
        (b"rtloop-schema 1\nname joint\nsensor a - f32 100\n", 1, "1 sensors and 0 commands"),
        (b"sensor a - f32 100\ncommand b - f32 100\n", 1, "begin with its name"),
        (SCHEMA.encode() + b"x" * 5000, 2, "5111 bytes"),
        (SCHEMA.encode(), 0, "no first sample of 2 values"),
        (SCHEMA.encode(), 3, "no first sample of 2 values"),
    ],
)
def test_a_plant_that_does_not_say_what_it_is_is_explained(
    firmware_build: Path, tmp_path: Path, schema: bytes, first: int, hint: str
) -> None:
    plant = Plant(schema, first)
    with plant.end, plant.their_end:
        fd = plant.their_end.fileno()
        done = subprocess.run(
            [
                str(firmware_build / "host" / "rtloop-firmware"),
                *("remote", "--plant-fd", str(fd), "--pty", str(tmp_path / "line")),
            ],
            pass_fds=(fd,),
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.returncode == 1
    assert hint in done.stderr
    assert not os.path.lexists(tmp_path / "line")
