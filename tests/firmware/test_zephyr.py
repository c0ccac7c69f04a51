"""``firmware/app``: its files agree with each other everywhere; it runs where it was built (RTLOOP_ZEPHYR)."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.firmware.scenarios.host import host_at
from tests.firmware.scenarios.test_states import say_hello, state
from tests.firmware.scenarios.zephyr import MACHINES, NATIVE, TARGETS, ZephyrBoard, start_board

ROOT = Path(__file__).parents[2]
FIRMWARE = ROOT / "firmware"
APP = FIRMWARE / "app"
IDLE, SAFE, LIMIT, HOST_STOP, HARDWARE = 1, 4, 16, 32, 64


def test_the_module_names_what_is_there() -> None:
    module = yaml.safe_load((ROOT / "zephyr" / "module.yml").read_text())
    assert (ROOT / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (ROOT / module["build"]["kconfig"]).is_file()
    for folder in module["samples"] + module["tests"]:
        found = [*(ROOT / folder).rglob("sample.yaml"), *(ROOT / folder).rglob("testcase.yaml")]
        assert found, f"{folder} has neither sample.yaml nor testcase.yaml"


def test_the_manifest_pins_the_release_that_the_readme_was_verified_with() -> None:
    manifest = yaml.safe_load((FIRMWARE / "west.yml").read_text())["manifest"]
    zephyr = next(project for project in manifest["projects"] if project["name"] == "zephyr")
    assert zephyr["revision"] == "v4.3.0"
    assert "4.3.0" in (APP / "README.md").read_text()


def test_the_manifest_has_the_hals_of_its_boards_and_no_other() -> None:
    hals = {"nucleo": "hal_stm32", "rpi": "hal_rpi_pico", "frdm": "hal_nxp"}
    boards = {path.name.partition("_")[0] for path in (APP / "boards").glob("*.overlay")}
    listed = re.findall(r"- (hal_\w+)", (FIRMWARE / "west.yml").read_text())
    assert sorted(listed) == sorted(hal for board, hal in hals.items() if board in boards)


def test_every_test_in_c_is_one_of_ztest_too() -> None:
    there = {path.stem.removeprefix("test_") for path in (FIRMWARE / "tests").glob("test_*.c")}
    listed = re.search(
        r"foreach\(name([^)]*)\)", (FIRMWARE / "tests" / "zephyr" / "CMakeLists.txt").read_text()
    )
    assert listed is not None
    called = (FIRMWARE / "tests" / "zephyr" / "src" / "main.c").read_text()
    assert set(listed[1].split()) == there - {"example"}  # which is a whole firmware of its own
    assert set(re.findall(r"zassert_ok\(test_(\w+)\(\)\)", called)) == there - {"example"}


def test_own_compatibles_have_a_vendor_that_the_devicetree_knows() -> None:
    """Unknown, it is a warning to `west build`, and an error to twister."""
    bindings = APP / "dts" / "bindings"
    known = re.findall(r"^(\w+)\t\S", (bindings / "vendor-prefixes.txt").read_text(), re.MULTILINE)
    used = {
        yaml.safe_load(path.read_text())["compatible"].partition(",")[0]
        for path in bindings.glob("*.yaml")
    }
    assert used == set(known)


def test_twister_builds_the_application_with_each_of_its_options() -> None:
    sample = yaml.safe_load((APP / "sample.yaml").read_text())
    built = {test.get("extra_args", "") for test in sample["tests"].values()}
    files = {path.name for path in APP.glob("*.conf")} - {"prj.conf"}
    assert built - {""} == {f"EXTRA_CONF_FILE={name}" for name in files}


def test_the_module_compiles_the_sources_of_the_library() -> None:
    listed = re.findall(r"src/(\w+\.c)", (FIRMWARE / "lib" / "CMakeLists.txt").read_text())
    there = [path.name for path in (FIRMWARE / "lib" / "src").glob("*.c")]
    assert sorted(listed) == sorted(there)  # the module globs the folder


def test_the_application_compiles_all_of_its_sources_and_no_other() -> None:
    listed = re.findall(r"\bsrc/(\w+\.c)", (APP / "CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(path.name for path in (APP / "src").glob("*.c"))


def defined_symbols() -> set[str]:
    text = (APP / "Kconfig").read_text() + (FIRMWARE / "zephyr" / "Kconfig").read_text()
    return set(re.findall(r"^(?:menu)?config (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("path", sorted(APP.rglob("*.[ch]")), ids=lambda path: path.name)
def test_own_options_used_in_c_are_defined(path: Path) -> None:
    used = set(re.findall(r"CONFIG_((?:APP|RTLOOP)_\w+)", path.read_text()))
    assert used <= defined_symbols()


@pytest.mark.parametrize("path", sorted(APP.rglob("*.conf")), ids=lambda path: path.name)
def test_own_options_set_for_boards_are_defined(path: Path) -> None:
    used = set(re.findall(r"^CONFIG_((?:APP|RTLOOP)_\w+)=", path.read_text(), re.MULTILINE))
    assert used <= defined_symbols()


def test_every_board_of_the_sample_has_its_link_uart() -> None:
    sample = yaml.safe_load((APP / "sample.yaml").read_text())
    for test in sample["tests"].values():
        for board in test["platform_allow"]:
            overlay = APP / "boards" / f"{board.replace('/', '_')}.overlay"
            included = re.findall(r'#include "(\S+)"', overlay.read_text())
            text = overlay.read_text() + "".join(
                (overlay.parent / name).read_text() for name in included
            )
            assert "rtloop,link-uart" in text, overlay


def test_a_job_starts_after_its_release_was_seen() -> None:
    """By the text: no emulator lets the timer expire between two lines."""
    text = (APP / "src" / "loop.c").read_text()
    assert text.index("k_timer_status_get(&period)") < text.index("start_us = device_time_us()")


@pytest.mark.parametrize("target", TARGETS)
def test_the_shell_makes_it_safe_and_clears_it_and_the_host_sees_that(
    target: str, tmp_path: Path
) -> None:
    board = start_board(target, "serial", tmp_path)
    try:
        with host_at(board.address) as host:
            say_hello(host)
            host.activate(command_timeout_us=1_000_000)
            board.shell("rtloop safe")
            board.wait_for_console("SAFE: HARDWARE")
            assert state(host) == (SAFE, HARDWARE)
            board.shell("rtloop clear")
            board.wait_for_console("IDLE")
            assert state(host) == (IDLE, 0)
            board.shell("rtloop stats")
            board.wait_for_console("since ARM: ")
    finally:
        board.stop()


@pytest.mark.parametrize("target", MACHINES)
def test_a_host_that_speaks_while_a_board_starts_does_not_make_it_deaf(
    target: str, tmp_path: Path
) -> None:
    board = start_board(target, "serial", tmp_path)
    try:
        with host_at(board.address) as host:
            for _ in range(3):
                say_hello(host)
                for _ in range(200):  # a quarter of a second of this line
                    host.send("hello", min_version=1, max_version=1)
                board.reset()
                for _ in range(3):
                    with suppress(ValueError):  # what the reset has cut
                        host.receive(0.1)
                say_hello(host)
                assert state(host) == (IDLE, 0)
    finally:
        board.stop()


@pytest.mark.parametrize("target", MACHINES)
def test_a_board_that_faults_starts_again_safe(target: str, tmp_path: Path) -> None:
    """That the machine is safe first is shown in firmware/tests/zephyr_machine."""
    board = start_board(target, "serial", tmp_path)
    try:
        with host_at(board.address) as host:
            before = say_hello(host)
            host.activate(command_timeout_us=1_000_000)
            shell(board, "kernel panic")
            board.wait_for_console("ZEPHYR FATAL ERROR")
            board.wait_for_console("READY")
            after = say_hello(host)
            assert after["boot_id"] != before["boot_id"]
            assert state(host) == (SAFE, HARDWARE), "no host arms it by itself"
            shell(board, "rtloop clear")
            board.wait_for_console("IDLE")
            assert state(host) == (IDLE, 0)
    finally:
        board.stop()


def shell(board: ZephyrBoard, line: str) -> None:
    """Says a line once the prompt is there: a line ahead of it would have no room."""
    board.wait_for_console("uart:~$")
    board.shell(line)


def test_settings_outlive_a_restart_and_one_that_is_out_of_range_is_told(tmp_path: Path) -> None:
    board = start_board(NATIVE, "serial", tmp_path)
    try:
        for name, value in {"name": "left", "timeout_ms": "70", "limit_percent": "50"}.items():
            shell(board, f"settings write string rtloop/{name} {value}")
        shell(board, "rtloop status")
        board.wait_for_console("cartpole: INIT")  # they are taken at the next start
        board.reset()
        shell(board, "rtloop status")
        board.wait_for_console("left: INIT")
        board.wait_for_console("command timeout 70 ms, limits at 50 %")
        with host_at(board.address) as host:
            hello = say_hello(host)
            assert (hello["name"], hello["command_timeout_us"]) == ("left", 70_000)
            host.activate(command_timeout_us=1_000_000)
            host.send_command(9.9, valid_for_us=500_000)
            host.wait_for("sensor", lambda sensor: sensor["state"] == 3)
            host.send_command(10.1, valid_for_us=500_000)  # the plant's own limit is 20
            assert host.wait_until_safe() == LIMIT
        shell(board, "settings write string rtloop/limit_percent 101")
        shell(board, "rtloop status")
        board.wait_for_console("limits at 50 %")
        board.reset()
        shell(board, "rtloop status")
        board.wait_for_console("command timeout 70 ms, limits at 100 %")
    finally:
        board.stop()


def test_of_several_senders_of_datagrams_the_one_that_says_hello_is_the_host(
    tmp_path: Path,
) -> None:
    board = start_board(NATIVE, "udp", tmp_path)
    try:
        with host_at(board.address) as first, host_at(board.address) as second:
            say_hello(first)
            assert state(first) == (IDLE, 0)
            second.schema_id = first.schema_id
            second.send("status_request")  # nobody it knows
            assert not [packet for packet in second.receive(0.5) if packet.name != "sensor"]
            say_hello(second)
            second.activate(command_timeout_us=1_000_000)
            first.send("hello", min_version=1, max_version=1)  # it moves: nobody else is heard
            first.send("stop", reason_bits=0)  # but by STOP
            assert first.wait_for("device_status")["state"] == SAFE
            assert second.wait_until_safe() == HOST_STOP
    finally:
        board.stop()


def test_a_flood_of_datagrams_does_not_keep_a_device_from_its_host(tmp_path: Path) -> None:
    board = start_board(NATIVE, "udp", tmp_path)
    host, port = board.address.removeprefix("udp://").split(":")
    try:
        with host_at(board.address) as commander, socket.socket(type=socket.SOCK_DGRAM) as flood:
            say_hello(commander)
            commander.activate(command_timeout_us=1_000_000)
            end_s = time.monotonic() + 2
            while time.monotonic() < end_s:
                for _ in range(50):
                    flood.sendto(b"no packet", (host, int(port)))
                commander.send_command(0.0, valid_for_us=500_000)
                commander.receive(0.01)
            assert state(commander) == (3, 0)
    finally:
        board.stop()
