"""A loop on its own threads. Machines are shared: nothing here depends on how fast they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from tests.core.conftest import MS, identity_graph, read_records


class Threaded:
    def __init__(self, path: Path, **changes: object) -> None:
        config = core.LoopConfig()
        config.name = "threaded"
        config.loop_class = core.LoopClass.soft
        config.period_ns = config.deadline_ns = 2 * MS
        config.inputs = [core.InputConfig(0)]
        config.outputs = [core.OutputConfig(0, safe=[-1.0])]
        for name, value in changes.items():
            setattr(config, name, value)
        self.config = config
        self.port = core.Port("mailbox", {"inputs": 1, "safe": [-1.0]})
        self.path = path
        self.activations = 0

    def set_up(self) -> core.SetUp:
        """The loop of a new activation, on its own ring; ``path`` is that of the first one."""
        path = f"{self.path}{self.activations or ''}"
        self.activations += 1
        ring = core.RingWriter(path, 1 << 14, 1, 1, 1, b"{}")
        clock = core.MonotonicClock()
        self.loop = core.Loop(self.config, [self.port], identity_graph(1), ring, clock)
        self.threads = core.LoopThreads(self.loop)
        setup, guard = core.ThreadSetup(), core.ThreadSetup()
        setup.name, guard.name = "rt:threaded", "rtg:threaded"
        return self.threads.set_up(setup, guard, 200)

    def activate(self) -> core.SetUp:
        self.port.put(np.array([0.5], np.float32))
        found = self.set_up()
        core.activate([self.threads])
        return found

    def deactivate(self) -> bool:
        return self.threads.deactivate(5_000 * MS)

    def safe_in_force(self) -> bool:
        return bool(self.port.counters()["safe_in_force"])


MakeThreaded = Callable[..., Threaded]


@pytest.fixture
def make_threaded(tmp_path: Path) -> MakeThreaded:
    return lambda **changes: Threaded(tmp_path / "ring", **changes)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen within 20 s"
        time.sleep(0.005)


def test_elapsed_periods_are_executed_plus_skipped_on_a_busy_machine(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded(period_ns=MS, deadline_ns=MS)
    stop = threading.Event()
    spinners = [threading.Thread(target=_spin, args=(stop,)) for _ in range(2)]
    for spinner in spinners:
        spinner.start()
    threaded.activate()
    wait_for(lambda: threaded.loop.status()["executed"] > 300)
    threaded.deactivate()
    stop.set()
    for spinner in spinners:
        spinner.join()
    status = threaded.loop.status()
    assert status["elapsed_periods"] == status["executed"] + status["skipped"]
    assert status["head"] == status["executed"]


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        pass


def test_activating_measures_the_warm_up_and_reads_every_right_back(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded()
    found = threaded.activate()
    assert found.error == ""
    assert len(found.warm_up_ns) == 200
    assert found.first_run_ns > 0
    rights = {right.name: right for right in found.loop_rights}
    assert rights["scheduler"].actual == "other"
    assert rights["scheduler"].granted
    threaded.deactivate()


def test_deactivating_ends_with_the_safe_command_and_can_be_repeated(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded()
    for _ in range(3):
        threaded.activate()
        wait_for(lambda: threaded.port.newest()[0][0] == 0.5)
        assert threaded.deactivate()
        assert threaded.safe_in_force()
        assert threaded.loop.status()["state"] == "inactive"
    assert threaded.deactivate(), "an inactive loop is left alone"


def test_threads_are_used_once(make_threaded: MakeThreaded) -> None:
    threaded = make_threaded()
    with pytest.raises(ValueError, match="after its threads were set up"):
        core.activate([core.LoopThreads(threaded_loop(threaded))])
    threaded.activate()
    with pytest.raises(ValueError, match="activated once"):
        core.activate([threaded.threads])
    with pytest.raises(ValueError, match="set up already"):
        threaded.threads.set_up(core.ThreadSetup(), core.ThreadSetup(), 1)
    threaded.deactivate()


def threaded_loop(threaded: Threaded) -> core.Loop:
    ring = core.RingWriter(f"{threaded.path}-other", 16, 1, 1, 1, b"{}")
    clock = core.MonotonicClock()
    return core.Loop(threaded.config, [threaded.port], identity_graph(1), ring, clock)


def test_threads_that_were_only_set_up_end_and_have_sent_nothing(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded()
    threaded.set_up()
    assert threaded.deactivate()
    assert threaded.loop.status()["executed"] == 0
    assert threaded.port.newest()[1] == -1


def test_several_loops_start_on_one_first_release(tmp_path: Path) -> None:
    all_threaded = [Threaded(tmp_path / f"ring-{i}-") for i in range(3)]
    for threaded in all_threaded:
        threaded.set_up()
    before_ns = time.monotonic_ns()
    first_release_ns = core.activate([threaded.threads for threaded in all_threaded])
    assert first_release_ns > before_ns
    for threaded in all_threaded:
        wait_for(lambda loop=threaded.loop: loop.status()["executed"] > 0)  # type: ignore[misc]
    found = {threaded.loop.status()["first_release_ns"] for threaded in all_threaded}
    assert found == {first_release_ns}
    for threaded in all_threaded:
        threaded.deactivate()


def test_dropping_the_threads_sends_the_safe_command(make_threaded: MakeThreaded) -> None:
    threaded = make_threaded()
    threaded.activate()
    wait_for(lambda: threaded.port.newest()[0][0] == 0.5)
    del threaded.threads
    assert threaded.safe_in_force()


@pytest.mark.parametrize("at_deadline", [False, True])
def test_a_slow_loop_deactivates_at_once(make_threaded: MakeThreaded, at_deadline: bool) -> None:
    threaded = make_threaded(
        period_ns=10_000 * MS, deadline_ns=9_000 * MS, output_at_deadline=at_deadline
    )
    threaded.activate()
    if at_deadline:
        time.sleep(0.2)  # long enough for a command to wait for d; logic holds without
    began = time.monotonic()
    assert threaded.deactivate()
    assert time.monotonic() - began < 5
    if at_deadline:
        assert threaded.port.counters()["commands"] == 0, "what waited was not sent"


STOPPED = """
import sys, time, pathlib
from rtloop import core
from tests.core.test_threads import MS, Threaded
t = Threaded(pathlib.Path(sys.argv[1]), loop_class=core.LoopClass[sys.argv[2]], period_ns=400 * MS,
             deadline_ns=300 * MS, hang_limit_ns=60_000 * MS, output_at_deadline=True)
t.activate()
print("go", flush=True)
sys.stdin.read()
t.deactivate()
"""


def stop_while_a_command_waits(process: subprocess.Popen[str], reader: core.RingReader) -> int:
    """The cycle that the process is stopped in; -1 when a slow machine made a hard loop fail before."""

    def since_release_ns() -> int:
        status = reader.status()
        release_ns = status["first_release_ns"] + status["open_cycle"] * 400 * MS
        return time.monotonic_ns() - int(release_ns)

    def is_faulty() -> bool:
        return bool(reader.status()["state"] == "fault")

    while True:
        wait_for(lambda: is_faulty() or 20 * MS < since_release_ns() < 200 * MS)
        os.kill(process.pid, signal.SIGSTOP)
        if is_faulty():
            return -1
        if since_release_ns() < 290 * MS:
            break
        os.kill(process.pid, signal.SIGCONT)  # this machine was stopped, too
    stopped_in, executed = (int(reader.status()[key]) for key in ("open_cycle", "executed"))
    wait_for(lambda: since_release_ns() > 600 * MS)
    os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: reader.status()["executed"] > executed)
    return stopped_in


@pytest.mark.parametrize("loop_class", ["hard", "firm", "soft"])
def test_a_process_that_is_stopped_while_its_command_waits_has_missed(
    tmp_path: Path, loop_class: str
) -> None:
    stopped_in = -1
    for attempt in range(20):
        path = tmp_path / f"ring-{attempt}"
        with subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(path), loop_class],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            reader = core.RingReader(str(path))
            try:
                stopped_in = stop_while_a_command_waits(process, reader)
            finally:
                os.kill(process.pid, signal.SIGCONT)
                process.communicate("")
        if stopped_in >= 0:
            break
    records = read_records(path)
    miss = records["events"] & core.EVENTS["miss"] != 0
    late = records["finish_ns"] > records["deadline_ns"]
    assert (miss == late).all()
    instead = {"hard": "safe", "firm": "held", "soft": "written_late"}[loop_class]
    assert (records["outcome"][miss] == core.OUTCOMES[instead]).all()
    assert stopped_in in records["cycle"][miss], "what left late was not counted as met"


@pytest.mark.parametrize("loop_class", [*core.LoopClass.__members__.values()])
def test_a_command_that_waits_when_the_loop_is_stopped_was_not_held_by_anything(
    make_threaded: MakeThreaded, loop_class: core.LoopClass
) -> None:
    threaded = make_threaded(
        loop_class=loop_class,
        period_ns=3_000 * MS,
        deadline_ns=2_500 * MS,
        output_at_deadline=True,
    )
    threaded.activate()
    wait_for(lambda: threaded.loop.status()["state"] == "active")
    first_ns = int(threaded.loop.status()["first_release_ns"])
    wait_for(lambda: core.MonotonicClock().now() > first_ns + 500 * MS)
    assert threaded.deactivate()
    (record,) = read_records(threaded.path)
    assert record["finish_ns"] < record["deadline_ns"]
    assert record["outcome"] == core.OUTCOMES["none"]
    assert record["events"] == 0
    assert threaded.safe_in_force()


@pytest.mark.parametrize("loop_class", [core.LoopClass.firm, core.LoopClass.soft])
def test_a_limit_is_broken_by_the_releases_that_pass_while_a_cycle_runs(
    make_threaded: MakeThreaded, loop_class: core.LoopClass
) -> None:
    threaded = make_threaded(
        loop_class=loop_class,
        period_ns=50 * MS,
        deadline_ns=50 * MS,
        hang_limit_ns=60_000 * MS,
        max_misses=100,
        window=1000,
        max_consecutive=3,
        fault_on_broken_limit=True,
        stalls=[core.Stall(core.Stage.infer, 3, 0, 1_500 * MS)],
    )
    threaded.activate()
    wait_for(lambda: threaded.loop.status()["state"] == "fault")
    status = threaded.loop.status()
    assert status["fault_reason"] == core.FAULT_REASONS["limit_broken"]
    assert status["executed"] <= 3, "the cycle has not come back"
    assert threaded.safe_in_force()
    assert threaded.deactivate()
    records = read_records(threaded.path)
    # None where this machine stalled so long that the cycle had not even started.
    for broken in records[records["cycle"] == status["expired_cycle"]]:
        assert broken["events"] & core.EVENTS["limit_broken"]
        assert broken["outcome"] == core.OUTCOMES["safe"]


def test_the_guard_makes_a_hard_loop_safe_while_its_cycle_hangs(
    make_threaded: MakeThreaded,
) -> None:
    hang = core.Stall(core.Stage.infer, 20, 0, 2_000 * MS)
    threaded = make_threaded(
        loop_class=core.LoopClass.hard,
        period_ns=100 * MS,
        deadline_ns=100 * MS,
        stalls=[core.Stall(core.Stage.infer, 3, 0, 1_500 * MS), hang],
    )
    threaded.activate()
    wait_for(lambda: threaded.safe_in_force() and threaded.loop.status()["executed"] == 3)
    status = threaded.loop.status()
    assert status["state"] == "fault"
    assert status["executed"] == 3, "the fourth cycle still hangs"
    assert status["expired_cycle"] == 3
    wait_for(lambda: threaded.loop.status()["executed"] == 4)
    threaded.deactivate()
    assert threaded.safe_in_force()


def test_a_cycle_that_does_not_come_back_does_not_hang_its_owner(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded(stalls=[core.Stall(core.Stage.infer, 5, 1, 3_000 * MS)])
    threaded.activate()
    wait_for(lambda: threaded.loop.status()["expired_cycle"] >= 5)
    assert not threaded.threads.deactivate(50 * MS)
    assert threaded.safe_in_force()
    assert threaded.loop.status()["state"] == "fault"
    executed = threaded.loop.status()["executed"]
    wait_for(lambda: threaded.loop.status()["executed"] == executed + 1)  # let its thread end


def test_a_graph_that_a_hung_cycle_uses_is_not_given_to_another_thread(
    make_threaded: MakeThreaded,
) -> None:
    threaded = make_threaded(stalls=[core.Stall(core.Stage.infer, 5, 1, 2_000 * MS)])
    threaded.port.put(np.array([0.5], np.float32))
    graph = identity_graph(1)

    def threads_of_a_loop(name: str) -> tuple[core.Loop, core.LoopThreads]:
        ring = core.RingWriter(f"{threaded.path}-{name}", 1 << 14, 1, 1, 1, b"{}")
        loop = core.Loop(threaded.config, [threaded.port], graph, ring, core.MonotonicClock())
        return loop, core.LoopThreads(loop)

    loop, hung = threads_of_a_loop("hung")
    hung.set_up(core.ThreadSetup(), core.ThreadSetup(), 1)
    with pytest.raises(ValueError, match="in use"):
        core.LoopThreads(loop).set_up(core.ThreadSetup(), core.ThreadSetup(), 1)
    core.activate([hung])
    wait_for(lambda: loop.status()["state"] == "fault")
    assert not hung.deactivate(50 * MS)
    with pytest.raises(ValueError, match="perhaps by a cycle that hung"):
        threads_of_a_loop("next")[1].set_up(core.ThreadSetup(), core.ThreadSetup(), 1)

    _, threads = threads_of_a_loop("after")

    def can_be_used() -> bool:
        try:
            threads.set_up(core.ThreadSetup(), core.ThreadSetup(), 1)
        except ValueError:
            return False
        return threads.deactivate(5_000 * MS)

    wait_for(can_be_used)  # it came back after all


def test_a_loop_is_one_activation_for_one_pair_of_threads(make_threaded: MakeThreaded) -> None:
    threaded = make_threaded()
    threaded.set_up()
    core.activate([threaded.threads])
    assert threaded.threads.deactivate(5_000 * MS)
    with pytest.raises(ValueError, match="had threads already"):
        core.LoopThreads(threaded.loop).set_up(core.ThreadSetup(), core.ThreadSetup(), 1)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_process_with_a_hung_cycle_ends_without_destructors(tmp_path: Path, hangs: bool) -> None:
    # What stands for the destructors of ONNX Runtime, registered when it was loaded: abort().
    program = (
        "import ctypes, pathlib, sys; from tests.core.test_threads import *;"
        "libc = ctypes.CDLL(None); libc.__cxa_atexit(libc.abort, None, None);"
        "hangs = sys.argv[2] == 'True';"
        "stall = core.Stall(core.Stage.infer, 5, 1, 60_000 * MS if hangs else 0);"
        "t = Threaded(pathlib.Path(sys.argv[1]), stalls=[stall]); t.activate();"
        "wait_for(lambda: t.loop.status()['state'] == 'fault' or not hangs);"
        "t.threads.deactivate((50 if hangs else 5_000) * MS);"
        "print('flushed'); sys.exit(7)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "ring"), str(hangs)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=Path(__file__).parents[2],
    )
    assert "flushed" in done.stdout, done.stderr
    assert done.returncode == (7 if hangs else -signal.SIGABRT)


def test_a_killed_process_leaves_every_record_in_the_ring(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    program = (
        "import sys, time, pathlib; from tests.core.test_threads import Threaded;"
        "t = Threaded(pathlib.Path(sys.argv[1])); t.activate(); print('go', flush=True);"
        "time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    reader = core.RingReader(str(path))
    wait_for(lambda: bool(reader.status()["head"] > 50))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    head = reader.status()["head"]
    raw, lost = reader.read(1 << 20)
    assert (len(raw), lost) == (head, 0)
    assert reader.writer_pid == process.pid
    assert json.loads(reader.metadata) == {}
