"""`rtloop` as its users start it, seen from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.result import UnavailableError
from rtloop import core
from rtloop.demos import demo
from rtloop.errors import RtloopError
from rtloop.telemetry.observe.ring import RING_DIRECTORY, RING_SUFFIX

LOOP = "balance"
START_UP_S = 30.0
END_S = 15.0
_POLL_S = 0.001
#: What `benchmarks` sets for itself: rtloop must do well without.
_NOT_PASSED_ON = ("ORT_DISABLE_TELEMETRY",)


class DemoProcess:
    """One `rtloop` command in a process of its own, run in ``folder``.

    A context manager: leaving it sends SIGINT.
    """

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._known = set(_rings())
        self.began_ns = time.monotonic_ns()
        self._stderr = (folder / "stderr").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rtloop.cli", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            env={key: value for key, value in os.environ.items() if key not in _NOT_PASSED_ON},
        )
        self._folder = folder

    def first_cycle_ns(self) -> int:
        """Waits for the first cycle; the time from process start to its start. Raises UnavailableError."""
        end_s = time.monotonic() + START_UP_S
        while time.monotonic() < end_s and self.process.poll() is None:
            for path in set(_rings()) - self._known:
                try:
                    reader = core.RingReader(str(path))
                except (OSError, ValueError):
                    continue  # being made
                if reader.writer_pid == self.process.pid and reader.status()["head"] > 0:
                    return int(reader.status()["first_release_ns"]) - self.began_ns
            time.sleep(_POLL_S)
        self._stderr.flush()
        said = (self._folder / "stderr").read_text(errors="replace").strip()
        raise UnavailableError(
            f"`rtloop` ran no cycle within {START_UP_S:g} s: {said or 'no word'}"
        )

    def __enter__(self) -> DemoProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._stderr.close()


def _rings() -> list[Path]:
    return sorted(RING_DIRECTORY.glob(f"*/{LOOP}{RING_SUFFIX}"))


def write_configuration(folder: Path, device: Path) -> Path:
    """The demo's configuration and policy, for a microcontroller at ``device``."""
    source = Path(demo.__file__).parent / "cartpole"
    shutil.copy(source / "policy.onnx", folder)
    text = (source / "cartpole.yaml").read_text(encoding="utf-8")
    path = folder / "cartpole.yaml"
    path.write_text(text.replace("/dev/ttyACM0", str(device)), encoding="utf-8")
    return path


def require() -> None:
    """Raises UnavailableError where the demo cannot run."""
    from rtloop.demos.firmware import firmware_path

    try:
        firmware_path()
    except RtloopError as error:
        raise UnavailableError(str(error)) from None
    if not os.access("/dev/shm", os.W_OK):
        raise UnavailableError("/dev/shm is not writable; rings live there: mount a tmpfs on it")
