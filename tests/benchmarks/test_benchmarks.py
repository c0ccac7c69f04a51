"""Every benchmark runs and says its result as JSON. How fast anything is, is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.command_line import EXIT_MISSED, EXIT_UNAVAILABLE
from benchmarks.result import Result
from benchmarks.walker import VARIANTS
from rtloop import core
from tests.domain import domain

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--json", "--seconds", "0.5", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode in (0, EXIT_MISSED, EXIT_UNAVAILABLE), done.stderr
    result = Result.from_json(done.stdout)
    assert result.benchmark == name
    assert (done.returncode == EXIT_UNAVAILABLE) == bool(result.unavailable)
    assert (done.returncode == 0) == result.passed
    if result.unavailable:
        pytest.skip(result.unavailable)
    assert result.tables
    assert result.machine["kernel"]
    return result


def target(result: Result, text: str) -> float | None:
    (found,) = [target.value for target in result.targets if text in target.text]
    return found


def test_wake_up_compares_with_cyclictest() -> None:
    result = run("wake_up", "--segments", "2")
    assert [row[0] for row in result.tables[0].rows[:2]] == ["rtloop / cyclictest", "cyclictest"]
    assert result.tables[0].rows[1][-1] == 500, "every wake-up of cyclictest is counted"


def test_inference_in_the_core_equals_python_bit_for_bit() -> None:
    result = run("inference")
    assert target(result, "tanh: outputs that differ") == 0
    assert target(result, "elu: outputs that differ") == 0


def test_composition_compares_with_the_models_alone_and_with_one_model() -> None:
    result = run("composition")
    rows = result.tables[0].rows
    assert len(rows) == 4 * 3, (
        "of each policy: composed, as one model, its models, their noise floor"
    )
    assert [row[1] for row in rows[2::4]] == [1, 1, 1]
    assert all(isinstance(row[1], float) and row[1] > 0 for row in (*rows[0::4], *rows[1::4]))


def test_compiled_models_are_compared_with_onnxruntime() -> None:
    result = run("aot")
    assert len(result.tables[0].rows) == 4 * 3
    for name in ("tanh", "elu", "go1_joystick"):
        ratio = target(result, f"{name}: p50, aot / ort")
        assert ratio is not None
        assert ratio > 0
        apart = target(result, f"{name}: largest difference")
        assert apart is not None
        assert 0 < apart <= 10


def test_overhead_is_measured() -> None:
    overhead_us = target(run("overhead"), "overhead of a cycle")
    assert overhead_us is not None
    assert overhead_us > 0


def test_ten_khz_accounts_for_every_period_and_every_record() -> None:
    result = run("ten_khz")
    assert target(result, "elapsed - executed - skipped") == 0
    assert target(result, "records lost") == 0
    assert target(result, "executed - recorded") == 0


def test_twenty_khz_of_a_compiled_policy_account_for_every_period_too() -> None:
    result = run("ten_khz", "--aot")
    assert result.tables[0].title == "20 kHz, deadline 50 µs"
    assert target(result, "elapsed - executed - skipped") == 0
    assert target(result, "executed - recorded") == 0
    assert target(result, "skipped, of all periods") is not None


def test_a_recorder_loses_nothing_of_a_made_up_loop() -> None:
    result = run("recorder")
    assert target(result, "records lost at 1000 Hz") == 0
    assert target(result, "records lost at 10000 Hz") == 0
    assert target(result, "cycles not read back") == 0


def test_hours_of_recording_are_split_and_the_oldest_files_go() -> None:
    result = run("day", "--speed", "100", "--split-minutes", "0.1")
    assert target(result, "records lost") == 0
    files = target(result, "files at any time")
    assert files is not None
    assert 2 <= files <= 4


def test_round_trips_are_measured_on_every_transport_and_beside_a_busy_thread() -> None:
    result = run("link_round_trip")
    assert len(result.tables[0].rows) == 3 * 7
    assert all(row[-1] for row in result.tables[0].rows if "noise floor" not in str(row[0]))
    assert len(result.targets) == 3 * 2


def test_the_clock_is_compared_with_the_truth_at_every_rate() -> None:
    result = run("clock")
    assert [row[0] for row in result.tables[0].rows] == [1, 20, 200, 1000]
    assert [row[-1] for row in result.tables[0].rows] == [3, 10, 100, 500]
    for rate in (1, 20, 200, 1000):
        assert target(result, f"{rate} Hz: cycles with |error| > bound") == 0
    bound_us = target(result, "20 Hz: largest bound")
    assert bound_us is not None
    assert bound_us > 0


@pytest.mark.slow
def test_start_up_finds_the_first_cycle() -> None:
    start_up_s = target(run("start_up"), "first cycle")
    assert start_up_s is not None
    assert start_up_s > 0


@pytest.mark.slow
def test_memory_samples_the_demo_and_its_recorder() -> None:
    rows = run("memory").tables[0].rows
    assert all(isinstance(samples := row[-1], int) and samples > 3 for row in rows)


@pytest.mark.slow
def test_busy_runs_the_job_in_every_way() -> None:
    result = run("busy", "--segments", "1")
    not_run = sum("not run" in note for note in result.notes)
    assert len(result.tables[0].rows) + not_run == 10
    beside_busy = result.tables[1].rows
    assert [row[0] for row in beside_busy][:2] == ["rtloop", "Python, clock_nanosleep"]
    assert len(beside_busy) + not_run // 2 == 4


def test_topics_count_what_every_reader_of_them_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "sensor_msgs",
        reason="no sensor_msgs: source ROS 2's setup.bash, or pip install 'rtloop[ros]'",
    )
    with domain(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        result = run("topics", "--segments", "1", "--beside")
    rows = {row[0]: row for row in result.tables[0].rows}
    assert len(rows) == 5
    assert [name for name, row in rows.items() if not row[-1]] == [
        "noise floor: without ROS / itself"
    ]
    assert rows["rtloop topic"][1] == pytest.approx(100, abs=10)
    assert rows["no ROS: a mailbox"][1] is None


def test_busy_says_how_to_get_rclpy() -> None:
    program = (
        "import sys; sys.modules['rclpy'] = None; from benchmarks import busy; sys.argv = ['busy', '--ros'];"
        "sys.exit(busy.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == EXIT_UNAVAILABLE
    assert "pip install 'rtloop[ros]'" in done.stdout


def test_wake_up_says_how_to_get_cyclictest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.wake_up"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == EXIT_UNAVAILABLE
    assert "apt-get install rt-tests" in done.stdout


def test_all_writes_a_file_for_each_and_one_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.all", "--out", str(tmp_path)),
            *("--only", "overhead", "--scale", "0.05"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, EXIT_MISSED), done.stderr
    assert Result.from_json((tmp_path / "overhead.json").read_text()).benchmark == "overhead"
    assert "### overhead" in (tmp_path / "results.md").read_text()


def test_busy_says_how_to_get_the_loops_of_others(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['horus'] = sys.modules['loop_rate_limiters'] = None;"
        "from benchmarks import job; sys.exit(job.main())"
    )
    for way, fix in (
        ("horus_node", "pip install horus-robotics"),
        ("rate_limiter", "pip install loop-rate-limiters"),
    ):
        options = ["--seconds", "0.1", "--cpu", str(core.allowed_cpus()[-1]), "--priority", "80"]
        done = subprocess.run(
            [sys.executable, "-c", program, way, *options, "--out", str(tmp_path / "x.npy")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert fix in json.loads(done.stdout)["unavailable"]


def test_a_slow_inference_of_a_walker_is_a_miss_and_takes_no_other_release_with_it() -> None:
    for variant in VARIANTS:
        overload = variant.overload()
        if overload is None:
            assert list(variant.config().loops) == ["walk"]
            continue
        ((name, loop),) = variant.config().loops.items()
        assert list(variant.config().links) == [f"{loop.loop_class}_robot"]
        assert name == variant.loop
        assert loop.deadline_ns < overload.periods * loop.period_ns < loop.period_ns
        assert overload.every_s * 1e9 == pytest.approx(variant.slow_of * loop.period_ns)


def test_a_walker_is_late_as_often_as_it_is_told() -> None:
    result = run("walker", "--minutes", "0.06")
    walks = result.settings["walks"]
    assert [walk["name"] for walk in walks] == [variant.name for variant in VARIANTS]
    for walk, variant in zip(walks, VARIANTS, strict=True):
        name = variant.name
        assert target(result, f"{name}: elapsed - executed - skipped") == 0
        # A machine that stops a board for longer than its command timeout ends a walk before that.
        if walk["executed"] < 105 or not variant.slow_of:
            continue
        if variant.walks:  # fewer where some of them were skipped
            assert walk["missed"] >= (walk["executed"] - 101) // variant.slow_of // 2
        else:
            assert "COMMAND_TIMEOUT" in walk["ended"]
            assert "latched SAFE by itself" in walk["stopped"]
