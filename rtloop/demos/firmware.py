"""The microcontroller of the demos: ``rtloop-firmware``, the firmware library as a Linux program."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rtloop import core
from rtloop.errors import RtloopError

READY_TIMEOUT_S = 5.0

#: What the program is told, to serve a link over it.
TRANSPORTS: dict[str, tuple[str, ...]] = {
    "serial": (),
    "zmq": ("--zmq", "tcp://127.0.0.1:0"),
    "udp": ("--udp", "udp://127.0.0.1:0"),
}


def firmware_path() -> Path:
    """The program installed with the package. Raises RtloopError when it is not there."""
    # Beside the compiled core: also right for an editable install, whose sources are elsewhere.
    package = Path(core._core.__file__).parents[1]
    path = package / "bin" / "rtloop-firmware"
    if not os.access(path, os.X_OK):
        raise RtloopError(f"{path} is missing; reinstall rtloop: pip install .")
    return path


class FirmwareProcess:
    """A simulated machine on a pty, driven by the real firmware library. A context manager.

    ``link`` is the path to connect to (a symlink that the program makes and removes), ``device`` what the link
    of a configuration names, where ``arguments`` hold one of ``TRANSPORTS``. Further arguments go to
    the program, which is the cart-pole of ``rtloop-firmware`` unless ``program`` is another one that
    takes ``--pty``, says READY and ends with lines of JSON. It inherits the descriptors ``inherited``.
    """

    def __init__(
        self,
        link: Path,
        arguments: Sequence[str] = (),
        program: Sequence[str] = (),
        *,
        inherited: Sequence[int] = (),
    ) -> None:
        self.link = link
        self._inherited = tuple(inherited)
        self._arguments = list(arguments)
        self._program = list(program)
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._addresses: list[str] = []
        self.summary: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RtloopError("the firmware program is not running")
        return self._process.pid

    @property
    def device(self) -> str:
        """As a link names it: the path, or the address where it serves a network, too. Once it is started."""
        for address in self._addresses:
            if address.startswith("tcp://"):
                return f"zmq+{address}"
            if address.startswith("udp://"):
                return address
        return str(self.link)

    def start(self) -> None:
        """Raises RtloopError when the program does not get ready."""
        program = self._program or [str(firmware_path()), "cartpole", "--die-with-parent"]
        self._process = subprocess.Popen(
            [*program, "--pty", str(self.link), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=self._inherited,
            start_new_session=True,  # Ctrl-C is for the loop; the device ends after it
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], READY_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if not line.startswith("READY"):
            self._process.kill()
            said = self._process.communicate()[1].strip()
            if said.startswith("Traceback"):  # of a board in Python: its last line tells it
                said = said.splitlines()[-1]
            raise RtloopError(f"the demo's firmware program did not start: {said or line!r}")
        self._addresses = line.split()[2:]  # behind READY and the pty

    def stop(self) -> dict[str, Any]:
        """Ends the program and returns what it says about its run; parts of it that died say nothing."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():  # it is a forked child's parent's
            return self.summary
        process.terminate()
        try:
            out = process.communicate(timeout=READY_TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            # With its children: one that hangs would keep the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            out = process.communicate()[0]
        for line in out.splitlines():
            if line.startswith("{"):
                self.summary |= json.loads(line)
        return self.summary

    def __enter__(self) -> FirmwareProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The device must still be there to take the safe command: give it a moment after a crash of ours.
        if kind is not None:
            time.sleep(0.05)
        self.stop()
