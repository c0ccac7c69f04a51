"""docs/safe.md: what a position-controlled leg gets, and a device, however their loop ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.demos.firmware import FirmwareProcess
from rtloop.run import Run
from tests.cable import Cable
from tests.policy.models import passthrough
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    remove_unrecorded_rings_of,
    wait_for,
    wait_until_running,
)

#: A leg that Python reads, with its joint, and a device beside it; what is commanded is never safe.
TEXT = """\
links: {cart: {device: DEVICE, command_timeout_ms: 500}}
recording: {directory: RUNS}
loops:
  leg:
    class: soft
    rate_hz: 100
    inputs:
      cart: {link: cart, max_age_ms: 400}
      joints: {mailbox: [0.5], names: [knee_pos]}
    policy:
      model: policy.onnx
      observation:
        - {input: joints, scale: -1}
        - {constant: [40, 1]}
        - {input: cart, select: [cart_position]}
      actions:
        - {select: [0, 1, 2], to: [knee_q, knee_kp, knee_kd]}
        - {select: [3], to: [force]}
    outputs:
      leg:
        mailbox: true
        names: [knee_q, knee_kp, knee_kd]
        safe: {"*_q": {hold: joints, named: "{}_pos"}, "*_kp": 0, "*_kd": 2}
        default: 0
      cart: {link: cart, safe: 0}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1, refused: 1}
"""
#: Where it is measured, and damped.
SAFE = pytest.approx([0.7, 0.0, 2.0])
COMMANDED = pytest.approx([-0.7, 40.0, 1.0])


def configured(folder: Path, device: Path, **changes: str) -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(4))
    path = folder / "leg.yaml"
    path.write_text(TEXT)
    return edited(path, {"DEVICE": str(device), "RUNS": str(folder / "runs"), **changes})


class Leg:
    """A run on the firmware program; ``command`` can be read when the run has ended, too."""

    def __init__(self, path: Path, stalls: tuple[core.Stall, ...] = ()) -> None:
        self.run = Run(load(path), "test", record=False, stalls={"leg": stalls})

    def stand(self) -> None:
        """Of a run that was started: the knee is at 0.7, and commanded to be somewhere else."""
        (self._port,) = (port for port in self.run.loops["leg"].ports if port.name == "leg")
        self.run.loops["leg"].write_input("joints", [0.7])
        wait_for(lambda: self.command() == COMMANDED, "a command")

    def command(self) -> list[float]:
        values: list[float] = self._port.core.newest()[0].tolist()
        return values

    def faulty(self) -> str:
        """Once the loop is in FAULT by itself: why."""
        loop = self.run.loops["leg"]
        wait_for(lambda: bool(loop.fault()), "a FAULT")
        assert self._port.core.counters()["safe_in_force"] == 1
        return next(
            name for name, n in core.FAULT_REASONS.items() if n == loop.status()["fault_reason"]
        )


@contextmanager
def on_device(
    folder: Path, stalls: tuple[core.Stall, ...] = (), **changes: str
) -> Iterator[tuple[Leg, FirmwareProcess]]:
    with firmware(folder, *UNDISTURBED) as device:
        leg = Leg(configured(folder, device.link, **changes), stalls)
        try:
            yield leg, device
        finally:
            leg.run.cleanup()


def told(device: FirmwareProcess) -> tuple[str, list[str]]:
    """State of the device, and why."""
    summary: dict[str, Any] = device.stop()
    return summary["state"], summary["reasons"]


def ended(device: FirmwareProcess) -> tuple[str, list[str]]:
    """As ``told``, when its command timeout of 500 ms has passed for certain."""
    time.sleep(1.5)
    return told(device)


def test_a_return_leaves_a_leg_where_it_is_and_a_device_stopped(tmp_path: Path) -> None:
    with on_device(tmp_path) as (leg, device):
        with leg.run:
            leg.stand()
        assert leg.command() == SAFE
        assert told(device) == ("SAFE", ["HOST_STOP"])


def end_by_an_exception(leg: Leg) -> None:
    with leg.run:
        leg.stand()
        raise ZeroDivisionError


def test_an_exception_is_like_a_return(tmp_path: Path) -> None:
    with on_device(tmp_path) as (leg, device):
        with pytest.raises(ZeroDivisionError):
            end_by_an_exception(leg)
        assert leg.command() == SAFE
        assert told(device) == ("SAFE", ["HOST_STOP"])


@pytest.mark.parametrize(
    ("changes", "stalls", "reason"),
    [
        (
            # A tenth of a second late, on any machine.
            {"class: soft": "class: hard", "rate_hz: 100": "rate_hz: 10", "    max_share": "#"},
            (core.Stall(core.Stage.infer, 15, 0, 300_000_000),),
            "deadline_miss",
        ),
        ({}, (core.Stall(core.Stage.infer, 200, 0, 1_000_000_000),), "hang"),
        (
            {"names: [knee_pos]": "names: [knee_pos], max_age_ms: 500, on_stale: fault"},
            (),
            "stale_input",
        ),
    ],
)
def test_a_fault_holds_the_leg_and_stops_the_device_while_nobody_looks(
    tmp_path: Path, changes: dict[str, str], stalls: tuple[core.Stall, ...], reason: str
) -> None:
    with on_device(tmp_path, stalls, **changes) as (leg, device):
        leg.run.start()
        leg.stand()
        assert leg.faulty() == reason
        assert leg.command() == SAFE
        leg.run.loops["leg"].write_input("joints", [0.1])  # it is pushed away
        assert leg.run.stop().problems
        assert leg.command() == SAFE, "where it was when it was stopped"
        assert told(device) == ("SAFE", ["HOST_STOP"])


def test_what_is_measured_as_nan_is_where_it_was_before(tmp_path: Path) -> None:
    with on_device(tmp_path) as (leg, _):
        leg.run.start()
        leg.stand()
        leg.run.loops["leg"].write_input("joints", [float("nan")])
        assert leg.faulty() == "non_finite"
        assert leg.command() == SAFE


def test_a_cable_that_is_pulled_holds_the_leg_and_leaves_the_device_to_its_time_out(
    tmp_path: Path,
) -> None:
    with (
        firmware(tmp_path, *UNDISTURBED) as device,
        Cable(tmp_path / "cable", device.link) as cable,
    ):
        leg = Leg(configured(tmp_path, cable.path))
        leg.run.start()
        leg.stand()
        cable.unplug()
        assert leg.faulty() == "port_error"
        assert leg.command() == SAFE
        leg.run.stop()
        assert leg.command() == SAFE
        assert ended(device) == ("SAFE", ["COMMAND_TIMEOUT"])


PROGRAM = """
import signal, sys
from pathlib import Path
from rtloop.config import load
from rtloop.run import Run

run = Run(load(Path(sys.argv[1])), "test", record=False)
if sys.argv[2] == "handled":
    signal.signal(signal.SIGTERM, lambda *_: run.request_stop("SIGTERM"))
try:
    with run:
        run.loops["leg"].write_input("joints", [0.7])
        (leg,) = (port for port in run.loops["leg"].ports if port.name == "leg")
        run.wait(0.5)
        print(leg.core.newest()[0].tolist(), flush=True)
        run.wait(60)
finally:
    print(leg.core.newest()[0].tolist(), flush=True)
"""


@pytest.mark.parametrize(
    ("signal_number", "how", "reason"),
    [
        (signal.SIGINT, "by itself", "HOST_STOP"),  # KeyboardInterrupt
        (signal.SIGTERM, "handled", "HOST_STOP"),
        (signal.SIGTERM, "by itself", "COMMAND_TIMEOUT"),
        (signal.SIGKILL, "by itself", "COMMAND_TIMEOUT"),
    ],
)
def test_a_signal_that_a_program_outlives_is_like_a_return_and_one_that_kills_it_like_a_cable(
    tmp_path: Path, signal_number: signal.Signals, how: str, reason: str
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = configured(tmp_path, device.link)
        program = [sys.executable, "-c", PROGRAM, str(path), how]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            before = process.stdout.readline()
            process.send_signal(signal_number)
            after = process.communicate(timeout=20)[0]
        remove_unrecorded_rings_of(process.pid)
        assert json.loads(before) == COMMANDED
        if reason == "HOST_STOP":
            assert json.loads(after) == SAFE
        else:
            assert after == "", "the mailbox is gone, with everybody who could read it"
        assert ended(device) == ("SAFE", [reason])


@pytest.mark.parametrize(
    ("signal_number", "reason"),
    [
        (signal.SIGTERM, "HOST_STOP"),
        (signal.SIGINT, "HOST_STOP"),
        (signal.SIGHUP, "HOST_STOP"),
        (signal.SIGKILL, "COMMAND_TIMEOUT"),
        (signal.SIGSTOP, "COMMAND_TIMEOUT"),
    ],
)
def test_a_command_that_is_signalled_stops_its_device_unless_it_cannot(
    tmp_path: Path, signal_number: signal.Signals, reason: str
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = configured(tmp_path, device.link)
        with background(["run", path, "--no-record"]) as process:
            wait_until_running(process)
            process.send_signal(signal_number)
            if signal_number != signal.SIGSTOP:
                process.communicate(timeout=20)
            assert ended(device) == ("SAFE", [reason])
