"""A Python function in a real loop: its thread, its end, and that the cycle goes its way whatever it does."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.cli.check import check
from rtloop.cli.console import Console
from rtloop.config import load
from rtloop.errors import RtloopError
from rtloop.policy.callable.answering import Answering
from rtloop.policy.callable.function import PolicyFunction
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.summary import RunSummary
from tests.policy.callable.files import loop_file, module
from tests.running import background


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not happen within 20 s"
        time.sleep(0.005)


def run_of(folder: Path, code: str, name: str = "act", **keys: Any) -> Run:
    policy = f"python: {module(folder, code)}:{name}"
    return Run(load(loop_file(folder, policy, **keys)), "test", record=False)


def module_of(run: Run) -> Any:
    return sys.modules[str(run.config.loops["pole"].policy.python).partition(":")[0]]


def executed(run: Run) -> int:
    return int(run.loops["pole"].status()["executed"])


def test_a_loop_commands_what_the_function_answers_and_its_counts_balance(tmp_path: Path) -> None:
    run = run_of(tmp_path, "def act(seen): return seen[:1] * 3", loop_class="soft")
    with run:
        run.loops["pole"].write_input("angle", [1, 0])
        wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 6.0)
        run.loops["pole"].write_input("angle", [2, 0])
        wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 12.0)
    summary = run.summary
    assert summary is not None
    loop = summary.loops["pole"]
    assert loop.elapsed_periods == loop.executed + loop.skipped
    assert sum(loop.outcomes.values()) == loop.executed
    assert loop.outcomes["none"] == 1, "the first job has no answer yet"
    assert run.loops["pole"].read_output("push")[0][0] == 0.0, "the safe command was the last"
    assert (summary.problems, exit_code(summary)) == ((), 0)


def test_what_the_calls_took_is_told_at_the_end(tmp_path: Path) -> None:
    run = run_of(tmp_path, "def act(seen): return seen[:1]")

    def calls() -> int:
        times = run.loops["pole"].function_times()
        return 0 if times is None else times.call_us.n

    with run:
        wait_for(lambda: calls() > 10)
    summary = run.summary
    assert summary is not None
    times = summary.functions["pole"]
    assert 10 < times.call_us.n <= summary.loops["pole"].executed
    assert times.wake_us.n == times.call_us.n
    stream = io.StringIO()
    Console(stream).summarise(summary)
    said = " ".join(stream.getvalue().split())
    assert f"pole: '{times.function}' was entered" in said
    assert "after the observation (wake-up and GIL), and took" in said
    told = json.loads(json.dumps(summary.as_dict()))["functions"]["pole"]
    assert told["function"] == times.function
    assert told["wake_us"].keys() == told["call_us"].keys() == {"p50", "p99", "p99_9", "max", "n"}


def test_the_recording_has_the_age_of_each_answer(tmp_path: Path) -> None:
    policy = f"python: {module(tmp_path, 'def act(seen): return seen[:1]')}:act"
    run = Run(load(loop_file(tmp_path, policy, loop_class="soft")), "test")
    with run:
        wait_for(lambda: executed(run) > 20)
    loop = read_recording(run.recording, signals=True).loops["pole"]
    assert loop.metadata.sources == ("angle", "answer")
    ages = loop.sources["age_ns"][:, 1]
    assert ages[0] == -1
    # By which job it was observed: that before, where the answer was in time.
    starts, cycles = loop.records["start_ns"], loop.records["cycle"]
    in_time = loop.records["outcome"] == core.OUTCOMES["written"]
    assert in_time.sum() > 5
    for job in range(1, len(cycles)):
        if in_time[job]:
            assert starts[job] - ages[job] == starts[job - 1]


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        ("raise ValueError('flat battery')", "infer_error", "raised ValueError: flat battery ("),
        ("return seen", "infer_error", "answered float32[2], no vector of 1 values"),
        ("return [np.nan]", "non_finite", "NaN or infinity"),
        ("raise SystemExit(1)", "infer_error", "raised SystemExit: 1"),
        ("raise KeyboardInterrupt", "infer_error", "'NAME:act' raised KeyboardInterrupt ("),
        ("raise GeneratorExit", "infer_error", "'NAME:act' raised GeneratorExit ("),
        ("raise ValueError('ü€' * 3000)", "infer_error", "raised ValueError: ü€ü€"),
        ("raise type('Mute', (Exception,), {'__str__': None})", "infer_error", "raised Mute ("),
    ],
)
def test_a_function_that_fails_is_a_fault_with_its_own_words(
    tmp_path: Path, answer: str, reason: str, told: str
) -> None:
    code = f"""
        FAILS = False
        def act(seen):
            if FAILS: {answer}
            return [1]
        """
    run = run_of(tmp_path, code)
    with run:
        wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 1.0)
        module_of(run).FAILS = True
        wait_for(lambda: run.loops["pole"].status()["state"] == "fault")
        fault = run.loops["pole"].fault()
        assert run.loops["pole"].read_output("push")[0][0] == 0.0
    summary = run.summary
    assert summary is not None
    assert fault.startswith("loop 'pole' is in FAULT: ")
    assert told.replace("NAME", module_of(run).__name__) in fault
    assert summary.loops["pole"].fault_reason == reason
    assert exit_code(summary) == 1
    assert fault in summary.problems


@pytest.mark.parametrize(
    "code",
    [
        "print('here', flush=True); time.sleep(60)",
        """
        class act:
            def __init__(self): print('here', flush=True); time.sleep(60)
        """,
        """
        def act(seen):
            print('here', flush=True)
            time.sleep(60)
        """,
        """
        class act:
            def reset(self): print('here', flush=True); time.sleep(60)
            def __call__(self, seen): return [1]
        """,
    ],
    ids=["import", "init", "trial", "reset"],
)
def test_a_signal_ends_what_hangs_before_the_loop_starts(tmp_path: Path, code: str) -> None:
    path = loop_file(tmp_path, f"python: {module(tmp_path, code)}:act")
    with background(["run", path]) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "here\n"
        started.send_signal(signal.SIGTERM)  # Ctrl-C may be ignored here, as in a job of a script
        said, _ = started.communicate(timeout=30)
    assert "stopped by SIGTERM before it started: no loop ran" in said
    assert started.returncode == 4


def test_a_call_that_hangs_is_misses_and_the_run_ends_without_it(tmp_path: Path) -> None:
    code = """
        import threading
        HANGS, GO = False, threading.Event()
        def act(seen):
            if HANGS: GO.wait(60)
            return [1]
        """
    run = run_of(tmp_path, code, loop_class="firm")
    try:
        with run:
            wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 1.0)
            module_of(run).HANGS = True
            before = executed(run)
            wait_for(lambda: executed(run) > before + 20)
            assert run.loops["pole"].status()["misses"] >= 15
            summary = run.deactivate()
            (problem,) = summary.problems
            assert problem.startswith(
                "the Python function of loop 'pole' hangs and did not end; the "
            )
            assert exit_code(summary) == 1
            assert summary.loops["pole"].causes["infer"] >= 15
            assert run.loops["pole"].read_output("push")[0][0] == 0.0
            module_of(run).HANGS = False
            with pytest.raises(RtloopError, match="Python function, hung"):
                run.activate()
            run.cleanup()
            run.start()  # configured anew: another thread, while that one still hangs
            wait_for(lambda: run.loops["pole"].read_output("push")[0][0] == 1.0)
            assert run.stop().problems == ()
    finally:
        module_of(run).GO.set()


def test_a_function_that_ends_its_own_run_is_a_fault_that_says_what_to_do(tmp_path: Path) -> None:
    code = """
        RUN = None
        def act(seen):
            if RUN: RUN.stop()
            return [1]
        """
    run = run_of(tmp_path, code)
    with run:
        module_of(run).RUN = run
        run.wait(20)
        assert "expected run.request_stop('its reason')" in run.loops["pole"].fault()
        assert run.loops["pole"].read_output("push")[0][0] == 0.0
    assert run.summary is not None
    assert run.summary.loops["pole"].fault_reason == "infer_error"


def test_reset_is_called_at_each_activation_before_its_first_question(tmp_path: Path) -> None:
    code = """
        class Act:
            def __init__(self): self.calls = []
            def reset(self): self.calls.append('reset')
            def __call__(self, seen):
                self.calls.append(float(seen[1]))
                return [1]
        """
    run = run_of(tmp_path, code, name="Act")
    run.configure()
    run.loops["pole"].write_input("angle", [0, 7])
    for _ in range(2):
        run.activate()
        wait_for(lambda: executed(run) > 3)
        run.deactivate()
    function = run.loops["pole"]._configured().acting.graph.call
    assert function is not None
    calls: list[Any] = function.function.call.calls  # type: ignore[attr-defined]
    run.cleanup()
    resets = [index for index, call in enumerate(calls) if call == "reset"][-2:]
    for index in resets:
        assert calls[index - 1] in (0.0, "reset"), "the last of those that warm it up"
        assert calls[index + 1] == 14.0, "the first observation: what was written, scaled by 2"


def test_one_that_fails_as_it_is_warmed_up_keeps_the_loop_from_starting(tmp_path: Path) -> None:
    code = """
        CALLS = []
        def act(seen):
            CALLS.append(1)
            if len(CALLS) > 4: raise RuntimeError('no more')
            return [1]
        """
    run = run_of(tmp_path, code)
    with pytest.raises(RtloopError, match=r"loop\.yaml:8:15: .*did not start: .*no more"):
        run.start()
    assert run.state == "unconfigured"
    assert not [t for t in threading.enumerate() if t.name == "py:pole"]


def test_its_thread_is_no_real_time_thread_and_keeps_off_the_cpus_of_the_loop(
    tmp_path: Path,
) -> None:
    code = """
        import os, threading
        SEEN = {}
        def act(seen):
            SEEN[threading.current_thread().name] = os.sched_getscheduler(0), os.sched_getaffinity(0)
            return [1]
        """
    cpus = sorted(os.sched_getaffinity(0))
    run = run_of(tmp_path, code)
    asked = f"scheduler: fifo, cpu_affinity: [{cpus[0]}]"
    text = run.config.source_text.replace("scheduler: other", asked)
    path = tmp_path / "fifo.yaml"
    path.write_text(text)
    run = Run(load(path), "test", record=False)
    with run:
        wait_for(lambda: executed(run) > 3)
    scheduler, affinity = module_of(run).SEEN["py:pole"]
    assert scheduler == os.SCHED_OTHER
    assert affinity == (set(cpus[1:]) or set(cpus))
    assert not [t for t in threading.enumerate() if t.name == "py:pole"], "it ended with the loop"


def test_a_busy_interpreter_delays_the_function_and_not_the_cycle(tmp_path: Path) -> None:
    ends = threading.Event()

    def work() -> None:
        while not ends.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    policy = f"python: {module(tmp_path, 'def act(seen): return [1]')}:act"
    run = Run(load(loop_file(tmp_path, policy, rate_hz=500)), "test")
    with run:
        for thread in threads:
            thread.start()
        wait_for(lambda: executed(run) > 300)
        ends.set()
    summary = run.summary
    assert summary is not None
    loop, records = summary.loops["pole"], read_recording(run.recording).loops["pole"].records
    assert loop.elapsed_periods == loop.executed + loop.skipped
    assert loop.records_lost == 0
    assert sum(loop.outcomes.values()) == loop.executed
    missed = (records["events"] & core.EVENTS["miss"]) != 0
    assert (missed == (records["finish_ns"] > records["deadline_ns"])).all()
    grid = records["release_ns"] - records["cycle"] * 2_000_000
    assert (grid == grid[0]).all(), "no release has moved"
    late = records[missed & (records["infer_ns"] == records["finish_ns"])]
    assert (late["longest_stage"] == core.STAGES["infer"]).all()
    assert len(late) > 0, "another thread keeps the interpreter for longer than a period of 2 ms"


def test_check_tells_the_price_also_beside_a_busy_thread(tmp_path: Path) -> None:
    policy = f"python: {module(tmp_path, 'def act(seen): return [1]')}:act"
    found = check(loop_file(tmp_path, policy))
    assert found.error is None
    said = str(found)
    assert "was entered" in said
    assert "; the graph round the function " in said, "which nothing was waited for in"
    assert "with another busy Python thread: " in said
    told = found.as_dict()["loops"]["pole"]["python"]
    assert told["alone"]["call_us"]["n"] > 0 < told["with_busy_thread"]["wake_us"]["n"]


def test_check_refuses_a_function_that_hangs(tmp_path: Path) -> None:
    code = """
        N = [0]
        def act(seen):
            N[0] += 1
            time.sleep(4 if N[0] == 40 else 0)
            return [1]
        """
    found = check(loop_file(tmp_path, f"python: {module(tmp_path, code)}:act"))
    assert found.error is not None
    assert ":act', a call of which hangs; expected an answer in 10 ms" in str(found.error)


def test_what_the_call_before_took_is_not_the_price_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Asks:
        """Three questions, all left before the first call."""

        question_size = 1
        n = 0

        def open(self) -> None: ...
        def close(self) -> None: ...
        def answer(self, _values: object) -> None: ...
        def next(self) -> tuple[Any, int, int] | None:
            self.n += 1
            return (np.zeros(1, np.float32), 50_000, self.n) if self.n <= 3 else None

    ns = iter([100_000, 600_000, 601_000, 1_101_000, 1_105_000, 1_605_000])  # entered, left
    clock = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=lambda: next(ns))
    monkeypatch.setattr("rtloop.policy.callable.answering.time", clock)
    asks: Any = Asks()
    setup = core.ThreadSetup()
    setup.name = "py:test"
    function = PolicyFunction("a:act", lambda seen: seen, None, None, "", 1)
    answering = Answering(function, asks, setup)
    answering.start(lambda: None)
    assert answering.end()
    told = answering.times()
    assert (told.wake_us.n, told.wake_us.max) == (3, 50.0)
    assert told.wake_us.p50 == pytest.approx(4.0, rel=1e-3), "of the others, from the call before"
    assert (told.call_us.n, told.call_us.max) == (3, 500.0)


def test_check_warns_of_a_function_that_takes_longer_than_its_period(tmp_path: Path) -> None:
    policy = f"python: {module(tmp_path, 'def act(seen): time.sleep(0.03); return [1]')}:act"
    found = check(loop_file(tmp_path, policy))
    (warning,) = [w for w in found.warnings if "most answers would be late" in w.message]
    assert warning.place.key == "loops.pole.policy.python"
    assert "expected at most 10 ms, the period of the policy" in warning.message


def test_a_summary_without_functions_says_nothing_of_them() -> None:
    assert "functions" not in RunSummary(loops={}, rights=()).as_dict()
