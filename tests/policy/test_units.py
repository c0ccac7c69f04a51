"""A measured value takes the place of a command of its own unit only, where both are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.assembly import assemble
from rtloop.config import loads
from rtloop.errors import ConfigError
from rtloop.ports.signal import Signal
from tests.policy.models import passthrough

TEXT = """\
links: {leg: {device: ./leg}}
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {leg: {link: leg}}
    policy:
      model: policy.onnx
      joints: [knee, hip]
      groups:
        pos: [{input: leg, joints: policy, named: "{}_pos"}]
        vel: [{input: leg, joints: policy, named: "{}_vel"}]
        turned: [{input: leg, joints: policy, named: "{}_vel", scale: 0.1}]
      observation: [{group: pos}]
      action: {joints: policy, named: "{}_q"ACTION}
    outputs: {leg: {link: leg, safe: SAFE, default: 0}}
"""
INPUTS = {
    "leg": [
        Signal(f"{j}_{what}", unit)
        for what, unit in (("pos", "rad"), ("vel", "rad/s"))
        for j in ("hip", "knee")
    ]
}


def assembled(folder: Path, action: str = "", safe: str = "0", unit: str = "rad") -> None:
    (folder / "policy.onnx").write_bytes(passthrough(2))
    text = TEXT.replace("ACTION", action).replace("SAFE", safe)
    outputs = {"leg": [Signal("knee_q", unit), Signal("hip_q", unit), Signal("kp", "")]}
    assemble(loads(text, str(folder / "a.yaml")), "a", INPUTS, outputs)


PD = ", controllers: [{pd: {position: pos, stiffness: 5}}]"


def of(vector: str) -> list[str]:
    return [
        f", start: {{ramp_s: 1, from: {vector}, to: 0}}",
        f", relative: true, from: {vector}",
        f", torque_limit: {{stiffness: 1, limit: 1, position: {vector}, last_action: unlimited}}",
    ]


@pytest.mark.parametrize("action", [*of("pos"), *of("turned"), ""])
@pytest.mark.parametrize("unit", ["rad", ""])
def test_what_has_one_unit_or_none_may_take_its_place(
    tmp_path: Path, action: str, unit: str
) -> None:
    assembled(tmp_path, action, '{"*_q": {hold: leg, named: "{}_pos"}, "*": 0}', unit)


def test_a_controller_makes_torques_of_positions(tmp_path: Path) -> None:
    assembled(tmp_path, of("pos")[0] + PD, unit="N m")


@pytest.mark.parametrize(
    ("action", "at"),
    list(zip(of("vel"), ("start.from", "from", "torque_limit.position"), strict=True)),
)
def test_a_velocity_is_no_position(tmp_path: Path, action: str, at: str) -> None:
    with pytest.raises(ConfigError) as error:
        assembled(tmp_path, action)
    (told,) = str(error.value).splitlines()
    assert told.partition("loops.a.")[2] == (
        f"policy.action.{at}: found 'leg.knee' in rad/s for 'knee_q' in rad; expected what is measured "
        "in the unit of the command"
    )


def test_a_position_is_not_held_as_a_force(tmp_path: Path) -> None:
    safe = '{"*_q": {hold: leg, named: "{}_pos"}, "*": 0}'
    with pytest.raises(ConfigError) as error:
        assembled(tmp_path, safe=safe, unit="N")
    (told,) = str(error.value).splitlines()
    assert told.partition("loops.a.")[2].startswith(
        "outputs.leg.safe.*_q: found 'knee_pos' in rad for 'knee_q' in N; expected what is measured"
    )
