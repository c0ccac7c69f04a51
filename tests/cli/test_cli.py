"""The command line as a user meets it: exit codes, one clear error, JSON for machines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.link.transports import Line, open_line
from tests.running import (
    POLICY,
    background,
    edited,
    rtloop,
    summary_of,
    wait_until_running,
    write_config,
)

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


# --- demo, check, report, recover ---


def test_the_demo_runs_and_names_its_results(tmp_path: Path) -> None:
    done = rtloop("demo", "--duration", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "balance" in done.stdout
    assert "firm" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith(("recording", "report")):
            assert (tmp_path / line.split()[1]).exists()


@pytest.mark.parametrize("transport", sorted(TRANSPORTS))
def test_the_demo_travels_over_what_it_is_told_to(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(device: str, baud: int) -> Line:
        opened.append(device)
        return open_line(device, baud)

    monkeypatch.setattr("rtloop.link.link.open_line", noted)
    monkeypatch.chdir(tmp_path)
    command = ["demo", "--transport", transport, "--duration", "0.5", "--no-record", "--json"]
    assert main(command) in (
        0,
        1,
    )  # 1: not controlled as promised, on a machine that is not ours alone
    (device,) = set(opened)
    assert {"zmq+tcp": "zmq", "udp": "udp"}.get(device.partition("://")[0], "serial") == transport


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
