"""Loops that feed loops, in a real run: docs/cycle.md. Nothing here depends on how fast the machine is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rtloop import core
from rtloop.build import build
from rtloop.cli.check import check
from rtloop.config import load, loads
from rtloop.errors import ConfigError, RtloopError
from rtloop.judge import judge
from rtloop.loop import Loop
from rtloop.ports.signal import Signal
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from tests.policy.models import linear, passthrough
from tests.ports.conftest import toy
from tests.running import edited, wait_for

__all__ = ["toy"]

ROOT = Path(__file__).parents[1]
LEFT = [core.OUTCOMES[name] for name in ("written", "written_late")]

#: What is wanted of hip and knee, counted up in each job; and a spring to it that is ten times as often.
TEXT = """\
recording: {directory: runs}
loops:
  walk:
    class: firm
    rate_hz: 50
    deadline_ms: 15
    output: at_deadline
    inputs: {goal: {mailbox: [0.5, -0.5]}}
    policy: {model: count.onnx, observation: [{input: goal}, {previous_action: true}]}
    outputs: {targets: {mailbox: true, names: [hip, knee], safe: -1}}
    realtime: &realtime {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: &share {missed: 1, skipped: 1, stale: 1, held: 1}
  servo:
    class: soft
    rate_hz: 500
    inputs: {targets: {loop: walk, max_age_ms: 10000}}
    policy: {model: spring.onnx, observation: [{input: targets, select: [knee, hip]}]}
    outputs: {torque: {mailbox: true, safe: [0, 0]}}
    realtime: *realtime
    max_share: *share
"""


@pytest.fixture(autouse=True)
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The action before, and the goal once more.
    count = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    (tmp_path / "count.onnx").write_bytes(linear(count))
    (tmp_path / "spring.onnx").write_bytes(linear(10 * np.eye(2, dtype=np.float32)))
    (tmp_path / "loops.yaml").write_text(TEXT)


def counts(loop: LoopRecording, source: int = 0) -> list[int]:
    """Since when what each cycle read counts."""
    since: list[int] = (loop.records["start_ns"] - loop.sources["age_ns"][:, source]).tolist()
    return since


def read_as_the_grid_says(reader: LoopRecording, read: LoopRecording) -> None:
    """Each cycle read the newest command that counted at its release, of those that left."""
    releases, since = reader.records["release_ns"].tolist(), counts(reader)
    assert releases[0] == read.records["release_ns"][0], "all loops of a run have one first release"
    left = np.isin(read.records["outcome"], LEFT)  # of a firm loop: begun before the deadline
    deadlines = [releases[0], *read.records["deadline_ns"][left].tolist()]
    finished = [releases[0], *read.records["finish_ns"][left].tolist()]
    commands = [[-1.0, -1.0], *read.outputs[left].tolist()]
    newest = np.searchsorted(deadlines, releases, side="right") - 1
    # But for jobs that missed as they wrote, and where it came so late that its command may be gone.
    late_ns = reader.records["read_ns"] - reader.records["release_ns"]
    told = [
        i
        for i, n in enumerate(newest)
        if late_ns[i] < 2 * read.metadata.period_ns and (n == 0 or releases[i] >= finished[n])
    ]
    assert len(told) > 100
    for i in told:
        n = newest[i]
        assert reader.inputs[i].tolist() == commands[n]
        assert since[i] == deadlines[n]


def test_what_a_loop_reads_follows_from_the_recorded_grid(tmp_path: Path) -> None:
    run = Run(load(tmp_path / "loops.yaml"), "test")
    for _ in range(2):  # the loops go round as often as one likes
        with run:
            wait_for(lambda: run.loops["servo"].status()["executed"] > 200, "200 cycles")
        recording = read_recording(run.recording, signals=True)
        servo, walk = recording.loops["servo"], recording.loops["walk"]
        assert [signal.name for signal in servo.metadata.inputs] == ["targets.hip", "targets.knee"]
        assert len(servo.records) > 200
        read_as_the_grid_says(servo, walk)
        # What it commands is ten times what it read, its elements by their names.
        written = np.isin(servo.records["outcome"], LEFT)
        assert (servo.outputs[written] == 10 * servo.inputs[written][:, ::-1]).all()
        for loop in (servo, walk):
            assert loop.summary.elapsed_periods == loop.summary.executed + loop.summary.skipped


@pytest.mark.parametrize("on_stale", ["fault", "hold", "use"])
def test_a_loop_that_faults_is_judged_by_its_age(tmp_path: Path, on_stale: str) -> None:
    changes = {"max_age_ms: 10000": f"max_age_ms: 600, on_stale: {on_stale}"}
    run = Run(load(edited(tmp_path / "loops.yaml", changes)), "test")
    with run:
        walk, servo = run.loops["walk"], run.loops["servo"]
        wait_for(lambda: walk.status()["executed"] > 3, "some cycles")
        walk.write_input("goal", [math.nan, 0.0])
        wait_for(lambda: walk.status()["state"] == "fault", "a fault")
        ended = servo.status()["executed"]
        if on_stale == "fault":
            wait_for(lambda: servo.status()["state"] == "fault", "a stale input")
            assert "older than max_age_ms" in servo.fault()
        else:
            wait_for(lambda: servo.status()["executed"] > ended + 500, "500 more cycles")
            assert servo.status()["state"] == "active"
    recording = read_recording(run.recording, signals=True)
    loop = recording.loops["servo"]
    # The safe command was read last, and was used as long as it was young.
    assert loop.inputs[-1].tolist() == [-1.0, -1.0]
    stale = loop.sources["age_ns"][:, 0] > 600_000_000
    assert stale.any()
    assert loop.sources["events"].any(axis=1).tolist() == stale.tolist()
    written = np.isin(loop.records["outcome"], LEFT)
    assert (written & stale).any() == (on_stale == "use")


CIRCLE = """\
recording: {directory: runs}
loops:
  one:
    class: soft
    rate_hz: 100
    deadline_ms: 5
    output: at_deadline
    inputs: {other: {loop: two, max_age_ms: 10000}, own: OWN}
    policy: {model: first.onnx, observation: [{input: other}, {input: own}]}
    outputs: {x: {mailbox: true, names: [x], safe: ONE}}
    realtime: &realtime {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: &share {missed: 1, skipped: 1, stale: 1, held: 1}
  two:
    class: soft
    rate_hz: 50
    deadline_ms: 5
    output: at_deadline
    inputs: {other: {loop: one, max_age_ms: 10000}}
    policy: {model: pass.onnx, observation: [{input: other}]}
    outputs: {y: {mailbox: true, names: [x], safe: TWO}}
    realtime: *realtime
    max_share: *share
"""


def circle(folder: Path, one: str, two: str, own: str = "{mailbox: [3.0]}") -> Run:
    (folder / "pass.onnx").write_bytes(passthrough(1))
    (folder / "first.onnx").write_bytes(linear(np.array([[1], [0]], np.float32)))
    text = CIRCLE.replace("ONE", one).replace("TWO", two).replace("OWN", own)
    (folder / "circle.yaml").write_text(text)
    return Run(load(folder / "circle.yaml"), "circle")


def test_loops_may_read_each_other_and_none_waits(tmp_path: Path) -> None:
    run = circle(tmp_path, one="-1", two="-2")
    with run:
        wait_for(lambda: run.loops["two"].status()["executed"] > 10, "ten cycles")
    loops = read_recording(run.recording, signals=True).loops
    assert loops["one"].inputs[0].tolist() == [-2.0, 3.0]
    assert loops["two"].inputs[0].tolist() == [-1.0]
    assert set(loops["one"].outputs[:, 0].tolist()) <= {-1.0, -2.0}


def test_what_is_held_is_known_before_the_first_release_through_all_loops_between(
    tmp_path: Path,
) -> None:
    # Two holds what it reads of one, which holds what it measures: all of it in one go.
    run = circle(tmp_path, one="{hold: own, named: '0'}", two="{hold: other}")
    with run:
        wait_for(lambda: run.loops["two"].status()["executed"] > 3, "some cycles")
    loops = read_recording(run.recording, signals=True).loops
    assert loops["two"].inputs[0].tolist() == [3.0]
    assert loops["one"].inputs[0].tolist() == [3.0, 3.0]


def test_a_circle_that_only_holds_itself_is_refused_with_its_way(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        circle(tmp_path, one="{hold: other}", two="{hold: other}")
    first, second = str(caught.value).splitlines()
    assert first.endswith(
        "circle.yaml:10:46: loops.one.outputs.x.safe: found a circle of what is held: 'one.x' → 'two.y' → "
        "'one.x'; expected a number or what is measured, in one of them: none knows what is safe before "
        "another does, and no loop starts"
    )
    assert "circle.yaml:20:46: loops.two.outputs.y.safe: found a circle of what is held" in second


def test_what_is_held_of_a_loop_that_has_measured_nothing_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtloop.loop.FIRST_SAMPLE_TIMEOUT_S", 0.2)
    run = circle(
        tmp_path, one="{hold: own}", two="{hold: other}", own="{mailbox: true, names: [x]}"
    )
    with pytest.raises(RtloopError) as caught:
        run.start()
    assert (
        "loop 'two' did not start: input 'other' (other) had no finite sample within 0.2 s. Loop 'one' has "
        "no safe command before it has measured what it holds itself" in str(caught.value)
    )


def test_a_loop_alone_is_refused_with_the_place_of_what_it_reads(tmp_path: Path) -> None:
    config = load(tmp_path / "loops.yaml")
    walk, servo = Loop(config, "walk"), Loop(config, "servo")
    walk.configure()
    with pytest.raises(RtloopError) as caught:
        servo.configure()
    assert "loops.yaml:16:30: loops.servo.inputs.targets.loop: " in str(caught.value)
    assert "input 'targets' of loop 'servo' reads loop 'walk', which is not there" in str(
        caught.value
    )
    servo.configure(loops=[walk])
    for loop in (servo, walk):
        loop.cleanup()


def test_any_kind_of_output_is_read_with_its_names_and_units(
    tmp_path: Path, toy: ModuleType
) -> None:
    text = TEXT.replace(
        "targets: {mailbox: true, names: [hip, knee], safe: -1}", "log: {toy: t, safe: 0}"
    )
    text = text.replace("select: [knee, hip]", "select: [0]").replace("count", "first")
    text = text.replace("[0, 0]", "[0]").replace(", {previous_action: true}", "")
    (tmp_path / "first.onnx").write_bytes(linear(np.array([[1], [0]], np.float32)))
    (tmp_path / "spring.onnx").write_bytes(linear(np.array([[10]], np.float32)))
    config = loads(text, str(tmp_path / "loops.yaml"))
    walk, servo = Loop(config, "walk"), Loop(config, "servo")
    for loop in (walk, servo):
        loop.open()
    servo.configure(loops=[walk])
    (port,) = [port for port in servo.ports if port.name == "targets"]
    assert port.inputs == (Signal("logged", "N"),)
    for loop in (walk, servo):
        loop.cleanup()
    assert toy.ToyPort.closed == toy.ToyPort.opened == 1


def test_what_fails_to_open_leaves_no_other_loop_open(tmp_path: Path, toy: ModuleType) -> None:
    changed = TEXT.replace("torque: {mailbox: true, safe: [0, 0]}", "log: {toy: t, safe: 0}")
    config = loads(changed.replace("spring", "count"), str(tmp_path / "loops.yaml"))
    with pytest.raises(RtloopError):
        build(config, "servo")
    assert toy.ToyPort.closed == toy.ToyPort.opened == 1


def notes(path: Path, loop: str) -> Sequence[str]:
    (found,) = [found for found in check(path).loops if found.name == loop]
    return found.notes


def test_check_tells_the_chain_and_its_ages(tmp_path: Path) -> None:
    path = tmp_path / "loops.yaml"
    (told,) = notes(path, "servo")
    assert told == (
        "input 'targets': walk (50 Hz) → servo (500 Hz), at most 19 ms old at a release, 39 ms where a "
        "command of walk is lost, and stale above 10000 ms"
    )
    edited(
        path,
        {
            "output: at_deadline": "output: asap",
            "class: soft": "class: hard",
            "    max_share: *share\n": "",
        },
    )
    chain, strict = notes(path, "servo")
    assert chain.endswith("depends on how long both take, unless walk says output: at_deadline")
    assert strict.startswith("servo is hard, and walk, whose commands it follows, is firm")


def test_the_loops_of_the_documentation_can_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cycle.md").read_text()
    (body,) = re.findall(r"```yaml\n# legs.yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "legs.yaml").write_text(body)
    (tmp_path / "walk.onnx").write_bytes(linear(np.ones((4, 2), np.float32)))
    (tmp_path / "servo.onnx").write_bytes(linear(np.ones((6, 6), np.float32)))
    judge(load(tmp_path / "legs.yaml"), record=False).refuse()
    (told,) = [note for note in notes(tmp_path / "legs.yaml", "servo") if "targets': walk" in note]
    assert "19 ms old" in told
    assert "39 ms where" in told
