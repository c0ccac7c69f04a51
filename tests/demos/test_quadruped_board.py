"""The quadruped behind the real firmware on a pty, as `rtloop demo quadruped` runs it."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.demos.quadruped.demo import QuadrupedDemo, Robot
from tests.demos import children, is_alive, needs_mujoco
from tests.policy.models import linear
from tests.running import (
    ROOT,
    background,
    edited,
    rtloop,
    summary_of,
    wait_for,
    wait_until_running,
)

DEMO = Path(__file__).parents[2] / "rtloop" / "demos" / "quadruped"
TOLD: dict[str, Any] = {
    "driven_s": 10.0,
    "fell_at_s": None,
    "ahead_m": 5.25,
    "left_m": -0.31,
    "largest_tilt_rad": 0.2,
    "state": "SAFE",
    "reasons": ["HOST_STOP"],
    "counters": {"late_commands": 3},
}


def test_it_tells_of_its_walk() -> None:
    demo = QuadrupedDemo()
    assert demo.status({"robot.quat_x": 0.0, "robot.quat_y": 0.0872, "robot.quat_z": 0.9}) == (
        "tilt 10.0°"
    )
    assert demo.status({"cart.pole_angle": 0.1}) == ""
    said = demo.summarise_device(TOLD)
    assert said.startswith(
        "it walked 5.2 m ahead and -0.3 m to the left in 10.0 s (largest tilt 11°)"
    )
    assert "3 late commands refused; ended SAFE (HOST_STOP)" in said
    assert demo.is_well(TOLD)
    fell = {**TOLD, "fell_at_s": 4.0}
    assert demo.summarise_device(fell).startswith("it fell after 4.0 s; it walked")
    assert not demo.is_well(fell)
    silent = {**TOLD, "reasons": ["COMMAND_TIMEOUT", "HOST_STOP"]}
    assert not demo.is_well(silent)
    assert demo.summarise_device(silent).startswith("it was not told to stop, and sank")


def test_without_mujoco_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert QuadrupedDemo().missing() == "" or importlib.util.find_spec("mujoco") is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install 'rtloop[quadruped]'" in QuadrupedDemo().missing()


@pytest.mark.parametrize("name", ["quadruped", "overload"])
def test_its_loop_files_pass_the_check(name: str) -> None:
    done = rtloop("check", DEMO / f"{name}.yaml")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def board(tmp_path: Path) -> Robot:
    return Robot(tmp_path / "tty", ["--command", "torques", "--command-timeout-ms", "500"])


#: Torques of 500 Hz from what was measured: the controllers of the joints, as a model.
STAND = """\
links:
  robot: {device: DEVICE, baud: 2000000, command_timeout_ms: 500}
recording: {directory: RUNS}
loops:
  stand:
    class: soft
    rate_hz: 500
    inputs:
      robot: {link: robot, max_age_ms: 400, on_stale: hold}
    policy:
      model: stand.onnx
      joints: &joints JOINTS
      default_joint_pos: [0, 0.8, -1.6, 0, 0.8, -1.6, 0, 0.8, -1.6, 0, 0.8, -1.6]
      observation:
        - {input: robot, joints: policy, named: "{}_pos", minus: default_joint_pos}
        - {input: robot, joints: policy, named: "{}_vel"}
      action: {joints: policy, named: "{}_torque", clip: [-18, 18]}
    outputs:
      robot: {link: robot, safe: {"*": 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1, clamped: 1, refused: 1}
"""


@needs_mujoco
def test_a_loop_stands_it_up_by_torques_through_the_firmware(board: Robot, tmp_path: Path) -> None:
    from rtloop.demos.quadruped.plant import DAMPING, JOINTS, STANDING_HEIGHT_M, STIFFNESS

    weight = np.vstack([-STIFFNESS * np.eye(12), -DAMPING * np.eye(12)]).astype(np.float32)
    (tmp_path / "stand.onnx").write_bytes(linear(weight))
    config = tmp_path / "stand.yaml"
    config.write_text(STAND)
    edited(
        config,
        {"DEVICE": str(board.link), "RUNS": str(tmp_path), "JOINTS": f"[{', '.join(JOINTS)}]"},
    )
    with board:
        done = rtloop("run", config, "--duration", "3", "--no-report", "--no-record")
        assert done.returncode == 0, done.stderr + done.stdout
        told = board.stop()
    assert told["fell_at_s"] is None
    assert told["driven_s"] > 1.5
    assert np.hypot(told["ahead_m"], told["left_m"]) < 0.1
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    rows = board.track.newest()
    driven = rows[rows["is_driven"]]
    assert 0 < driven["driven_s"].max() <= told["driven_s"] + 1e-3
    assert np.diff(rows["time_ns"]).min() > 0
    assert len(driven) == pytest.approx(50 * told["driven_s"], rel=0.2)
    assert np.hypot(*driven["qpos"][-1, :2]) < 0.1
    assert driven["qpos"][-1, 2] == pytest.approx(STANDING_HEIGHT_M, abs=0.05)


@needs_mujoco
def test_the_demo_walks(tmp_path: Path) -> None:
    done = rtloop("demo", "quadruped", "--duration", "6", "--json", "--no-report", cwd=tmp_path)
    (told,) = summary_of(done)["devices"].values()
    assert told["fell_at_s"] is None
    # By the robot's own time, which stands still where a busy machine stops it.
    assert told["ahead_m"] > 0.3 * told["driven_s"] > 0.3


@needs_mujoco
def test_overloaded_it_shows_what_a_firm_and_a_soft_loop_do_with_late_results(
    tmp_path: Path,
) -> None:
    done = rtloop(
        "demo", "quadruped", "--overload", "--duration", "6", "--json", "--no-report", cwd=tmp_path
    )
    summary = summary_of(done)
    firm, soft = (summary["loops"][f"{name}_walk"]["outcomes"] for name in ("firm", "soft"))
    assert firm["held"] > 10
    assert soft["written_late"] > 10
    assert all(told["driven_s"] > 0.5 for told in summary["devices"].values())


#: `rtloop demo quadruped` whose robot is hit harder than any policy could bear.
FELLED = """
import sys
from rtloop.cli.main import main
from rtloop.demos.quadruped.demo import QuadrupedDemo, Robot
QuadrupedDemo.device_arguments = (
    *("--command-timeout-ms", "200", "--push-newton", "5000", "--push-interval-s", "0.1"),
)
sys.exit(main(["demo", "quadruped", "--duration", "5", *sys.argv[1:]]))
"""


@needs_mujoco
@pytest.mark.parametrize("as_json", [False, True])
def test_a_fall_is_told_and_no_success(tmp_path: Path, as_json: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FELLED, *(["--json"] if as_json else [])],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    if as_json:
        summary = summary_of(done)
        (told,) = summary["devices"].values()
        assert told["fell_at_s"] is not None
        assert "device robot: it fell after" in "\n".join(summary["problems"])
        page = (tmp_path / summary["report"]).read_text()
        assert "device robot: it fell after" in page
        assert 'class="verdict met"' not in page
    else:
        assert "FAILED: the run had" in done.stdout
        assert done.stdout.count("device robot: it fell after") == 1


@needs_mujoco
@pytest.mark.parametrize("part", ["board", "firmware"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_device_that_dies_or_hangs_is_one_sentence_of_the_summary(
    tmp_path: Path, part: str, number: signal.Signals
) -> None:
    with background(["demo", "quadruped", "--duration", "4"], cwd=tmp_path) as demo:
        wait_until_running(demo)
        (board,) = [pid for pid in children(demo.pid) if children(pid)]
        (firmware,) = children(board)
        os.kill({"board": board, "firmware": firmware}[part], number)
        out, said = demo.communicate(timeout=60)
    assert demo.returncode == 1, out + said
    assert "Traceback" not in said
    assert out.count("device robot: it did not say how it ended") == 1
    for line in ("FAILED: the run had", "recording  ", "report     "):
        assert line in out
    assert not is_alive(board)
    assert not is_alive(firmware)


@needs_mujoco
def test_the_plant_ends_with_its_firmware_and_says_what_it_has_to_say(
    board: Robot,
) -> None:
    with board:
        (firmware,) = children(board.pid)
        os.kill(firmware, signal.SIGKILL)
        wait_for(lambda: not children(board.pid), "the end of the plant")
    assert board.summary["driven_s"] == 0.0


@needs_mujoco
def test_both_end_with_their_parent(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys, time\n"
        "from rtloop.demos.firmware import FirmwareProcess\n"
        "from rtloop.demos.quadruped.demo import QuadrupedDemo\n"
        "board = FirmwareProcess(pathlib.Path(sys.argv[1]), (), QuadrupedDemo.device_program)\n"
        "board.start()\n"
        "print(board.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "tty")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    processes = [pid, *children(pid)]
    assert len(processes) == 2
    parent.kill()
    parent.communicate()
    wait_for(lambda: not any(map(is_alive, processes)), "the end of both")
    assert not os.path.lexists(tmp_path / "tty")
