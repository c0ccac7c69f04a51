"""Boards that run ``firmware/app``: those built in the folders of ``RTLOOP_ZEPHYR``.

Zephyr is on no package registry, so nothing here builds it. ``RTLOOP_ZEPHYR`` names a folder whose
folders are builds of ``firmware/app`` (`west build -d`); firmware/app/README.md has the commands.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.firmware.scenarios.device import Device, DeviceKind

#: What QEMU calls the boards that it emulates.
MACHINES = {"qemu_cortex_m3": "lm3s6965evb", "mps2/an385": "mps2-an385"}
_START_TIMEOUT_S = 20.0


class ZephyrBoard(Device):
    """``address`` is a link to the pty of its UART."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command, self._folder = command, folder
        self.address = str(folder / "line")
        self._held = -1
        self._start()

    def _start(self) -> None:
        self._said = self._folder / "console"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=self._folder
            )
        end_s = time.monotonic() + _START_TIMEOUT_S
        while b"READY" not in self._said.read_bytes():
            if self._process.poll() is not None or time.monotonic() > end_s:
                self.stop()
                raise AssertionError(f"{self._command[0]}: {self._said.read_text()}")
            time.sleep(0.05)
        line = re.search(r"/dev/pts/\d+", self._said.read_text(errors="replace"))
        assert line, "it names no pty"
        Path(self.address).unlink(missing_ok=True)
        Path(self.address).symlink_to(line[0])
        # Held open, the line outlives each host, and QEMU need not look for one once a second.
        self._held = os.open(line[0], os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)

    def shell(self, line: str) -> None:
        """Says a line to the kernel's shell."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\r\n")
        self._process.stdin.flush()

    def wait_for_console(self, text: str) -> None:
        end_s = time.monotonic() + _START_TIMEOUT_S
        while text.encode() not in self._said.read_bytes():
            assert time.monotonic() < end_s, self._said.read_text(errors="replace")
            time.sleep(0.05)

    def reset(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> dict[str, Any]:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        self._process.kill()
        self._process.wait()
        return {}


def built_boards() -> dict[str, Path]:
    """Board targets and the folders they were built in; {} where ``RTLOOP_ZEPHYR`` is not set."""
    builds = os.environ.get("RTLOOP_ZEPHYR")
    boards: dict[str, Path] = {}
    for config in sorted(Path(builds).glob("*/zephyr/.config")) if builds else []:
        text = config.read_text()
        target = re.search(r'^CONFIG_BOARD_TARGET="(.*)"$', text, re.MULTILINE)
        if target and "CONFIG_APP_LINK_UART=y" in text:
            boards.setdefault(target[1], config.parents[1])
    return boards


def start_board(target: str, folder: Path) -> ZephyrBoard:
    """Skips with a reason where the board was not built, or its emulator is not here."""
    build = built_boards().get(target)
    if build is None:
        pytest.skip(f"no firmware/app for {target} in the folders of RTLOOP_ZEPHYR")
    if target.startswith("native_sim"):
        program = str(build.resolve() / "zephyr" / "zephyr.exe")
        return ZephyrBoard([program, "-flash_rm", "-seed-random"], folder)  # another boot_id
    emulator = shutil.which("qemu-system-arm")
    if emulator is None:
        pytest.skip("qemu-system-arm is not installed (Debian: qemu-system-arm)")
    command = [emulator, "-cpu", "cortex-m3", "-machine", MACHINES[target], "-display", "none"]
    command += ["-monitor", "none", "-serial", "stdio", "-chardev", "pty,id=link"]
    command += ["-serial", "chardev:link"]
    command += ["-kernel", str(build.resolve() / "zephyr" / "zephyr.elf")]
    return ZephyrBoard(command, folder)


def _start(
    target: str, request: pytest.FixtureRequest, folder: Path, options: dict[str, str]
) -> Device:
    board = start_board(target, folder)
    request.addfinalizer(board.stop)
    return board


ZEPHYR_TARGETS = ("native_sim/native/64", *MACHINES)
ZEPHYR_KINDS = tuple(
    DeviceKind(f"zephyr-{target.replace('/', '_')}-serial", functools.partial(_start, target))
    for target in ZEPHYR_TARGETS
)
