"""Boards that run ``firmware/app``: those built in the folders of ``RTLOOP_ZEPHYR``.

Zephyr is on no package registry, so nothing here builds it. ``RTLOOP_ZEPHYR`` names a folder whose
folders are builds of ``firmware/app`` with ``scenarios.conf``; firmware/app/README.md has the commands.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import subprocess
import threading
from abc import abstractmethod
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.emulated.emulator import Emulator
from rtloop.demos.emulated.image import EMULATOR
from tests.firmware.scenarios.device import Device, DeviceKind

NATIVE = "native_sim/native/64"
#: What QEMU calls the boards that it emulates, and their Ethernet.
MACHINES = {
    "qemu_cortex_m3/ti_lm3s6965": ("lm3s6965evb", "stellaris"),
    "mps2/an385": ("mps2-an385", "lan9118"),
}
TARGETS = (NATIVE, *MACHINES)
#: What it is called at the host; a UART otherwise.
SCHEMES = {"zmq": "zmq+tcp", "udp": "udp"}
TRANSPORTS = ("serial", *SCHEMES)
#: Of zmq.conf and udp.conf: what QEMU's own network calls the board.
BOARD_ADDRESS = "10.0.2.15"
_TIMEOUT_S = 20.0


class ZephyrBoard(Device):
    """A pty, which ``address`` links to, or the port of its network; and the kernel's console."""

    def listen(self, console: socket.socket) -> None:
        """All it says is read at once: a board whose console takes nothing more stands still."""
        self._console, self._heard, self._has_ended = console, b"", False
        self._news = threading.Condition()
        threading.Thread(target=self._hear, args=(console,), daemon=True).start()

    def _hear(self, console: socket.socket) -> None:
        said = b"anything"
        while said:
            try:
                said = console.recv(4096)
            except OSError:
                said = b""
            with self._news:
                self._heard += said
                self._has_ended = not said
                self._news.notify_all()

    def shell(self, line: str) -> None:
        """Says a line to the kernel's shell."""
        self._console.sendall(line.encode() + b"\r\n")

    def wait_for_console(self, text: str) -> str:
        """What it says next with this in it, and what it had said before since the last such wait."""
        with self._news:
            self._news.wait_for(lambda: text.encode() in self._heard or self._has_ended, _TIMEOUT_S)
            assert text.encode() in self._heard, (self._has_ended, self._heard)
            before, found, self._heard = self._heard.partition(text.encode())
        return (before + found).decode(errors="replace")

    @abstractmethod
    def stop(self) -> dict[str, Any]: ...


class NativeBoard(ZephyrBoard):
    """native_sim: a program. Its flash is a file in the folder, which outlives a reset."""

    def __init__(self, build: Path, folder: Path, address: str) -> None:
        program = str(build.resolve() / "zephyr" / "zephyr.exe")
        self._command = [program, "-seed-random"]  # another boot_id each time
        self._folder, self._line = folder, folder / "line"
        self.address = address or str(self._line)
        self._start()

    def _start(self) -> None:
        console, end = socket.socketpair()
        with end:
            fd = end.fileno()
            self._process = subprocess.Popen(
                self._command, stdin=fd, stdout=fd, stderr=fd, cwd=self._folder
            )
        self.listen(console)
        try:
            line = re.search(r"/dev/pts/\d+", self.wait_for_console("READY"))
        except AssertionError:
            self.stop()
            raise
        assert line, "it names no pty"
        self._line.unlink(missing_ok=True)
        self._line.symlink_to(line[0])
        # As a UART: the line outlives each host.
        self._held = os.open(line[0], os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)

    def reset(self) -> None:
        os.close(self._held)
        self.stop()
        self._start()

    def stop(self) -> dict[str, Any]:
        self._process.kill()
        self._process.wait()
        self._console.close()
        return {}


class EmulatedBoard(ZephyrBoard):
    def __init__(self, build: Path, target: str, folder: Path, scheme: str, port: int) -> None:
        machine, ethernet = MACHINES[target]
        arguments = ["-machine", machine, "-kernel", str(build.resolve() / "zephyr" / "zephyr.elf")]
        arguments += ["-serial", "chardev:console", "-serial", "chardev:link"]
        if scheme:
            outside = free_port()
            to_board = (
                f"hostfwd={scheme.removeprefix('zmq+')}:127.0.0.1:{outside}-{BOARD_ADDRESS}:{port}"
            )
            # Restricted, QEMU drops the answers of UDP, too.
            restrict = "off" if scheme == "udp" else "on"
            arguments += ["-nic", f"user,model={ethernet},restrict={restrict},{to_board}"]
        # Two threads of the emulator hand over each byte: what preempts them slows the line down.
        self._emulator = Emulator(arguments, 60 if os.geteuid() == 0 else 0)
        self.listen(self._emulator.console)
        line = folder / "line"
        line.symlink_to(self._emulator.line)
        self.address = f"{scheme}://127.0.0.1:{outside}" if scheme else str(line)

    def reset(self) -> None:
        self._emulator.reset()
        self.wait_for_console("READY")

    def stop(self) -> dict[str, Any]:
        self._emulator.end()
        return {}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def built_boards() -> dict[tuple[str, str], Path]:
    """Board targets, transports and the folders they were built in; {} without ``RTLOOP_ZEPHYR``."""
    builds = os.environ.get("RTLOOP_ZEPHYR")
    boards: dict[tuple[str, str], Path] = {}
    for config in sorted(Path(builds).glob("*/zephyr/.config")) if builds else []:
        text = config.read_text()
        target = re.search(r'^CONFIG_BOARD_TARGET="(.*)"$', text, re.MULTILINE)
        if target and "CONFIG_APP_PLANT_STILL=y" in text:
            packets = re.search(r"^CONFIG_APP_LINK_(ZMQ|UDP)=y$", text, re.MULTILINE)
            transport = packets[1].lower() if packets else "serial"
            boards.setdefault((target[1], transport), config.parents[1])
    return boards


def start_board(target: str, transport: str, folder: Path) -> ZephyrBoard:
    """Skips with a reason where the board was not built, or its emulator is not here."""
    build = built_boards().get((target, transport))
    if build is None:
        pytest.skip(f"RTLOOP_ZEPHYR has no {target} with scenarios.conf and {transport}")
    scheme, port = SCHEMES.get(transport, ""), 0
    if scheme:
        config = (build / "zephyr" / ".config").read_text()
        (text,) = re.findall(r"^CONFIG_APP_LINK_PORT=(\d+)$", config, re.MULTILINE)
        port = int(text)
    if target == NATIVE:
        return NativeBoard(build, folder, f"{scheme}://127.0.0.1:{port}" if scheme else "")
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not installed (Debian: qemu-system-arm)")
    return EmulatedBoard(build, target, folder, scheme, port)


def _start(
    target: str,
    transport: str,
    request: pytest.FixtureRequest,
    folder: Path,
    options: dict[str, str],
) -> Device:
    board = start_board(target, transport, folder)
    request.addfinalizer(board.stop)
    return board


ZEPHYR_KINDS = tuple(
    DeviceKind(
        f"zephyr-{target.replace('/', '_')}-{transport}",
        functools.partial(_start, target, transport),
        keeps_time=False,
    )
    for target in TARGETS
    for transport in TRANSPORTS
)
