"""What is printed holds nobody up and ends nobody: readers that stall, leave, or never were."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtloop.cli.outlet import PENDING_MAX_BYTES, Outlet
from rtloop.demos.firmware import FirmwareProcess
from tests.running import UNDISTURBED, firmware, write_config


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path, *UNDISTURBED) as device:
        yield device


def full_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    fill(writing)
    return reading, writing


def full_terminal() -> tuple[int, int]:
    reading, writing = pty.openpty()
    fill(writing)
    return reading, writing


def fill(fd: int) -> None:
    os.set_blocking(fd, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except BlockingIOError:
            pass
    os.set_blocking(fd, True)


def command(config: Path, *options: str) -> list[str]:
    run = [sys.executable, "-m", "rtloop.cli", "run", str(config), "--no-record"]
    return [*run, "--duration", "1.5", *options]


def ran_to_its_end(device: FirmwareProcess) -> bool:
    told = device.stop()
    return (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"]) and told["elapsed_s"] > 0.9


@pytest.mark.parametrize("nobody", [full_pipe, full_terminal])
def test_a_reader_that_takes_nothing_holds_no_run_up(
    tmp_path: Path, device: FirmwareProcess, nobody: object
) -> None:
    reading, writing = nobody()  # type: ignore[operator]
    try:
        run = subprocess.Popen(
            command(write_config(tmp_path, device.link)), stdout=writing, stderr=subprocess.PIPE
        )
        _, err = run.communicate(timeout=20)
    finally:
        run.kill()
        os.close(reading)
        os.close(writing)
    assert run.returncode == 0, err
    assert b"Traceback" not in err
    assert ran_to_its_end(device)


def test_a_reader_that_left_ends_no_run(tmp_path: Path, device: FirmwareProcess) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(write_config(tmp_path, device.link)),
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=20,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ran_to_its_end(device)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_under_the_output_ends_no_run(
    tmp_path: Path, device: FirmwareProcess, options: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(write_config(tmp_path, device.link), *options),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    assert ran_to_its_end(device)
    if options:
        assert done.returncode == 1, "the summary that was asked for is not there"
        assert done.stderr == "rtloop: cannot print: No space left on device\n"
    else:
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_output_ends_no_run(tmp_path: Path, device: FirmwareProcess, closed: str) -> None:
    arguments = command(write_config(tmp_path, device.link))
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *arguments], capture_output=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ran_to_its_end(device), "and nothing was printed to it"


def test_an_ascii_locale_replaces_what_it_lacks(tmp_path: Path, device: FirmwareProcess) -> None:
    done = subprocess.run(
        command(write_config(tmp_path, device.link)),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"?s" in done.stdout, "microseconds"
    assert ran_to_its_end(device)


def test_a_reader_that_is_slow_gets_the_whole_summary(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    arguments = command(write_config(tmp_path, device.link), "--json")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as run:
        time.sleep(4)
        assert run.stdout is not None
        assert json.loads(run.stdout.read())["stopped_by"] == "duration"
    assert run.returncode == 0


def test_a_job_in_the_background_that_prints_is_not_stopped(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    from tests.running import background, wait_until_running

    with background(["run", write_config(tmp_path, device.link), "--no-report"]) as run:
        wait_until_running(run)
        run.send_signal(signal.SIGTTOU)
        time.sleep(0.3)
        state = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()[0]
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=20)
    assert state != "T"
    assert run.returncode == 0


def test_an_outlet_drops_what_nobody_takes_and_goes_on_when_somebody_does() -> None:
    reading, writing = full_pipe()
    with os.fdopen(writing, "w", encoding="ascii") as stream:
        outlet = Outlet(stream)
        for _ in range(3 * PENDING_MAX_BYTES // 1000):
            outlet.write("y" * 1000)
        os.set_blocking(reading, False)
        taken = b""
        outlet.finish()
        end_s = time.monotonic() + 10
        while taken.count(b"y") < PENDING_MAX_BYTES // 1000 * 1000 and time.monotonic() < end_s:
            try:
                taken += os.read(reading, 65536)
            except BlockingIOError:
                time.sleep(0.01)
        assert taken.count(b"y") == PENDING_MAX_BYTES // 1000 * 1000
        outlet.write("zµ")
        outlet.finish()
        assert os.read(reading, 10) == b"z?"
    os.close(reading)


def test_a_stream_that_is_no_file_is_written_too() -> None:
    stream = io.StringIO()
    outlet = Outlet(stream)
    print("one", "two", file=outlet, flush=True)
    outlet.finish()
    assert stream.getvalue() == "one two\n"
