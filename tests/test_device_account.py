"""Both ends of the wire in one record: what a device accounts for itself, from the firmware to the report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rtloop import core
from rtloop.config import load
from rtloop.loop import _Activation
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.ring import Ring
from rtloop.telemetry.recorder.recover import recover
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    rtloop,
    wait_for,
    wait_until_running,
    write_config,
)
from tests.telemetry.loops import metadata

pytestmark = pytest.mark.timeout(60)

#: A period of 50 ms and a deadline of 20 ms, which only what is delayed by 40 ms misses by that much.
SLOW = ("--rate-hz", "20", "--loop-deadline-us", "20000", "--loop-delay-us", "40000")

#: At 1 kHz a sample and the account in one period are 1.6 Mbit/s.
FAST_LINE = {"{device: ": "{baud: 2000000, device: "}


def ran(folder: Path, *arguments: str, changes: Mapping[str, str] | None = None) -> Run:
    """A second of a loop on the firmware program."""
    with firmware(folder, *UNDISTURBED, *arguments) as device:
        path = edited(write_config(folder, device.link), changes or {})
        run = Run(load(path), "test")
        with run:
            run.wait(1.0)
    return run


def test_what_a_device_accounts_for_is_in_summary_and_recording(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(1.0)
        told: dict[str, Any] = device.stop()
    assert run.summary is not None
    loop = run.summary.loops["balance"]
    account = loop.devices["cart"].account
    assert account is not None
    assert (account.loop_class, account.period_us, account.deadline_us) == ("soft", 1000, 1000)
    counted = {name: getattr(account, name) for name in ("jobs", "skipped", "misses")}
    assert counted == told["loop"]
    assert account.jobs + account.skipped >= 900
    for histogram in (account.response_us, account.release_latency_us):
        assert histogram.n == account.jobs
    ages = account.sample_to_actuation_us
    applied = ages.n + account.untraced
    assert loop.outcomes["written"] + loop.outcomes["written_late"] - 20 <= applied <= loop.executed
    assert account.untraced < ages.n
    assert (ages.percentile_us(0.5) or 0) <= (ages.percentile_us(0.99) or 0) <= ages.max_us

    assert run.summary.as_dict()["loops"]["balance"]["devices"]["cart"]["account"] == (
        account.as_dict()
    )
    recorded = read_recording(run.recording).loops["balance"]
    assert recorded.summary.devices["cart"].account == account


def test_a_hard_miss_of_the_device_stops_the_loop_and_fails_the_run(tmp_path: Path) -> None:
    run = ran(tmp_path, *SLOW, "--loop-class", "hard", "--loop-delay-every", "6")
    assert run.summary is not None
    loop = run.summary.loops["balance"]
    device = loop.devices["cart"]
    assert loop.fault_reason == "device_safe"
    assert any("DEADLINE_MISSES" in problem for problem in run.summary.problems)
    assert device.events["deadline_miss"] == 1
    assert device.account is not None
    assert device.account.misses == 1
    assert device.account.lateness_max_us == device.missed_lateness_max_us
    assert device.account.first_miss_job == device.account.worst_job
    assert device.account.first_miss_after_us == device.account.worst_after_us
    assert "'cart': its own loop missed 1 of" in " ".join(loop.failures)


@pytest.mark.parametrize("limit", [("--loop-limit", "0/3"), ()])
def test_a_broken_limit_of_the_device_fails_the_run_and_misses_without_one_do_not(
    tmp_path: Path, limit: tuple[str, ...]
) -> None:
    run = ran(tmp_path, *SLOW, *limit)
    assert run.summary is not None
    loop = run.summary.loops["balance"]
    assert loop.fault_reason == "none"
    account = loop.devices["cart"].account
    assert account is not None
    assert account.misses > 5
    # The last may have come when nobody listened any more.
    assert loop.devices["cart"].events["deadline_miss"] >= account.misses - 2
    broken = [failure for failure in loop.failures if "limit of lost jobs" in failure]
    assert len(broken) == (1 if limit else 0)
    # Releases that were skipped before a job that met its deadline break it, too.
    assert account.limit_broken >= account.misses if limit else account.limit_broken == 0


def command_of(process: psutil.Process) -> str:
    """Empty of one that has ended, and that nobody has waited for yet."""
    with suppress(psutil.ZombieProcess):
        return " ".join(process.cmdline())
    return ""


def test_an_account_outlives_the_recorder(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(0.5)
            (recorder,) = (
                child for child in psutil.Process().children() if "recorder" in command_of(child)
            )
            recorder.kill()
            run.wait(0.3)
    assert run.summary is not None
    account = run.summary.loops["balance"].devices["cart"].account
    assert account is not None
    recover(run.recording)
    restored = read_recording(run.recording).loops["balance"].summary
    assert restored.devices["cart"].account == account


@pytest.mark.parametrize("recorder_too", [False, True])
def test_the_newest_account_outlives_a_host_that_is_killed(
    tmp_path: Path, recorder_too: bool
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        config = edited(write_config(tmp_path, device.link), FAST_LINE)
        with background(["run", config]) as run:
            ring = Ring(wait_until_running(run))
            wait_for(lambda: bool(ring.accounts()), "the first account")
            if recorder_too:
                for child in psutil.Process(run.pid).children():
                    child.kill()
            run.kill()
            run.wait()
        said = ring.accounts()["cart"]
        assert device.stop()["loop"]["jobs"] >= said.jobs
    assert said.jobs + said.skipped >= 900
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    if recorder_too:
        assert rtloop("recover", recording).returncode == 0
    wait_for(lambda: not ring.path.exists(), "the end of the recording")
    account = read_recording(recording).loops["balance"].summary.devices["cart"].account
    assert account == said
    assert not account.is_final
    assert (account.response_us.max_us > 0, account.response_us.n) == (True, 0)
    assert rtloop("report", recording).returncode == 0
    assert "It could not be asked at the end" in (recording.parent / "report.html").read_text()


def test_a_line_without_room_for_it_is_not_asked_while_the_loop_runs(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        with run:
            run.wait(1.3)
            assert run.loops["balance"].ports[0].account() is None
    assert run.summary is not None
    account = run.summary.loops["balance"].devices["cart"].account
    assert account is not None
    assert account.is_final


def test_the_console_has_a_line_for_each_device_and_the_report_both_ends(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED, *SLOW, "--loop-delay-every", "4") as device:
        config = write_config(tmp_path, device.link)
        done = rtloop("run", config, "--duration", "1")
        assert device.stop()["loop"]["misses"] > 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "device cart:" in line)
    assert "soft loop of 50 ms: " in line
    assert "sample to actuation p50" in line
    (page,) = tmp_path.glob("runs/*/report.html")
    text = page.read_text()
    assert "<b>Its own loop</b>, soft, 50 ms, deadline 20 ms" in text.replace("\u00a0", " ")
    assert 'aria-label="Response times of the loop of cart' in text
    assert 'aria-label="Sample to actuation of cart' in text
    assert "by the device's clock alone: right to its step of 1" in text.replace("&#x27;", "'")
    assert "where ages on the host are right to ±" in text


def test_an_account_that_finds_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    ring = core.RingWriter(str(tmp_path / "ring"), 8, 0, 2, 1, b"{}")
    said: dict[str, Any] = {"said": "first"}
    device: Any = SimpleNamespace(name="cart", account=lambda: SimpleNamespace(as_dict=said.copy))
    nothing: Any = None
    activation = _Activation(ring, nothing, nothing, metadata(), armed=[device])
    activation.publish_accounts()
    before = core.RingReader(ring.path).metadata
    assert b"first" in before
    said["said"] = "x" * 100_000
    activation.publish_accounts()
    assert core.RingReader(ring.path).metadata == before
