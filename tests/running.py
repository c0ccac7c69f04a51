"""Real loops on the real firmware program: what the tests of runs, commands and demos start."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from rtloop.demos.firmware import FirmwareProcess
from rtloop.run import Run
from rtloop.telemetry.recorder.pointer import POINTER_NAME

POLICY = Path(__file__).parents[1] / "rtloop" / "demos" / "cartpole" / "policy.onnx"
ROOT = Path(__file__).parents[1]

#: Generous on purpose: shared machines stall for tens of milliseconds, and no test is about speed.
TEMPLATE = """\
links:
  cart: {{device: {device}, command_timeout_ms: 500}}
recording: {{directory: {directory}}}
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      cart: {{link: cart, max_age_ms: 400, on_stale: hold}}
    policy:
      model: {model}
      observation:
        - {{input: cart}}
      action: {{scale: 10.0, clip: [-10, 10]}}
    outputs:
      cart: {{link: cart, min: -10, max: 10, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, stale: 1, held: 1, refused: 1}}
"""


def write_config(folder: Path, device: Path | str, model: Path = POLICY) -> Path:
    """A configuration for one loop on one device."""
    path = folder / "loop.yaml"
    path.write_text(TEMPLATE.format(device=device, directory=folder / "runs", model=model))
    return path


def edited(path: Path, changes: Mapping[str, str]) -> Path:
    """The configuration with texts exchanged, each of which must occur."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


#: The pole stands exactly upright, and nothing disturbs it: left alone, it stays there for ever.
UNDISTURBED = ("--angle-rad", "0", "--noise", "0", "--push-newton", "0")


@contextmanager
def firmware(folder: Path, *arguments: str) -> Iterator[FirmwareProcess]:
    with FirmwareProcess(folder / "tty", ["--command-timeout-ms", "500", *arguments]) as device:
        yield device


def rtloop(
    *arguments: object, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "rtloop.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )


@contextmanager
def background(arguments: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """One command that goes on while the test acts; killed when the test is over. Of one that was killed while
    nobody recorded it the rings go, too: nothing else would see to them.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "rtloop.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        remove_unrecorded_rings_of(process.pid)


def run_and_left(command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """A program that runs loops, unrecorded, and leaves without ending them."""
    arguments = [str(each) for each in command]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        remove_unrecorded_rings_of(process.pid)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def remove_unrecorded_rings_of(pid: int) -> None:
    """Of a process that has left them behind."""
    for ring in rings_of(pid):
        with suppress(FileNotFoundError):  # its recorder, which still is there, has removed them
            if json.loads((ring.parent / POINTER_NAME).read_text())["recording"] is None:
                shutil.rmtree(ring.parent)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.02)


AGAIN = "on_lost: reconnect, reconnect: {rearm: automatic, first_ms: 20, max_ms: 200}"


def write_config_again(folder: Path, device: str) -> Path:
    """A configuration whose link comes back; what a loss drops is no failure."""
    timeout = "command_timeout_ms: 500"
    changes = {timeout: f"{timeout}, {AGAIN}", "refused: 1}": "refused: 1, dropped: 1}"}
    return edited(write_config(folder, device), changes)


def counter(run: Run, name: str) -> int:
    """Of the one link of a run's one loop."""
    (port,) = run.loops["balance"].ports
    return port.core.counters()[name]


def wait_for_commands(run: Run) -> None:
    before = counter(run, "tx_packets")
    wait_for(lambda: counter(run, "tx_packets") > before + 5, "commands")
    wait_for(lambda: counter(run, "device_state") == 3, "an ACTIVE device")


def rings_of(pid: int) -> list[Path]:
    """The rings that a process writes, found as any observer would; none of an earlier one of its number."""
    from rtloop import core
    from rtloop.telemetry.observe.process_identity import ProcessIdentity
    from rtloop.telemetry.observe.ring import RING_DIRECTORY

    found = []
    for folder in RING_DIRECTORY.glob("*"):  # runs of others come and go
        with suppress(OSError):
            paths = list(folder.glob("*.ring"))
            for path in paths:
                with suppress(OSError, ValueError):
                    reader = core.RingReader(str(path))
                    writer = ProcessIdentity(reader.writer_pid, reader.writer_start_time)
                    if reader.writer_pid == pid and (writer.alive() or not psutil.pid_exists(pid)):
                        found.append(path)
    return found


def wait_until_running(process: subprocess.Popen[str], cycles: int = 20) -> Path:
    """Until the command's loop has run so many cycles; its ring."""
    from rtloop import core

    def running() -> bool:
        assert process.poll() is None, process.communicate()
        rings = rings_of(process.pid)
        with suppress(OSError):  # before it starts, a run tries whether its rings can be made
            return bool(rings) and core.RingReader(str(rings[0])).status()["executed"] >= cycles
        return False

    wait_for(running, "the first cycles")
    return rings_of(process.pid)[0]


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(done.stdout)
    return result
