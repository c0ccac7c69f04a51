"""Ends of a process that must not end a loop, and loops that must not spoil the end of a process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.config import load
from rtloop.demos.firmware import TRANSPORTS
from rtloop.ports.mailbox import MailboxPort
from rtloop.run import Run
from tests.running import UNDISTURBED, edited, firmware, run_and_left, write_config

FORKING = """
import os, sys
from rtloop.config import load
from rtloop.errors import RtloopError
from rtloop.run import Run
from pathlib import Path

run = Run(load(Path(sys.argv[1])), "test")
with run:
    run.wait(0.3)
    child = os.fork()
    if child == 0:
        end = sys.argv[2]
        if end == "stop":
            assert run.state == "unconfigured"
            run.stop()
            run.loops["balance"].deactivate()
            run.cleanup()
        if end == "drop":
            del run
        if end == "error":
            raise ZeroDivisionError
        sys.exit(5)
    status = os.waitpid(child, 0)[1]
    run.wait(0.7)
summary = run.stop()
print(os.waitstatus_to_exitcode(status), summary.stopped_by, summary.problems, run.is_recorded)
"""


TWO_LOOPS = """\
recording: {enabled: false}
loops:
  LOOP:
    class: soft
    rate_hz: 100
    inputs: {q: {mailbox: [0.1]}}
    policy: {observation: [{input: q}]}
    outputs: {o: {mailbox: true, size: 1, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1, dropped: 1, refused: 1}
"""


def test_devices_are_stopped_first_and_nobody_longer_for_having_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loops.yaml"
    head, _, loop = TWO_LOOPS.partition("loops:\n")
    path.write_text(f"{head}loops:\n{loop.replace('LOOP', 'a')}{loop.replace('LOOP', 'b')}")
    stopped: list[tuple[str, float]] = []

    def stop(port: MailboxPort) -> str:
        stopped.append((port.hardware_id, port.ended_s))
        time.sleep(1)
        return ""

    with Run(load(path), "test") as run:
        for name, each in run.loops.items():
            each.ports[1].hardware_id = f"/dev/{name}"
        monkeypatch.setattr(MailboxPort, "stop", stop)
        asked_s = time.monotonic()
    assert [device for device, _ in stopped] == ["/dev/a", "", "/dev/b", ""]
    first_s, same_s, second_s, again_s = (ended_s for _, ended_s in stopped)
    assert asked_s <= first_s == same_s
    # The stops of the first took 2 s; the second is awaited for 1 s and a period from when it was asked.
    assert second_s == again_s < first_s + 1.8


@pytest.mark.parametrize(("end", "code"), [("exit", 5), ("stop", 5), ("drop", 5), ("error", 1)])
def test_a_forked_child_that_ends_does_not_end_its_parents_loop(
    tmp_path: Path, end: str, code: int
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        config = write_config(tmp_path, device.link)
        done = subprocess.run(
            [sys.executable, "-c", FORKING, str(config), end],
            capture_output=True,
            text=True,
            timeout=30,
        )
        told = device.stop()
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == f"{code} duration () True", done.stdout
    assert "leaked" not in done.stderr
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert told["elapsed_s"] > 0.6, "and not when the child ended"


OUTLIVED = """
import os, signal, sys, time
from pathlib import Path
from rtloop.config import load
from rtloop.run import Run

run = Run(load(Path(sys.argv[1])), "test", record=False)
run.start()
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
try:
    run.stop()
    run.start()
    run.wait(0.2)
    print("again", run.stop().problems)
finally:
    os.kill(child, signal.SIGKILL)
"""


@pytest.mark.parametrize("transport", sorted(TRANSPORTS))
def test_a_forked_child_that_lives_on_does_not_keep_its_parents_device(
    tmp_path: Path, transport: str
) -> None:
    with firmware(tmp_path, *UNDISTURBED, *TRANSPORTS[transport]) as device:
        config = write_config(tmp_path, device.device)
        # HOST_STOP of the first run is cleared by the second.
        program = [sys.executable, "-c", OUTLIVED, str(config)]
        done = subprocess.run(program, capture_output=True, text=True, timeout=30)
    assert done.stdout.split("\n")[-2:-1] == ["again ()"], done.stderr


ENDING = """
import sys
from pathlib import Path
from rtloop.config import load
from rtloop.run import Run

run = Run(load(Path(sys.argv[1])), "test", record=False)
run.start()
while run.loops["balance"].status()["executed"] < 20:
    run.wait(0.05)
"""


@pytest.mark.parametrize("transport", sorted(TRANSPORTS))
def test_a_program_that_ends_while_its_loop_runs_has_stopped_its_device(
    tmp_path: Path, transport: str
) -> None:
    """Whatever its ports close at the end of the process, they close after the safe command."""
    arguments = [*UNDISTURBED, "--command-timeout-ms", "20000", *TRANSPORTS[transport]]
    with firmware(tmp_path, *arguments) as device:
        config = write_config(tmp_path, device.device)
        edited(config, {"command_timeout_ms: 500": "command_timeout_ms: 20000"})
        done = run_and_left([sys.executable, "-c", ENDING, config])
        told = device.stop()
    assert done.returncode == 0, done.stderr
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])


def endless_policy(path: Path) -> Path:
    """obs → action [1, 1]; its first value says how often it adds something up."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, [1, 1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["obs"], ["largest"], axes=[0, 1], keepdims=0),
        helper.make_node("Cast", ["largest"], ["n"], to=TensorProto.INT64),
        helper.make_node("Loop", ["n", "true", "zero"], ["action"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "endless",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, 1])],
        [
            helper.make_tensor("true", TensorProto.BOOL, [], [True]),
            helper.make_tensor("zero", TensorProto.FLOAT, [1, 1], [0.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [1, 1], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


HANGING = """
import sys, time
from rtloop.config import load
from rtloop.run import Run
from pathlib import Path

run = Run(load(Path(sys.argv[1])), "test", record=False)
with run:
    run.wait(0.2)
    run.loops["balance"].write_input("box", [float(sys.argv[2]), 0])
    run.wait(10)
print(run.stop().loops["balance"].fault_reason, flush=True)
time.sleep(float(sys.argv[3]))
sys.exit(7)
"""


@pytest.mark.parametrize("returns", ["never", "while the process ends"])
def test_an_inference_that_hangs_does_not_spoil_the_end_of_the_process(
    tmp_path: Path, returns: str
) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(f"""\
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      box: {{mailbox: [0.0, 0.0]}}
    policy:
      model: {endless_policy(tmp_path / "endless.onnx")}
      observation:
        - {{input: box}}
    outputs:
      box: {{mailbox: true, size: 1, safe: 0.0}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
""")
    n = {"never": 1e12, "while the process ends": 5e6}[returns]
    for i in range(4):
        done = subprocess.run(
            [sys.executable, "-c", HANGING, str(config), str(n), str(0.05 * i)],
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert (done.returncode, done.stdout) == (7, "hang\n"), done.stderr
        assert "leaked" not in done.stderr


HELD = """
import sys
from rtloop.config import load
from rtloop.run import Run
from rtloop.telemetry.recorder.start import RecorderProcess
from pathlib import Path

run = Run(load(Path(sys.argv[1])), "test", clear=True)
run.start()
run.wait(0.2)
run.loops["balance"].write_input("box", [1e12, 0])
run.wait(20)
wait = RecorderProcess.wait
RecorderProcess.wait = lambda recorder: wait(recorder, 1e9)
summary = run.deactivate()
print(summary.loops["balance"].fault_reason, run.is_recorded, len(summary.problems))
run.cleanup()
run.configure()
run.cleanup()
sys.exit(7)
"""


def test_a_cycle_that_never_returns_holds_neither_the_ring_nor_the_line(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        config = edited(
            write_config(tmp_path, device.link, endless_policy(tmp_path / "endless.onnx")),
            {
                "cart: {link: cart, max_age_ms: 400, on_stale: hold}": "box: {mailbox: [0.0, 0.0]}",
                "{input: cart}": "{input: box}",
            },
        )
        done = subprocess.run(
            [sys.executable, "-c", HELD, str(config)], capture_output=True, text=True, timeout=60
        )
        told = device.stop()
    assert (done.returncode, done.stdout) == (7, "hang True 2\n"), done.stderr
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
