"""What `check` warns of where the numbers of a file contradict each other, and what no action commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from rtloop.config import Config, loads
from rtloop.judge import judge_commands, uncommanded
from rtloop.policy.opened import opened
from tests.policy.models import passthrough

TEXT = """\
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs: {q: {mailbox: true, names: [a, b, c]}}
    policy:
      model: policy.onnx
      joints: [a, b]
      default_joint_pos: [0.1, 0.2]
      observation: [{input: q, joints: policy}]
      action: {joints: policy, offset: default_joint_pos, ACTION}
      terminations: {TERMINATIONS}
    outputs:
      o: {mailbox: true, names: [c, b, a], default: 0, OUTPUT}
"""
PD = "controllers: [{pd: {position: q, stiffness: 5}}]"
START = "start: {ramp_s: 1, from: q}"


def configured(folder: Path, action: str, output: str = "", terminations: str = "") -> Config:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    safe = "" if "safe" in output else "safe: {hold: q}, "
    text = TEXT.replace("ACTION", action).replace("OUTPUT", f"{safe}{output or 'min: -9'}")
    text = text.replace("TERMINATIONS", terminations)
    return loads(text, str(folder / "arm.yaml"))


def warned(config: Config) -> list[str]:
    policy = config.loops["arm"].policy.load(partial(config.where, "loops", "arm", "policy"))
    found = judge_commands(config, "arm", policy)
    assert all(finding.severity == "warning" and finding.place for finding in found)
    return [str(finding).partition("loops.arm.")[2] for finding in found]


@pytest.mark.parametrize(
    ("action", "output", "terminations", "expected"),
    [
        (START, "max_rate_per_s: 0.5", "", ""),
        ("scale: 1", "max_rate_per_s: 0.5, safe: 0", "", ""),
        (f"{START}, clip: [-1, 1]", "max: 1", "", ""),
        (f"{START}, {PD}", "max: 0.15, max_rate_per_s: 0.5, safe: 0", "", ""),  # of its efforts
        (
            START,
            "max_rate_per_s: 0.5, safe: 0",
            "",
            "outputs.o.max_rate_per_s: found a first command of 'b' that is one step from safe, 0, and not "
            "from where `start` measures it; expected safe: {hold: q}",
        ),
        (
            "start: {ramp_s: 1, from: q, to: [2, 0]}, clip: [-1, 1]",
            "",
            "",
            "policy.action.start.to: found a start that leads 'a' to 2, which `clip` cuts to 1; expected a",
        ),
        (
            START,
            "max: 0.15",
            "",
            "policy.action.start: found a start that leads 'b' to 0.2, which the limits of output 'o' cut to "
            "0.15; expected a pose within them",
        ),
        (
            START,
            "",
            "joint_pos_out_of_limit: {position: q, joints: policy, min: -1, max: [0.25, 0.1]}",
            "policy.terminations.joint_pos_out_of_limit.max: found 0.1 for 'b', which the start leads to 0.2: "
            "the run ends there; expected limits around",
        ),
        (
            START,
            "",
            "joint_pos_out_of_limit: {position: q, min: [0.15, -1, -1], max: 1}",
            "policy.terminations.joint_pos_out_of_limit.min: found 0.15 for 'a', which the start leads to 0.1",
        ),
        (
            "clip: [5, 6]",
            "max: 1",
            "",
            "policy.action.clip: found [5, 6] for 'b', all of which max of output 'o' makes 1; expected",
        ),
        (
            "start: {ramp_s: 0.001, from: q}",
            "",
            "",
            "policy.action.start.ramp_s: found 0.001 s, which is one cycle: the whole way in one step; exp",
        ),
    ],
)
def test_numbers_that_contradict_each_other_are_a_warning(
    tmp_path: Path, action: str, output: str, terminations: str, expected: str
) -> None:
    told = warned(configured(tmp_path, action, output, terminations))
    assert len(told) == bool(expected)
    assert expected in "".join(told)


def test_what_no_action_commands_is_a_note(tmp_path: Path) -> None:
    note = "no action commands o.c: it stays at its default 0"
    config = configured(tmp_path, START)
    policy = config.loops["arm"].policy.load(partial(config.where, "loops", "arm", "policy"))
    assert uncommanded(config, "arm", policy) == [note]
    assert note in opened(config, "arm").table.notes
