"""A policy of no model: what its terms give is the action, and all around it works as with one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop import core
from rtloop.cli.main import main
from rtloop.config import load, loads
from rtloop.errors import ConfigError
from rtloop.policy.opened import opened
from rtloop.policy.runner import runner
from rtloop.policy.verify import verify
from rtloop.ports.signal import Signal
from rtloop.report.page import write_report
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from tests.core.conftest import MS, Rig, stall
from tests.policy.models import Runner
from tests.policy.terms.harness import composed
from tests.running import wait_for

Floats = npt.NDArray[np.float64]
TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
SECTION = TEXT[TEXT.index("## Without a model") : TEXT.index("## How it runs")]
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
SOFT = (
    "    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}\n"
    "    max_share: {missed: 1, skipped: 1, stale: 1, held: 1}\n"
)
STAND = """\
loops:
  stand:
    class: firm
    rate_hz: 50
    inputs: {joints: {mailbox: [0.1, 0.2], names: [hip, knee]}}
    policy:
      joints: [hip, knee]
      observation: [{constant: [0.4, -0.8]}]
      action: {start: {from: joints, ramp_s: 0.2}}
    outputs: {targets: {mailbox: true, names: [knee, hip], safe: {hold: joints}}}
"""


class Pd:
    """The loop of the documentation in numpy: float64, what it remembers follows what was applied."""

    def __init__(self, period_s: float) -> None:
        self.share = 1 - math.exp(-2 * math.pi * 5 * period_s)
        self.passed: Floats | None = None

    def step(self, target: Floats, joints: Floats, applied: bool = True) -> Floats:
        passed = target if self.passed is None else self.passed
        passed = passed + self.share * (target - passed)
        if applied:
            self.passed = passed
        torque = 40 * (passed - joints[:2]) - joints[2:]
        limited: Floats = np.clip(torque, -20, 20)
        return limited


def drawn(random: np.random.Generator, size: int) -> Floats:
    return random.normal(0, 0.4, size).astype(np.float32).astype(np.float64)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.lists(st.booleans(), min_size=30, max_size=30), st.integers(0, 99))
def test_the_pd_of_the_documentation_is_that_of_numpy(
    every: int, applied: list[bool], seed: int
) -> None:
    text = EXAMPLE.replace("      observation:", f"      every: {every}\n      observation:")
    loop = opened(loads(text, "arm.yaml"), "arm").assembled.runner
    random, reference = np.random.default_rng(seed), Pd(1 / 500)
    target = np.zeros(2)
    for cycle, is_applied in enumerate(applied):
        joints, newest = drawn(random, 4), drawn(random, 2)
        if cycle % every == 0:
            target = newest
        samples = [joints.astype(np.float32), newest.astype(np.float32)]
        got = loop.run(samples, is_applied, None, cycle)
        np.testing.assert_allclose(got, reference.step(target, joints, is_applied), atol=2e-4)


def test_state_feedback_is_a_matrix_of_what_is_apart(tmp_path: Path) -> None:
    gains = np.array([[12, 0, 3, 0], [0, 9, 0, 2]], np.float32)
    section = {
        "groups": {"error": [{"input": "x", "minus": "reference"}]},
        "observation": [{"linear": "error", "matrix": gains.tolist()}],
        "action": {"scale": -1},
    }
    loop = runner(composed(tmp_path, section, {"x": 4, "reference": 4}))
    random = np.random.default_rng(0)
    for _ in range(20):
        x, reference = random.normal(size=(2, 4)).astype(np.float32)
        np.testing.assert_allclose(
            loop.run([x, reference]), -gains @ (x - reference), rtol=1e-4, atol=1e-4
        )


def test_a_pose_to_stand_in_is_reached_from_where_it_is_and_goes_by_the_joints() -> None:
    config = loads(STAND, "stand.yaml")
    loop = opened(config, "stand").assembled.runner
    sample = np.array([0.1, 0.2], np.float32)
    commands = [loop.run([sample], True, None, cycle).tolist() for cycle in range(14)]
    ways = np.minimum(np.arange(1, 15) / 10, 1)
    wanted = np.stack([0.2 + ways * (-0.8 - 0.2), 0.1 + ways * (0.4 - 0.1)], axis=1)
    np.testing.assert_allclose(commands, wanted, atol=1e-6)


def test_values_go_by_the_names_that_are_observed_before_those_of_the_joints(
    tmp_path: Path,
) -> None:
    inputs: Mapping[str, Any] = {"q": ["knee", "hip"], "bare": 2}
    base: dict[str, Any] = {"joints": ["hip", "knee"]}

    def names(observation: list[dict[str, Any]], **keys: Any) -> tuple[str, ...] | None:
        from rtloop.policy import PolicyConfig
        from rtloop.policy.terms.elements import Vector
        from tests.policy.terms.harness import place

        config = PolicyConfig.model_validate({**base, "observation": observation, **keys})
        vectors = {
            name: Vector(
                told if isinstance(told, int) else len(told),
                None if isinstance(told, int) else tuple(told),
            )
            for name, told in inputs.items()
        }
        policy = config.load(place)
        return config.scope(vectors, (), policy).action.element_names

    assert names([{"input": "q"}], joints=["b", "a"]) == ("knee", "hip")
    assert names([{"input": "bare"}]) == ("hip", "knee")
    assert names([{"input": "q", "select": ["hip"]}, {"input": "q", "select": ["hip"]}]) == (
        "hip",
        "knee",
    )
    assert names([{"input": "bare"}, {"constant": [1]}]) is None
    assert names([{"constant": [1, 2]}], action={"joints": ["a", "b"]}) == ("a", "b")


def test_the_last_action_is_what_was_observed_when_it_was_applied(tmp_path: Path) -> None:
    section = {
        "observation": [{"input": "x"}, {"last_action": True, "select": [0]}],
        "every": 2,
    }
    loop = runner(composed(tmp_path, section, {"x": 1}))
    run = [
        loop.run([np.array([x], np.float32)], x != 5, None, cycle).tolist()
        for cycle, x in enumerate((3, 4, 5, 6, 7, 8, 9))
    ]
    assert run == [[3, 0], [3, 0], [5, 3], [5, 3], [7, 5], [7, 5], [9, 7]]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "observation: [{input: joints}, {last_action: true}]",
            "7:38: loops.a.policy.observation[1]: found a part of the action as large as the action itself; "
            "expected `select` beside it",
        ),
        (
            "groups: {g: [{last_action: true}]}\n      observation: [{group: g}]",
            "8:21: loops.a.policy.observation[0]: found a part of the action as large",
        ),
        (
            "observation: [{input: joints}, {last_action: true, select: [3]}]",
            "loops.a.policy.observation[1].select[0]: found 3; expected an index below 3",
        ),
        (
            "action: {scale: 2}",
            "6:5: loops.a.policy: found none of them; expected exactly one of `model`, `models`, "
            "`leapp` and `python`, or `observation` alone: what is observed is the action",
        ),
        (
            "observation: [{input: joints}]\n      sha256: " + 64 * "a",
            "6:5: loops.a.policy: found none of them beside sha256; expected exactly one of",
        ),
        (
            "observation: [{input: joints}]\n      state: {a: b}",
            "6:5: loops.a.policy: found none of them beside state; expected exactly one of",
        ),
        (
            "observation: [{input: joints}]\n      action_output: a",
            "6:5: loops.a.policy: found none of them beside action_output; expected exactly one of",
        ),
        (
            "observation: [{input: joints}]\n      observations: {a: [{input: joints}]}",
            "6:5: loops.a.policy: found none of them beside observations; expected exactly one of",
        ),
        (
            "observation: [{constant: [1, 2, 3]}]",
            "found an action of 3 values for outputs of 2",
        ),
        (
            "joints: [hip, knee]\n      observation: [{input: joints, select: [knee, hip]}]\n"
            "      action: {joints: policy}",
            "9:24: loops.a.policy.action.joints: found 'hip' for what is observed as 'knee'; expected the "
            "joints in the order in which they are observed",
        ),
        (
            "joints: [hip, knee]\n      observation: [{input: joints}]\n"
            "      actions: [{select: [1], joints: [hip]}, {select: [0], joints: [knee]}]",
            "9:39: loops.a.policy.actions[0].joints: found 'hip' for what is observed as 'knee'",
        ),
        (
            "observation: [{input: joints}]\n      action: {output: policy.action}",
            "loops.a.policy.action.output: found 'policy.action'; expected an output of a model: this "
            "policy has none",
        ),
        (
            "observation: [{output: policy.action}]",
            "7:30: loops.a.policy.observation[0].output: found 'policy.action'; expected an output of a model: "
            "this policy has none",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_action_is_refused_in_its_place(section: str, message: str) -> None:
    text = (
        "loops:\n  a:\n    class: soft\n    rate_hz: 50\n"
        "    inputs: {joints: {mailbox: [0, 0], names: [hip, knee]}}\n"
        f"    policy:\n      {section}\n"
        "    outputs: {o: {mailbox: true, names: [hip, knee], safe: 0}}\n"
    )
    with pytest.raises(ConfigError) as error:
        opened(loads(text, "a.yaml"), "a")
    assert message in str(error.value)


def test_an_observation_that_is_wrong_is_none_that_is_missing() -> None:
    text = STAND.replace("constant: [0.4, -0.8]", "constant: 0.4")
    with pytest.raises(ConfigError) as error:
        loads(text, "a.yaml")
    assert str(error.value) == (
        "a.yaml:8:32: loops.stand.policy.observation[0].constant: found 0.4; expected a list (the numbers)"
    )


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            "{input: board, select: [kne]}",
            "8:45: loops.a.policy.observation[0].select[0]: found 'kne'; expected a field of input 'board': "
            "hip or knee; nearest 'knee'",
        ),
        (
            "{input: board, select: [2]}",
            "8:45: loops.a.policy.observation[0].select[0]: found 2; expected an index below 2",
        ),
    ],
)
def test_what_a_device_does_not_have_is_refused_in_its_place(
    observation: str, message: str
) -> None:
    text = (
        "links: {board: {device: /dev/ttyACM0}}\n"
        "loops:\n  a:\n    class: soft\n    rate_hz: 100\n    inputs: {board: {link: board}}\n"
        f"    policy:\n      observation: [{observation}]\n"
        "    outputs: {o: {mailbox: true, size: 1, safe: 0}}\n"
    )
    told = {"board": (Signal("hip"), Signal("knee"))}
    with pytest.raises(ConfigError) as error:
        opened(loads(text, "a.yaml"), "a", told)
    assert message in str(error.value)


def test_what_only_devices_know_is_assumed_to_fit() -> None:
    text = (
        "links: {one: {device: ./a, command_timeout_ms: 500}}\nloops:\n  a:\n    class: soft\n    rate_hz: 50\n"
        "    inputs: {u: {link: one}}\n    policy: {observation: [{input: u}]}\n"
        "    outputs: {u: {link: one, safe: [0, 0, 0]}}\n"
    )
    found = opened(loads(text, "a.yaml"), "a")
    assert len(found.inputs["u"]) == len(found.outputs["u"]) == 3
    assert len(found.table.raw) == 3


def test_a_nan_is_seen_behind_a_clip(tmp_path: Path) -> None:
    section = {"observation": [{"input": "x", "clip": [-1, 1]}], "action": {"clip": [-1, 1]}}
    loop = runner(composed(tmp_path, section, {"x": 1}))
    assert loop.run([np.array([2.0], np.float32)]).tolist() == [1.0]
    assert np.isnan(loop.run([np.array([np.nan], np.float32)])[0])


def test_a_hard_loop_holds_its_deadlines_and_faults_at_a_miss(tmp_path: Path) -> None:
    """On virtual time, a low-pass in each cycle and its values in every fifth."""
    section = {
        "every": 5,
        "observation": [{"input": "seen", "scale": 2}],
        "action": {"controllers": [{"low_pass": {"cutoff_hz": 30}}]},
    }
    graph = composed(tmp_path, section, {"seen": 1}, period_s=Fraction(1, 1000))
    hard = core.LoopClass.hard
    outputs = [core.OutputConfig(1, safe=[-1.0])]
    rig = Rig(
        tmp_path / "ring",
        graph=runner(graph),
        loop_class=hard,
        outputs=outputs,
        stalls=[stall("infer", 12, 2 * MS)],
    )
    rig.start(1.0)
    passed, target, wanted = None, 0.0, []
    share = 1 - math.exp(-2 * math.pi * 30 / 1000)
    for cycle in range(13):
        rig.put(float(cycle))
        goes_on = rig.loop.step()
        target = 2.0 * cycle if cycle % 5 == 0 else target
        passed = target if passed is None else passed + share * (target - passed)
        wanted.append(passed)
    assert not goes_on
    np.testing.assert_allclose(rig.sent()[:12], wanted[:12], rtol=1e-5)
    assert rig.command() == -1.0
    ran = (rig.records()["events"] & core.EVENTS["policy"]) != 0
    assert np.flatnonzero(ran).tolist() == [0, 5, 10]


def test_the_loop_of_the_documentation_runs_and_its_recording_says_no_model(
    tmp_path: Path,
) -> None:
    text = EXAMPLE.replace("class: hard", "class: soft").replace(
        "    policy:", SOFT + "    policy:"
    )
    (tmp_path / "arm.yaml").write_text(f"recording: {{directory: {tmp_path / 'runs'}}}\n" + text)
    with Run(load(tmp_path / "arm.yaml"), "arm") as run:
        loop = run.loops["arm"]
        loop.write_input("target", [0.0, 0.1])
        loop.write_input("joints", [0.0, 0.1, 0.5, -0.25])
        # The low-pass ends at its target: only the damping is left.
        wait_for(
            lambda: np.allclose(loop.read_output("torque")[0], [-0.5, 0.25], atol=1e-3), "rest"
        )
    assert run.summary is not None
    (recording,) = (tmp_path / "runs").glob("*/run.mcap")
    metadata = read_recording(recording).loops["arm"].metadata
    assert (metadata.run["policy_sha256"], metadata.run["models_sha256"]) == ("", {})
    page = write_report(recording, tmp_path / "report.html")
    assert "none: terms and controllers alone" in Path(page).read_text(encoding="utf-8")


def cases_of(path: Path) -> dict[str, Any]:
    random, reference = np.random.default_rng(4), Pd(1 / 500)
    joints, targets = (random.normal(0, 0.2, (40, n)).astype(np.float32) for n in (4, 2))
    torques = [reference.step(t, j) for t, j in zip(targets, joints, strict=True)]
    arrays: dict[str, Any] = {
        "in_joints": joints,
        "in_target": targets,
        "targets": np.stack(torques),
    }
    np.savez(path, allow_pickle=True, **arrays, obs_observation=targets)
    return arrays


def test_it_is_verified_as_one_with_a_model(tmp_path: Path) -> None:
    arrays = cases_of(tmp_path / "cases.npz")
    found = verify(loads(EXAMPLE, "arm.yaml"), "arm", tmp_path / "cases.npz")
    assert found.agrees
    assert [array.name for array in found.compared] == ["obs_policy.observation", "targets"]
    raw = arrays["in_target"][:, ::-1]
    np.savez(tmp_path / "raw.npz", allow_pickle=True, **arrays, raw=raw, obs_observation=raw)
    found = verify(loads(EXAMPLE, "arm.yaml"), "arm", tmp_path / "raw.npz")
    assert found.first is not None
    assert found.first.array == "obs_policy.observation"
    np.savez(tmp_path / "alone.npz", allow_pickle=True, **arrays, raw=raw)
    found = verify(loads(EXAMPLE, "arm.yaml"), "arm", tmp_path / "alone.npz")
    assert found.first is not None
    assert found.first.array == "raw"
    assert found.hints == (
        "raw: with `obs_…` in the cases, the element that differs would have a name",
    )
    np.savez(
        tmp_path / "both.npz", allow_pickle=True, **arrays, raw=raw, obs_observation=raw[:, ::-1]
    )
    found = verify(loads(EXAMPLE, "arm.yaml"), "arm", tmp_path / "both.npz")
    assert found.hints == (
        "raw: without a model it is what is observed, which agrees: the cases contradict themselves",
    )


def test_the_commands_tell_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("arm.yaml").write_text(EXAMPLE.replace("class: hard", "class: soft"))
    Path("stand.yaml").write_text(STAND)
    assert main(["check", "arm.yaml"]) == 0
    out = capsys.readouterr().out
    assert "deadline 2 ms, policy without a model; inference" in out
    assert "arm: no model: what is observed is the action" in out
    assert main(["check", "--json", "stand.yaml"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["loops"]["stand"]["model"] == told["loops"]["stand"]["observation"] == ""
    assert told["warnings"] == []
    assert main(["policy", "show", "--json", "stand.yaml"]) == 0
    shown = json.loads(capsys.readouterr().out)["loops"]["stand"]
    assert [e["formula"] for e in shown["observations"]["policy.observation"]] == ["0.4", "-0.8"]
    assert [e["source"] for e in shown["command"]] == [
        "policy.observation[1]",
        "policy.observation[0]",
    ]
    assert main(["policy", "compile", "arm.yaml"]) == 0
    assert "arm: no model to compile" in capsys.readouterr().out


def test_its_graph_is_one_model_for_others(tmp_path: Path) -> None:
    graph = opened(loads(EXAMPLE, "arm.yaml"), "arm").assembled.graph
    assert (graph.sha256, graph.models_sha256) == ("", {})
    one, reference, random = Runner(graph), Pd(1 / 500), np.random.default_rng(6)
    for _ in range(20):
        joints, target = drawn(random, 4), drawn(random, 2)
        got = one.step(joints.astype(np.float32), target.astype(np.float32))
        np.testing.assert_allclose(got, reference.step(target, joints), atol=2e-4)
