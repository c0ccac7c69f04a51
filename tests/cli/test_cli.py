"""The command line as a user meets it: exit codes, one clear error, JSON for machines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from rtloop.stopping import go_on
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from tests.firmware import reference as ref
from tests.link.scripted_device import CARTPOLE_SCHEMA, ScriptedDevice
from tests.running import (
    POLICY,
    background,
    edited,
    firmware,
    rtloop,
    summary_of,
    wait_for,
    wait_until_running,
    write_config,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path) as device:
        yield device


def policy(path: Path, shape: list[int | str], nodes: list[onnx.NodeProto] | None = None) -> Path:
    """A policy obs → action [1, 1] that is the mean of its observation."""
    mean = helper.make_node("ReduceMean", ["obs"], ["action"], axes=[1], keepdims=1)
    graph = helper.make_graph(
        nodes or [mean],
        "test",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [shape[0], 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


# --- run ---


def test_run_tells_machines_what_happened(tmp_path: Path, device: FirmwareProcess) -> None:
    done = rtloop("run", write_config(tmp_path, device.link), "--duration", 1, "--json")
    assert done.returncode == 0, done.stderr
    summary = summary_of(done)
    loop = summary["loops"]["balance"]
    documented = {
        "class",
        "period_ms",
        "deadline_ms",
        "elapsed_periods",
        "executed",
        "skipped",
        "misses",
        "outcomes",
        "rate_hz",
        "records_lost",
        "release_latency_us",
        "response_us",
        "infer_us",
        "lateness_us",
    }
    assert documented <= loop.keys()
    for key in ("release_latency_us", "response_us", "infer_us", "lateness_us"):
        assert loop[key].keys() == {"p50", "p99", "p99_9", "max", "n"}
        assert loop[key]["n"] == loop["executed"]
    assert (loop["class"], loop["period_ms"], loop["deadline_ms"]) == ("soft", 5.0, 5.0)
    assert loop["elapsed_periods"] == loop["executed"] + loop["skipped"]
    assert sum(loop["outcomes"].values()) == loop["executed"]
    assert summary["realtime"].keys() == {"granted", "denied"}
    assert summary["stopped_by"] == "duration"
    assert Path(summary["recording"]).exists()
    assert Path(summary["report"]).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_in_order(
    tmp_path: Path, device: FirmwareProcess, number: signal.Signals
) -> None:
    with background(["run", write_config(tmp_path, device.link), "--json", "--no-report"]) as run:
        wait_until_running(run)
        run.send_signal(number)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert json.loads(out)["stopped_by"] == number.name
    assert "Traceback" not in err
    assert device.stop()["reasons"] == ["HOST_STOP"]


def test_ctrl_c_ends_a_report_that_hangs(
    tmp_path: Path,
    device: FirmwareProcess,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def hanging(*_: object) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        for _i in range(100):
            go_on()
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    monkeypatch.setattr("rtloop.run.write_report_beside", hanging)
    path = write_config(tmp_path, device.link)
    assert main(["run", str(path), "--json", "--duration", "0.3"]) == 1
    summary = json.loads(capsys.readouterr().out)
    (problem,) = summary["problems"]
    folder = Path(summary["recording"]).parent
    assert problem == f"no report: it was stopped. `rtloop report {folder}` writes it"


#: Of what the command line asks a device before its first cycle, and which one: the signal comes before
#: the answer. Then the start is greeting it, has measured its clock, is arming it, greets it as an
#: armed one, or awaits a sample.
MOMENTS = [
    ("hello", 1), ("schema_request", 1), ("time_request", 1), ("time_request", 16), ("hello", 2),
    ("time_request", 20), ("hello", 3), ("arm", 1), ("hello", 4),
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS, ids="{0[0]} {0[1]}".format)
def test_after_a_signal_a_starting_run_says_nothing_to_a_device_but_stop(
    tmp_path: Path, moment: tuple[str, int], number: signal.Signals
) -> None:
    said_before: list[int] = []

    def interrupting(request: ref.Packet) -> None:
        names = device.names()
        if request.name == moment[0] and names.count(request.name) == moment[1]:
            said_before.append(len(names))
            run.send_signal(number)

    with ScriptedDevice(interrupting, CARTPOLE_SCHEMA) as device:
        command = ["run", write_config(tmp_path, Path(device.path)), "--json"]
        with background(command) as run:
            out, err = run.communicate(timeout=30)
        assert said_before, (device.names(), err)
        after = device.names()[said_before[0] :]
    assert run.returncode == 4, err
    summary = json.loads(out)
    assert (summary["started"], summary["stopped_by"]) == (False, number.name)
    assert set(after) <= {"stop"}
    armed = moment in (("hello", 3), ("arm", 1), ("hello", 4))
    assert ("stop" in after) is armed
    assert "Traceback" not in err


INTERRUPTED_IMPORT = """
import os, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Finder)
from rtloop.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["rtloop.config", "pydantic", "rtloop.run", "numpy"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_signal_while_the_program_is_still_loaded_ends_it_in_order(
    tmp_path: Path, command: str, module: str, number: signal.Signals
) -> None:
    what = ["run", write_config(tmp_path, tmp_path / "tty")] if command == "run" else ["demo"]
    told = [sys.executable, "-c", INTERRUPTED_IMPORT, module, str(int(number)), *what]
    done = subprocess.run(told, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 4, done.stderr
    assert f"stopped by {number.name} before it started" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("delay_s", [0.1, 0.5, 0.8, 1.1, 1.5])
def test_a_signal_at_any_moment_of_a_start_ends_in_order(
    tmp_path: Path, device: FirmwareProcess, delay_s: float
) -> None:
    with background(["run", write_config(tmp_path, device.link), "--no-report"]) as run:
        time.sleep(delay_s)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=30)
    told = device.stop()
    if run.returncode == -signal.SIGTERM:
        return  # before the program had begun
    assert "Traceback" not in err
    assert run.returncode in (0, 4), err
    if run.returncode == 4:
        assert "stopped by SIGTERM before it started" in out
        assert told["elapsed_s"] == 0, "it was never ACTIVE"
        assert list((tmp_path / "runs").glob("*")) == []


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT])
def test_a_run_under_nohup_or_in_the_background_outlives_its_terminal(
    tmp_path: Path, device: FirmwareProcess, ignored: signal.Signals
) -> None:
    with background(
        ["run", write_config(tmp_path, device.link), "--json", "--no-report"],
        preexec_fn=lambda: signal.signal(ignored, signal.SIG_IGN),
    ) as run:
        wait_until_running(run)
        run.send_signal(ignored)
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert json.loads(out)["stopped_by"] == "SIGTERM"


def test_an_unplugged_device_ends_the_run_with_a_clear_message(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    with background(["run", write_config(tmp_path, device.link), "--no-report"]) as run:
        wait_until_running(run)
        os.kill(device.pid, signal.SIGUSR1)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "the link 'cart'" in out
    assert "was lost" in out
    assert "Traceback" not in err


def test_a_killed_loop_loses_no_record(tmp_path: Path, device: FirmwareProcess) -> None:
    from rtloop import core

    with background(["run", write_config(tmp_path, device.link)]) as run:
        ring = wait_until_running(run, cycles=100)
        reader = core.RingReader(str(ring))
        run.kill()
        run.wait()
        head = reader.status()["head"]
    wait_for(lambda: not ring.exists(), "the recorder's end")
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    assert cycles_in(recording) == list(range(head)) or len(cycles_in(recording)) == head


def cycles_in(recording: Path) -> list[int]:
    from mcap_ros2.reader import read_ros2_messages

    messages = read_ros2_messages(str(recording), topics=["/rtloop/balance/cycle"])
    return [int(message.ros_msg.cycle) for message in messages]


def test_recover_restores_a_run_whose_loop_and_recorder_were_killed(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    from rtloop import core

    with background(["run", write_config(tmp_path, device.link)]) as run:
        ring = wait_until_running(run, cycles=150)
        reader = core.RingReader(str(ring))
        for recorder in recorders_of(ring):
            os.kill(recorder, signal.SIGKILL)
        run.kill()
        run.wait()
        head = reader.status()["head"]
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    done = rtloop("recover", recording)
    assert done.returncode == 0, done.stderr
    assert len(cycles_in(recording)) == head
    assert rtloop("report", recording).returncode == 0
    assert not ring.exists()


def recorders_of(ring: Path) -> list[int]:
    """The processes that have a ring open, by their command line."""
    import psutil

    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(ring) in (process.info["cmdline"] or [])
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small file system: run as root")
def test_a_full_disk_is_told_and_the_loop_goes_on(tmp_path: Path, device: FirmwareProcess) -> None:
    small = tmp_path / "runs"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mount is not permitted here: run with CAP_SYS_ADMIN")
    try:
        config = edited(write_config(tmp_path, device.link), {"rate_hz: 200": "rate_hz: 1000"})
        done = rtloop("run", config, "--duration", 4, "--json")
    finally:
        subprocess.run(["umount", small], check=True)
    assert done.returncode == 1
    summary = summary_of(done)
    assert summary["loops"]["balance"]["state"] == "inactive", "the loop itself did its work"
    assert summary["loops"]["balance"]["executed"] > 1000
    assert any("no space left on device" in problem for problem in summary["problems"])
    assert "Traceback" not in done.stderr
    shutil.rmtree(RING_DIRECTORY / Path(summary["recording"]).parent.name)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv (util-linux) to take a right away",
)
def test_a_denied_right_that_is_demanded_refuses_to_start(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    path = edited(
        write_config(tmp_path, device.link),
        {"scheduler: other": "scheduler: fifo, on_denied: fail"},
    )
    command = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", sys.executable]
    done = subprocess.run(
        [*command, "-m", "rtloop.cli", "run", str(path), "--duration", "1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3, done.stderr
    assert "scheduler: other, not fifo 80. EPERM." in done.stderr
    assert "rtprio" in done.stderr
    assert not (tmp_path / "runs").exists(), "nothing was started"
    assert device.stop()["counters"]["rx_packets"] > 0


# --- bad input: one clear error, a safe end, the right exit code ---


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    done = rtloop("run", write_config(tmp_path, tmp_path / "nothere"))
    assert done.returncode == 1
    assert "link 'cart'" in done.stderr
    assert "nothere" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there() -> None:
    done = rtloop("run", "nothere.yaml")
    assert done.returncode == 2
    assert "nothere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("class: soft", "class: sof", ["loop.yaml:6", "sof", "hard"]),
        ("rate_hz: 200", "rat_hz: 200", ["loop.yaml:7", "rat_hz", "'rate_hz'"]),
        ("rate_hz: 200", "rate_hz: 1000000", ["loop.yaml:7", "rate_hz"]),
        ("rate_hz: 200", "rate_hz: 15000", ["links.cart.baud", "lower the loop's rate"]),
        ("select", "select", []),
    ],
)
def test_a_wrong_configuration(
    tmp_path: Path, device: FirmwareProcess, old: str, new: str, told: list[str]
) -> None:
    path = write_config(tmp_path, device.link)
    if not told:
        names = "cart_position, cart_velocity, pole_angel, pole_rate"
        old, new = "{input: cart}", f"{{input: cart, select: [{names}]}}"
        told = ["loop.yaml:13", "pole_angel", "pole_angle"]
    done = rtloop("run", edited(path, {old: new}))
    assert done.returncode == 2, done.stderr
    for text in told:
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_model(tmp_path: Path, device: FirmwareProcess) -> None:
    done = rtloop("run", write_config(tmp_path, device.link, tmp_path / "missing.onnx"))
    assert done.returncode == 2
    assert "missing.onnx" in done.stderr


@pytest.mark.parametrize(
    ("shape", "told"),
    [([1, 7], ["7"]), ([1, "width"], ["width", "fix_dimensions"])],
)
def test_a_policy_of_the_wrong_shape(
    tmp_path: Path, device: FirmwareProcess, shape: list[int | str], told: list[str]
) -> None:
    model = policy(tmp_path / "wrong.onnx", shape)
    done = rtloop("run", write_config(tmp_path, device.link, model))
    assert done.returncode == 2, done.stderr
    for text in told:
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_policy_that_returns_no_number_is_stopped(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["obs"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Div", ["mean", "zero"], ["action"]),
    ]
    model = policy(tmp_path / "nan.onnx", [1, 4], nodes)
    done = rtloop("run", write_config(tmp_path, device.link, model), "--duration", 10, "--json")
    assert done.returncode in (1, 2), done.stderr
    assert "NaN" in done.stderr + done.stdout
    assert device.stop()["state"] != "ACTIVE"


# --- demo, check, report, recover ---


def test_the_demo_runs_and_names_its_results(tmp_path: Path) -> None:
    done = rtloop("demo", "--duration", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "balance" in done.stdout
    assert "firm" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith(("recording", "report")):
            assert (tmp_path / line.split()[1]).exists()


def test_the_overloaded_demo_shows_all_three_classes(tmp_path: Path) -> None:
    done = rtloop("demo", "--overload", "--duration", 5, "--json", "--no-report", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    loops = summary_of(done)["loops"]
    hard, firm, soft = (loops[f"{name}_balance"] for name in ("hard", "firm", "soft"))
    assert hard["state"] == "fault"
    assert hard["fault_reason"] == "deadline_miss"
    assert firm["misses"] > 0
    assert firm["outcomes"]["held"] > 0
    assert soft["misses"] > 0
    assert soft["outcomes"]["written_late"] > 0


def test_a_demo_that_is_not_there() -> None:
    done = rtloop("demo", "nothere")
    assert done.returncode == 2
    assert "cartpole" in done.stderr


def test_check_says_what_it_found_and_starts_nothing(tmp_path: Path) -> None:
    path = write_config(tmp_path, tmp_path / "nothere")
    done = rtloop("check", path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["loops"]["balance"]["rate_hz"] == 200
    assert found["loops"]["balance"]["model"] == str(POLICY)
    assert any("nothere" in warning for warning in found["warnings"])
    assert {right["name"] for right in found["rights"]} >= {"kernel", "balance scheduler"}
    assert "is valid" in rtloop("check", path).stdout


def test_check_refuses_a_wrong_configuration(tmp_path: Path) -> None:
    path = edited(write_config(tmp_path, tmp_path / "tty"), {"safe: 0.0": "save: 0.0"})
    done = rtloop("check", path)
    assert done.returncode == 2
    assert "loop.yaml:16" in done.stderr
    assert "nearest known key 'safe'" in done.stderr


def test_report_refuses_what_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "no.mcap"
    path.write_bytes(b"not a recording")
    done = rtloop("report", path)
    assert done.returncode == 1
    assert "no.mcap" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert rtloop("run").returncode == 2
    assert rtloop("run", "x.yaml", "--duration", "-1").returncode == 2
    assert rtloop("fly").returncode == 2


def test_help_shows_an_example_for_every_command() -> None:
    assert "exit codes" in rtloop("--help").stdout
    for command in ("run", "demo", "check", "init", "report", "recover"):
        assert f"example:\n  rtloop {command}" in rtloop(command, "--help").stdout


def test_importing_rtloop_loads_nothing_heavy() -> None:
    program = "import sys, rtloop; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    heavy = {"numpy", "onnx", "onnxruntime", "pydantic", "mcap", "yaml", "serial"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", ["cartpole", "quadruped"])
@pytest.mark.parametrize("seed", ["-1", "abc", "1.5", "99999999999999999999"])
def test_a_seed_that_is_none_starts_no_demo(
    name: str, seed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", name, "--seed", seed, "--duration", "1", "--no-record"]) == 2
    told = capsys.readouterr().err
    assert f"--seed: {seed} is no seed: a whole number from 0 to 4294967295" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "a.yaml", "--duration", "long"], "long is no duration in seconds"),
        (["policy", "bench", "a.yaml", "--seconds", "long"], "long is no number above 0"),
        (["policy", "verify", "a.yaml", "c.npz", "--tolerance", "x"], "x is no tolerance"),
    ],
)
def test_a_word_is_no_number(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert told in capsys.readouterr().err
