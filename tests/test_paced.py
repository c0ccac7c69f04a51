"""Loops that are paced by an input: a mailbox, and the real firmware program on its line."""

from __future__ import annotations

import html
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.run import Run
from rtloop.telemetry.observe.ring import Batch, Ring
from tests.running import (
    UNDISTURBED,
    edited,
    firmware,
    rings_of,
    rtloop,
    wait_for,
    write_config,
)

MS = 1_000_000
TIMED_OUT, STALE = core.EVENTS["timed_out"], core.EVENTS["stale_input"]
TEXT = """\
recording: {enabled: false, directory: FOLDER/runs}
loops:
  arm:
    class: soft
    rate_hz: 100
    clock: {input: joint, timeout_ms: 25}
    inputs:
      joint: {mailbox: 1, max_age_ms: 1000, on_stale: {use: -1}}
    policy: {observation: [{input: joint}]}
    outputs: {motor: {mailbox: true, size: 1, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1, refused: 1}
"""


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TEXT.replace("FOLDER", str(folder))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "arm.yaml"
    path.write_text(text)
    return path


class Sensor:
    """Puts one more than before, and knows when each was taken."""

    def __init__(self, run: Run) -> None:
        self._port = run.loops["arm"].ports[0].core
        self.taken_ns: list[int] = []

    def sample(self, taken_ns: int | None = None) -> None:
        self.taken_ns.append(time.monotonic_ns() if taken_ns is None else taken_ns)
        self._port.put(np.array([len(self.taken_ns)], np.float32), self.taken_ns[-1])

    def sample_at(self, rate_hz: float, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.sample()
            time.sleep(1 / rate_hz)


def so_far() -> Batch:
    (path,) = rings_of(os.getpid())
    return Ring(path).read()


def has(batch: Batch, event: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray((batch.records["events"] & event) > 0)


def identity_holds(batch: Batch) -> bool:
    """Numbers go on by what was executed and skipped, and by nothing else."""
    steps = np.diff(batch.records["cycle"])
    return bool((steps == 1 + batch.records["skipped"][1:]).all())


def test_a_release_is_the_time_of_its_sample(tmp_path: Path) -> None:
    with Run(load(written(tmp_path)), "paced") as run:
        sensor = Sensor(run)
        sensor.sample_at(97, 1.0)  # not quite the rate of the loop
        batch = so_far()
        loop = run.stop().loops["arm"]
    assert loop.slipped_periods == 0, "there is no grid"
    came = ~has(batch, TIMED_OUT)
    released = batch.records["release_ns"][came]
    assert came.sum() > 20
    before = np.concatenate([[2**62], batch.records["release_ns"][:-1]])[came]
    assert set(released[released > before].tolist()) <= set(sensor.taken_ns)
    assert (np.diff(batch.records["release_ns"]) >= 0).all()
    assert (batch.records["deadline_ns"] - batch.records["release_ns"] == 10 * MS).all()
    assert (batch.inputs[came][:, 0] >= 1).all()
    assert identity_holds(batch)


def test_without_a_sample_it_runs_all_the_same_and_says_so(tmp_path: Path) -> None:
    with Run(load(written(tmp_path)), "paced") as run:  # before there is any sample
        sensor = Sensor(run)
        wait_for(lambda: has(so_far(), TIMED_OUT).sum() >= 5, "cycles without a sample")
        sensor.sample_at(100, 0.2)
        wait_for(lambda: bool(has(so_far(), TIMED_OUT)[-1]), "the time-out after the last sample")
        batch = so_far()
        commanded = run.loops["arm"].read_output("motor")[0]
        status = run.loops["arm"].status()
    assert status["state"] == "active"
    timed_out = has(batch, TIMED_OUT)
    assert (~timed_out).any()
    assert has(batch, STALE)[timed_out].all()
    assert (batch.inputs[timed_out] == -1).all(), "what stands in for the sample"
    assert commanded.tolist() == [-1]
    assert (batch.records["outcome"] != 3).all(), "nothing was held"
    steps_ns = np.diff(batch.records["release_ns"])
    both = timed_out[1:] & timed_out[:-1]
    periods = 1 + batch.records["skipped"][1:][both].astype(np.int64)
    assert (steps_ns[both] == periods * 10 * MS).all(), "then once a period"
    assert identity_holds(batch)


def test_what_comes_together_is_one_release_and_what_comes_too_often_is_passed_over(
    tmp_path: Path,
) -> None:
    with Run(load(written(tmp_path)), "paced") as run:
        sensor = Sensor(run)
        started_ns = time.monotonic_ns()
        sensor.sample_at(1000, 1.0)
        took_ns = time.monotonic_ns() - started_ns
        batch = so_far()
    came = (~has(batch, TIMED_OUT)).sum()
    # A twentieth faster than its rate at most, but for the one that may be ahead.
    assert 10 < came <= took_ns / (9.5 * MS) + 2
    assert len(sensor.taken_ns) > 2 * came
    assert identity_holds(batch)


def test_the_clock_of_a_sensor_may_jump(tmp_path: Path) -> None:
    """A sample of the future is released now, and is stale; one of the past misses its deadline."""
    with Run(load(written(tmp_path)), "paced") as run:
        sensor = Sensor(run)
        for jump_ns in (0, 60_000 * MS, -60_000 * MS, 0):
            for _ in range(8):
                sensor.sample(time.monotonic_ns() + jump_ns)
                time.sleep(0.01)
        batch = so_far()
    assert (np.diff(batch.records["release_ns"]) >= 0).all()
    assert (batch.records["release_ns"] <= batch.records["start_ns"]).all()
    age_ns = batch.sources[:, 0]["age_ns"]
    is_future, is_old = age_ns <= -2, age_ns > 50_000 * MS
    for jumped in (is_future, is_old):
        assert jumped.any()
        assert has(batch, STALE)[jumped].all()
    assert (batch.inputs[is_future, 0] == -1).all(), "what stands in for the sample"
    assert identity_holds(batch)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_stop_ends_the_wait(tmp_path: Path, is_link: bool) -> None:
    if not is_link:
        changes = ("rate_hz: 100", "rate_hz: 0.1"), ("timeout_ms: 25", "timeout_ms: 60000")
        run = Run(load(written(tmp_path, *changes)), "paced")
        run.start()
        _stopped(run)
        return
    slow = ("--rate-hz", "20", "--command-timeout-ms", "60000")
    with firmware(tmp_path, *UNDISTURBED, *slow) as device:
        path = edited(
            write_config(tmp_path, device.link),
            {
                "rate_hz: 200": "rate_hz: 10\n    clock: {input: cart, timeout_ms: 50000}",
                "command_timeout_ms: 500": "command_timeout_ms: 60000",
                "on_stale: hold": "on_stale: {use: 0}",
            },
        )
        run = Run(load(path), "paced")
        run.start()
        wait_for(lambda: run.loops["balance"].status()["executed"] > 3, "cycles")
        os.kill(device.pid, signal.SIGSTOP)  # from here on no sample ends the wait
        try:
            _stopped(run)
        finally:
            os.kill(device.pid, signal.SIGCONT)


def _stopped(run: Run) -> None:
    asked = time.monotonic()
    summary = run.stop()
    assert time.monotonic() - asked < 10, "of a minute"
    assert not [problem for problem in summary.problems if "hangs" in problem]


def test_a_device_paces_its_loop_and_may_be_lost_and_reset(tmp_path: Path) -> None:
    """At 125 Hz, in a loop of 100 Hz: it ends, and begins anew with a clock of its own."""
    path = edited(
        write_config(tmp_path, tmp_path / "tty"),
        {
            "rate_hz: 200": "rate_hz: 100\n    clock: {input: cart, timeout_ms: 40}",
            "on_stale: hold": "on_stale: use",
            "command_timeout_ms: 500": "command_timeout_ms: 500, on_lost: reconnect, "
            "reconnect: {rearm: automatic, first_ms: 20, max_ms: 200}",
            "refused: 1}": "refused: 1, dropped: 1}",
        },
    )
    sensor = (*UNDISTURBED, "--rate-hz", "125")
    with firmware(tmp_path, *sensor) as first:
        run = Run(load(path), "paced", record=False)
        run.start()
        (port,) = run.loops["balance"].ports

        def wait_for_commands() -> None:
            before = port.core.counters()["tx_packets"]
            wait_for(lambda: port.core.counters()["tx_packets"] > before + 20, "commands")

        wait_for_commands()
        first.stop()
        wait_for(lambda: has(so_far(), TIMED_OUT).sum() > 5, "cycles without a device")
        with firmware(tmp_path, *sensor, "--clock-start-us", "77000000"):
            wait_for(lambda: port.core.counters()["reconnections"] == 1, "another start")
            wait_for_commands()
            batch = so_far()
            status = run.loops["balance"].status()
            run.stop()
    assert status["state"] == "active"
    assert status["elapsed_periods"] == status["executed"] + status["skipped"]
    came = ~has(batch, TIMED_OUT)
    assert came.sum() > 30
    assert (batch.records["release_ns"] <= batch.records["start_ns"]).all()
    assert (np.diff(batch.records["release_ns"]) >= 0).all()
    assert identity_holds(batch)


def test_a_device_that_stands_still_is_a_fault_where_a_stale_input_is_one(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED, "--rate-hz", "20") as device:
        path = edited(
            write_config(tmp_path, device.link),
            {
                "rate_hz: 200": "rate_hz: 20\n    clock: {input: cart, timeout_ms: 300}",
                "on_stale: hold": "on_stale: fault",
            },
        )
        with Run(load(path), "paced") as run:
            wait_for(lambda: run.loops["balance"].status()["executed"] > 3, "cycles")
            os.kill(device.pid, signal.SIGSTOP)
            try:
                wait_for(lambda: run.loops["balance"].status()["state"] == "fault", "a fault")
                told = run.loops["balance"].fault()
                batch = so_far()
            finally:
                os.kill(device.pid, signal.SIGCONT)
    assert has(batch, TIMED_OUT)[-1]
    assert "stale" in told or "max_age_ms" in told


def test_a_late_loop_thread_is_judged_at_its_deadline_by_the_guard(tmp_path: Path) -> None:
    """The guard sleeps towards the time-out, and is told of the earlier deadline."""
    changes = (
        ("timeout_ms: 25", "timeout_ms: 60000"),
        ("class: soft", "class: hard"),
        ("max_age_ms: 1000, on_stale: {use: -1}", "max_age_ms: 60000"),
        ("missed: 1, skipped: 1, ", ""),
        ("rate_hz: 100", "rate_hz: 2"),
    )
    config = load(written(tmp_path, *changes))
    stall = core.Stall(core.Stage.infer, 0, 1, 3_000 * MS)
    run = Run(config, "paced", stalls={"arm": [stall]})
    run.configure()
    sensor = Sensor(run)
    feeding = threading.Event()

    def feed() -> None:
        while not feeding.is_set():
            Sensor.sample(sensor)
            time.sleep(0.5)

    run.loops["arm"].write_input("joint", [0])
    run.activate()
    sensor = Sensor(run)
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        wait_for(lambda: run.loops["arm"].status()["state"] == "fault", "the guard's verdict")
        told_ns = time.monotonic_ns()
        status = run.loops["arm"].status()
    finally:
        feeding.set()
        feeder.join()
        run.stop()
    assert status["expired_cycle"] >= 0
    assert told_ns - status["expired_deadline_ns"] < 2_000 * MS, "while the cycle was in it still"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("input: joint, t", "input: joints, t", "found 'joints'; expected the name of an input: joint"),
        ("timeout_ms: 25", "timeout_ms: 10", "timeout_ms: found 10; expected more than the period, 10 ms"),
        ("class: soft", "class: soft\n    on_overrun: catch_up", "expected skip with clock"),
        (", timeout_ms: 25", "", "clock.timeout_ms: found nothing; expected this required key"),
    ],
)  # fmt: skip
def test_a_clock_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, (old, new)))
    (line,) = str(caught.value).split("\n")
    assert complaint in line
    assert "arm.yaml:" in line


def test_loops_that_read_each_other_at_deadlines_are_on_grids(tmp_path: Path) -> None:
    second = """
  slow:
    class: soft
    rate_hz: 10
    deadline_ms: 50
    inputs: {motor: {loop: arm, max_age_ms: 500}}
    policy: {observation: [{input: motor}]}
    outputs: {o: {mailbox: true, size: 1, safe: 0}}
"""
    path = written(tmp_path)
    path.write_text(path.read_text() + second.lstrip("\n"))
    assert load(path).loops["slow"].inputs["motor"].read_output == ("arm", "motor")
    edited(path, {"rate_hz: 100": "rate_hz: 100\n    output: at_deadline\n    deadline_ms: 5"})
    with pytest.raises(
        ConfigError, match="output: asap in loop 'arm': 'arm' is paced by its input"
    ):
        load(path)


def test_an_input_that_is_another_loop_paces_none(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text()
    path.write_text(
        text.replace("joint: {mailbox: 1,", "joint: {loop: other,")
        + text[text.index("  arm:") :]
        .replace("  arm:", "  other:")
        .replace("    clock: {input: joint, timeout_ms: 25}\n", "")
    )
    with pytest.raises(ConfigError, match="one of kind 'loop' is looked at when the loop runs"):
        load(path)


def test_check_recording_and_report_say_what_paces(tmp_path: Path) -> None:
    path = written(tmp_path, ("enabled: false, ", ""))
    said = "paced by input 'joint' (time-out 25 ms)"
    told = rtloop("check", path)
    assert told.returncode == 0, told.stderr
    assert f"arm: soft, 100 Hz, {said}, deadline 10 ms" in told.stdout
    done = rtloop("run", path, "--duration", "0.5")
    assert done.returncode == 0, done.stderr
    assert said in done.stdout + done.stderr
    (report,) = (tmp_path / "runs").rglob("report.html")
    text = report.read_text()
    assert f"<dt>Released</dt><dd>{html.escape(said)}</dd>" in text
    assert "timed out" in text
