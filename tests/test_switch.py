"""A loop of several policies, from its file to its report: configuration, check, run, commands."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.build import build
from rtloop.cli.main import main
from rtloop.config import load, loads
from rtloop.errors import ConfigError
from rtloop.judge import judge
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from tests.policy.models import linear
from tests.policy.test_switch_in_cycles import summing

DOCS = Path(__file__).parents[1] / "docs" / "policy.md"
TEXT = """\
recording: {directory: RUNS}
loops:
  robot:
    class: soft
    rate_hz: 200
    inputs:
      joints: {mailbox: [0.1, 0.2], names: [hip, knee]}
      mode: {mailbox: [0, 0], names: [speed, policy]}
    policies:
      stand:
        model: zero.onnx
        observation: [{input: joints}]
        action: {offset: [0.5, -0.5]}
      walk:
        model: sum.onnx
        observation: [{input: joints, scale: 0.001}]
        state: {h_in: h_out}
      jump:
        model: gain.onnx
        observation: [{input: joints}]
        every: 2
    switch: {input: mode, element: policy, blend_s: 0.05, transitions: {stand: [walk], WAYS}}
    outputs:
      targets: {mailbox: true, names: [hip, knee], safe: 0.0}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1}
"""


WAYS = "walk: [stand, jump], jump: [walk]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "zero.onnx").write_bytes(linear(np.full((2, 2), 1e-9, np.float32)))
    (tmp_path / "gain.onnx").write_bytes(linear(np.eye(2, dtype=np.float32)))
    (tmp_path / "sum.onnx").write_bytes(summing())
    path = tmp_path / "robot.yaml"
    path.write_text(TEXT.replace("RUNS", str(tmp_path / "runs")).replace("WAYS", WAYS))
    return path


def complaint(path: Path, *changes: tuple[str, str]) -> list[str]:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        loads(text, str(path))
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


# --- configuration ---


POLICIES = "the name of a policy: stand, walk or jump; nearest"
ELEMENTS = "one of speed or policy, as the input has them"
LINE = "from the command that stands when a policy takes over along a straight line to its own"


@pytest.mark.parametrize(
    ("old", "new", "at", "found", "expected"),
    [
        ("input: mode", "input: mod", "21: .input", "'mod'",
         "the name of an input: joints or mode; nearest 'mode'"),
        ("element: policy", "element: polici", "36: .element", "'polici'", ELEMENTS),
        ("element: policy", "element: 2", "36: .element", "2", ELEMENTS),
        ("element: policy, ", "", "13: ", "an input of 2 elements", f"`element`: {ELEMENTS}"),
        ("stand: [walk]", "stnd: [walk]", "73: .transitions.stnd", "the name 'stnd'",
         f"{POLICIES} 'stand'"),
        ("stand: [walk]", "stand: [wal]", "81: .transitions.stand[0]", "'wal'",
         f"{POLICIES} 'walk'"),
        ("stand: [walk]", "stand: [stand]", "81: .transitions.stand[0]", "'stand'",
         "each other policy once"),
        ("stand: [walk]", "stand: [walk, walk]", "87: .transitions.stand[1]", "'walk'",
         "each other policy once"),
        ("blend_s: 0.05", "blend_s: -1", "53: .blend_s", "-1", f"at least 0 ({LINE})"),
    ],
)  # fmt: skip
def test_a_wrong_switch_is_told_with_its_place_and_cure(
    path: Path, old: str, new: str, at: str, found: str, expected: str
) -> None:
    column, _, key = at.partition(": ")
    told = f"22:{column}: loops.robot.switch{key}: found {found}; expected {expected}"
    assert complaint(path, (old, new)) == [told]


def test_one_policy_has_no_switch_and_several_have_one(path: Path) -> None:
    text = path.read_text()
    one = re.sub(r"      walk:.*?(?=    switch)", "", text, flags=re.DOTALL)
    one = re.sub(r", transitions: .*", "}", one)
    (switch,) = re.findall(r"    switch: .*\n", text)
    both = "    policy: {model: gain.onnx, observation: [{input: joints}]}\n    policies:\n"
    policy = both.partition("    policies")[0]
    alone = re.sub(r"    policies:\n.*?(?=    switch)", policy, text, flags=re.DOTALL)
    found = []
    for wrong in (one, text.replace(switch, ""), text.replace("    policies:\n", both), alone):
        with pytest.raises(ConfigError) as caught:
            loads(wrong, str(path))
        found.append(str(caught.value).removeprefix(f"{path}:"))
    assert found == [
        "9:5: loops.robot.policies: found one; expected two policies or more, or `policy`, which needs "
        "no `switch`",
        "9:5: loops.robot.policies: found no switch; expected `switch` beside them: {input: …, "
        "blend_s: …}",
        "10:5: loops.robot.policies: found both; expected either `policy`, or `policies` with a `switch` "
        "between them",
        "10:5: loops.robot.switch: found a mapping; expected `policies` beside it: one has nothing to "
        "switch to",
    ]


def test_what_is_wrong_in_one_of_them_is_told_at_its_place(path: Path) -> None:
    wrong = ("[{input: joints, scale: 0.001}]", "[{input: jonts}, {previous_action: true}]")
    (line,) = complaint(path, wrong)
    assert line.startswith("16:31: loops.robot.policies.walk.observation[0].input: found 'jonts'")
    assert "nearest 'joints'" in line


def test_what_is_wrong_with_a_model_of_one_of_them_is_told_at_its_place(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path.parent / "gain.onnx").write_bytes(linear(np.ones((3, 2), np.float32)))
    (path.parent / "zero.onnx").write_bytes(linear(np.ones((2, 3), np.float32)))
    assert main(["check", str(path)]) == 2
    told = capsys.readouterr().err
    places = [line.partition(f"{path}:")[2].partition(": found")[0] for line in told.splitlines()]
    assert places == [
        "13:26: loops.robot.policies.stand.action.offset",
        "20:22: loops.robot.policies.jump.observation",
    ]
    assert "the size of the policy's input 'obs' float32[1, 3]" in told


def test_each_policy_has_a_configuration_of_its_own(path: Path) -> None:
    config = load(path)
    loop = config.loops["robot"]
    assert list(loop.every_policy) == ["stand", "walk", "jump"]
    alone = config.each_policy("robot")["walk"]
    assert alone.loops["robot"].policy is loop.policies["walk"]
    assert str(alone.where("loops", "robot", "policy", "state")) == (
        f"{path}:17:16: loops.robot.policies.walk.state"
    )
    assert list(alone.each_policy("robot")) == [""]
    with pytest.raises(ValueError, match="several policies: stand, walk, jump"):
        _ = loop.policy
    assert loop.rates == "200 Hz, jump 100 Hz"


def test_without_transitions_every_policy_may_follow(path: Path) -> None:
    path.write_text(re.sub(r", transitions: .*", "}", path.read_text()))
    loop = load(path).loops["robot"]
    assert loop.switch is not None
    assert loop.switch.following(list(loop.policies)) == [[1, 2], [0, 2], [0, 1]]


def test_a_policy_that_no_way_leads_to_is_told(path: Path) -> None:
    loop = load(path).loops["robot"]
    assert loop.switch is not None
    ways = {"stand": ("walk",), "jump": ("stand",)}
    switch = loop.switch.with_values(transitions=ways)
    told = switch.told(list(loop.policies))
    assert told.endswith("; stand → walk; jump → stand; jump never acts")


def test_the_example_of_the_documentation_can_run(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"## Several policies in one loop\n.*?```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL
    )
    for name in ("stand", "walk", "jump"):
        (tmp_path / f"{name}.onnx").write_bytes(linear(np.eye(2, dtype=np.float32)))
    (tmp_path / "robot.yaml").write_text(text)
    config = load(tmp_path / "robot.yaml")
    judge(config, record=False).refuse()
    parts = build(config, "robot")
    assert isinstance(parts.runner, core.Switch)
    parts.close()


# --- commands ---


def test_check_judges_each_policy_and_says_the_switch(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["loops"]) == ["robot/stand", "robot/walk", "robot/jump"]
    assert all(loop["timed_runs"] for loop in told["loops"].values())
    assert [loop["policy_rate_hz"] for loop in told["loops"].values()] == [200, 200, 100]
    assert told["switches"]["robot"] == (
        "'mode.policy' selects the policy (0 stand, 1 walk, 2 jump), blended over 0.05 s; "
        "stand → walk; walk → stand or jump; jump → walk"
    )
    assert main(["check", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("  robot/walk: soft, 200 Hz, deadline 5 ms") for line in lines) == 1
    assert f"  robot: {told['switches']['robot']}" in lines


@pytest.mark.parametrize(
    ("begins", "is_told"), [("0", False), ("2", False), ("3", True), ("-1", True), ("0.5", True)]
)
def test_check_warns_of_a_selector_that_begins_at_no_policys_number(
    path: Path, begins: str, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(path.read_text().replace("mailbox: [0, 0]", f"mailbox: [0, {begins}]"))
    assert main(["check", str(path), "--json"]) == 0
    problems = json.loads(capsys.readouterr().out)["problems"]
    told = [p for p in problems if "switch_refused" in p["message"]]
    assert len(told) == is_told
    if is_told:
        assert (told[0]["severity"], told[0]["key"]) == ("warning", "loops.robot.inputs.mode")
        assert told[0]["found"] == f"{begins}, with which the selector begins"
        assert "a number from 0 to 2" in told[0]["expected"]


def test_show_and_verify_take_one_of_them(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", str(path), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["loops"]) == [
        "robot/stand", "robot/walk", "robot/jump"
    ]  # fmt: skip
    assert main(["policy", "show", str(path), "--policy", "walk"]) == 0
    assert capsys.readouterr().out.startswith("robot/walk: soft, 200 Hz")
    assert main(["policy", "show", str(path), "--policy", "run"]) == 2
    assert "there is no policy 'run'; there is: 'stand', 'walk', 'jump'" in capsys.readouterr().err
    seen = np.random.default_rng(1).normal(size=(30, 2)).astype(np.float32)
    cases = path.parent / "cases.npz"
    np.savez(cases, in_joints=seen, raw=np.cumsum(seen * np.float32(0.001), axis=0))
    assert main(["policy", "verify", str(path), str(cases)]) == 2
    told = capsys.readouterr().err
    assert "3 policies ('stand', 'walk', 'jump'): say which one, with --policy" in told
    assert main(["policy", "verify", str(path), str(cases), "--policy", "walk"]) == 0
    assert main(["policy", "verify", str(path), str(cases), "--policy", "stand"]) == 1


def test_a_graph_is_that_of_one_of_them(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = path.parent / "walk_graph.onnx"
    assert main(["policy", "show", str(path), "--graph", str(out)]) == 2
    assert "say which one, with --policy" in capsys.readouterr().err
    assert main(["policy", "show", str(path), "--graph", str(out), "--policy", "walk"]) == 0
    assert out.stat().st_size > 0


def test_the_models_of_all_of_them_are_compiled(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # without a compiler the reasons are told: quick
    main(["policy", "compile", str(path), "--into", str(path.parent / "compiled"), "--json"])
    told = json.loads(capsys.readouterr().out)["loops"]
    assert list(told) == ["robot/stand", "robot/walk", "robot/jump"]
    assert all(list(made["backends"]) == ["policy"] for made in told.values())


# --- in a run ---


def select(run: Run, number: float) -> None:
    run.loops["robot"].write_input("mode", [9.0, number])


def test_a_run_switches_tells_when_and_ends_safe(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(load(path), "switching")
    with run:
        for number in (1, 2, math.nan, 1, 0):
            run.wait(0.2)
            select(run, number)
        run.wait(0.3)
        assert run.observed["robot"].statistics.switches.acting == "stand"
        command, _ = run.loops["robot"].read_output("targets")
        np.testing.assert_allclose(command, [0.5, -0.5], atol=1e-6)
    summary = run.stop()
    loop = summary.loops["robot"]
    way = [(switch.before, switch.after) for switch in loop.switches]
    assert way == [("stand", "walk"), ("walk", "jump"), ("jump", "walk"), ("walk", "stand")]
    assert loop.events["switched"] == 4
    assert loop.events["switch_refused"] > 0
    assert loop.fault_reason == "none"

    recorded = read_recording(run.recording, signals=True).loops["robot"]
    assert recorded.summary.switches == loop.switches
    assert recorded.metadata.run["policies"] == ["stand", "walk", "jump"]
    assert list(recorded.metadata.run["models_sha256"]) == [
        "stand/policy", "walk/policy", "jump/policy"
    ]  # fmt: skip
    acting = acting_in(recorded)
    for switch in loop.switches:
        (row,) = np.flatnonzero(recorded.records["cycle"] == switch.cycle)
        assert (acting[row - 1], acting[row]) == (switch.before, switch.after)

    page = run.write_report().read_text()
    assert f"{loop.switches[0]}, {loop.switches[1]}" in page
    assert "switch refused" in page
    _console(loop, capsys)


def acting_in(recorded: Any) -> list[str]:
    """In each cycle, from the recorded selector alone."""
    acting, found = 0, []
    following = [[1], [0, 2], [1]]
    for asked in recorded.inputs[:, 3]:
        acting = int(asked) if asked in following[acting] else acting
        found.append(["stand", "walk", "jump"][acting])
    return found


def _console(loop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    from rtloop.cli.console import Console
    from rtloop.telemetry.observe.summary import RunSummary

    Console(sys.stdout).summarise(RunSummary(loops={"robot": loop}, rights=()))
    told = " ".join(capsys.readouterr().out.split())
    assert f"policies: {', '.join(map(str, loop.switches))}" in told
    assert (
        f"{loop.events['switch_refused']} cycles switch refused: the selector was no number" in told
    )


def test_a_termination_of_the_policy_that_acts_ends_the_run_and_is_told(path: Path) -> None:
    limits = "terminations: {joint_pos_out_of_limit: {position: joints, min: -1, max: 0.15}}"
    text = path.read_text().replace("        every: 2\n", f"        {limits}\n")
    path.write_text(text)
    run = Run(load(path), "ended", record=False)
    with run:
        run.wait(0.1)
        select(run, 1)
        run.wait(0.1)
        select(run, 2)
        run.wait(5)
    summary = run.stop()
    assert summary.stopped_by == "fault"
    (problem,) = summary.problems
    assert "a termination of the policy was true" in problem
    assert problem.endswith("It was joint_pos_out_of_limit: 'knee' is outside -1 to 0.15")
