"""Arm code: the firmware, and its C tests, on an emulated Cortex-M4F."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rtloop.demos.emulated.firmware import BOARD, EmulatedFirmware
from rtloop.demos.emulated.image import firmware_image, missing_tools
from rtloop.errors import LinkError, RtloopError
from rtloop.link import Link
from tests.firmware.program import ACTIVE, ARMED, COMMAND_TIMEOUT, HARDWARE, IDLE, SAFE, Host
from tests.firmware.test_c_suite import TESTS
from tests.running import rtloop, summary_of, wait_for

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())

SOURCES = Path(__file__).parents[2] / "firmware" / "qemu"
#: Beyond what a shared machine stalls an emulator; the board allows twice that.
LONG_US = 5_000_000
DEADLINE_MISSES = 2
Start = Callable[..., EmulatedFirmware]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of firmware/qemu, with the C tests."""
    folder = tmp_path_factory.mktemp("qemu")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = ["-DRTLOOP_TESTS=ON", "-DRTLOOP_WERROR=ON"]
    for command in (
        ["cmake", "-S", str(SOURCES), "-B", str(folder), *generator, *options],
        ["cmake", "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a board with further arguments; none outlives the test."""
    boards: list[EmulatedFirmware] = []

    def started(*arguments: str) -> EmulatedFirmware:
        patient = ("--command-timeout-ms", "10000", *arguments)
        boards.append(EmulatedFirmware(tmp_path / f"line{len(boards)}", patient))
        boards[-1].start()
        return boards[-1]

    yield started
    for board in boards:
        board.stop()


# --- the C tests ---


@pytest.mark.parametrize("name", ["fault", *TESTS])
def test_the_c_suite_passes_as_arm_code(build: Path, name: str) -> None:
    """`fault` is a program that has to fail: a test that faults is not a test that passed."""
    command = ["ctest", "--test-dir", str(build), "-R", f"^{name}$", "--timeout", "60"]
    done = subprocess.run(
        [*command, "--output-on-failure"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout  # not: no tests were found


def test_code_and_memory_of_the_library(build: Path) -> None:
    """Prints them; firmware/README.md says the same in words."""
    archive = build / "lib" / "librtloop_firmware_lib.a"
    sizes = subprocess.run(
        ["arm-none-eabi-size", "-t", str(archive)], capture_output=True, text=True, check=True
    ).stdout
    text, data, bss = map(int, sizes.splitlines()[-1].split()[:3])
    print(sizes)
    assert (data, bss) == (0, 0)  # all state is in rtl_device, where the board puts it
    assert text < 12_000


# --- the device ---


def test_a_host_opens_arms_commands_and_stops_it(start: Start) -> None:
    board = start("--boot-id", "4711", "--noise", "0", "--angle-rad", "0.25", "--rate-hz", "200")
    with Link.open("cart", str(board.link), 1_000_000) as link:
        assert (link.info.name, link.info.boot_id) == ("cartpole", 4711)
        assert [each.name for each in link.info.schema.sensors][2] == "pole_angle"
        link.arm(loop_class=1)
        assert link.status().state == ARMED
        link.stop()
        assert link.status().state == SAFE
    assert board.stop()["state"] == "SAFE"


def test_commands_move_it(start: Start) -> None:
    board = start("--noise", "0", "--angle-rad", "0")
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        host.send_command(5.0, valid_for_us=LONG_US // 2)
        host.wait_for("sensor", lambda fields: fields["values"][1] > 0.05)


def test_without_commands_it_is_safe_until_cleared(start: Start) -> None:
    board = start("--noise", "0", "--angle-rad", "0")
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US // 5)
        assert host.wait_until_safe() == COMMAND_TIMEOUT
        host.send("arm", loop_class=1, max_late_commands=0, command_timeout_us=LONG_US)
        assert host.wait_for("device_status")["state"] == SAFE
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
    told = board.stop()
    assert told["counters"]["command_timeouts"] == 1
    assert told["uart_dropped"] == 0
    print(f"stack: {told['stack_bytes']} bytes, of library, plant and interrupts")
    assert 1000 < told["stack_bytes"] < 8000


def test_a_hard_loop_of_its_own_that_misses_is_safe_at_once(start: Start) -> None:
    # Deadlines so long that an emulator on a busy machine keeps them.
    slow = ("--rate-hz", "10", "--loop-class", "hard", "--loop-deadline-us", "60000")
    board = start(*slow, "--loop-delay-us", "80000", "--loop-delay-every", "3")
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        miss = host.wait_for("event", lambda fields: fields["event"] == 5)
        assert miss["lateness_us"] >= 20_000
        assert (miss["loop_class"], miss["state"]) == (0, SAFE)
        assert miss["reasons"] & DEADLINE_MISSES
        host.send("stats_request")
        assert host.wait_for("stats")["misses"] == 1
    assert board.stop()["loop"]["misses"] == 1


def test_its_clock_runs_on_over_the_wrap_of_32_bits(start: Start) -> None:
    board = start("--clock-start-us", str(2**32 - 500_000))
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        while host.newest("sensor").fields["sample_time_us"] > 2**31:
            host.send_command(0.0, valid_for_us=LONG_US // 2)
            host.receive()
        assert host.newest("sensor").fields["state"] == ACTIVE
        host.send_command(0.0, valid_for_us=-1)
        assert host.wait_for("event", lambda fields: fields["event"] == 1)["lateness_us"] > 0


def test_a_reset_in_the_middle_of_a_run_disarms_it_and_the_line_stays(start: Start) -> None:
    board = start("--boot-id", "4711")
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        assert board.reset() == "reset"
        host.packets.clear()
        reply = host.open()
        assert (reply["state"], reply["reasons"]) == (IDLE, 0)
        assert reply["boot_id"] != 4711
        host.wait_for("sensor")
        host.send_command(5.0)
        host.send("status_request")
        assert host.wait_for("device_status")["state"] == IDLE
    assert board.stop()["resets"] == 1


@pytest.mark.parametrize("trouble", ["fault", "watchdog"])
def test_firmware_that_faults_or_hangs_is_safe_starts_again_safe_and_says_where(
    start: Start, trouble: str
) -> None:
    board = start("--noise", "0", "--angle-rad", "0")
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        host.send_command(5.0, valid_for_us=LONG_US // 2)
        host.wait_for("sensor", lambda fields: fields["values"][1] > 0.05)
        said = board.fault() if trouble == "fault" else board.hang()
        cause, where, force = said.split()
        assert (cause, force) == (trouble, "force_n=0")  # made safe before the reset
        assert 0 < int(where.removeprefix("pc="), 16) < 0x20000  # in its code
        host.packets.clear()
        reply = host.open()
        assert (reply["state"], reply["reasons"]) == (SAFE, HARDWARE)
        host.send("clear")
        assert host.wait_for("device_status")["state"] == IDLE
    # Not a second time for the same fault.
    assert board.reset() == "reset"


def test_the_emergency_stop_is_an_interrupt_and_latches(start: Start) -> None:
    board = start()
    with Host(board.link) as host:
        host.activate(command_timeout_us=LONG_US)
        os.kill(board.pid, signal.SIGUSR2)
        assert host.wait_until_safe() & HARDWARE
        host.send("clear")
        assert host.wait_for("device_status")["state"] == SAFE  # it is still pressed
        os.kill(board.pid, signal.SIGUSR2)
        wait_for(lambda: cleared(host), "the release")


def cleared(host: Host) -> bool:
    host.send("clear")
    return bool(host.wait_for("device_status")["state"] == IDLE)


# --- the processes ---


def emulator_of(board: EmulatedFirmware) -> psutil.Process:
    (emulator,) = psutil.Process(board.pid).children()
    return emulator


def test_the_emulator_ends_with_the_board(start: Start) -> None:
    board = start()
    emulator = emulator_of(board)
    os.kill(board.pid, signal.SIGKILL)
    emulator.wait(10)
    with pytest.raises(LinkError), Link.open("cart", str(board.link), 1_000_000):
        pass


def test_the_board_ends_with_the_emulator_and_takes_its_link_along(start: Start) -> None:
    board = start()
    process = psutil.Process(board.pid)
    emulator_of(board).kill()
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, "the end of the board")
    assert not board.link.is_symlink()
    assert board.stop() == {}  # it did not say how it ended


def test_the_board_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from rtloop.demos.emulated.firmware import EmulatedFirmware\n"
        "board = EmulatedFirmware(pathlib.Path(sys.argv[1]))\n"
        "board.start()\n"
        "print(board.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "line")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    board = psutil.Process(int(parent.stdout.readline()))
    (emulator,) = board.children()
    parent.kill()
    parent.communicate()
    for process in (board, emulator):
        wait_for(lambda process=process: gone(process), "the end of both")  # type: ignore[misc]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# --- the image ---


def test_the_image_is_built_once() -> None:
    first = firmware_image()
    built = first.stat()
    assert firmware_image() == first
    assert first.stat().st_mtime_ns == built.st_mtime_ns
    assert first.parent.stat().st_mode & 0o077 == 0


def test_what_pip_installed_is_enough_to_build_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    try:
        files = importlib.metadata.files("rtloop") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("rtloop is not installed: pip install -e .")
    for file in files:
        if file.parts[:2] == ("rtloop", "firmware"):
            target = tmp_path.joinpath(*file.parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)
    monkeypatch.setattr(
        "rtloop.demos.emulated.image.firmware_sources", lambda: tmp_path / "firmware"
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert firmware_image().stat().st_size > 10_000


def test_what_is_not_installed_is_told_with_its_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    packages = "gcc-arm-none-eabi qemu-system-arm cmake ninja-build libnewlib-arm-none-eabi"
    with pytest.raises(RtloopError, match=re.escape(f"apt-get install {packages}")):
        firmware_image()


# --- the demo ---


def test_the_demo_balances_the_pole_with_arm_code(tmp_path: Path) -> None:
    done = rtloop("demo", "--firmware", "qemu", "--duration", 4, "--json", cwd=tmp_path)
    summary = summary_of(done)
    told = summary["devices"]["cart"]
    assert told["fell"] is False
    assert told["upright_s"] > 3
    assert told["max_angle_rad"] < 0.3
    assert told["counters"]["rx_packets"] > 500
    # A machine that is not ours alone may make commands late: that is told, and is 1.
    assert done.returncode == (1 if summary["problems"] else 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["quadruped"], "--firmware qemu: not for 'quadruped', only for cartpole"),
        (["--overload"], "--overload: not with --firmware qemu"),
    ],
)
def test_what_the_emulated_board_cannot_is_refused(arguments: list[str], told: str) -> None:
    done = rtloop("demo", "--firmware", "qemu", *arguments)
    assert done.returncode == 2
    assert told in done.stderr


def test_control_c_at_a_terminal_ends_it_with_a_summary(tmp_path: Path) -> None:
    """The signal goes to the whole group of the terminal."""
    with subprocess.Popen(
        [*BOARD, "--pty", str(tmp_path / "line")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as board:
        assert board.stdout is not None
        assert board.stdout.readline().startswith("READY ")
        os.killpg(board.pid, signal.SIGINT)
        out, err = board.communicate(timeout=30)
    assert (board.returncode, err) == (0, "")
    assert json.loads(out)["state"] == "IDLE"


def test_control_c_while_the_firmware_is_built_is_told_as_such(tmp_path: Path) -> None:
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rtloop.cli",
            "demo",
            "--firmware",
            "qemu",
            "--no-record",
            "--no-report",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        start_new_session=True,
    ) as demo:
        of_demo = psutil.Process(demo.pid)
        wait_for(lambda: any(child.name() == "cmake" for child in of_demo.children()), "a build")
        os.killpg(demo.pid, signal.SIGINT)
        out, _ = demo.communicate(timeout=60)
    assert "stopped by SIGINT" in out
    assert "failed" not in out
    assert demo.returncode == 4


@pytest.mark.parametrize(
    ("option", "given", "right"),
    [
        ("--loop-limit", "9/3", "M below N"),
        ("--loop-limit", "3", "M below N"),
        ("--loop-deadline-us", "4001", "at most the period, 4000"),
        ("--command-timeout-ms", "0", "an integer from 1 to 60000"),
        ("--noise", "nan", "a number from 0 to 1000"),
        ("--seed", "-1", "an integer from 0 to 4294967295"),
        ("--rate-hz", "x", "an integer from 1 to 10000"),
        ("--rate-hz", "7", "a divisor of 1000000"),
    ],
)
def test_options_that_the_firmware_cannot_judge_are_refused(
    option: str, given: str, right: str
) -> None:
    done = subprocess.run([*BOARD, option, given], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    for said in (option, given, right):
        assert said in done.stderr


def test_the_library_takes_what_its_documents_say(build: Path, tmp_path: Path) -> None:
    readme = (SOURCES.parent / "README.md").read_text()

    def said(pattern: str) -> list[float]:
        found = re.search(pattern, readme)
        assert found is not None, pattern
        return [float(number) for number in found.groups()]

    (tmp_path / "state.c").write_text(
        '#include "rtloop/device.h"\n#include "rtloop/zmtp.h"\n'
        "char device[sizeof(rtl_device)], account[sizeof(rtl_device_account)], zmtp[sizeof(rtl_zmtp)];\n"
    )
    include = f"-I{SOURCES.parent / 'lib' / 'include'}"
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", include, "-c", "state.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    states = _output("arm-none-eabi-nm", "-S", tmp_path / "state.o")
    bytes_of = {row.split()[-1]: int(row.split()[1], 16) for row in states.splitlines()}
    (state_kb, account_kb) = said(r"a device has ([\d.]+) KB of state, its account ([\d.]+) KB")
    assert bytes_of["device"] == pytest.approx(1000 * state_kb, rel=0.06)
    assert bytes_of["account"] == pytest.approx(1000 * account_kb, rel=0.06)
    assert said(r"(\d+) bytes of state, and two buffers") == [bytes_of["zmtp"]]

    # Compilers differ by some per cent.
    sizes = _output("arm-none-eabi-size", "-t", build / "lib" / "librtloop_firmware_lib.a")
    code = {row.split()[5]: int(row.split()[0]) for row in sizes.splitlines()[1:]}
    (all_kb, zmtp_kb) = said(r"([\d.]+) KB of code, of which ZeroMQ ([\d.]+) KB")
    assert code["(TOTALS)"] == pytest.approx(1000 * all_kb, rel=0.06)
    assert code["zmtp.c.obj"] == pytest.approx(1000 * zmtp_kb, rel=0.06)
    assert said(r"([\d.]+) KB of\scode, \d+ bytes of state") == [zmtp_kb]


def _output(*command: object) -> str:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout
