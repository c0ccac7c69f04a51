"""telemetry_node, a process of its own, beside loops that know nothing of ROS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import topic
from rtloop.telemetry.observe.ring import Ring
from tests.nodes.ears import Ears
from tests.nodes.ros import ERROR, OK, TIMEOUT_S, WARN
from tests.nodes.test_news import CLASSES, write
from tests.running import background, edited, rings_of
from tests.telemetry.conftest import ring_directory
from tests.telemetry.loops import metadata, new_ring

__all__ = ["ring_directory"]

NODE = "telemetry_node"


class Telemetry:
    """The node's process."""

    def __init__(self, folder: Path, *parameters: str) -> None:
        self._log = folder / "telemetry.log"
        command = [sys.executable, "-m", "rtloop.nodes.telemetry_node", "--ros-args"]
        for parameter in ("diagnostics_rate_hz:=5.0", *parameters):
            command += ["-p", parameter]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


def name_of(folder: Path) -> str:
    """Of its runs; also that of pytest's session is in it."""
    return f"{folder.parent.name}_{folder.name}"


@contextmanager
def telemetry(folder: Path, *parameters: str) -> Iterator[Telemetry]:
    """It sees nothing but the runs of this test, of which there may be another at the same time."""
    node = Telemetry(folder, f"runs:=['*-{name_of(folder)}*']", *parameters)
    try:
        yield node
        if node.process.poll() is None:
            assert node.end() == 0, node.log
        assert "Traceback" not in node.log, node.log
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


def always_late(folder: Path, *classes: str) -> Path:
    """No cycle of its loops can meet its deadline."""
    path = write(folder, *classes).rename(folder / f"{name_of(folder)}.yaml")
    return edited(path, {"rate_hz: 50": "rate_hz: 50\n    deadline_ms: 0.02"})


@contextmanager
def started(ears: Ears, command: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    ears.until_met()
    with background(command) as run:
        yield run


def end(run: subprocess.Popen[str]) -> None:
    run.send_signal(signal.SIGTERM)
    run.wait(TIMEOUT_S)


def test_loops_of_rtloop_run_are_told_as_they_are_recorded(tmp_path: Path) -> None:
    config = always_late(tmp_path, *CLASSES)
    with (
        telemetry(tmp_path) as node,
        Ears(NODE, *CLASSES) as ears,
        started(ears, ["run", config, "--json", "--no-report"]) as run,
    ):
        ears.until(lambda: all(ears.misses.get(name) for name in CLASSES), "each class misses")
        ears.until(
            lambda: len(ears.misses["soft"]) > 25 and bool(ears.statistics["soft"]),
            "more than the limit lets through at once, and statistics",
        )
        ears.until(lambda: {s.level for s in ears.statuses["hard"]} >= {ERROR}, "the fault is told")
        assert ears.statuses["soft"][-1].level in (WARN, ERROR)
        assert "deadline was missed" in ears.statuses["hard"][-1].message
        assert ears.statuses["soft"][-1].values["pid"] == str(run.pid)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=TIMEOUT_S)
        messages = read_recording(Path(json.loads(out)["recording"])).messages
        recorded = {name: messages[topic(name, "miss")] for name in CLASSES}
        ears.until_told(recorded)
        ears.until(lambda: ears.says("soft", "ended"), "its end is told")
        newest = ears.statistics_of("soft", recorded["soft"])
    assert recorded["hard"] == 1
    ended = ears.statuses["soft"][-1]
    assert (ended.level, ended["misses"], ended["records_lost"]) == (OK, recorded["soft"], 0)
    assert newest["misses_suppressed"] == recorded["soft"] - len(ears.misses["soft"])
    assert node.log.count("of run") == len(CLASSES)


def test_loops_come_and_go_and_one_that_dies_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    config = always_late(tmp_path, "soft", "firm")
    command = ["run", config, "--no-record"]
    with telemetry(tmp_path, "loops:=['so*']") as node, Ears(NODE, "soft", "firm") as ears:
        with started(ears, command) as run:
            ears.until(lambda: bool(ears.misses["soft"]), "the first run")
            (ring, _) = rings_of(run.pid)
            os.kill(run.pid, signal.SIGKILL)
            ears.until(lambda: ears.says("soft", "died"), "its death is told")
            assert ears.statuses["soft"][-1].level == ERROR
            shutil.rmtree(ring.parent)
        with background(command) as again, background(command) as another:
            ears.until(lambda: bool(ears.misses.get("soft_2")), "two of one name")
            ears.until(lambda: "soft_2" in ears.statuses, "and their statuses")
            pids = {ears.statuses[name][-1].values["pid"] for name in ("soft", "soft_2")}
            assert pids == {str(again.pid), str(another.pid)}
            end(another)
            assert node.end(signal.SIGTERM) == 0, node.log
            assert again.poll() is None, "the loop does not notice"
            end(again)
    assert ears.misses["firm"] == []
    assert "firm" not in ears.statuses, "it is not wanted"
    assert "firm:" not in node.log


def test_a_loop_that_cannot_be_followed_hides_no_other(
    ring_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtloop.nodes.telemetry_node import TelemetryNode

    names = ("no name of a topic", "soft")
    writers = [new_ring(ring_directory, metadata(name, "soft")) for name in names]
    found = [[Ring(Path(writer.path)) for writer in writers]]
    with Ears(NODE, "soft") as ears:
        node = TelemetryNode(context=ears.context)
        try:
            monkeypatch.setattr(node._live, "new", lambda: found.pop() if found else [])
            ears.executor.add_node(node)
            ears.until(lambda: "soft" in ears.statuses, "the other one is told of")
            assert {name.partition(".")[0] for name in ears.statuses} == {"soft"}
        finally:
            node.destroy_node()


def test_a_parameter_of_the_wrong_type_is_one_clear_error(tmp_path: Path) -> None:
    node = Telemetry(tmp_path, "statistics_rate_hz:=often")
    assert node.process.wait(TIMEOUT_S) == 2
    assert "'statistics_rate_hz'" in node.log
    assert "Traceback" not in node.log, node.log
