"""A run that is activated again and again, and its loops together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtloop import core
from rtloop.config import load
from rtloop.demos.firmware import FirmwareProcess
from rtloop.errors import LinkError, RtloopError
from rtloop.link import Link
from rtloop.link.port import LinkPort
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from tests.running import (
    UNDISTURBED,
    background,
    edited,
    firmware,
    rings_of,
    wait_until_running,
    write_config,
)


def two_loops(folder: Path, left: Path, right: Path, realtime: tuple[str, str]) -> Path:
    """Two loops, each on a device of its own."""
    path = write_config(folder, left)
    head, loops = path.read_text().split("loops:\n")
    head = head.replace(
        "links:\n", f"links:\n  other: {{device: {right}, command_timeout_ms: 500}}\n"
    )
    second = loops.replace("  balance:", "  other:").replace("link: cart", "link: other")
    alone = "realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}"
    assert alone in loops
    first, second = (
        text.replace(alone, f"realtime: {{scheduler: other, {asked}}}")
        for text, asked in zip((loops, second), realtime, strict=True)
    )
    path.write_text(f"{head}loops:\n{first}{second}")
    return path


@contextmanager
def two_devices(folder: Path) -> Iterator[tuple[FirmwareProcess, FirmwareProcess]]:
    (folder / "other").mkdir()
    with firmware(folder) as left, firmware(folder / "other") as right:
        yield left, right


NO_RIGHTS = "lock_memory: false, cpu_dma_latency_us: null"


def test_a_run_is_activated_as_often_as_one_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_link = Link.open

    def counted(name: str, device: str, baud: int) -> Link:
        opened.append(name)
        return open_link(name, device, baud)

    monkeypatch.setattr(Link, "open", counted)
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test")
        summaries, run_ids = [], []
        for n_activations in (3, 1):
            run.configure()
            assert run.state == "inactive"
            for _ in range(n_activations):
                run.activate()
                assert run.state == "active"
                run_ids.append(run.run_id)
                run.wait(0.3)
                summaries.append(run.deactivate())
                assert run.is_recorded
                assert run.state == "inactive"
                assert device_state(run) == "SAFE"
            run.cleanup()
            assert run.state == "unconfigured"
        told = device.stop()
    assert opened == ["cart", "cart"], "devices stay open from configure to cleanup"
    assert len(set(run_ids)) == 4
    recordings = [summary.recording for summary in summaries]
    assert len(set(recordings)) == 4
    for summary, recording, run_id in zip(summaries, recordings, run_ids, strict=True):
        assert recording is not None
        found = read_recording(recording)
        loop = summary.loops["balance"]
        assert found.run_id == run_id
        assert summary.problems == ()
        assert len(found.loops["balance"].records) == loop.executed > 10
        assert found.loops["balance"].records["cycle"][0] == 0
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert rings_of(os.getpid()) == []


def device_state(run: Run) -> str:
    (port,) = run.loops["balance"].ports
    assert isinstance(port, LinkPort)
    assert port._link is not None
    return port._link.status().state.name


def test_all_loops_of_a_run_start_on_one_first_release(tmp_path: Path) -> None:
    with two_devices(tmp_path) as (left, right):
        path = two_loops(tmp_path, left.link, right.link, (NO_RIGHTS, NO_RIGHTS))
        with Run(load(path), "test", record=False) as run:
            run.wait(0.3)
            first = {loop.status()["first_release_ns"] for loop in run.loops.values()}
    assert len(first) == 1
    assert all(loop.executed > 10 for loop in run.stop().loops.values())


def test_a_loop_that_takes_no_stale_sample_starts_with_a_fresh_one(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED, "--rate-hz", "20") as device:
        fresh = {"max_age_ms: 400, on_stale: hold": "max_age_ms: 400, on_stale: fault"}
        run = Run(load(edited(write_config(tmp_path, device.link), fresh)), "test")
        for _ in range(3):
            with run:
                run.wait(0.3)
            summary = run.stop()
            assert (summary.stopped_by, summary.problems) == ("duration", ())
            batch = read_recording(run.recording).loops["balance"]
            assert batch.records["cycle"][0] == 0
            assert batch.records["input_age_ns"][0] >= 0


def test_what_the_whole_process_asks_for_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[core.Right] = []
    held: list[int] = []
    lock_memory, hold = core.lock_memory, core.CpuLatencyHold

    def counted_lock() -> core.Right:
        locked.append(lock_memory())
        return locked[-1]

    def counted_hold(max_latency_us: int) -> core.CpuLatencyHold:
        held.append(max_latency_us)
        return hold(max_latency_us)

    monkeypatch.setattr(core, "lock_memory", counted_lock)
    monkeypatch.setattr(core, "CpuLatencyHold", counted_hold)
    asked = ("lock_memory: true, cpu_dma_latency_us: 20", "cpu_dma_latency_us: 10")
    with two_devices(tmp_path) as (left, right):
        path = two_loops(tmp_path, left.link, right.link, asked)
        with Run(load(path), "test", record=False) as run:
            names = [r.name for r in run.rights]
            of_each = [[r.name for r in loop.rights] for loop in run.loops.values()]
    assert (len(locked), held) == (1, [10]), "the smallest is what the kernel obeys"
    assert names.count("lock_memory") == names.count("cpu_dma_latency") == 1
    assert all({"lock_memory", "cpu_dma_latency"} <= set(each) for each in of_each)
    assert [right.name for right in run.stop().rights] == names


def test_an_activation_that_fails_leaves_nothing_behind_and_may_be_tried_again(
    tmp_path: Path,
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        path = write_config(tmp_path, device.link)
        with background(["run", path, "--no-record"]) as process:
            wait_until_running(process)
            process.kill()
            process.wait()
        time.sleep(0.8)  # the host fell silent without a stop: the device sees to itself
        run = Run(load(path), "test")
        run.configure()
        for _ in range(2):
            with pytest.raises(LinkError, match="latched SAFE: COMMAND_TIMEOUT"):
                run.activate()
            assert run.state == "inactive"
            assert rings_of(os.getpid()) == []
            assert list((tmp_path / "runs").glob("*")) == []
        run.clear = True
        run.activate()
        run.wait(0.3)
        summary = run.stop()
    assert summary.loops["balance"].executed > 10
    assert run.is_recorded


def test_a_loop_that_hangs_is_not_activated_before_it_is_configured_anew(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        stall = core.Stall(core.Stage.infer, 30, 0, 2_500_000_000)
        config = load(write_config(tmp_path, device.link))
        run = Run(config, "test", record=False, stalls={"balance": [stall]}, clear=True)
        run.configure()
        run.activate()
        run.wait(10)
        summary = run.deactivate()
        assert summary.loops["balance"].fault_reason == "hang"
        assert any("hangs and did not end" in problem for problem in summary.problems)
        loop = summary.loops["balance"]
        assert loop.elapsed_periods == loop.executed + loop.skipped == 31, "cycle 30 was started"
        assert (loop.unfinished, sum(loop.outcomes.values())) == (1, loop.executed)
        with pytest.raises(RtloopError, match=r"hung.*configure\(\) first"):
            run.activate()
        assert run.state == "inactive"
        run.cleanup()
        run.configure()
        run.activate()
        assert run.stop().loops["balance"].fault_reason == "none"


def test_a_device_that_was_lost_is_opened_anew_by_the_next_activation(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        run.configure()
        run.activate()
        os.kill(device.pid, signal.SIGUSR1)
        run.wait(10)
        assert run.deactivate().loops["balance"].fault_reason == "port_error"
        with pytest.raises(LinkError, match="cart"):
            run.activate()
        device.stop()
        device.start()
        run.activate()
        run.wait(0.3)
        summary = run.deactivate()
        assert (summary.problems, summary.stopped_by) == ((), "duration")
        device.stop()
        device.start()
        run.activate()  # reset while nothing ran
        assert run.stop().problems == ()
