"""The firmware program over its pty, as a host meets it."""

from __future__ import annotations

import itertools
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.firmware import reference as ref
from tests.firmware.program import (
    ACTIVE,
    COMMAND_TIMEOUT,
    HARDWARE,
    HOST_STOP,
    IDLE,
    LIMIT,
    LINK_ERRORS,
    NON_FINITE,
    SAFE,
    FirmwareProgram,
    Host,
)

Start = Callable[..., FirmwareProgram]
LONG = ("--command-timeout-ms", "10000")


def test_a_host_that_says_hello_learns_the_schema_and_gets_samples(start_program: Start) -> None:
    program = start_program("--boot-id", "4711", "--noise", "0", "--angle-rad", "0.25")
    with Host(program.path) as host:
        assert host.receive(0.1) == []  # it does not speak first
        reply = host.open()
        assert (reply["name"], reply["boot_id"], reply["state"]) == ("cartpole", 4711, IDLE)
        text = b""
        while len(text) < reply["schema_bytes"]:
            host.send("schema_request", offset=len(text))
            text += host.wait_for("schema_chunk")["bytes"]
        assert ref.schema_id(text.decode()) == host.schema_id
        assert text.startswith(b"rtloop-schema 1\nname cartpole\nsensor cart_position m f32 1000\n")
        # Held still until the device is ACTIVE.
        first = host.wait_for("sensor")
        time.sleep(0.2)
        assert first["values"] == pytest.approx([0, 0, 0.25, 0])
        assert host.newest("sensor").fields["values"] == first["values"]
        assert host.broken == 0


def test_samples_come_at_the_rate_of_the_schema(start_program: Start) -> None:
    with Host(start_program("--rate-hz", "200").path) as host:
        assert host.open()["sensor_period_us"] == 5000
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            host.receive()
        sensors = [packet for packet in host.packets if packet.name == "sensor"]
        # By the device's own clock, so that a slow test machine does not matter.
        spacing = [(b.time_us - a.time_us) / 5000 for a, b in itertools.pairwise(sensors)]
        assert len(sensors) > 10
        assert sorted(spacing)[len(spacing) // 2] == pytest.approx(1, abs=0.1)


def test_the_plant_falls_when_it_is_not_balanced_and_physics_goes_on_in_safe(
    start_program: Start,
) -> None:
    program = start_program("--noise", "0")
    with Host(program.path) as host:
        host.activate()
        assert host.wait_until_safe() == COMMAND_TIMEOUT
        host.wait_for("sensor", lambda fields: abs(fields["values"][2]) > 1)
    summary = program.stop()
    assert summary["state"] == "SAFE"
    assert "COMMAND_TIMEOUT" in summary["reasons"]
    assert summary["fell"] is True
    assert summary["max_angle_rad"] > 0.5
    assert 0 < summary["upright_s"] < summary["elapsed_s"]
    assert summary["counters"]["command_timeouts"] == 1


def test_the_force_acts_only_while_active(start_program: Start) -> None:
    with Host(start_program("--noise", "0", "--angle-rad", "0", *LONG).path) as host:
        host.activate()
        host.send_command(5.0, valid_for_us=5_000_000)
        host.wait_for("sensor", lambda fields: fields["values"][1] > 0.05)
        host.send("stop", reason_bits=0)
        assert host.wait_until_safe() == HOST_STOP
        host.send_command(5.0, valid_for_us=5_000_000)
        host.send("status_request")
        assert host.wait_for("device_status")["rejected_commands"] == 1
        time.sleep(0.05)  # past the actuator's delay
        before = host.newest("sensor").fields["values"][1]
        time.sleep(0.1)
        after = host.newest("sensor").fields["values"][1]
        assert after < before + 0.05  # 5 N would have added 0.45 m/s


def test_a_late_command_is_not_applied_but_reported_with_its_class(start_program: Start) -> None:
    with Host(start_program(*LONG).path) as host:
        host.activate(loop_class=2)
        seq = host.newest("sensor").fields["command_seq"]
        host.send_command(5.0, valid_for_us=-1)
        event = host.wait_for("event", lambda fields: fields["event"] == 1)
        assert event["loop_class"] == 2
        assert event["lateness_us"] > 0
        assert event["total"] == 1
        newest = host.wait_for("sensor", lambda fields: fields["late_commands"] == 1)
        assert (newest["command_seq"], newest["state"]) == (seq, ACTIVE)


@pytest.mark.parametrize(("value", "reason"), [(math.nan, NON_FINITE), (1e6, LIMIT)])
def test_an_impossible_command_makes_it_safe(
    start_program: Start, value: float, reason: int
) -> None:
    with Host(start_program(*LONG).path) as host:
        host.activate()
        host.send_command(value)
        assert host.wait_until_safe() == reason


def test_a_damaged_line_makes_an_active_device_safe(start_program: Start) -> None:
    with Host(start_program(*LONG).path) as host:
        host.activate()
        os.write(host.fd, b"\x05noise\0" * 20)
        assert host.wait_until_safe() == LINK_ERRORS
        host.send("status_request")
        assert host.wait_for("device_status")["frame_errors"] == 20


def test_the_end_of_the_track_makes_it_safe_and_stops_the_cart(start_program: Start) -> None:
    program = start_program("--noise", "0", *LONG)
    with Host(program.path) as host:
        host.activate()
        host.send_command(10.0, valid_for_us=5_000_000)
        assert host.wait_until_safe() & LIMIT
        time.sleep(0.3)
        assert abs(host.newest("sensor").fields["values"][0]) <= 2.4 + 1e-6
    assert "LIMIT" in program.stop()["reasons"]


def test_time_requests_are_answered_in_64_bit_device_time(start_program: Start) -> None:
    start_us = 2**32 - 100_000
    with Host(start_program("--clock-start-us", str(start_us)).path) as host:
        host.open()
        host.send("time_request", host_ns=123)
        reply = host.wait_for("time_reply")
        assert reply["host_ns"] == 123
        assert start_us < reply["t2_us"] <= reply["t3_us"] < start_us + 60_000_000


def test_commands_hold_across_the_wrap_of_device_time(start_program: Start) -> None:
    with Host(start_program("--clock-start-us", str(2**32 - 400_000), *LONG).path) as host:
        host.activate()
        while host.newest("sensor").time_us > 2**31:
            host.send_command(0.0, valid_for_us=300_000)
            host.receive()
        host.send_command(1.0, valid_for_us=300_000)
        host.send("status_request")
        status = host.wait_for("device_status")
        assert (status["state"], status["late_commands"]) == (ACTIVE, 0)


def test_a_host_that_does_not_read_stalls_nothing(start_program: Start) -> None:
    program = start_program()
    with Host(program.path) as host:
        host.activate()
        time.sleep(2.5)  # more than the kernel keeps of a pty
        while host.receive(0):
            pass
        newest = host.wait_for("sensor")
        assert newest["state"] == SAFE
        assert host.broken == 0  # dropped as whole packets
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
    assert program.stop()["counters"]["tx_dropped"] > 0


def test_a_new_host_finds_the_line_usable_after_another_one_left(start_program: Start) -> None:
    program = start_program()
    with Host(program.path) as host:
        host.activate()
        os.write(host.fd, b"\x07cut")
    with Host(program.path) as host:
        os.write(host.fd, b"\0")
        host.open()
        assert host.wait_until_safe() == COMMAND_TIMEOUT
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE


def test_unplugged_the_line_hangs_up_and_the_device_goes_safe_by_itself(
    start_program: Start,
) -> None:
    program = start_program("--command-timeout-ms", "50")
    with Host(program.path) as host:
        host.activate()
        program.unplug()
        assert _hangs_up(host.fd)
    assert not program.path.is_symlink()
    time.sleep(0.2)
    summary = program.stop()
    assert summary["state"] == "SAFE"
    assert "COMMAND_TIMEOUT" in summary["reasons"]


def test_a_stopped_process_drops_time_instead_of_simulating_it_in_a_rush(
    start_program: Start,
) -> None:
    program = start_program()
    with Host(program.path) as host:
        host.activate()
        program.process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        program.process.send_signal(signal.SIGCONT)
        assert host.wait_until_safe() & COMMAND_TIMEOUT
    summary = program.stop()
    assert 0.3 < summary["dropped_s"] < 60


def test_the_balance_is_not_judged_after_the_hosts_own_stop(start_program: Start) -> None:
    program = start_program(*LONG)
    with Host(program.path) as host:
        host.activate()
        host.send("stop", reason_bits=HOST_STOP)
        host.wait_until_safe()
        host.wait_for("sensor", lambda fields: abs(fields["values"][2]) > 1)
    summary = program.stop(signal.SIGINT)
    assert summary["reasons"] == ["HOST_STOP"]
    assert summary["fell"] is False
    assert summary["upright_s"] == summary["elapsed_s"] > 0


def test_the_same_seed_gives_the_same_noise(start_program: Start) -> None:
    def first_values(seed: str) -> list[float]:
        with Host(start_program("--seed", seed).path) as host:
            host.open()
            host.wait_for("sensor")
            # Not the one that was waited for: the first came with the answer to HELLO, if we were slow.
            sent = [packet.fields["values"] for packet in host.packets if packet.name == "sensor"]
            values: list[float] = sent[0]
            return values

    assert first_values("5") == first_values("5")
    assert first_values("5") != first_values("6")


def test_the_emergency_stop_is_safe_at_once_and_keeps_it_from_being_cleared_and_armed(
    start_program: Start,
) -> None:
    program = start_program(*LONG)
    with Host(program.path) as host:
        host.activate()
        program.process.send_signal(signal.SIGUSR2)
        assert host.wait_until_safe() == HARDWARE
        host.send("clear")
        assert host.wait_for("device_status")["state"] == SAFE
        program.process.send_signal(signal.SIGUSR2)
        end = time.monotonic() + 10
        while host.newest("sensor").fields["state"] != IDLE:
            assert time.monotonic() < end, "it was released, and is not cleared"
            host.send("clear")
            host.receive(0.05)
        program.process.send_signal(signal.SIGUSR2)  # a press while it is IDLE
        assert host.wait_until_safe() == HARDWARE


def test_it_sleeps_while_nobody_has_spoken_to_it(start_program: Start) -> None:
    program = start_program()
    fields = Path(f"/proc/{program.process.pid}/status").read_text
    before = _switches(fields())
    time.sleep(0.3)  # 300 periods
    assert _switches(fields()) - before < 30


def _switches(status: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


def test_it_removes_its_link_and_leaves_a_users_file_alone(
    start_program: Start, firmware_build: Path, tmp_path: Path
) -> None:
    program = start_program()
    assert os.path.realpath(program.path) == program.slave
    program.stop()
    assert not program.path.is_symlink()
    file = tmp_path / "file"
    file.write_text("precious")
    done = _run(firmware_build, "cartpole", "--pty", str(file))
    assert done.returncode == 1
    assert "give another --pty path" in done.stderr
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "cartpole or remote"),
        (("pendulum",), "cartpole or remote"),
        (("remote",), "remote needs it"),
        (("cartpole", "--plant-fd", "3"), "belongs to remote"),
        (("cartpole", "--rate-hz", "300"), "divisor of 1000000"),
        (("cartpole", "--noise", "lots"), "--noise"),
        (("cartpole", "--seed", "-1"), "--seed"),
        (("cartpole", "--priority", "100"), "from 0 to 99"),
        (("cartpole", "--unknown"), "--unknown"),
    ],
)
def test_wrong_arguments_are_explained(
    firmware_build: Path, arguments: tuple[str, ...], hint: str
) -> None:
    done = _run(firmware_build, *arguments)
    assert done.returncode == 2
    assert hint in done.stderr
    assert "--help" in done.stderr


def test_help_names_every_option(firmware_build: Path) -> None:
    done = _run(firmware_build, "--help")
    assert done.returncode == 0
    for option in (
        "--pty",
        "--zmq",
        "--seed",
        "--rate-hz",
        "--die-with-parent",
        "SIGUSR1",
        "SIGUSR2",
    ):
        assert option in done.stdout


def test_an_orphan_ends_once_no_host_holds_it_active(firmware_build: Path, tmp_path: Path) -> None:
    path = tmp_path / "line"
    executable = str(firmware_build / "host" / "rtloop-firmware")
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([{executable!r}, 'cartpole', '--pty', {str(path)!r},"
        " '--die-with-parent', '--command-timeout-ms', '10000'], stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\n"
        "print(p.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    with Host(path) as host:
        host.activate()
        parent.communicate()
        seq = host.send_command(1.0)  # to an orphan, which still obeys
        host.wait_for("sensor", lambda fields: fields["command_seq"] == seq)
        assert _lives(pid)
        host.send("stop", reason_bits=HOST_STOP)
        _wait_for_the_end_of(pid)
    assert not path.is_symlink()


def test_an_orphan_without_a_host_ends_at_once(firmware_build: Path, tmp_path: Path) -> None:
    executable = str(firmware_build / "host" / "rtloop-firmware")
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([{executable!r}, 'cartpole', '--pty', {str(tmp_path / 'line')!r},"
        " '--die-with-parent'], stdout=subprocess.PIPE)\n"
        "p.stdout.readline()\n"
        "print(p.pid)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    _wait_for_the_end_of(int(parent.stdout))
    assert not (tmp_path / "line").is_symlink()


def test_an_interrupt_ends_it_unless_it_is_ignored(start_program: Start) -> None:
    assert start_program().stop(signal.SIGINT)
    program = start_program("--ignore-interrupt")
    program.process.send_signal(signal.SIGINT)
    with Host(program.path) as host:
        host.open()
    assert program.stop()


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and not _is_zombie(pid)


def _wait_for_the_end_of(pid: int) -> None:
    end = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < end, "it outlived its parent"
        time.sleep(0.01)


def _hangs_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLHUP)
    return any(events & select.POLLHUP for _, events in poll.poll(10_000))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _run(build: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    executable = build / "host" / "rtloop-firmware"
    return subprocess.run(
        [str(executable), *arguments], capture_output=True, text=True, check=False, timeout=20
    )
