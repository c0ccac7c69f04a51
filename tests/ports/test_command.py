"""Values of a command by the names of its elements, once a device has told them or must have them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rtloop.assembly import assemble
from rtloop.config import Config, loads
from rtloop.config.by_name import Hold, Value, Values, key_of
from rtloop.errors import ConfigError
from rtloop.judge import judge
from rtloop.ports.command import first_standing, numbers, sources
from rtloop.ports.signal import Signal
from tests.policy.models import passthrough

LEG = ("knee_q", "hip_q", "knee_kp", "hip_kp", "torque")
VALUES = {"hip_q": 0.4, "*_q": 0.1, "*": 0.0, "*_kp": 20.0}


def test_a_name_counts_before_a_pattern_and_a_pattern_before_the_rest() -> None:
    assert [key_of(VALUES, name) for name in LEG] == ["*_q", "hip_q", "*_kp", "*_kp", "*"]
    assert numbers(VALUES, LEG, 0.0) == (0.1, 0.4, 20.0, 20.0, 0.0)


def test_a_name_with_signs_of_other_patterns_is_only_itself() -> None:
    assert key_of({"joint[0].q": 1.0}, "joint[0].q") == "joint[0].q"
    assert key_of({"joint[0].q": 1.0, "?*": 2.0}, "joint0xq") is None


def test_no_limit_by_name_is_none_at_all() -> None:
    assert numbers({"*_q": 3.0, "*": None}, LEG[1:3], math.inf) == (3.0, math.inf)


def test_what_is_held_is_found_by_name_in_whichever_input_has_it() -> None:
    inputs = {"imu": ["gyro"], "joints": ["hip_pos", "knee_pos"], "motor": ["torque"]}
    safe: dict[str, Value] = {
        "*_q": Hold(hold="joints", named="{}_pos"),
        "torque": Hold(hold="motor"),
        "knee_kp": Hold(hold="imu", named="gyro"),
        "*": 1.0,
    }
    assert sources(safe, LEG, inputs) == (2, 1, 0, -1, 3)
    found = numbers(safe, LEG, 0.0)
    assert [math.isnan(value) for value in found] == [True, True, True, False, True]
    assert sources(Hold(hold="joints", named="{}_pos"), ["knee", "hip"], inputs) == (2, 1)
    assert sources({"*": 1.0}, LEG, inputs) == ()


def test_what_stands_before_the_first_command_is_measured_and_within_limits() -> None:
    vectors: dict[str, Values | None] = {
        "safe": {"*_q": Hold(hold="joints", named="{}_pos"), "*": 2.0},
        "min": {"*_q": -1.0, "*": None},
        "max": None,
    }
    inputs = {"imu": ["gyro"], "joints": ["hip_pos", "knee_pos"]}
    assert first_standing(vectors, LEG[:3], inputs, [9.0, -5.0, 0.25]) == (0.25, -1.0, 2.0)


TEXT = """\
links: {leg: {device: ./leg}}
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {joints: {link: leg}}
    policy:
      model: policy.onnx
      joints: [knee, hip]
      observation: [{input: joints, joints: policy, named: "{}_pos"}]
      action: {joints: policy, named: "{}_q"}
    outputs:
      leg: {link: leg, OUTPUT}
"""


def configured(folder: Path, output: str) -> Config:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    return loads(TEXT.replace("OUTPUT", output), str(folder / "a.yaml"))


def assembled(config: Config, *commands: str) -> None:
    inputs = {"joints": [Signal("hip_pos"), Signal("knee_pos"), Signal("hip_vel")]}
    assemble(config, "a", inputs, {"leg": [Signal(name) for name in commands]})


def complaints(config: Config, *commands: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        assembled(config, *commands)
    return [line.partition("outputs.leg.")[2] for line in str(error.value).splitlines()]


def checked(config: Config) -> list[str]:
    return [str(error).partition("outputs.leg.")[2] for error in judge(config, record=False).errors]


SAFE = 'safe: {"*_q": {hold: joints, named: "{}_pos"}, "*_kp": 0, "*_kd": 2}'
RUNS = 'default: {"*_kp": 40, "*_kd": 1, "*_q": 0}'


def test_names_are_judged_once_the_device_has_told_them(tmp_path: Path) -> None:
    config = configured(tmp_path, f"{SAFE}, {RUNS}")
    assert checked(config) == [], "a device that could be behind it"
    assembled(config, "knee_q", "hip_q", "hip_kp", "knee_kp", "hip_kd")
    assert complaints(config, "knee_q", "hip_q", "knee_kp") == [
        "safe.*_kd: found the name '*_kd'; expected a pattern of elements of the command: knee_q, "
        "hip_q or knee_kp",
        "default.*_kd: found the name '*_kd'; expected a pattern of elements of the command: knee_q, "
        "hip_q or knee_kp",
    ]
    assert complaints(config, "knee_q", "hip_q", "ankle_q", "knee_kp", "knee_kd") == [
        "safe.*_q: found 'ankle_pos', which 'ankle_q' would hold; expected an element of input "
        "'joints': hip_pos, knee_pos or hip_vel. Where names differ, `named` says how; nearest "
        "'knee_pos'"
    ]


@pytest.mark.parametrize(
    ("safe", "at"), [("{hold: m}", ""), ("{hip: 0, knee: {hold: m}}", ".knee")]
)
def test_what_is_held_by_name_has_names_where_it_is_measured(safe: str, at: str) -> None:
    text = (
        "loops:\n  leg:\n    class: soft\n    rate_hz: 100\n    inputs: {m: {mailbox: [0, 0]}}\n"
        "    policy: {observation: [{input: m}]}\n"
        f"    outputs: {{o: {{mailbox: true, names: [hip, knee], safe: {safe}}}}}\n"
    )
    with pytest.raises(ConfigError) as error:
        judge(loads(text, "leg.yaml"), record=False).refuse()
    element = "knee" if at else "hip"
    assert str(error.value).split(": ", 1)[1] == (
        f"loops.leg.outputs.o.safe{at}: found '{element}', which '{element}' would hold; expected input 'm' "
        "with names for its elements, which has none: give it `names`"
    )


def test_limits_by_name_are_judged_then_too(tmp_path: Path) -> None:
    config = configured(tmp_path, 'safe: {"*_q": 0.5, "*": 0}, max: {knee_q: 0.4, "*": null}')
    (told,) = checked(config)
    assert told.startswith("safe.*_q: found 0.5; expected at most max, 0.4")
    assert complaints(config, "knee_q", "hip_q") == [told]


def test_an_element_that_no_key_names_is_missing_without_the_device(tmp_path: Path) -> None:
    config = configured(tmp_path, 'safe: {knee_q: 0.5, "*_kp": 0}')
    (told,) = checked(config)
    assert told.startswith("safe: found no value for 'hip_q'; expected a value for each element")


def test_an_element_that_no_action_commands_is_not_held_while_the_loop_runs(tmp_path: Path) -> None:
    config = configured(tmp_path, SAFE)
    with pytest.raises(ConfigError, match="an action for element 'knee_kp' .*, or `default` there"):
        assembled(config, "knee_q", "hip_q", "knee_kp", "knee_kd")


@pytest.mark.parametrize(
    ("safe", "at"),
    [
        ('{"*_q": {hold: joints, named: hip_pos}, "*": 2}', "safe.*_q"),
        ("{hold: joints, named: hip_pos}", "safe"),
        ('{"*": {hold: joints, named: hip_pos}}', "safe.*"),
        (
            "{knee_q: {hold: joints, named: hip_pos}, hip_q: {hold: joints, named: hip_pos}}",
            "safe.hip_q",
        ),
    ],
)
def test_one_measured_joint_is_not_held_by_several(tmp_path: Path, safe: str, at: str) -> None:
    """The knee would be driven to the angle of the hip."""
    (told,) = checked(configured(tmp_path, f"safe: {safe}, default: 0"))
    assert told.startswith(
        f"{at}: found 'hip_pos', which 'hip_q' would hold; expected an element of its own for each: "
        "'knee_q' holds 'hip_pos', too."
    )


def test_a_link_that_is_commanded_in_order_may_be_called_anything(tmp_path: Path) -> None:
    text = TEXT.replace("      joints: [knee, hip]\n", "")
    text = text.replace('[{input: joints, joints: policy, named: "{}_pos"}]', "[{input: joints}]")
    text = text.replace('      action: {joints: policy, named: "{}_q"}\n', "")
    (tmp_path / "policy.onnx").write_bytes(passthrough(2))
    output = 'safe: {"*_q": 1, "*_kp": 0}, max: {"a*": 2, "b*": 3}'
    assert checked(loads(text.replace("OUTPUT", output), str(tmp_path / "a.yaml"))) == []
