"""What a mailbox holds before its first message, and after its last command: docs/safe.md."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import rtloop.loop as loop_module
from rtloop.config import load
from rtloop.errors import ConfigError, RtloopError
from rtloop.ports.mailbox import MailboxPort
from rtloop.run import Run
from tests.policy.models import passthrough
from tests.running import edited, rtloop, wait_for

#: A knee that is held where it was measured, and commanded to the same place.
TEXT = """\
recording: {enabled: false, directory: runs}
loops:
  leg:
    class: soft
    rate_hz: 100
    inputs: {q: {MAILBOX}}
    policy: {model: policy.onnx, observation: [{input: q}]}
    outputs: {o: {mailbox: true, names: [knee], safe: {hold: q}, default: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1}
"""
FRESH = "mailbox: true, names: [knee], max_age_ms: 1000, on_stale: fault"


def written(folder: Path, mailbox: str = "mailbox: true, names: [knee]", **changes: str) -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(1))
    (folder / "leg.yaml").write_text(TEXT)
    return edited(folder / "leg.yaml", {"MAILBOX": mailbox, **changes})


@contextmanager
def configured(path: Path) -> Iterator[Run]:
    run = Run(load(path), "test")
    run.configure()
    try:
        yield run
    finally:
        run.cleanup()


def command(run: Run) -> float:
    value: float = run.loops["leg"].read_output("o")[0][0]
    return value


def commanded(run: Run, value: float) -> None:
    """The only value that was commanded since the activation."""
    wait_for(lambda: not math.isnan(command(run)), "a command")
    assert command(run) == pytest.approx(value)


@pytest.mark.parametrize("size", ["mailbox: true", "mailbox: 1"])
def test_a_mailbox_without_values_is_awaited_as_a_device_is(
    tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, f"{size}, names: [knee]")
    with configured(path) as run:
        late = threading.Timer(0.3, lambda: run.loops["leg"].write_input("q", [0.8]))
        late.start()
        run.activate()
        commanded(run, 0.8)
        run.deactivate()
        monkeypatch.setattr(loop_module, "FIRST_SAMPLE_TIMEOUT_S", 0.2)
        with pytest.raises(RtloopError, match="input 'q' .*no finite sample.*Loop.write_input"):
            run.activate()  # what was measured before it stood still is not where it stands


def test_what_a_port_awaits_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def awaits(port: MailboxPort) -> str:
        asked.append(port.name)
        return "a sample"

    monkeypatch.setattr(MailboxPort, "awaits", property(awaits))
    monkeypatch.setattr(loop_module, "FIRST_SAMPLE_TIMEOUT_S", 0.2)
    with (
        configured(written(tmp_path)) as run,
        pytest.raises(RtloopError, match="no finite sample.*a sample"),
    ):
        run.activate()
    assert asked == ["q"]


def test_what_was_written_before_an_activation_counts_with_its_own_time(tmp_path: Path) -> None:
    with configured(written(tmp_path, FRESH)) as run:
        for value in (0.8, 0.2):
            run.loops["leg"].write_input("q", [value])
            run.activate()
            commanded(run, value)
            run.deactivate()
        run.loops["leg"].write_input("q", [0.4])
        time.sleep(1.2)
        threading.Timer(0.3, lambda: run.loops["leg"].write_input("q", [0.5])).start()
        run.activate()
        commanded(run, 0.5)


def test_values_of_the_file_never_take_the_place_of_what_was_written(tmp_path: Path) -> None:
    with configured(written(tmp_path, "mailbox: [0.1], names: [knee]")) as run:
        run.activate()
        commanded(run, 0.1)
        run.loops["leg"].write_input("q", [0.8])
        wait_for(lambda: command(run) == pytest.approx(0.8), "what was written")
        run.deactivate()
        run.activate()
        commanded(run, 0.8)


def test_a_mailbox_says_how_many_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected values, or their number, or true"):
        load(written(tmp_path, "mailbox: true"))


def test_a_mailbox_is_written_from_configure_to_cleanup(tmp_path: Path) -> None:
    run = Run(load(written(tmp_path)), "test")
    leg = run.loops["leg"]
    with pytest.raises(RtloopError, match="not configured"):
        leg.write_input("q", [0.8])
    run.configure()
    with pytest.raises(ValueError, match="got 2 values, expected 1"):
        leg.write_input("q", [0.8, 0.9])
    for wrong in (None, [None], ["0.8"], [0.8j], [[0.8]]):
        with pytest.raises(TypeError, match=r"values of 'q': found .*; expected one row of real"):
            leg.write_input("q", wrong)  # type: ignore[arg-type]
    for use in (leg.read_output, lambda name: leg.write_input(name, [0.8])):
        with pytest.raises(KeyError, match="found 'p'; expected one of [oq]"):
            use("p")
    run.cleanup()
    with pytest.raises(RtloopError, match="not configured"):
        leg.write_input("q", [0.8])


def test_a_command_says_that_nobody_writes_its_mailboxes(tmp_path: Path) -> None:
    filled = written(tmp_path, "mailbox: [0.1], names: [knee]")
    stays = "input 'q' stays at the values of the file"
    done = rtloop("run", filled, "--duration", "0.2")
    assert (done.returncode, done.stdout.count(stays)) == (0, 1), done.stderr
    assert rtloop("check", filled).stdout.count(stays) == 1
    empty = written(tmp_path)
    refused = rtloop("run", empty, "--duration", "0.2")
    assert refused.returncode == 2
    assert "found a mailbox without values; expected a device" in refused.stderr
    checked = rtloop("check", empty)
    assert (checked.returncode, "'q' is awaited in vain" in checked.stdout) == (0, True)


def test_the_safe_command_is_read_after_the_run_was_left_and_by_whoever_reads_meanwhile(
    tmp_path: Path,
) -> None:
    text = {"observation: [{input: q}]": "observation: [{input: q, scale: 3}]"}
    run = Run(load(written(tmp_path, **text)), "test")
    leg, is_over = run.loops["leg"], threading.Event()
    read: list[float] = []
    errors: list[Exception] = []

    def forward() -> None:
        try:
            while not is_over.is_set():
                read.append(float(leg.read_output("o")[0][0]))
        except Exception as error:
            errors.append(error)

    run.configure()
    leg.write_input("q", [0.8])
    reader = threading.Thread(target=forward)
    with run:
        reader.start()
        wait_for(lambda: pytest.approx(read[-1]) == 2.4 if read else False, "a command")
    n = len(read)
    wait_for(lambda: len(read) > n + 2 or bool(errors), "more that is read")
    is_over.set()
    reader.join()
    assert errors == []
    assert read[-1] == pytest.approx(0.8)
    assert leg.read_output("o")[1] > 0
    with pytest.raises(KeyError):
        leg.read_output("nothing")
    run.configure()
    assert math.isnan(leg.read_output("o")[0][0]), "nothing of the run before"
    run.cleanup()


def test_the_feeding_thread_of_the_documentation_outlives_the_loop_and_meets_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[1] / "docs" / "safe.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (inputs,) = re.findall(r"```yaml\n(inputs:.*?)```", text, re.DOTALL)
    one = "inputs: {q: {mailbox: true, names: [knee]}}"
    policy = "policy: {model: policy.onnx, observation: [{input: q}]}"
    (tmp_path / "leg.yaml").write_text(
        TEXT.replace("MAILBOX", "mailbox: true, names: [knee]")
        .replace(one, inputs.rstrip().replace("\n", "\n    "))
        .replace(policy, "policy: {observation: [{input: joint_pos, select: [knee]}]}")
        .replace("{hold: q}", "{hold: joint_pos}")
        .replace("  leg:", "  walk:")
    )
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    taken: list[float] = []

    def measured() -> list[float]:
        time.sleep(0.005)
        taken.append(time.monotonic())
        return [0.1, 0.8]

    scope: dict[str, Any] = {"Run": Run, "load": load, "threading": threading}
    scope |= {"path": tmp_path / "leg.yaml", "measured": measured}
    exec(snippet.replace("run.wait(60)", "run.wait(0.5)"), scope)
    run = scope["run"]
    assert errors == []
    assert run.state == "unconfigured"
    assert run.summary is not None
    assert run.summary.loops["walk"].executed > 10
    assert run.summary.problems == ()
    assert len(taken) > 10
